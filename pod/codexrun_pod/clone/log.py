"""The clone step's log: to stdout, and to the archive of the run's log.

It ends before the gate begins. What it wrote waits in .git for the runner, whose log begins with
it; where the clone fails no runner comes, and the clone step sends the lines to the api itself.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codexrun_core.pod_contract import (
    CLONE_ENV,
    CLONE_LOG,
    INGEST_TOKEN_FILE,
    INGEST_TOKEN_FOLDER,
)
from codexrun_pod import loglines

TOKEN_FILE = f"{INGEST_TOKEN_FOLDER}/{INGEST_TOKEN_FILE}"
UPLOAD_TRIES = 3  # of an api that is away; the failure itself is in the run's status


class CloneLog:
    """Writes lines and keeps them."""

    def __init__(self) -> None:
        """Begin to count the time."""
        self._began = time.monotonic()
        self._lines: list[bytes] = []

    def write(self, text: str, **fields: Any) -> None:
        """Write one line; `text` is what happened, as noun.verb. No field may hold a secret."""
        duration_ms = int((time.monotonic() - self._began) * 1000)
        line = loglines.line("clone", text=text, phase="clone", duration_ms=duration_ms, **fields)
        self._lines.append(line)
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    def hand_over(self, workspace: Path) -> None:
        """Leave the lines for the runner.

        Raises:
            OSError: the file cannot be written.
        """
        (workspace / CLONE_LOG).write_bytes(b"".join(self._lines))

    def upload(self, environ: Mapping[str, str]) -> None:
        """Send the lines to the api as the whole log of this attempt, if there is an api. If it
        does not take them, a line on stdout says so."""
        try:
            url = json.loads(environ[CLONE_ENV])["ingestURL"]
        except (KeyError, TypeError, ValueError):
            return
        token_file = environ.get("CODEXRUN_CLONE_INGEST_TOKEN", TOKEN_FILE)
        asyncio.run(self._upload(url, Path(token_file)))

    async def _upload(self, url: str, token_file: Path) -> None:
        # late: aiohttp takes longer than many a clone
        from codexrun_pod.gate.logs.ingest_client import Declined, IngestClient, Unavailable

        content = b"".join(self._lines)
        client = IngestClient(url, token_file)
        try:
            for trial in range(1, UPLOAD_TRIES + 1):
                try:
                    stored = await client.log(0, content)
                    if not stored.closed:
                        await client.log(stored.size, b"", end="complete")
                    return
                except Unavailable as error:
                    reason = str(error)
                    if trial < UPLOAD_TRIES:
                        await asyncio.sleep(trial)
                except Declined as error:
                    reason = str(error)
                    break
        finally:
            await client.close()
        self.write("shipping.declined", level="warning", reason=reason)
