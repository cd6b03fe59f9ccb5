"""Sessions that somebody logged out of: their cookies open nothing any more, also after a restart.

ended-sessions    a line for each: `<end in seconds since the epoch>.<nonce>`, no secret
"""

import logging
import threading
from pathlib import Path

from codexrun_api.archive.whole_file import write_whole
from codexrun_core.logs import fields

log = logging.getLogger(__name__)

MAX_SESSIONS = 10_000  # those that end first are forgotten first
FILE = "ended-sessions"


class EndedSessions:
    """Sessions by their id, until they would be over anyway."""

    def __init__(self, folder: Path) -> None:
        """folder: the archive's, which need not be there yet."""
        self._folder = folder
        self._adding = threading.Lock()
        self._ends: dict[str, int] | None = None

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._read()

    def add(self, session_id: str, now: float) -> None:
        """End a session; it waits for the disk, so it is a thread's work. What cannot be written is
        logged, and holds as long as this process."""
        with self._adding:
            self._add(session_id, now)

    def _add(self, session_id: str, now: float) -> None:
        known = {**self._read(), session_id: _end_of(session_id)}
        lasting = sorted((end, key) for key, end in known.items() if end > now)
        self._ends = {key: end for end, key in lasting[-MAX_SESSIONS:]}
        data = "".join(f"{key}\n" for key in self._ends).encode()
        try:
            write_whole(self._folder / FILE, self._folder, data)
        except OSError as error:
            log.warning("logout.not_stored", extra=fields(error=str(error)))

    def _read(self) -> dict[str, int]:
        if self._ends is None:
            text = ""
            try:
                text = (self._folder / FILE).read_text(encoding="ascii")
            except FileNotFoundError:
                pass
            except UnicodeDecodeError as error:
                log.warning("logouts.unreadable", extra=fields(error=str(error)))
            except OSError as error:
                log.warning("logouts.unreadable", extra=fields(error=str(error)))
                return {}  # asked again: the disk may answer next time
            self._ends = {line: _end_of(line) for line in text.splitlines()}
        return self._ends


def _end_of(session_id: str) -> int:
    end = session_id.partition(".")[0]
    return int(end) if end.isdecimal() and len(end) < 16 else 0
