"""A number with its spread, and whether it keeps its limit."""

import statistics
from dataclasses import dataclass, field


def quantile(values: list[float], share: float) -> float:
    """Return the value that so large a share of all is not above."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]


@dataclass(frozen=True)
class Measured:
    """The name is the limit's; one value a round. `points` are those of its plot, if it has one."""

    name: str
    values: list[float]
    points: list[tuple[float, float]] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def json(self) -> dict[str, object]:
        return {
            "median": round(self.median, 2),
            "min": round(min(self.values), 2),
            "max": round(max(self.values), 2),
            "rounds": len(self.values),
            **({"points": self.points} if self.points else {}),
        }


@dataclass(frozen=True)
class Limit:
    """What the median must keep: at least or at most so much. `goal` is what it should come to, if
    that is not reached yet; `bounded_by` says why."""

    what: str
    unit: str
    bounded_by: str
    at_least: float | None = None
    at_most: float | None = None
    goal: float | None = None

    def is_kept(self, median: float) -> bool:
        return median >= (self.at_least or 0) and (self.at_most is None or median <= self.at_most)

    @property
    def text(self) -> str:
        sign, number = ("≤", self.at_most) if self.at_least is None else ("≥", self.at_least)
        text = f"{sign} {number:g} {self.unit}"
        return text if self.goal is None else f"{text} (goal {sign} {self.goal:g})"
