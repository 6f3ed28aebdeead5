"""Old beside fresh: what each system scores on a test that was there, and on its twin of newer questions.

A fresh dataset says in its facts whose twin it is (`lotte build --fresh`). The
two have other questions, so nothing is paired by question: per topic, the
difference is that of two means, and over topics it is the mean of the topics'
differences. The topic is the pair: whatever makes one topic harder than another
is on both sides of its difference.

The interval: in each topic the old questions are drawn again, with repetition,
and the fresh ones by themselves, 10,000 times; each time the differences of the
topics are averaged. It spans the middle 95 % of these averages.

A difference is of the test as much as of the system: a smaller collection is an
easier one. What a system that was never trained loses or gains is that part;
`beside` subtracts it, with the same questions drawn for both systems.

Source  Efron and Tibshirani 1993, An Introduction to the Bootstrap, sections 8.3 (two samples) and 13.3 (percentile);
        Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.2 (several samples)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from leaderboard import resample
from leaderboard.board.entry import Entry
from leaderboard.record.sections import IMPORTED
from lotte.builder.spec import POOLED
from lotte.errors import UnavailableError, shown

Ends: TypeAlias = tuple[float, float]

METHOD = (
    "difference: fresh less old. Interval, 95 %: old and fresh questions of each topic are drawn again apart from each "
    "other, 10,000 times (bootstrap for two samples); a mean is over topics, each counting the same"
)


@dataclass(frozen=True, kw_only=True)
class OldAndFresh:
    """A system on a dataset and on its fresh twin, or the mean of that over topics."""

    system: str
    old: float
    fresh: float
    ci95: Ends  # of fresh less old
    old_queries: int
    fresh_queries: int
    beyond: float | None = None  # the difference less that of the system beside it
    beyond_ci95: Ends | None = None

    @property
    def difference(self) -> float:
        """How much more it scores on the fresh one."""
        return self.fresh - self.old


@dataclass(frozen=True, kw_only=True)
class FreshTable:
    """Systems on a dataset and its twin, or on the topics of a family and their twins."""

    title: str  # the old dataset's name; of a mean "mean of 5: lotte/*/test/forum"
    since: str
    measure: str
    topics: int  # that it is the mean of
    rows: tuple[OldAndFresh, ...]  # the best on the old one first


@dataclass(frozen=True, kw_only=True)
class _Twins:
    """A dataset and its fresh twin, with the systems that were scored on both."""

    name: str
    since: str
    measure: str
    old: Mapping[str, Entry]
    fresh: Mapping[str, Entry]

    @property
    def family(self) -> str:
        """What its mean is over: topics of one benchmark, split and kind. "" for a pool, which is in no mean."""
        benchmark, topic, rest = [*self.name.split("/", 2), "", ""][:3]
        return "" if topic == POOLED else f"{benchmark}/*/{rest}"


def tables(entries: Iterable[Entry], say: Callable[[str], None], *, beside: str = "") -> list[FreshTable]:
    """Return a table for each dataset that has a fresh twin among these records, and for each mean over topics.

    beside  a system that was never trained, whose difference is subtracted from the others'
    """
    twins = _twins([entry for entry in entries if entry.query_ids and entry.level != IMPORTED], say)
    families: dict[tuple[str, str, str], list[_Twins]] = {}
    for pair in twins:
        if pair.family:
            families.setdefault((pair.family, pair.since, pair.measure), []).append(pair)
    made = [_table(pair.name, [pair], list(pair.old), beside) for pair in twins]
    for (family, _, _), pairs in families.items():
        systems = [system for system in pairs[0].old if all(system in pair.old for pair in pairs)]
        title = f"mean of {len(pairs)}: {family}"
        if left := sorted({system for pair in pairs for system in pair.old} - set(systems)):
            say(f"{title}: not on all of its topics, so left out: {', '.join(left)}")
        if systems and len(pairs) > 1:
            made.append(_table(title, pairs, systems, beside))
    if beside and made and not any(row.system == beside for table in made for row in table.rows):
        raise UnavailableError(f"no system called {shown(beside)} was scored on old and fresh; name one that was")
    return made


def rows(table: FreshTable) -> list[dict[str, Any]]:
    """Return what `lotte board fresh` prints of a table."""
    return [
        {
            "dataset": table.title, "since": table.since, "measure": table.measure, "system": row.system,
            "old": row.old, "fresh": row.fresh, "difference": row.difference, "low": row.ci95[0], "high": row.ci95[1],
            "old_queries": row.old_queries, "fresh_queries": row.fresh_queries,
            **_beyond(row),
        }
        for row in table.rows
    ]  # fmt: skip


def line(table: FreshTable, row: OldAndFresh) -> str:
    """Return a system's row in words."""
    return (
        f"{table.title}, since {table.since}: {table.measure} of {row.system} is {row.old:.4f} on old and "
        f"{row.fresh:.4f} on fresh, {row.difference:+.4f} ({row.ci95[0]:+.4f} to {row.ci95[1]:+.4f})"
    )


def _beyond(row: OldAndFresh) -> dict[str, Any]:
    if row.beyond is None or row.beyond_ci95 is None:
        return {}
    return {"beyond": row.beyond, "beyond_low": row.beyond_ci95[0], "beyond_high": row.beyond_ci95[1]}


def _twins(entries: Sequence[Entry], say: Callable[[str], None]) -> list[_Twins]:
    """Return the datasets that are there in both forms, in order of name."""
    fresh: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        facts = entry.record.dataset.facts
        name, since = facts.get("fresh_twin_of"), facts.get("since")
        if isinstance(name, str) and isinstance(since, str):
            fresh.setdefault((name, since, entry.record.official), []).append(entry)
    found = []
    for (name, since, measure), fresh_ones in sorted(fresh.items()):
        old_ones = [one for one in entries if one.record.dataset.name == name and one.record.official == measure]
        new = _one_version(fresh_ones, {entry.label for entry in old_ones}, say)
        old = _one_version(old_ones, set(new), say)
        if systems := sorted(old.keys() & new.keys(), key=lambda label: (-old[label].value, label)):
            of_both = ({label: side[label] for label in systems} for side in (old, new))
            found.append(
                _Twins(name=name, since=since, measure=measure, **dict(zip(("old", "fresh"), of_both, strict=True)))
            )
    return found


def _one_version(entries: Sequence[Entry], wanted: set[str], say: Callable[[str], None]) -> dict[str, Entry]:
    """Return the newest entry of each system on one version of a dataset: that of most wanted systems."""
    versions: dict[Any, dict[str, Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.record.created, entry.id)):
        key = (*entry.record.dataset.hashes.values(), entry.query_ids)
        versions.setdefault(key, {})[entry.label] = entry
    if not versions:
        return {}
    order = [(len(of.keys() & wanted), max(one.record.created for one in of.values())) for of in versions.values()]
    best = order.index(max(order))
    if len(versions) > 1:
        name = entries[0].record.dataset.name
        say(f"{name}: {len(versions)} datasets of that name have records; that of most systems, or the newest, counts")
    return list(versions.values())[best]


def _table(title: str, pairs: Sequence[_Twins], systems: Sequence[str], beside: str) -> FreshTable:
    """Return the table of these systems, which are on all of these datasets and their twins."""
    old = [resample.on_grid([pair.old[system].values.tolist() for system in systems]) for pair in pairs]
    fresh = [resample.on_grid([pair.fresh[system].values.tolist() for system in systems]) for pair in pairs]
    drawn = resample.drawn_differences(old, fresh)
    means = resample.means(old), resample.means(fresh)
    observed, ends = means[1] - means[0], _ends(drawn)
    reference = systems.index(beside) if beside in systems else None
    beyond = None if reference is None else _ends(drawn - drawn[reference])
    rows = [
        OldAndFresh(
            system=system,
            old=float(means[0][number]),
            fresh=float(means[1][number]),
            ci95=ends[number],
            old_queries=sum(values.shape[1] for values in old),
            fresh_queries=sum(values.shape[1] for values in fresh),
            beyond=None if reference is None else float(observed[number] - observed[reference]),
            beyond_ci95=None if beyond is None else beyond[number],
        )
        for number, system in enumerate(systems)
    ]
    rows.sort(key=lambda row: (-row.old, row.system))
    return FreshTable(title=title, since=pairs[0].since, measure=pairs[0].measure, topics=len(pairs), rows=tuple(rows))


def _ends(drawn: resample.Floats) -> list[Ends]:
    low, high = np.quantile(drawn, resample.TAILS, axis=1)
    return list(zip(low.tolist(), high.tolist(), strict=True))
