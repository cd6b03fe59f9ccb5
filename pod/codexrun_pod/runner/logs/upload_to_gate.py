"""Hand over to the gate: the log, by byte offset, from a thread of its own, and single things.

The gate answers with the size it has, and the sender goes on from there: nothing is lost or doubled
by a lost answer or a restarted gate. All that was written is kept (in memory first, then in a file
without a name), so that any answer can be met.
"""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from pathlib import Path

from codexrun_core.pod_contract import LOG_CHUNK_BYTES

MEMORY_BYTES = 1024 * 1024  # bytes; more goes to disk
ANSWER_SECONDS = 5.0
PUT_SECONDS = 10.0
# while the gate is away: the kubelet brings it back after 1.3, then 16, then 30 s
RETRY_SECONDS = (
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
)


def put(port: int, path: str, content: bytes) -> None:
    """PUT one thing to the gate on 127.0.0.1.

    Raises:
        OSError, HTTPException: it did not take it, or did not answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PUT_SECONDS)
    try:
        connection.request("PUT", path, body=content)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != 200:
        raise OSError(f"HTTP {status}")


class LogUploader:
    """Uploads the log; `add` never waits for the gate."""

    def __init__(self, port: int, tmp: Path) -> None:
        """port: the gate's on 127.0.0.1; tmp: where the file goes."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        self._spill = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - as long as the process
            max_size=MEMORY_BYTES, dir=str(tmp)
        )
        self._size = 0
        self._sent = 0
        self._closed = False
        self._broken = False
        self._changed = threading.Condition()
        self._delivered = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipping", daemon=True)
        self._thread.start()

    def add(self, line: bytes) -> None:
        """Add one more piece of the log. If the disk refuses it, the log ends for the gate just
        before it."""
        with self._changed:
            if self._broken or self._closed:
                return
            try:
                self._spill.seek(self._size)
                self._spill.write(line)
            except OSError:
                self._broken = True
                return
            self._size += len(line)
            self._changed.notify()

    def finish(self, seconds: float) -> bool:
        """Close the log; return whether the gate has all of it within `seconds`, and knows that it
        is closed."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        return self._delivered.wait(max(0.0, seconds)) and not self._broken

    def _run(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._sent < self._size or self._closed)
                chunk = self._read()
            try:
                previous = self._sent
                self._sent = self._post(chunk)
                if chunk and self._sent == previous:
                    raise OSError("the gate accepts no more log data")
                failures = 0
            except (OSError, http.client.HTTPException, ValueError):
                self._connection.close()
                time.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1
                continue
            if self._closed and not chunk and self._sent == self._size:
                self._delivered.set()
                return

    def _read(self) -> bytes:
        self._spill.seek(self._sent)
        return self._spill.read(min(LOG_CHUNK_BYTES, self._size - self._sent))

    def _post(self, chunk: bytes) -> int:
        """Send a chunk, and return the size that the gate has now.

        Raises:
            OSError, HTTPException, ValueError: it did not say.
        """
        last = "&end=1" if self._closed and not chunk and not self._broken else ""
        self._connection.request("POST", f"/log?offset={self._sent}{last}", body=chunk)
        answer = self._connection.getresponse()
        reply = json.loads(answer.read(65536))
        size = reply.get("size") if answer.status == 200 and isinstance(reply, dict) else None
        if not isinstance(size, int) or not 0 <= size <= self._size:
            raise ValueError("the gate's response does not say how large this log is")
        return size
