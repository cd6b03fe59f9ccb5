"""A log that is too long is cut at the source, once and visibly; both of its ways carry the same
bytes."""

import json
import os

from codexrun_pod.gate.logs.spool import Spool
from codexrun_pod.runner.logs.log import Log

LIMIT = 64 * 1024


class Taken:
    def __init__(self):
        self.bytes = b""

    def add(self, line):
        self.bytes += line

    def finish(self, seconds):
        return True


def written(tmp_path, limit, steps):
    path = tmp_path / "stdout"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = Log(descriptor, limit)
    taken = Taken()
    log.upload_to(taken)
    steps(log)
    assert log.close()
    os.close(descriptor)
    assert taken.bytes == path.read_bytes()
    return [json.loads(line) for line in taken.bytes.splitlines()], len(taken.bytes)


def test_the_cut_is_one_marker_and_the_end_of_the_run_is_kept(tmp_path):
    def steps(log):
        for number in range(200):
            log.write_codex(json.dumps({"type": "item", "n": number, "text": "x" * 1000}).encode())
        log.write_plain("stderr", b"short, but after the cut")
        log.write_own("run.ended", status="succeeded", phase="report")

    lines, size = written(tmp_path, LIMIT, steps)
    assert size <= LIMIT
    assert [line["text"] for line in lines if line["src"] != "codex"] == ["log.cut", "run.ended"]
    numbers = [line["event"]["n"] for line in lines if "event" in line]
    assert numbers == list(range(len(numbers)))
    assert lines[len(numbers)]["limit_bytes"] == LIMIT


def test_a_log_within_the_limit_has_no_marker(tmp_path):
    lines, _ = written(
        tmp_path, LIMIT, lambda log: [log.write_plain("stderr", b"%d" % n) for n in range(100)]
    )
    assert [line["text"] for line in lines] == [str(n) for n in range(100)]


def test_the_gate_takes_no_more_than_its_limit_whoever_sends(tmp_path):
    spool = Spool(tmp_path, limit=10)
    assert spool.append(0, b"12345678") == 8
    assert spool.append(8, b"9abcdef") == 10
    assert spool.append(10, b"more") == 10
    assert spool.read(0, 100) == b"123456789a"


def test_the_api_takes_as_much_in_one_request_as_the_gate_sends():
    from codexrun_api.logs import ingest
    from codexrun_core import pod_contract

    assert ingest.MAX_LOG_REQUEST_BYTES >= pod_contract.LOG_CHUNK_BYTES
