"""Quality against what it costs, as a drawing: points, and the front of those that nothing beats in both.

Times are compared on one machine only, so a front is of the systems that were
run on the machine most of them were run on; the others stand beside it. The
drawing is SVG that pages hold themselves. Where the charting library is there,
a script draws the same points so that they can be pointed at.
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
    found: list[int] = []
    best = float("-inf")
    for row in order:
        if points[row][1] > best:
            best = points[row][1]
            found.append(row)
    return found


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
    return next((name for name, _ in Counter(one.machine for one in points if one.latency).most_common(1)), "")


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
    found = [times * 10.0**power for power in powers for times in (1, 2, 5)]
    found = [round(one, 9) for one in found if low <= one <= high]
    return found if len(found) <= 7 else [one for one in found if f"{one:e}".startswith("1.")]


def drawing(points: Sequence[Point]) -> dict[str, Any] | None:
    """Return where everything goes in a drawing of quality against latency; None if nothing was timed."""
    timed = [one for one in points if one.latency and one.latency > 0]
    if not timed:
        return None
    here = machine(timed)
    times = [one.latency or 0 for one in timed]
    low_x, high_x = log10(min(times)) - 0.12, log10(max(times)) + 0.12
    qualities = [one.quality for one in timed]
    pad = max((max(qualities) - min(qualities)) * 0.12, 0.005)
    low_y, high_y = max(0.0, min(qualities) - pad), max(qualities) + pad
    biggest = max((one.index_bytes or 0 for one in timed), default=0) or 1

    def x(value: float) -> float:
        return round(LEFT + (log10(value) - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - low_y) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM), 1)

    same = [one for one in timed if one.machine == here]
    best = [same[row] for row in front([(one.latency or 0, one.quality) for one in same])]
    named: list[Point] = []  # of the front, where names do not lie on each other
    for one in reversed(best):
        if all(abs(y(one.quality) - y(other.quality)) > 15 for other in named):
            named.append(one)
    families = sorted({one.family for one in timed})
    step = " L".join(f"{x(one.latency or 1)},{y(one.quality)}" for one in best)
    return {
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM,
        "front": f"M{step}",
        "machine": here,
        "others": sum(one.machine != here for one in timed),
        "points": [
            {
                "x": x(one.latency or 1), "y": y(one.quality), "point": one, "on_front": one in best,
                "is_named": one in named,
                "radius": round(4 + 8 * ((one.index_bytes or 0) / biggest) ** 0.5, 1),
                "shape": families.index(one.family) % 4, "here": one.machine == here,
            }
            for one in timed
        ],
        "families": families,
        "x_ticks": [(x(one), f"{one:g}") for one in decades(10**low_x, 10**high_x)],
        "y_ticks": [(y(one), f"{one:.3g}") for one in ticks(low_y, high_y)],
    }  # fmt: skip
