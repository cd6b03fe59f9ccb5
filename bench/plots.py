"""Plots of results, as SVG that is readable on light and on dark pages."""

import math
from dataclasses import dataclass

WIDTH = 640
HEIGHT = 320
LEFT = 64
RIGHT = 24
TOP = 40
BOTTOM = 56
STEPS = 5
STYLE = """
text { font: 13px sans-serif; fill: #24292f; }
.grid { stroke: #d0d7de; }
.line { fill: none; stroke: #0969da; stroke-width: 2; }
.point { fill: #0969da; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .grid { stroke: #484f58; }
  .line { stroke: #58a6ff; }
  .point { fill: #58a6ff; }
}
"""


@dataclass(frozen=True)
class Plot:
    title: str
    x: str
    y: str
    logarithmic: bool = False  # the x axis


# By the name of the measurement.
PLOTS = {
    "growth_times": Plot(
        "CPU of a run, by how many are started at once",
        "runs",
        "CPU ms a run, all processes",
        logarithmic=True,
    ),
    "steady_p99_ms": Plot(
        "From a CodexRun's creation to its Job, at 10 runs/s",
        "% of the runs",
        "ms at most",
    ),
}


def draw(plot: Plot, points: list[tuple[float, float]]) -> str:
    """Return the plot of a line through the points, in the order of x; y begins at 0."""
    top_value = nice_ceiling(max(y for _, y in points))
    low, high = ((math.log10(x) if plot.logarithmic else x) for x in (points[0][0], points[-1][0]))

    def place(x: float, y: float) -> tuple[float, float]:
        position = math.log10(x) if plot.logarithmic else x
        share = (position - low) / (high - low or 1)
        return (
            LEFT + share * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y / top_value * (HEIGHT - TOP - BOTTOM),
        )

    places = [place(*point) for point in points]
    shown = points if plot.logarithmic else [points[0], points[len(points) // 2], points[-1]]
    parts = [f'<text x="{LEFT}" y="20">{plot.title}</text>']
    for step in range(STEPS + 1):
        value = top_value * step / STEPS
        _, y = place(points[0][0], value)
        parts += [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>',
        ]
    for x, _ in shown:
        left, _ = place(x, 0)
        parts.append(
            f'<text x="{left:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>'
        )
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts += [
        f'<polyline class="line" points="{line}"/>',
        *(f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places),
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 12}" text-anchor="end">{plot.x}</text>',
        f'<text x="{WIDTH - RIGHT}" y="20" text-anchor="end">{plot.y}</text>',
    ]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">\n'
        f"<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def nice_ceiling(value: float) -> float:
    """Return the next of 1, 2, 2.5, 5, 10, 20 ... that is not below."""
    if value <= 0:
        return 1
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value)
