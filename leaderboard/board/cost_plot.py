"""Quality against cost, as a plot: points, and the Pareto front.

Times are compared on one machine only, so the front is over the systems that ran
on the most common machine; the others are drawn without it. The plot is inline
SVG. If the charting library is installed, a script draws the same points
interactively.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

from leaderboard.board.dataset_page import DatasetPage
from leaderboard.board.table import page_of

MOST = 400  # points of a picture: the best ones
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 64, 16, 16, 52


@dataclass(frozen=True, kw_only=True)
class Point:
    """One record in the picture of quality and cost."""

    label: str
    name: str  # of the system, whose settings one line joins
    family: str
    quality: float
    latency: float | None  # milliseconds
    index_bytes: float | None
    bytes_per_document: float | None
    queries_per_second: float | None
    machine: str
    bits: float | None
    search: str  # what else than its search settings tells it apart: lines join those that agree
    page: str


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return which (cost, quality) no other beats or equals in both and beats in one, the cheapest first.

    >>> front([(1, 0.2), (2, 0.5), (3, 0.4), (2, 0.3)])
    [0, 1]
    """
    order = sorted(range(len(points)), key=lambda row: (points[row][0], -points[row][1]))
    in_front: list[int] = []
    best = float("-inf")
    for row in order:
        if points[row][1] > best:
            best = points[row][1]
            in_front.append(row)
    return in_front


def points(dataset: DatasetPage) -> list[Point]:
    """Return the points of a dataset, the best first."""
    drawn = []
    for label, entry in list(dataset.entries.items())[:MOST]:
        retriever, cost = entry.record.retriever, entry.record.cost
        of_index = {key: value for key, value in retriever.options.items() if key not in _SEARCH}
        drawn.append(
            Point(
                label=label,
                name=retriever.name,
                family=entry.family,
                quality=entry.value,
                latency=cost.latency_ms.p50,
                index_bytes=cost.index_bytes,
                bytes_per_document=cost.bytes_per_document,
                queries_per_second=cost.queries_per_second,
                machine=entry.machine,
                bits=retriever.index.bits,
                search=repr(sorted(of_index.items())) if retriever.search else label,
                page=page_of(entry),
            )
        )
    return drawn


_SEARCH = ("probe", "candidates", "full", "search", "threads")  # options that change no index


def machine(points: Iterable[Point]) -> str:
    """Return the machine that most were timed on."""
    return next((name for name, _ in Counter(point.machine for point in points if point.latency).most_common(1)), "")


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers in between, 1, 2 or 5 times a power of ten apart.

    >>> ticks(0.31, 0.52)
    [0.35, 0.4, 0.45, 0.5]
    """
    if not high > low:
        return [low]
    step = 10 ** floor(log10((high - low) / 4))
    step = next(step * times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= 5)
    return [round(step * number, 10) for number in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Return 1, 2, 5 times powers of ten in between, or powers alone if that were many.

    >>> decades(0.3, 4)
    [0.5, 1.0, 2.0]
    """
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    steps = [times * 10.0**power for power in powers for times in (1, 2, 5)]
    steps = [round(step, 9) for step in steps if low <= step <= high]
    return steps if len(steps) <= 7 else [step for step in steps if f"{step:e}".startswith("1.")]


@dataclass(frozen=True)
class _Scale:
    """Where a value goes in a drawing: x by the logarithm of the latency, y by the quality, in pixels."""

    low_x: float  # logarithms
    high_x: float
    low_y: float
    high_y: float

    @classmethod
    def of(cls, points: Sequence[Point]) -> "_Scale":
        times, qualities = [point.latency or 0 for point in points], [point.quality for point in points]
        pad = max((max(qualities) - min(qualities)) * 0.12, 0.005)
        low_y, high_y = max(0.0, min(qualities) - pad), max(qualities) + pad
        return cls(log10(min(times)) - 0.12, log10(max(times)) + 0.12, low_y, high_y)

    def x(self, latency: float) -> float:
        return round(LEFT + (log10(latency) - self.low_x) / (self.high_x - self.low_x) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, quality: float) -> float:
        share = (quality - self.low_y) / (self.high_y - self.low_y)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def drawing(points: Sequence[Point]) -> dict[str, Any] | None:
    """Return where everything goes in a drawing of quality against latency; None if nothing was timed."""
    timed = [point for point in points if point.latency and point.latency > 0]
    if not timed:
        return None
    scale, most_used = _Scale.of(timed), machine(timed)
    same = [point for point in timed if point.machine == most_used]
    best = [same[row] for row in front([(point.latency or 0, point.quality) for point in same])]
    named: list[Point] = []  # of the front, where names do not lie on each other
    for point in reversed(best):
        if all(abs(scale.y(point.quality) - scale.y(other.quality)) > 15 for other in named):
            named.append(point)
    biggest = max((point.index_bytes or 0 for point in timed), default=0) or 1
    families = sorted({point.family for point in timed})
    step = " L".join(f"{scale.x(point.latency or 1)},{scale.y(point.quality)}" for point in best)
    return {
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM,
        "front": f"M{step}",
        "machine": most_used,
        "others": len(timed) - len(same),
        "points": [
            {
                "x": scale.x(point.latency or 1), "y": scale.y(point.quality), "point": point,
                "on_front": point in best, "is_named": point in named,
                "radius": round(4 + 8 * ((point.index_bytes or 0) / biggest) ** 0.5, 1),
                "shape": families.index(point.family) % 4, "here": point.machine == most_used,
            }
            for point in timed
        ],
        "families": families,
        "x_ticks": [(scale.x(tick), f"{tick:g}") for tick in decades(10**scale.low_x, 10**scale.high_x)],
        "y_ticks": [(scale.y(tick), f"{tick:.3g}") for tick in ticks(scale.low_y, scale.high_y)],
    }  # fmt: skip
