"""What a model request is decided by, and what comes of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from codexrun_core.codex import tools
from codexrun_pod.gate.cost import Price
from codexrun_pod.gate.input_size import Beginning

Code = Literal["budget", "guardrail", "stall", "model_error", "stopping"]
DEFAULT_MAX_OUTPUT_TOKENS = 128_000  # what a model can answer where nobody says


@dataclass(frozen=True)
class Denied:
    """The request is denied. A `final` denial ends the run with that class; others only turn this
    request down."""

    code: Code
    message: str
    final: bool = True

    @property
    def body(self) -> dict[str, Any]:
        """Return the JSON of the 400, which Codex shows verbatim and does not retry."""
        return {"error": {"type": "codexrun_refused", "code": self.code, "message": self.message}}


@dataclass(frozen=True)
class Admitted:
    """The body to send. lowered: the limit to whose remainder max_output_tokens was set or lowered;
    stripped: tools taken out; beginnings: of its input, as it is sent; max_output: tokens, at most
    what was asked for."""

    body: bytes
    model: str
    lowered: str | None = None
    stripped: frozenset[str] = frozenset()
    beginnings: tuple[Beginning, ...] = ()
    max_output: int = DEFAULT_MAX_OUTPUT_TOKENS


@dataclass(frozen=True)
class Tries:
    """The tries of this turn, all of which the provider broke off: how the last one ended, and what
    they were charged, in tokens and pico-dollars."""

    error: str
    tokens: int
    pico: int


@dataclass(frozen=True)
class Limits:
    """The run's limits, and what it has spent, in tokens and pico-dollars.

    max_output: tokens that the model can answer at most. stopped: an earlier final denial. tries:
    of this turn, if none was answered. unpriced: what was used although it has no price.
    """

    models: frozenset[str]
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


def guardrail(message: str) -> Denied:
    """Return a denial that ends the run: the request is not what the job type allows."""
    return Denied("guardrail", message)
