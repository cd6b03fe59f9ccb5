"""A run's or a job type's limits in words: one row a field of `Limits`. Pure."""

from dataclasses import dataclass

from codexrun_api.console.view.formats import count, dollars, duration
from codexrun_core.resources.limits import Limits

# label, and the unit that the form asks in
LABELS = {
    "max_tokens": ("Token limit", ""),
    "max_cost_cents": ("Cost limit", "US cents"),
    "timeout_seconds": ("Timeout", "seconds"),
    "stall_seconds": ("Stall timeout", "seconds"),
    "start_seconds": ("Start timeout", "seconds"),
    "max_wait_seconds": ("Provider wait limit", "seconds"),
}


@dataclass(frozen=True)
class Limit:
    """`name` is REST's; `value` is None where there is no such limit."""

    name: str
    label: str
    unit: str
    value: int | None

    @property
    def asked(self) -> str:
        """Return how the form calls it."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def shown(self) -> str:
        """Format tokens as a count, money as dollars, time as a duration."""
        if self.value is None:
            return "–"
        if self.name == "max_cost_cents":
            return dollars(self.value)
        return duration(self.value) if self.unit == "seconds" else count(self.value)


def rows(limits: Limits) -> list[Limit]:
    """Return all limits that there can be, in their order."""
    return [
        Limit(name, label, unit, getattr(limits, name)) for name, (label, unit) in LABELS.items()
    ]
