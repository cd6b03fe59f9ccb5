"""Is everything well? The strip at the top of every page: what this process sees without asking
anybody. Pure but for `of`."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from codexrun_core.resources import CodexRun
from codexrun_core.runs.verdict import verdict_of

if TYPE_CHECKING:
    from codexrun_api.services import Services

SILENT = 20.0  # seconds without the operator's first word about a run
BEHIND = 5.0  # seconds that rows may lag


@dataclass(frozen=True)
class Sign:
    name: str
    good: bool
    text: str


def of(here: "Services", now: datetime) -> tuple[Sign, ...]:
    return (
        operator(here.mirror.runs.values(), now),
        registry(here.mirror.writer.lag),
        cluster(here.ready),
    )


def operator(runs: Iterable[CodexRun], now: datetime) -> Sign:
    """It judges a new run within a second; one that waits longer waits for an operator."""
    pending = [r.metadata.creation_timestamp for r in runs if not verdict_of(r).final]
    waits = max(((now - since).total_seconds() for since in pending if since), default=0.0)
    if waits > SILENT:
        return Sign("operator", False, f"operator silent for {round(waits)} s")
    return Sign("operator", True, "operator")


def registry(lag: float) -> Sign:
    if lag > BEHIND:
        return Sign("registry", False, f"registry {round(lag)} s behind")
    return Sign("registry", True, f"registry, {lag:.1f} s behind" if lag >= 0.1 else "registry")


def cluster(ready: bool) -> Sign:
    return Sign("cluster", ready, "cluster" if ready else "cluster not listed yet")
