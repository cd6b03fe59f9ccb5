"""A number with its spread, and whether it keeps its limit."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """The name is the limit's; one value a round."""

    name: str
    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def json(self) -> dict[str, object]:
        return {
            "median": round(self.median, 2),
            "min": round(min(self.values), 2),
            "max": round(max(self.values), 2),
            "rounds": len(self.values),
        }


@dataclass(frozen=True)
class Limit:
    """What the median must keep: at least or at most so much."""

    what: str
    unit: str
    bounded_by: str
    at_least: float | None = None
    at_most: float | None = None

    def is_kept(self, median: float) -> bool:
        return median >= (self.at_least or 0) and (self.at_most is None or median <= self.at_most)

    @property
    def text(self) -> str:
        return (
            f"≥ {self.at_least:g} {self.unit}"
            if self.at_least is not None
            else f"≤ {self.at_most:g} {self.unit}"
        )
