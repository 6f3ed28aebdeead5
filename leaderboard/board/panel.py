"""A panel: the datasets that a benchmark's authors report together, side by side, and their mean.

Settled here:

- LoTTE is one panel for each split and kind of question: search and forum are
  never averaged together, and pooled stands beside the mean, not in it.
- A mean is over what `leaderboard.suite` defines: LoTTE's five topics, BEIR's
  18 sets or ColBERTv2's 13 of them, the three of Open-QA. Without all columns
  there is no mean. A build of one's own has the topics it has, and the head of
  the column says how many.
- A system that lacks a column has no mean: what was not run is not averaged
  away.
- Where a name has several versions, the one with the most systems is the
  column. The others are boards of their own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum

from leaderboard import catalogue, resample, suite
from leaderboard.board.contest import COMPARED, Contest, slug
from leaderboard.board.record import SEEN, Record
from leaderboard.compare import compare_macro
from leaderboard.groups import Standing, standings
from leaderboard.verify import IMPORTED
from lotte import artifact
from lotte.errors import LotteError

POOLED = "pooled"
_TITLES = {"beir": "BEIR", "openqa": "Open-QA", "trecdl": "TREC DL", "msmarco": "MS MARCO"}


@dataclass(frozen=True, kw_only=True)
class Column:
    title: str
    contests: tuple[Contest, ...]  # one, or the parts that it is the mean of
    counts: bool = True  # in the mean


@dataclass(frozen=True, kw_only=True)
class Row:
    label: str
    cells: tuple[tuple[Record, ...], ...]  # a column's records; empty where one is missing
    mean: float | None = None
    ci95: tuple[float, float] | None = None
    standing: Standing | None = None

    @property
    def records(self) -> list[Record]:
        return [record for cell in self.cells for record in cell]

    @property
    def seen(self) -> str:
        return max((one.seen for one in self.records), key=SEEN.index)

    @property
    def index_bytes(self) -> float | None:
        """The largest of its indexes."""
        return max((one.index_bytes for one in self.records if one.index_bytes is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class Panel:
    title: str
    slug: str
    measure: str  # "" if its columns have several
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = field(default_factory=tuple)
    note: str = ""  # why no system is told apart from another

    @property
    def averaged(self) -> list[Column]:
        """The columns that the mean is over; none if it would mean nothing."""
        found = [column for column in self.columns if column.counts]
        return found if len(found) > 1 and self.measure else []

    @property
    def contests(self) -> list[Contest]:
        return [contest for column in self.columns for contest in column.contests]


def panels(contests: Sequence[Contest]) -> list[Panel]:
    """Return the panels of two or more columns, LoTTE's first."""
    grouped: dict[tuple[str, ...], list[Contest]] = {}
    for contest in contests:
        if key := _panel_of(contest):
            grouped.setdefault(key, []).append(contest)
    several = {key[:-1] for key in grouped} if len({key[-1] for key in grouped if key[0] == "lotte"}) > 1 else set()
    found = []
    for key, members in sorted(grouped.items(), key=lambda item: _order(item[0])):
        columns = _columns(members)
        if len(columns) > 1:
            measures = {contest.measure for column in columns for contest in column.contests}
            title = _title(key, shows_source=bool(several) or key[-1] not in ("", "release"))
            found.append(
                Panel(
                    title=title,
                    slug=slug(title, artifact.digest(list(key))),
                    measure=measures.pop() if len(measures) == 1 else "",
                    columns=columns,
                )
            )
    return found


def filled(panel: Panel) -> Panel:
    """Return the panel with its rows: means, intervals and ranks."""
    labels = sorted({label for contest in panel.contests for label in contest.entries})
    rows = [Row(label=label, cells=tuple(_cell(column, label) for column in panel.columns)) for label in labels]
    means = {row.label: mean for row in rows if (mean := _mean(panel, row)) is not None}
    best = sorted(means, key=lambda label: (-means[label], label))
    ranked, note = _ranked(panel, best[:COMPARED], means)
    intervals = _intervals(panel, list(ranked))
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
    place = {label: number for number, label in enumerate([*ranked, *(one for one in best if one not in ranked)])}
    shown.sort(key=lambda row: (place.get(row.label, len(place)), -len(row.records), row.label))
    return Panel(
        title=panel.title, slug=panel.slug, measure=panel.measure, columns=panel.columns, rows=tuple(shown), note=note
    )


def alone(contests: Iterable[Contest], panels: Iterable[Panel]) -> list[Contest]:
    """Return the contests that are in no panel."""
    taken = {contest.slug for panel in panels for contest in panel.contests}
    return [contest for contest in contests if contest.slug not in taken]


def _panel_of(contest: Contest) -> tuple[str, ...]:
    """Return what a dataset is reported with; nothing if it stands alone. The last part is the source."""
    match contest.name.split("/"):
        case ["lotte", _, split, kind]:
            return ("lotte", split, kind, contest.source)
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
    told = f" ({source.replace('build:', 'build ')[:14]})" if shows_source else ""
    return f"LoTTE {kind}{'' if split == 'test' else f', {split}'}{told}"


def _columns(contests: Sequence[Contest]) -> tuple[Column, ...]:
    by_name: dict[str, Contest] = {}
    for contest in sorted(contests, key=lambda one: len(one.entries)):  # the last, with the most, stays
        by_name[contest.name] = contest
    if all(name.startswith("lotte/") for name in by_name):
        topics = {name.split("/")[1]: contest for name, contest in by_name.items()}
        known = (*suite.TOPICS, POOLED)
        order = [topic for topic in known if topic in topics] + sorted(topics.keys() - set(known))
        order.sort(key=lambda topic: topic == POOLED)
        whole = set(suite.TOPICS) <= topics.keys() or any(one.source != "release" for one in by_name.values())
        return tuple(
            Column(title=topic, contests=(topics[topic],), counts=whole and topic != POOLED) for topic in order
        )
    columns: dict[str, list[Contest]] = {}
    for name in sorted(by_name):
        columns.setdefault(_column_of(name, by_name), []).append(by_name[name])
    benchmark = next(iter(by_name)).partition("/")[0]
    here = {f"{benchmark}/{title}" for title in columns}
    counted = max((set(mean.parts) for mean in suite.means() if set(mean.parts) <= here), key=len, default=set())
    return tuple(
        Column(title=title, contests=tuple(found), counts=f"{benchmark}/{title}" in counted)
        for title, found in columns.items()
    )


def _column_of(name: str, here: Iterable[str]) -> str:
    """Return what a dataset's column is called: beir/cqadupstack/physics is one of "cqadupstack", if all of it is."""
    whole = name.rpartition("/")[0]
    parts = catalogue.parts(whole)
    return (whole if name in parts and set(parts) <= set(here) else name).partition("/")[2]


def _cell(column: Column, label: str) -> tuple[Record, ...]:
    found = tuple(contest.entries[label] for contest in column.contests if label in contest.entries)
    return found if len(found) == len(column.contests) else ()


def _mean(panel: Panel, row: Row) -> float | None:
    cells = [cell for column, cell in zip(panel.columns, row.cells, strict=True) if column in panel.averaged]
    if not cells or not all(cells) or any(one.level == IMPORTED for one in row.records):
        return None
    return fsum(fsum(one.value for one in cell) / len(cell) for cell in cells) / len(cells)


def _ranked(panel: Panel, best: Sequence[str], means: Mapping[str, float]) -> tuple[dict[str, Standing], str]:
    if not panel.averaged:
        return {}, "no mean is defined over just these datasets, or they have different measures"
    if any(len(column.contests) > 1 for column in panel.averaged):
        return {}, "a column is itself a mean, and the test over several datasets takes each for one"
    tables = {contest.slug: _values(contest, best) for column in panel.averaged for contest in column.contests}
    if not best or not all(values for table in tables.values() for values in table.values()):
        return {}, "no system has the values of each query of all columns" if best else ""
    try:
        found = compare_macro(tables)
    except LotteError as error:
        return {}, str(error)
    return {one.system: one for one in standings({label: means[label] for label in best}, found)}, ""


def _values(contest: Contest, labels: Iterable[str]) -> dict[str, dict[str, float]]:
    records = {label: contest.entries[label] for label in labels}
    return {label: dict(zip(one.query_ids, one.values.tolist(), strict=True)) for label, one in records.items()}


def _intervals(panel: Panel, labels: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the intervals of means of means: queries are drawn within each dataset."""
    contests = [contest for column in panel.averaged for contest in column.contests]
    if not labels or any(len(column.contests) > 1 for column in panel.averaged):
        return {}
    tables = [_values(contest, labels) for contest in contests]
    if not all(values for table in tables for values in table.values()):
        return {}
    # beside one that scores nothing: what a system is better by is its mean
    rows = [[[0.0] * len(one.query_ids), *([*table[label].values()] for label in labels)]
            for one, table in zip(contests, tables, strict=True)]  # fmt: skip
    try:
        ends = resample.intervals([resample.on_grid(one) for one in rows])[: len(labels)].tolist()
    except LotteError:
        return {}
    return {label: (-high, -low) for label, (low, high) in zip(labels, ends, strict=True)}
