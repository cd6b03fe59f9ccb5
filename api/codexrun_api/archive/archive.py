"""Logs and artifacts that outlive the pod: a local directory behind a small interface.

    runs/<run_id>/logs.txt          the attempts one after another
    runs/<run_id>/lines.txt         newlines up to the end of each block; made again if it is gone
    runs/<run_id>/attempts.json     where each begins, and which have ended
    runs/<run_id>/artifacts/<name>  whole files only
    partial/                        unfinished uploads and removals; emptied at the start

Policy of writes: a piece of log is in the file when it is answered for (it survives this process,
not the machine; the sender goes on from what is there after either). The end of a log and an
artifact are on disk before they are answered for. Below the volume's reserve neither a piece of
log nor an artifact is taken; the ends of logs are.
"""

import contextlib
import json
import os
import re
import shutil
import threading
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from codexrun_api import metrics
from codexrun_api.archive import line_counts
from codexrun_api.archive.volume import Measure, volume_of
from codexrun_api.archive.whole_file import WholeFile, write_whole
from codexrun_core.pod_contract import MAX_LOG_BYTES, MIB

RUN_ID = re.compile(r"[0-9a-z][0-9a-z-]{0,62}")
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")

LOG = "logs.txt"
LINES = "lines.txt"
ATTEMPTS = "attempts.json"
ARTIFACTS = "artifacts"
STRIPES = 64  # locks; runs share them
# Of all attempts of a run. A later attempt means that the pod of the earlier one failed to start,
# so that its log is short.
MAX_RUN_LOG_BYTES = MAX_LOG_BYTES + 16 * MIB


class Superseded(Exception):
    """A later attempt writes to this log already."""


class RunFull(Exception):
    """The attempts of a run have written all that a run may."""


@dataclass
class Log:
    """Begin of each attempt in the file, and how the last one ended: None while it goes on, else
    whether it is complete."""

    begins: dict[str, int] = field(default_factory=dict)
    complete: bool | None = None
    note: str | None = None

    @property
    def closed(self) -> bool:
        """Return whether nothing more can come: its attempt has said so, or there never was one
        (rejected, cancelled in the queue)."""
        return self.complete is not None or not self.begins


@dataclass(frozen=True)
class Artifact:
    name: str
    bytes: int
    updated_at: datetime


class Archive:
    """Every call is short and may be made from any thread."""

    def __init__(self, root: Path, measure: Measure = volume_of) -> None:
        self._measure = measure
        self._runs = root / "runs"
        self._partial = root / "partial"
        self._locks = [threading.Lock() for _ in range(STRIPES)]

    def open(self) -> None:
        """Make the folders; remove what an earlier process had not finished."""
        self._runs.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(exist_ok=True)

    def path(self, run_id: str) -> str:
        """Return where the log lies, for the row."""
        _check_name(RUN_ID, run_id)
        return f"runs/{run_id}/{LOG}"

    def size(self, run_id: str) -> int:
        """Return the size of the whole log; 0 if there is none."""
        try:
            return (self._folder(run_id) / LOG).stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, run_id: str, start: int, end: int) -> bytes:
        """Read the bytes of the log from `start` up to `end`, or as far as it goes."""
        try:
            with (self._folder(run_id) / LOG).open("rb") as file:
                return os.pread(file.fileno(), max(0, end - start), start)
        except FileNotFoundError:
            return b""

    def newlines(self, run_id: str, size: int) -> list[int]:
        """Return how many newlines there are up to the end of each whole block of the first
        `size` bytes."""
        folder = self._folder(run_id)
        blocks = size // line_counts.BLOCK_BYTES
        counts, _ = line_counts.read_counts(folder / LINES) if blocks else ([], 0)
        if len(counts) < blocks:
            with self._lock(run_id):
                counts = line_counts.extend_counts(folder / LOG, folder / LINES)
        return counts[:blocks]

    def append(self, run_id: str, offset: int, data: bytes) -> int:
        """Append a piece of the log; return the size afterwards. What does not begin at the end
        writes nothing, so that the same piece twice is once there."""
        with self._lock(run_id):
            return self._append(run_id, offset, data)

    def log(self, run_id: str) -> Log:
        try:
            return Log(**json.loads((self._folder(run_id) / ATTEMPTS).read_bytes()))
        except FileNotFoundError:
            return Log()

    def append_attempt(
        self, run_id: str, attempt: int, offset: int, data: bytes
    ) -> tuple[int, bool]:
        """Append a piece whose offset is relative to where the attempt began; return the attempt's
        size afterwards, and whether it had ended before.

        Raises:
            Superseded: a later attempt has begun.
            RunFull: the log of the run has its full length.
            Full: the volume has no room but the registry's.
        """
        with self._lock(run_id):
            log, begin = self._attempt(run_id, attempt)
            if log.complete is not None:
                offset = -1  # nothing follows an end
            elif begin + offset + len(data) > MAX_RUN_LOG_BYTES:
                raise RunFull(f"the log of a run may be at most {MAX_RUN_LOG_BYTES} bytes long")
            elif data:
                self.check_room(len(data))
            return (
                self._append(run_id, begin + offset if offset >= 0 else -1, data) - begin,
                log.complete is not None,
            )

    def open_attempt(self, run_id: str) -> int | None:
        """Return the attempt whose log goes on; None if the log has ended, or there is none."""
        log = self.log(run_id)
        return max(map(int, log.begins), default=None) if log.complete is None else None

    def seal(
        self,
        run_id: str,
        attempt: int,
        *,
        complete: bool,
        note: str | None = None,
        last: bytes = b"",
    ) -> None:
        """End the attempt's log. `last` goes in as its last line; the first end stands.

        Raises:
            Superseded: a later attempt has begun.
            OSError: the volume has no room at all. The log goes on; try again.
        """
        with self._lock(run_id):
            log, _ = self._attempt(run_id, attempt)
            if log.complete is not None:
                return
            if last:
                # Fails on a full volume before the line is written; otherwise the line would be
                # written, its end could not be saved, and the next try would write it again.
                self._save(run_id, log)
            size = self.size(run_id)
            if last and size and self.read(run_id, size - 1, size) != b"\n":
                last = b"\n" + last
            self._append(run_id, size, last)
            with (
                contextlib.suppress(FileNotFoundError),
                (self._folder(run_id) / LOG).open("rb") as file,
            ):
                os.fsync(file.fileno())
            log.complete = complete
            log.note = note
            self._save(run_id, log)

    def check_room(self, size: int) -> None:
        """Raise Full where `size` more bytes would use the registry's room."""
        self._measure(self._partial).check_room(size)

    def open_artifact(self, run_id: str, name: str) -> WholeFile:
        """Return a file to write the artifact into: it is there, whole, from its `commit` on, and
        never was otherwise. The caller closes it."""
        path = self._folder(run_id) / ARTIFACTS / _check_name(NAME, name)
        return WholeFile(path, self._partial)

    def list_artifacts(self, run_id: str) -> list[Artifact]:
        artifacts = []
        with contextlib.suppress(FileNotFoundError):
            for entry in sorted(os.scandir(self._folder(run_id) / ARTIFACTS), key=lambda e: e.name):
                stat = entry.stat()
                artifacts.append(
                    Artifact(entry.name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))
                )
        return artifacts

    def artifact(self, run_id: str, name: str) -> Path | None:
        """Return the file's path; None if there is none."""
        if not NAME.fullmatch(name) or not RUN_ID.fullmatch(run_id):
            return None
        path = self._runs / run_id / ARTIFACTS / name
        return path if path.is_file() else None

    def holds(self, run_id: str) -> bool:
        """Return whether there is anything of this run."""
        return self._folder(run_id).is_dir()

    def remove(self, run_id: str) -> bool:
        """Remove all of a run, in one step for whoever looks. Return False if there was nothing."""
        removed = self._partial / uuid.uuid4().hex
        try:
            self._folder(run_id).rename(removed)
        except FileNotFoundError:
            return False
        shutil.rmtree(removed, ignore_errors=True)  # what stays is removed at the next start
        return True

    def _folder(self, run_id: str) -> Path:
        return self._runs / _check_name(RUN_ID, run_id)

    def _lock(self, run_id: str) -> threading.Lock:
        return self._locks[hash(run_id) % STRIPES]

    def _append(self, run_id: str, offset: int, data: bytes) -> int:
        folder = self._folder(run_id)
        if not data:
            return self.size(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG).open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            if offset == before:
                with contextlib.suppress(OSError):  # no room: the size says how far it went
                    file.write(data)
            size = os.fstat(file.fileno()).st_size
        metrics.ARCHIVED.inc(size - before)
        if size // line_counts.BLOCK_BYTES > before // line_counts.BLOCK_BYTES:
            line_counts.extend_counts(folder / LOG, folder / LINES, before)
        return size

    def _attempt(self, run_id: str, attempt: int) -> tuple[Log, int]:
        """Return the log as this attempt's, and where that begins; it is written down when it
        first shows up."""
        log = self.log(run_id)
        last = max(map(int, log.begins), default=0)
        if attempt < last:
            raise Superseded(
                f"attempt {last} of this run has begun; attempt {attempt} can no longer write to"
                " the log"
            )
        if attempt > last:
            log = Log({**log.begins, str(attempt): self.size(run_id)})
            self._save(run_id, log)
        return log, log.begins[str(attempt)]

    def _save(self, run_id: str, log: Log) -> None:
        data = json.dumps(asdict(log)).encode()
        write_whole(self._folder(run_id) / ATTEMPTS, self._partial, data)


def _check_name(shape: re.Pattern[str], text: str) -> str:
    """Return the name unchanged. With neither separators nor leading dots, no name leads
    anywhere else."""
    if not shape.fullmatch(text):
        raise ValueError(f"{text!r} is not a valid file name for the archive")
    return text
