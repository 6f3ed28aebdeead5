"""Which records are held against each other, and the rows that `lotte board compare` prints of it.

Given records, they are of one dataset. Given folders, one a system, each
dataset that all of them have is compared, and then their mean: a dataset that
one of them lacks is said, and left out of it. Asked for topics or communities,
the questions are grouped as the dataset on this disk says (`lotte.query_groups`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import fsum
from pathlib import Path
from typing import Any

from leaderboard import compare as comparing
from leaderboard import repeats
from leaderboard.compare import Comparison, Values
from leaderboard.groups import standings
from leaderboard.result import Result
from leaderboard.shelf import find, records
from leaderboard.verify import IMPORTED, read
from lotte.dataset import qrels_sha256, queries_sha256
from lotte.errors import LotteError, MismatchError, UnavailableError
from lotte.query_groups import GROUPINGS, query_groups


@dataclass(frozen=True)
class Versus:
    """A comparison of some systems on one dataset, or on the mean of several."""

    dataset: str
    measure: str
    pairs: tuple[dict[str, Any], ...]
    standings: tuple[dict[str, Any], ...]
    groups: tuple[dict[str, Any], ...] = ()  # wins, ties and losses of each pair by topic or community
    repeats: tuple[dict[str, Any], ...] = ()  # measurements of one system, which are compared as one
    talk: tuple[str, ...] = ()  # for stderr


def compare(paths: Sequence[Path], measure: str = "", *, by: str = "", data: Path | None = None) -> list[Versus]:
    """Compare records of one dataset, or folders of records, by a measure; by default, the dataset's own.

    by    "topic" or "community": count wins, ties and losses by it too
    data  where datasets lie; what their questions belong to is read from there

    Raises  LotteError for fewer than two, records and folders mixed, or another `by`; MismatchError if nothing is
            shared; UnavailableError if no dataset here says its questions' groups; else as `leaderboard.compare.table`
    """
    if by and by not in GROUPINGS:
        raise LotteError(f"questions are grouped by {' or '.join(GROUPINGS)}, not by {by!r}")
    if len(paths) < 2:
        raise LotteError("a comparison takes two records, or two folders of records, or more")
    folders = [path.is_dir() for path in paths]
    if any(folders) and not all(folders):
        raise LotteError(f"{paths[folders.index(True)]} is a folder and {paths[folders.index(False)]} is none; "
                         "name records of one dataset, or a folder for each system")  # fmt: skip
    if not any(folders):
        found = [read(path) for path in paths]
        chosen = measure or str(found[0].measures["official"])
        first = repeats.firsts([[one] for one in found])
        again = _again(list(map(str, paths)), [[one] for one in found], first, chosen)
        found = [one for place, one in enumerate(found) if first[place] == place]
        values = comparing.table(found, chosen)
        one = _versus(str(found[0].dataset["name"]), chosen, {"": values}, _imported(found), again)
        return [_grouped(one, found[0], values, by, data) if by and data else one]
    return _by_folder(paths, measure, by, data)


def _by_folder(paths: Sequence[Path], measure: str, by: str, data: Path | None) -> list[Versus]:
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    systems: list[dict[str, Result]] = []
    for path in paths:
        by_dataset: dict[str, Result] = {}
        for file in records(path):
            result = read(file)
            if by_dataset.setdefault(name := str(result.dataset["name"]), result) is not result:
                raise MismatchError(f"{path} has two records of {name}; compare records by their files")
        systems.append(by_dataset)
    shared = [name for name in systems[0] if all(name in one for one in systems)]
    if not shared:
        raise MismatchError(f"{' and '.join(names)} have no dataset in common")
    found, tables, measures, small = [], {}, {}, []
    first = repeats.firsts([[one[name] for name in shared] for one in systems])
    kept = [place for place in range(len(systems)) if first[place] == place]
    for dataset in shared:
        results = [systems[place][dataset] for place in kept]
        if len(next(iter(results[0].measures["per_query"].values()), {})) < 2:
            small.append(dataset)
            continue
        measures[dataset] = chosen = measure or str(results[0].measures["official"])
        tables[dataset] = comparing.table(results, chosen, names=[names[place] for place in kept])
        again = _again(names, [[one[dataset]] for one in systems], first, chosen)
        one = _versus(dataset, chosen, {"": tables[dataset]}, _imported(results), again)
        if by and data:
            try:
                one = _grouped(one, results[0], tables[dataset], by, data)
            except UnavailableError as error:
                one = _with(one, (str(error),))
        found.append(one)
    if not found:
        raise LotteError(f"{' and '.join(names)} share datasets of fewer than 2 queries only: {', '.join(small)}")
    left = sorted({name for one in systems for name in one} - set(shared))
    talk: tuple[str, ...] = (f"not in all of them, so left out of the mean: {', '.join(left)}",) if left else ()
    talk += (f"too few queries, so left out: {', '.join(small)}",) if small else ()
    if len(found) > 1 and len(set(measures.values())) == 1:
        again = _again(names, [[one[name] for name in tables] for one in systems], first, found[0].measure)
        found.append(_versus(f"mean of {len(found)}", found[0].measure, tables, talk, again))
    elif len(found) > 1:
        found[-1] = _with(found[-1], (*talk, "no mean: the datasets are measured by different measures"))
    elif talk:
        found[-1] = _with(found[-1], talk)
    return found


def _again(
    names: Sequence[str], systems: Sequence[Sequence[Result]], first: Sequence[int], measure: str
) -> list[dict[str, Any]]:
    """Return how each further measurement of a system differs from the first one."""
    return [
        repeats.row(names[one], systems[one], names[place], systems[place], measure)
        for place, one in enumerate(first)
        if one != place
    ]


def _versus(
    dataset: str,
    measure: str,
    tables: Mapping[str, Mapping[str, Values]],
    talk: tuple[str, ...] = (),
    again: Sequence[dict[str, Any]] = (),
) -> Versus:
    pairs = comparing.compare_macro(tables)
    first = next(iter(tables.values()))
    means = {
        system: fsum(fsum(one[system].values()) / len(one[system]) for one in tables.values()) / len(tables)
        for system in first
    }
    return Versus(
        dataset=dataset,
        measure=measure,
        pairs=tuple(map(_row, pairs)),
        standings=tuple(
            {"rank": one.rank, "system": one.system, "mean": one.mean, "groups": "".join(one.letters)
             if all(len(letter) == 1 for letter in one.letters) else " ".join(one.letters)}
            for one in standings(means, pairs)
        ),
        repeats=tuple(again),
        talk=(*talk, *map(repeats.line, again)),
    )  # fmt: skip


def _row(pair: Comparison) -> dict[str, Any]:
    return {
        "a": pair.a,
        "b": pair.b,
        "mean_a": pair.mean_a,
        "mean_b": pair.mean_b,
        "difference": pair.difference,
        "low": pair.ci95[0],
        "high": pair.ci95[1],
        "p": pair.p,
        "p_holm": pair.p_holm,
        "queries": pair.n,
        "wins": pair.wins,
        "ties": pair.ties,
        "losses": pair.losses,
    }


def _grouped(one: Versus, record: Result, values: Mapping[str, Values], by: str, data: Path) -> Versus:
    """Return the comparison with wins, ties and losses by topic or community."""
    dataset = find(one.dataset, data)
    here = queries_sha256(dataset.queries), qrels_sha256(dataset.qrels)
    if here != (record.dataset.get("queries_sha256"), record.dataset.get("qrels_sha256")):
        raise UnavailableError(f"{one.dataset} in {data} is not the one of the records, so its {by} tells nothing here")
    groups = query_groups(dataset).get(by)
    if groups is None:
        raise UnavailableError(f"nothing in {data} tells the questions of {one.dataset} apart by {by}")
    rows = [
        {by: group, "a": a, "b": b, "queries": found.n, "wins": found.wins, "ties": found.ties,
         "losses": found.losses, "difference": found.difference}
        for a, b in combinations(values, 2)
        for group, found in comparing.tally(values[a], values[b], groups).items()
    ]  # fmt: skip
    return replace(one, groups=tuple(rows))


def _imported(found: Sequence[Result]) -> tuple[str, ...]:
    names = [str(one.retriever["name"]) for one in found if one.verification["level"] == IMPORTED]
    return (f"imported, so of another tool: {', '.join(names)}",) if names else ()


def _with(one: Versus, talk: tuple[str, ...]) -> Versus:
    return replace(one, talk=(*one.talk, *talk))
