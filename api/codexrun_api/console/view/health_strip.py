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

MAX_SILENT_SECONDS = 20.0  # seconds without the operator's first word about a run
MAX_LAG_SECONDS = 5.0  # seconds that rows may lag


@dataclass(frozen=True)
class Sign:
    name: str
    good: bool
    text: str


def signs_of(services: "Services", now: datetime) -> tuple[Sign, ...]:
    return (
        operator_sign(services.mirror.runs.values(), now),
        registry_sign(services.mirror.writer.lag, away=services.mirror.writer.away),
        cluster_sign(services.ready),
    )


def operator_sign(runs: Iterable[CodexRun], now: datetime) -> Sign:
    """Return whether the operator is silent. It judges a new run within a second; one that waits
    longer waits for an operator."""
    pending = [r.metadata.creation_timestamp for r in runs if not verdict_of(r).final]
    waits = max(((now - since).total_seconds() for since in pending if since), default=0.0)
    if waits > MAX_SILENT_SECONDS:
        return Sign("operator", False, f"operator not responding for {round(waits)}s")
    return Sign("operator", True, "operator")


def registry_sign(lag: float, *, away: bool = False) -> Sign:
    """Return whether rows are written. While the registry is away, lists and totals have nothing
    to show."""
    if away and lag > MAX_LAG_SECONDS:
        return Sign("registry", False, f"registry unavailable for {round(lag)}s")
    if lag > MAX_LAG_SECONDS:
        return Sign("registry", False, f"registry {round(lag)}s behind")
    return Sign("registry", True, f"registry, {lag:.1f}s behind" if lag >= 0.1 else "registry")


def cluster_sign(ready: bool) -> Sign:
    return Sign("cluster", ready, "cluster" if ready else "still reading from the cluster")
