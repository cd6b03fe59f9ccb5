"""Who wrote what, from the apiserver's audit log (audit.k8s.io/v1, a line a request)."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Write:
    """One request that changes something; `at` is when it came, in seconds of the epoch."""

    user: str
    verb: str
    resource: str  # with its subresource: pods/status
    code: int
    at: float


class AuditLog:
    """The log from where it stood when this was made, or when it was last read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size

    def read(self) -> list[Write]:
        """Return the writes since; leases are left out, for they are only signs of life."""
        writes = []
        with self._path.open("rb") as log:
            log.seek(self._offset)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                write = write_from(json.loads(line))
                if write.resource not in ("leases", ""):
                    writes.append(write)
        return writes

    @property
    def unread_bytes(self) -> int:
        return self._path.stat().st_size - self._offset


def write_from(event: dict[str, Any]) -> Write:
    about = event.get("objectRef", {})
    return Write(
        user=event["user"]["username"],
        verb=event["verb"],
        resource="/".join(filter(None, (about.get("resource"), about.get("subresource")))),
        code=event.get("responseStatus", {}).get("code", 0),
        at=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
    )


def of_user(writes: list[Write], user: str) -> Iterator[Write]:
    return (write for write in writes if write.user == user)


def by_kind(writes: Sequence[Write], count: int) -> str:
    """Return who writes what, per one of `count` objects, the most frequent first."""
    kinds = Counter((w.user.split(":")[-1], w.verb, w.resource) for w in writes)
    return ", ".join(f"{' '.join(kind)} {times / count:.2f}" for kind, times in kinds.most_common())
