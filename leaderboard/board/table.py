"""A table of the board: one line per system, with the values to filter and sort by.

The same lines serve a benchmark (one column per dataset, and their mean), one dataset
(one column per measure) and the list of all records. Cells have a text to show
and a value to sort by, so that no script has to read "1.2 GB".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from leaderboard.board.benchmark_page import BenchmarkPage, Row
from leaderboard.board.dataset_page import DatasetPage
from leaderboard.board.entry import LEVELS, Entry
from leaderboard.letter_display import Standing

SEEN = {  # what a page says of a system that may have seen the questions
    "none": ("○", "none found"),
    "unknown": ("?", "not known"),
    "some": ("◐", "some"),
    "heavy": ("●", "heavy"),
}
NONE = "\N{EN DASH}"  # where nothing is known
_WIDE = 120  # of a whisker's drawing


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """What one cell shows, and what it is sorted by."""

    text: str = NONE
    value: float | str | None = None  # None is sorted last
    href: str = ""
    is_best: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of a table: a system's record, or its mean over several datasets."""

    entry: Entry  # of several datasets the first
    href: str
    value: float | None
    ci95: tuple[float, float] | None
    standing: Standing | None
    shared: bool  # whether another system has its rank
    cells: tuple[TableCell, ...]
    index_bytes: float | None
    latency: float | None
    seen: str
    level: str
    whisker: tuple[float, float, float] | None = None  # low end, high end, value: x of a drawing _WIDE wide


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the board, which its template only has to write."""

    caption: str
    value: str  # what the main column is called
    extra: tuple[str, ...]
    lines: tuple[Line, ...]
    is_ranked: bool = True
    has_latency: bool = True
    axis: tuple[float, float] = (0.0, 1.0)  # of the whiskers

    @property
    def families(self) -> list[str]:
        """The families of its systems, by name."""
        return sorted({line.entry.family for line in self.lines})

    @property
    def levels(self) -> list[str]:
        """The levels of verification that it has, the best first."""
        return [level for level in LEVELS if any(line.level == level for line in self.lines)]


def of_dataset(dataset: DatasetPage) -> Table:
    """Return the table of one dataset: the official measure first, the others beside it."""
    measured = {name for entry in dataset.entries.values() for name in entry.record.measures.aggregate}
    others = sorted(measured - {dataset.measure})
    ranks = [standing.rank for standing in dataset.standings.values()]
    lines = []
    for label, entry in dataset.entries.items():
        means = entry.record.measures.aggregate
        cells = tuple(share(means[name].value if name in means else None) for name in others)
        lines.append(_line(entry, dataset.standings.get(label), ranks, cells))
    return _drawn(
        Table(
            caption=f"Systems on {dataset.name}, by {dataset.measure}",
            value=dataset.measure,
            extra=tuple(others),
            lines=_marked(lines),
        )
    )


def of_benchmark(benchmark: BenchmarkPage) -> Table:
    """Return the table of a benchmark: the mean first, the datasets beside it."""
    ranks = [row.standing.rank for row in benchmark.rows if row.standing]
    has_mean = bool(benchmark.averaged)
    return _drawn(
        Table(
            caption=f"{benchmark.title}{f', {benchmark.measure}' if benchmark.measure else ''}",
            value=f"Mean of {len(benchmark.averaged)}" if has_mean else "",
            extra=tuple(column.title for column in benchmark.columns),
            lines=_marked([_mean_line(row, ranks) for row in benchmark.rows]),
            is_ranked=has_mean,
            has_latency=False,
        )
    )


def of_entries(entries: Iterable[Entry]) -> Table:
    """Return the table of everything, the newest first."""
    lines = []
    for entry in sorted(entries, key=lambda entry: (entry.record.created, entry.id), reverse=True):
        record = entry.record
        cells = (
            TableCell(text=record.dataset.name, value=record.dataset.name),
            TableCell(text=record.official, value=record.official),
            share(entry.value),
            TableCell(text=record.created[:10], value=record.created),
        )
        lines.append(_line(entry, None, [], cells))
    extra = ("Dataset", "Measure", "Value", "Date")
    return Table(caption="All records, the newest first", value="", extra=extra, lines=tuple(lines), is_ranked=False)


def share(value: float | None, href: str = "") -> TableCell:
    """Return the cell of a measure's mean."""
    return TableCell(text=NONE if value is None else f"{value:.4f}", value=value, href=href)


def page_of(entry: Entry) -> str:
    """Return where the page of a record stands in the site."""
    return f"record/{entry.id[:16]}.html"


def size(value: float | None) -> str:
    """Return bytes as people read them.

    >>> size(59303), size(2.9e9)
    ('59.3 kB', '2.9 GB')
    """
    if value is None:
        return NONE
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.0f} B"


def amount(value: float | None) -> str:
    """Return a number of parameters.

    >>> amount(110_000_000), amount(0)
    ('110 M', 'no model')
    """
    if value is None:
        return NONE
    if value == 0:
        return "no model"
    for unit, name in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.0f}"


def milliseconds(value: float | None) -> str:
    """Return a time.

    >>> milliseconds(0.3257), milliseconds(58.2), milliseconds(4210.0)
    ('0.326 ms', '58.2 ms', '4.21 s')
    """
    if value is None:
        return NONE
    return f"{value / 1000:.3g} s" if value >= 1000 else f"{value:.3g} ms"


def _line(entry: Entry, standing: Standing | None, ranks: Sequence[int], cells: tuple[TableCell, ...]) -> Line:
    cost = entry.record.cost
    return Line(
        entry=entry,
        href=page_of(entry),
        value=entry.value,
        ci95=entry.ci95,
        standing=standing,
        shared=standing is not None and ranks.count(standing.rank) > 1,
        cells=cells,
        index_bytes=cost.index_bytes,
        latency=cost.latency_ms.p50,
        seen=entry.seen,
        level=entry.level,
    )


def _mean_line(row: Row, ranks: Sequence[int]) -> Line:
    levels = [entry.level for entry in row.entries]
    return replace(
        _line(row.entries[0], row.standing, ranks, ()),
        href="",
        value=row.mean,
        ci95=row.ci95,
        cells=tuple(
            share(sum(entry.value for entry in cell) / len(cell), page_of(cell[0])) if cell else TableCell()
            for cell in row.cells
        ),
        index_bytes=row.index_bytes,
        latency=None,
        seen=row.seen,
        level=max(levels, key=lambda level: LEVELS.index(level) if level in LEVELS else len(LEVELS)),
    )


def _marked(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return the lines with the best of each extra column marked."""
    best = [
        max((c.value for c in column if isinstance(c.value, float)), default=None)
        for column in zip(*(line.cells for line in lines), strict=True)
    ]
    return tuple(
        replace(
            line,
            cells=tuple(
                replace(cell, is_best=top is not None and cell.value == top)
                for cell, top in zip(line.cells, best, strict=True)
            ),
        )
        for line in lines
    )


def _drawn(table: Table) -> Table:
    """Return the table with its whiskers, all on one axis."""
    ends = [end for line in table.lines if line.value is not None for end in (*(line.ci95 or ()), line.value)]
    if not ends:
        return table
    low, high = min(ends), max(ends)
    pad = (high - low) * 0.04 or 0.01
    low, high = max(0.0, low - pad), min(1.0, high + pad)  # measures are shares

    def x(value: float) -> float:
        return float(round((value - low) / (high - low) * _WIDE, 1))

    lines = []
    for line in table.lines:
        if line.value is not None:
            ci95 = line.ci95 or (line.value, line.value)
            line = replace(line, whisker=(x(ci95[0]), x(ci95[1]), x(line.value)))
        lines.append(line)
    return replace(table, lines=tuple(lines), axis=(low, high))
