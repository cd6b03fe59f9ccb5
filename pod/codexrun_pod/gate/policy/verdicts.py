"""What a model request is decided by, and what comes of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from codexrun_core.codex import tools
from codexrun_pod.gate.cost import Price
from codexrun_pod.gate.input_size import Beginning
from codexrun_pod.termination import LONGEST_MESSAGE

MAX_QUOTED_CHARS = 128  # of a value that a message quotes
Code = Literal["budget", "guardrail", "stall", "model_error", "refused", "stopping"]
DEFAULT_MAX_OUTPUT_TOKENS = 128_000  # what a model can answer where nobody says


@dataclass(frozen=True)
class Denied:
    """The request is denied. A `final` denial ends the run with that class; others only turn this
    request down."""

    code: Code
    message: str
    final: bool = True

    def __post_init__(self) -> None:
        """Cut the message here, before it comes into answers, logs and files: it may quote what the
        agent has sent."""
        object.__setattr__(self, "message", self.message[:LONGEST_MESSAGE])

    @property
    def body(self) -> dict[str, Any]:
        """Return the JSON of the 400, which Codex shows verbatim and does not retry."""
        return {"error": {"type": "codexrun_refused", "code": self.code, "message": self.message}}


@dataclass(frozen=True)
class Admitted:
    """The body to send. lowered: the limit to whose remainder max_output_tokens was set or lowered;
    stripped: tools taken out; dropped: keys taken out that Codex does not send; beginnings: of its
    input, as it is sent; max_output: tokens, at most what was asked for."""

    body: bytes
    model: str
    lowered: str | None = None
    stripped: frozenset[str] = frozenset()
    dropped: tuple[str, ...] = ()
    beginnings: tuple[Beginning, ...] = ()
    max_output: int = DEFAULT_MAX_OUTPUT_TOKENS

    @property
    def digest(self) -> str:
        """Return the digest of the whole input."""
        return self.beginnings[-1].digest


@dataclass(frozen=True)
class Tries:
    """The tries of this turn, all of which the provider broke off: class and message of the last
    one's error, and what they were charged, in tokens and pico-dollars."""

    class_: str
    error: str
    tokens: int
    pico: int


@dataclass(frozen=True)
class Limits:
    """The run's limits, and what it has spent, in tokens and pico-dollars.

    efforts: None for any. max_output: tokens that the model can answer at most. stopped: an earlier
    final denial. tries: of this turn, if none was answered. unpriced: what was used although it has
    no price. tier: the service tier of the answers so far. takes_reasoning_ids: of the endpoint.
    """

    models: frozenset[str]
    efforts: frozenset[str] | None = None
    tools: frozenset[str] = frozenset(tools.DEFAULT_TOOLS)
    max_tokens: int | None = None
    spent: int = 0
    max_pico: int | None = None
    spent_pico: int = 0
    prices: Mapping[str, Price] = field(default_factory=dict)
    stopping: bool = False
    stopped: Denied | None = None
    max_output: int = DEFAULT_MAX_OUTPUT_TOKENS
    tries: Tries | None = None
    unpriced: str | None = None
    tier: str | None = None
    takes_reasoning_ids: bool = True


def guardrail(message: str) -> Denied:
    """Return a denial that ends the run: the request is not what the job type allows."""
    return Denied("guardrail", f"a request to the model was refused: {message}")


def quoted(value: Any) -> str:
    """Return a value of a request as a message quotes it: cut, so that no request makes a long
    message, and a container by its kind only."""
    if isinstance(value, str):
        more = "…" if len(value) > MAX_QUOTED_CHARS else ""
        return repr(value[:MAX_QUOTED_CHARS] + more)
    if value is None or isinstance(value, bool | int | float):
        return str(value)[:MAX_QUOTED_CHARS]
    return "a list" if isinstance(value, list) else "an object"
