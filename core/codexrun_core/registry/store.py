"""The registry: written by the mirror, read by every screen and caller. One part a question."""

from codexrun_core.registry.events import Events, RunEvent
from codexrun_core.registry.prompt_stats import PromptUsual
from codexrun_core.registry.retention import Retention
from codexrun_core.registry.rows import Rows
from codexrun_core.registry.totals import JobTypeStats, PromptStats, Stats, Totals
from codexrun_core.registry.writes import Writes

__all__ = ["JobTypeStats", "PromptStats", "Registry", "RunEvent", "Stats"]


class Registry(Writes, Rows, Events, Totals, PromptUsual, Retention):
    """All access to the database. Every method may raise Unavailable (nothing is known about what
    happened) and SchemaError."""
