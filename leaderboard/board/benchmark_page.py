"""The page of a benchmark: the datasets that a benchmark's authors report together, side by side, and their mean.

Decisions:

- LoTTE is one page for each split and kind of question: search and forum are
  never averaged together, and pooled stands beside the mean, not in it.
- A mean is over what `leaderboard.suite` defines: LoTTE's five topics, BEIR's
  18 sets or ColBERTv2's 13 of them, the three of Open-QA. Without all columns
  there is no mean. A user's own build has its own topics, and the column
  header says how many.
- A system that lacks a column has no mean: a missing run is not averaged
  over.
- Where a name has several versions, the one with the most systems is the
  column. The others have their own boards.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum

from leaderboard import catalogue, resample, suite
from leaderboard.board.dataset_page import COMPARED, DatasetPage, slug
from leaderboard.board.entry import SEEN, Entry
from leaderboard.compare import compare_macro
from leaderboard.letter_display import Standing, standings
from leaderboard.record.sections import IMPORTED
from lotte import artifact
from lotte.errors import LotteError

POOLED = "pooled"
_TITLES = {"beir": "BEIR", "openqa": "Open-QA", "trecdl": "TREC DL", "msmarco": "MS MARCO"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a benchmark's table: one dataset, or several as their mean."""

    title: str
    datasets: tuple[DatasetPage, ...]  # one, or the parts that it is the mean of
    counts: bool = True  # in the mean


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one system has in each column, and its rank over all of them."""

    label: str
    cells: tuple[tuple[Entry, ...], ...]  # a column's records; empty where one is missing
    mean: float | None = None
    ci95: tuple[float, float] | None = None
    standing: Standing | None = None

    @property
    def entries(self) -> list[Entry]:
        """The records of all columns."""
        return [entry for cell in self.cells for entry in cell]

    @property
    def seen(self) -> str:
        """The worst of its records' contamination: one of SEEN."""
        return max((entry.seen for entry in self.entries), key=SEEN.index)

    @property
    def index_bytes(self) -> float | None:
        """The largest of its indexes."""
        sizes = [entry.record.cost.index_bytes for entry in self.entries]
        return max((size for size in sizes if size is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class BenchmarkPage:
    """One table over the datasets of a benchmark, and where the systems stand in it."""

    title: str
    slug: str
    measure: str  # "" if its columns have several
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = field(default_factory=tuple)
    note: str = ""  # why there are no significance groups

    @property
    def averaged(self) -> list[Column]:
        """The columns that the mean is over; none if it would mean nothing."""
        counted = [column for column in self.columns if column.counts]
        return counted if len(counted) > 1 and self.measure else []

    @property
    def datasets(self) -> list[DatasetPage]:
        """The datasets of all columns."""
        return [dataset for column in self.columns for dataset in column.datasets]


def benchmark_pages(datasets: Sequence[DatasetPage]) -> list[BenchmarkPage]:
    """Return the pages of two or more columns, LoTTE's first."""
    grouped: dict[tuple[str, ...], list[DatasetPage]] = {}
    for dataset in datasets:
        if key := _benchmark_of(dataset):
            grouped.setdefault(key, []).append(dataset)
    several = {key[:-1] for key in grouped} if len({key[-1] for key in grouped if key[0] == "lotte"}) > 1 else set()
    pages = []
    for key, members in sorted(grouped.items(), key=lambda item: _order(item[0])):
        columns = _columns(members)
        if len(columns) > 1:
            measures = {dataset.measure for column in columns for dataset in column.datasets}
            title = _title(key, shows_source=bool(several) or key[-1] not in ("", "release"))
            pages.append(
                BenchmarkPage(
                    title=title,
                    slug=slug(title, artifact.digest(list(key))),
                    measure=measures.pop() if len(measures) == 1 else "",
                    columns=columns,
                )
            )
    return pages


def filled(page: BenchmarkPage) -> BenchmarkPage:
    """Return the page with its rows: means, intervals and ranks."""
    labels = sorted({label for dataset in page.datasets for label in dataset.entries})
    rows = [Row(label=label, cells=tuple(_cell(column, label) for column in page.columns)) for label in labels]
    means = {row.label: mean for row in rows if (mean := _mean(page, row)) is not None}
    best = sorted(means, key=lambda label: (-means[label], label))
    ranked, note = _ranked(page, best[:COMPARED], means)
    intervals = _intervals(page, list(ranked))
    shown = [
        Row(
            label=row.label,
            cells=row.cells,
            mean=means.get(row.label),
            ci95=intervals.get(row.label),
            standing=ranked.get(row.label),
        )
        for row in rows
    ]
    order = {label: number for number, label in enumerate([*ranked, *(label for label in best if label not in ranked)])}
    shown.sort(key=lambda row: (order.get(row.label, len(order)), -len(row.entries), row.label))
    return replace(page, rows=tuple(shown), note=note)


def alone(datasets: Iterable[DatasetPage], benchmarks: Iterable[BenchmarkPage]) -> list[DatasetPage]:
    """Return the datasets that are of no benchmark."""
    taken = {dataset.slug for benchmark in benchmarks for dataset in benchmark.datasets}
    return [dataset for dataset in datasets if dataset.slug not in taken]


def _benchmark_of(dataset: DatasetPage) -> tuple[str, ...]:
    """Return what a dataset is reported with; nothing if it stands alone. The last part is the source."""
    match dataset.name.split("/"):
        case ["lotte", _, split, kind]:
            return ("lotte", split, kind, dataset.source)
        case ["lotte", *_] | [_]:
            return ()
        case [benchmark, *_] if benchmark in _TITLES:
            return (benchmark, "")
    return ()


def _order(key: tuple[str, ...]) -> tuple[object, ...]:
    known = ("lotte", *_TITLES)
    return (known.index(key[0]), key[-1] != "release", key[1] != "test", key[2:])


def _title(key: tuple[str, ...], *, shows_source: bool) -> str:
    if key[0] != "lotte":
        return _TITLES[key[0]]
    _, split, kind, source = key
    build = f" ({source.replace('build:', 'build ')[:14]})" if shows_source else ""
    return f"LoTTE {kind}{'' if split == 'test' else f', {split}'}{build}"


def _columns(datasets: Sequence[DatasetPage]) -> tuple[Column, ...]:
    by_name: dict[str, DatasetPage] = {}
    for dataset in sorted(datasets, key=lambda dataset: len(dataset.entries)):  # the last, with the most, stays
        by_name[dataset.name] = dataset
    if all(name.startswith("lotte/") for name in by_name):
        topics = {name.split("/")[1]: dataset for name, dataset in by_name.items()}
        known = (*suite.TOPICS, POOLED)
        order = [topic for topic in known if topic in topics] + sorted(topics.keys() - set(known))
        order.sort(key=lambda topic: topic == POOLED)
        whole = set(suite.TOPICS) <= topics.keys() or any(dataset.source != "release" for dataset in by_name.values())
        return tuple(
            Column(title=topic, datasets=(topics[topic],), counts=whole and topic != POOLED) for topic in order
        )
    columns: dict[str, list[DatasetPage]] = {}
    for name in sorted(by_name):
        columns.setdefault(_column_of(name, by_name), []).append(by_name[name])
    benchmark = next(iter(by_name)).partition("/")[0]
    present = {f"{benchmark}/{title}" for title in columns}
    counted = max((set(mean.parts) for mean in suite.means() if set(mean.parts) <= present), key=len, default=set())
    return tuple(
        Column(title=title, datasets=tuple(parts), counts=f"{benchmark}/{title}" in counted)
        for title, parts in columns.items()
    )


def _column_of(name: str, present: Iterable[str]) -> str:
    """Return what a dataset's column is called: beir/cqadupstack/physics is one of "cqadupstack", if all of it is."""
    whole = name.rpartition("/")[0]
    parts = catalogue.parts(whole)
    return (whole if name in parts and set(parts) <= set(present) else name).partition("/")[2]


def _cell(column: Column, label: str) -> tuple[Entry, ...]:
    entries = tuple(dataset.entries[label] for dataset in column.datasets if label in dataset.entries)
    return entries if len(entries) == len(column.datasets) else ()


def _mean(page: BenchmarkPage, row: Row) -> float | None:
    cells = [cell for column, cell in zip(page.columns, row.cells, strict=True) if column in page.averaged]
    if not cells or not all(cells) or any(entry.level == IMPORTED for entry in row.entries):
        return None
    return fsum(fsum(entry.value for entry in cell) / len(cell) for cell in cells) / len(cells)


def _ranked(page: BenchmarkPage, best: Sequence[str], means: Mapping[str, float]) -> tuple[dict[str, Standing], str]:
    """Return the standings of the best systems, and why there are none, if so."""
    if not page.averaged:
        return {}, "no mean is defined over just these datasets, or they have different measures"
    if any(len(column.datasets) > 1 for column in page.averaged):
        return {}, "a column is itself a mean, and the test over several datasets takes each for one"
    tables = {dataset.slug: _values(dataset, best) for column in page.averaged for dataset in column.datasets}
    if not best or not all(values for table in tables.values() for values in table.values()):
        return {}, "no system has the values of each query of all columns" if best else ""
    try:
        pairs = compare_macro(tables)
    except LotteError as error:
        return {}, str(error)
    return {standing.system: standing for standing in standings({label: means[label] for label in best}, pairs)}, ""


def _values(dataset: DatasetPage, labels: Iterable[str]) -> dict[str, dict[str, float]]:
    return {label: dataset.entries[label].by_query for label in labels}


def _intervals(page: BenchmarkPage, labels: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the intervals of means of means: queries are drawn within each dataset."""
    datasets = [dataset for column in page.averaged for dataset in column.datasets]
    if not labels or any(len(column.datasets) > 1 for column in page.averaged):
        return {}
    tables = [_values(dataset, labels) for dataset in datasets]
    if not all(values for table in tables for values in table.values()):
        return {}
    # beside one that scores nothing: what a system is better by is its mean
    rows = [
        [[0.0] * len(dataset.query_ids), *([*table[label].values()] for label in labels)]
        for dataset, table in zip(datasets, tables, strict=True)
    ]
    try:
        ends = resample.intervals([resample.on_grid(values) for values in rows])[: len(labels)].tolist()
    except LotteError:
        return {}
    return {label: (-high, -low) for label, (low, high) in zip(labels, ends, strict=True)}
