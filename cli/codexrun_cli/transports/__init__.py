"""Two ways to the runs, one interface: over REST, or straight on the cluster. What a command prints
does not depend on which.

A run is the JSON that the api shows (`RunView` in api/openapi.json); from the cluster it has the
same fields but `links`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Json = dict[str, Any]


@dataclass(frozen=True)
class RunFilter:
    """Which runs: the list's filter. A comma means OR, several fields mean AND; times as the api
    takes them."""

    job_type: str | None = None
    status: str | None = None
    prompt: str | None = None
    model: str | None = None
    user: str | None = None
    since: str | None = None
    until: str | None = None
    search: str | None = None
    retry_of: str | None = None
    label: str | None = None  # a label selector: its comma means AND

    def query(self) -> dict[str, str]:
        return {key: value for key, value in vars(self).items() if value}

    @property
    def empty(self) -> bool:
        return not self.query()


@dataclass(frozen=True)
class Heard:
    """One thing that a followed log says. `line`: a line without its end; `cut`: the connection
    broke, `text` says how; `end`: nothing more will come, `text` says what is amiss with the log,
    if anything."""

    kind: Literal["line", "cut", "end"]
    text: bytes = b""
    newline: bool = True


@dataclass(frozen=True)
class LogRange:
    """Which part of a log; since: as the api takes it."""

    tail: int | None = None
    since: str | None = None


@dataclass
class LogText:
    """A log as it is now; note: what people should know about it."""

    pieces: Iterator[bytes]
    note: str = ""
    about: Json = field(default_factory=dict)


class Transport(Protocol):
    """Every call raises Trouble: Away where nothing is known about what happened, NeedsApi where
    only the api could answer."""

    @property
    def rest(self) -> bool: ...
    def start(self, wish: Json, key: str | None, *, dry_run: bool = False) -> Json: ...
    def run(self, wanted: str) -> Json: ...
    def runs(self, chosen: RunFilter, limit: int, sort: str | None = None) -> Iterator[Json]: ...
    def cancel(self, wanted: str, reason: str | None) -> Json: ...
    def retry(self, wanted: str, changes: Json, key: str | None) -> Json: ...
    def log(self, run: Json, wish: LogRange) -> LogText: ...
    def follow_log(self, run: Json, wish: LogRange) -> Iterator[Heard]: ...
    def job_types(self) -> list[Json]: ...
    def prompts(self) -> list[Json]: ...
    def prompt_text(self, name: str, version: str) -> str: ...
    def details(self, run: Json) -> Json:
        """`limits` in force; `conditions` while its object is there; `transitions`, which the api
        keeps; `events`, which the cluster keeps for a while. What is not known is absent."""
        ...

    def usual_seconds(self, job_type: str) -> float | None: ...
    def ask(self, method: str, path: str, what: str, **options: Any) -> Json:
        """What only the api has."""
        ...

    def text(self, path: str) -> str:
        """A text of the api's."""
        ...

    def console(self, run: Json) -> str | None:
        """Where a browser shows the run."""
        ...

    def close(self) -> None: ...
