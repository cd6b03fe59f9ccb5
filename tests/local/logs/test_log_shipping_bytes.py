"""Whatever answer is lost and whoever is killed: what arrives is what the runner wrote, each byte
once."""

import asyncio
import http.server
import json
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codexrun_api.archive.archive import Archive, Superseded
from codexrun_pod.gate.logs import upload_to_api as gate_shipping
from codexrun_pod.gate.logs.ingest_client import StoredLog, Unavailable
from codexrun_pod.gate.logs.spool import Spool
from codexrun_pod.gate.logs.upload_to_api import Uploader
from codexrun_pod.runner.logs import upload_to_gate as runner_shipping

RUN = "11111111-2222-3333-4444-555555555555"
SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=40)

pieces = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=12)
FAULTS = ("none", "none", "before", "after", "api restarts", "gate restarts")
faults = st.lists(st.sampled_from(FAULTS), max_size=30)


class FakeLedger:
    on_change = None
    log_bytes = 0
    log_complete = False

    def usage(self):
        return {"requests": 0}

    def log(self, text, **fields):
        pass


class World:
    """Gate and api on one disk; `trouble` is what goes wrong with each request that the gate sends,
    in turn."""

    def __init__(self, root, trouble):
        self.root = root
        self.trouble = list(trouble)
        self.archive = self.fresh_archive()
        self.crash = asyncio.Event()

    def fresh_archive(self):
        archive = Archive(self.root / "archive")
        archive.open()
        return archive

    async def log(self, offset, data, end=None):
        """The api's answer, as gate/logs/ingest_client.py gives it."""
        fault = self.trouble.pop(0) if self.trouble else "none"
        if fault == "before":
            raise Unavailable("nobody listens")
        if fault == "api restarts":
            self.archive = self.fresh_archive()
            raise Unavailable("nobody listens")
        size, ended = self.archive.append_attempt(RUN, 1, offset, data)
        if end and size == offset + len(data):
            self.archive.seal(RUN, 1, complete=end == "complete")
            ended = True
        if fault == "after":
            raise Unavailable("the answer is lost")
        if fault == "gate restarts":
            self.crash.set()
            await asyncio.Event().wait()
        return StoredLog(size, ended)

    async def close(self):
        pass


async def through_the_gate(root, written, trouble):
    """The runner's end of the protocol, a gate that may die at any request, and the archive behind
    it."""
    world = World(root, trouble)
    sent = 0
    whole = b"".join(written)
    bounds = [sum(map(len, written[: n + 1])) for n in range(len(written))]
    while True:
        spool = Spool(root / "spool")
        shipping = Uploader(FakeLedger(), spool, world)
        shipping.start()
        crashed = asyncio.ensure_future(world.crash.wait())
        while sent < len(whole) and not crashed.done():
            end = next(bound for bound in bounds if bound > sent)
            sent = spool.append(sent, whole[sent:end])
            shipping.notify()
            await asyncio.sleep(0)
        if sent == len(whole):
            spool.close(sent)
            shipping.notify()
        done = asyncio.ensure_future(shipping.finish(20))
        await asyncio.wait((done, crashed), return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            crashed.cancel()
            return world.archive, shipping
        for task in (done, *shipping._tasks):
            task.cancel()
        await asyncio.gather(done, *shipping._tasks, return_exceptions=True)
        world.crash = asyncio.Event()


@SLOW
@given(written=pieces, trouble=faults, chunk=st.integers(1, 300))
def test_gate_and_api_keep_every_byte_once(written, trouble, chunk):
    was = gate_shipping.LOG_CHUNK_BYTES, gate_shipping.RETRY_SECONDS, gate_shipping.BATCH_SECONDS
    gate_shipping.LOG_CHUNK_BYTES = chunk
    gate_shipping.RETRY_SECONDS = (0.0,)
    gate_shipping.BATCH_SECONDS = 0.0
    try:
        with TemporaryDirectory() as folder:
            archive, shipping = asyncio.run(through_the_gate(Path(folder), written, trouble))
            whole = b"".join(written)
            assert archive.read(RUN, 0, len(whole) + 1000) == whole
            assert archive.log(RUN).complete is True
            assert (shipping.ledger.log_bytes, shipping.ledger.log_complete) == (len(whole), True)
    finally:
        gate_shipping.LOG_CHUNK_BYTES, gate_shipping.RETRY_SECONDS, gate_shipping.BATCH_SECONDS = (
            was
        )


class FlakyGate(http.server.BaseHTTPRequestHandler):
    """POST /log over a real spool; each request meets the next fault."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        stand = self.server.stand
        fault = stand.trouble.pop(0) if stand.trouble else "none"
        data = self.rfile.read(int(self.headers["Content-Length"]))
        query = dict(pair.split("=") for pair in self.path.partition("?")[2].split("&"))
        if fault in ("before", "api restarts"):
            self.close_connection = True
            return
        if fault == "gate restarts":
            stand.spool = Spool(stand.folder)
        size = stand.spool.append(int(query["offset"]), data)
        if "end" in query:
            stand.spool.close(int(query["offset"]) + len(data))
        if fault == "after":
            self.close_connection = True
            return
        body = json.dumps({"size": size}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class FlakyStand:
    def __init__(self, folder, trouble):
        self.folder = folder
        self.trouble = list(trouble)
        self.spool = Spool(folder)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FlakyGate)
        self.server.stand = self
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@SLOW
@given(
    written=pieces,
    trouble=faults,
    in_memory=st.sampled_from([1, 100, 1_000_000]),
    chunk=st.integers(1, 300),
)
def test_runner_and_gate_keep_every_byte_once(written, trouble, in_memory, chunk):
    was = (
        runner_shipping.LOG_CHUNK_BYTES,
        runner_shipping.RETRY_SECONDS,
        runner_shipping.MEMORY_BYTES,
    )
    runner_shipping.LOG_CHUNK_BYTES = chunk
    runner_shipping.RETRY_SECONDS = (0.0,)
    runner_shipping.MEMORY_BYTES = in_memory
    try:
        with TemporaryDirectory() as folder:
            stand = FlakyStand(Path(folder), trouble)
            shipping = runner_shipping.LogUploader(stand.server.server_port, Path(folder))
            for piece in written:
                shipping.add(piece)
            assert shipping.finish(30)
            whole = b"".join(written)
            assert stand.spool.read(0, len(whole) + 1000) == whole
            assert stand.spool.closed
            stand.server.shutdown()
            stand.server.server_close()
    finally:
        (
            runner_shipping.LOG_CHUNK_BYTES,
            runner_shipping.RETRY_SECONDS,
            runner_shipping.MEMORY_BYTES,
        ) = was


@SLOW
@given(first=pieces, second=pieces, late=st.binary(min_size=1, max_size=50))
def test_attempts_share_one_file_and_begin_where_the_last_ended(first, second, late):
    with TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        archive.open()
        for attempt, written in ((1, first), (2, second)):
            at = 0
            for piece in written:
                at, _ = archive.append_attempt(RUN, attempt, at, piece)
                again, _ = archive.append_attempt(RUN, attempt, at - len(piece), piece)
                assert again == at
        whole = b"".join(first + second)
        assert archive.read(RUN, 0, 10_000) == whole
        with pytest.raises(Superseded):
            archive.append_attempt(RUN, 1, len(b"".join(first)), late)
        assert archive.size(RUN) == len(whole)
