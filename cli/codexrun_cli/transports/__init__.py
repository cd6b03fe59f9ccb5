"""Two ways to the runs, one interface: over REST, or straight on the cluster. What a command prints
does not depend on which.

A run is the JSON that the api answers with (`schemas.Run`); from the cluster it has the same fields
but `links`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict

from codexrun_cli.transports.schemas import Condition, JobType, Prompt, Run, Transition

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
class LogEvent:
    """One event of a followed log. `line`: a line without its end; `disconnected`: the connection
    broke, `text` says how; `end`: nothing more will come, `text` says what is amiss with the log,
    if anything."""

    kind: Literal["line", "disconnected", "end"]
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

    chunks: Iterator[bytes]
    note: str = ""


class KubeEvent(TypedDict):
    """An Event of the cluster about a run."""

    at: str | None
    type: str
    reason: str
    message: str


class Details(TypedDict, total=False):
    """`limits` in force; `conditions` while its object is there; `transitions`, which the api
    keeps; `events`, which the cluster keeps for a while. What is not known is absent."""

    limits: dict[str, int]
    conditions: list[Condition] | None
    transitions: list[Transition] | None
    events: list[KubeEvent]


class Transport(Protocol):
    """Every call raises CommandError: Unreachable where nothing is known about what happened,
    ApiRequired where only the api could answer."""

    @property
    def rest(self) -> bool: ...
    def start(self, request: Json, key: str | None) -> Run: ...
    def dry_run(self, request: Json) -> Json:
        """Return the CodexRun as the apiserver would store it."""
        ...

    def run(self, name: str) -> Run: ...
    def runs(self, run_filter: RunFilter, limit: int, sort: str | None = None) -> Iterator[Run]: ...
    def cancel(self, name: str, reason: str | None) -> Run: ...
    def retry(self, name: str, changes: Json, key: str | None) -> Run: ...
    def log(self, run: Run, log_range: LogRange) -> LogText: ...
    def follow_log(self, run: Run, log_range: LogRange) -> Iterator[LogEvent]: ...
    def job_types(self) -> list[JobType]: ...
    def prompts(self) -> list[Prompt]: ...
    def prompt_text(self, name: str, version: str) -> str: ...
    def details(self, run: Run) -> Details: ...
    def usual_seconds(self, job_type: str) -> float | None: ...
    def ask(
        self,
        method: str,
        path: str,
        subject: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Json | None = None,
    ) -> Any:
        """What only the api has; subject: what people call it."""
        ...

    def data(self, path: str) -> bytes:
        """Return the bytes of a file that the api keeps."""
        ...

    def set_priority(self, name: str, priority: int) -> Run: ...
    def delete(self, name: str) -> Run:
        """Delete the object of a run that has ended."""
        ...

    def user(self) -> str:
        """Return who is calling."""
        ...

    def console(self, run: Run) -> str | None:
        """Return where a browser shows the run."""
        ...

    def close(self) -> None: ...
