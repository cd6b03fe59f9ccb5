"""How does one prompt version do: how many runs, how often with success, and what does a good one
usually take?"""

import statistics
from dataclasses import dataclass

import sqlalchemy as sa

from codexrun_core.registry.database import Database
from codexrun_core.registry.queries import NEWEST_FIRST
from codexrun_core.registry.tables import runs
from codexrun_core.registry.totals import DURATIONS, SUCCEEDED


@dataclass(frozen=True)
class Usual:
    """Medians of a version's last good runs; None where there is none, or none has a known
    price."""

    tokens: int | None
    cost_micro_usd: int | None
    seconds: float | None


class PromptUsual(Database):
    """What a run of one prompt version usually takes."""

    async def prompt_usual(self, name: str, version: str) -> Usual:
        """Of the last good runs, found by the index of the prompt's versions: no scan, however many
        runs there are."""
        c = runs.c
        query = sa.select(c.cost_tokens, c.cost_micro_usd, c.started_at, c.finished_at)
        query = query.where(
            c.prompt_name == name, c.prompt_version == version, c.status == SUCCEEDED
        )
        rows = await self._all(query.order_by(*NEWEST_FIRST).limit(DURATIONS))
        costs = [row.cost_micro_usd for row in rows if row.cost_micro_usd is not None]
        times = [
            (r.finished_at - r.started_at).total_seconds()
            for r in rows
            if r.started_at and r.finished_at
        ]
        return Usual(
            # A median that occurred: of two in the middle the lower one, as a whole number.
            tokens=statistics.median_low([row.cost_tokens for row in rows]) if rows else None,
            cost_micro_usd=statistics.median_low(costs) if costs else None,
            seconds=max(0.0, statistics.median(times)) if times else None,
        )
