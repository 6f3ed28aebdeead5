"""Whether a difference between two systems is real: paired comparisons over per-query values.

Settled here:

- The test is the paired randomisation test, two-sided, over all queries that
  are judged; the interval is the percentile bootstrap's (`resample.py`).
- All pairs of systems of a dataset are one family, and Holm's correction is
  over it. p is what one pair has by itself, p_holm what may be claimed.
- Only records of the same corpus, queries and judgments, by sha256, are
  compared. A name proves nothing.
- A difference over several datasets is the mean of theirs (macro), with the
  queries of each dataset resampled within it.

Queries are taken in the order of their ids, so the same values have the same
p and the same interval, whatever file they came from and whatever the order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, fsum, sqrt
from numbers import Real
from statistics import NormalDist, median
from typing import Any, TypeAlias

import numpy as np

from leaderboard import resample
from leaderboard.interval import LEVEL, RESAMPLES, SEED
from leaderboard.resample import Ends, Floats
from leaderboard.result import Result
from lotte.errors import CorruptFileError, LotteError, MismatchError, shown

Values: TypeAlias = Mapping[str, float]  # query_id -> value
Table: TypeAlias = Mapping[str, Values]  # system -> its values, all of the same queries

ALPHA, POWER = 0.05, 0.8
MOST = 200  # systems at once: 19,900 pairs; more would take minutes, and Holm would leave little of any
_HUGE = 1e300  # JSON has whole numbers that no float holds
_SAME = ("corpus_sha256", "queries_sha256", "qrels_sha256")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """On how many queries a was better, the same, worse; and by how much on average, a minus b."""

    wins: int
    ties: int
    losses: int
    difference: float

    @property
    def n(self) -> int:
        return self.wins + self.ties + self.losses


@dataclass(frozen=True, kw_only=True)
class Comparison:
    a: str
    b: str
    mean_a: float
    mean_b: float
    difference: float  # mean_a - mean_b
    ci95: tuple[float, float]  # of the difference
    p: float  # of this pair alone
    p_holm: float  # corrected over all pairs compared with it
    n: int  # queries
    wins: int  # queries on which a has more
    ties: int
    losses: int
    effect: float | None  # difference over the SD of the queries' differences; None if they are all one number, not 0

    @property
    def swapped(self) -> "Comparison":
        """The same pair seen from b."""
        return Comparison(
            a=self.b,
            b=self.a,
            mean_a=self.mean_b,
            mean_b=self.mean_a,
            difference=-self.difference,
            ci95=(-self.ci95[1], -self.ci95[0]),
            p=self.p,
            p_holm=self.p_holm,
            n=self.n,
            wins=self.losses,
            ties=self.ties,
            losses=self.wins,
            effect=None if self.effect is None else -self.effect,
        )


def compare(
    results: Sequence[Result], measure: str, *, names: Sequence[str] | None = None, seed: int = SEED
) -> tuple[Comparison, ...]:
    """Return the comparison of each pair of these records of one dataset, in the order of `itertools.combinations`.

    measure  as in the records: "Success@5"
    names    what the systems are called; by default as `table` does

    Raises  as `table` and `compare_values`
    """
    return compare_values(table(results, measure, names=names), seed=seed)


def table(results: Sequence[Result], measure: str, *, names: Sequence[str] | None = None) -> dict[str, Values]:
    """Return system -> query_id -> value. Systems of one name are told apart by the options that differ.

    Raises  MismatchError if the records are not all of one dataset, by its hashes, or lack the measure;
            LotteError if two of them are of the same system
    """
    names = _names(results) if names is None else names
    found: dict[str, Values] = {}
    for name, result in zip(names, results, strict=True):
        _require_same(names[0], results[0], name, result, measure)
        recorded = result.measures.get("per_query")
        per_query = recorded if isinstance(recorded, Mapping) else {}
        if not isinstance(per_query.get(measure), Mapping):
            raise MismatchError(
                f"{shown(name)} has no {measure[:60]} for each query of {_dataset(result)}; "
                f"it has {', '.join(per_query)[:160] or 'no measure'}"
            )
        if name in found:
            raise LotteError(f"two records are of {shown(name)} on {_dataset(result)}; compare one of them")
        found[name] = per_query[measure]
    return found


def compare_values(
    values: Table, *, resamples: int | None = None, seed: int = SEED, ends: Ends = "percentile"
) -> tuple[Comparison, ...]:
    """Return the comparison of each pair of systems, in the order of `itertools.combinations`.

    resamples  of the test and of the bootstrap; by default 10,000, and for the test what `enough` says
    ends       of the interval: "percentile" or "bca"

    Raises  MismatchError if the systems' queries differ; CorruptFileError if a value is no finite number;
            LotteError if there are fewer than 2 queries or more than MOST systems
    """
    return compare_macro({"": values}, resamples=resamples, seed=seed, ends=ends)


def compare_macro(
    tables: Mapping[str, Table], *, resamples: int | None = None, seed: int = SEED, ends: Ends = "percentile"
) -> tuple[Comparison, ...]:
    """Same as `compare_values`, for the mean of several datasets' means.

    tables  dataset -> its table. Each has every system: a cell that was not run is not averaged away
    """
    tables = dict(sorted(tables.items()))
    systems = list(next(iter(tables.values()), ()))
    if len(systems) > MOST:
        raise LotteError(f"{len(systems):,} systems are too many to compare pair by pair; choose at most {MOST}")
    query_ids = [_query_ids(dataset, systems, one) for dataset, one in tables.items()]
    if len(systems) < 2:
        return ()
    strata = [
        resample.on_grid([[one[system][query_id] for query_id in ids] for system in systems])
        for ids, one in zip(query_ids, tables.values(), strict=True)
    ]
    pairs = len(systems) * (len(systems) - 1) // 2
    p = resample.p_values(strata, resamples=resamples or enough(pairs), seed=seed)
    ci = resample.intervals(strata, resamples=resamples or RESAMPLES, seed=seed, ends=ends)
    mean = {system: fsum(_mean(one[system]) for one in tables.values()) / len(tables) for system in systems}
    found = []
    rows = zip(combinations(range(len(systems)), 2), p.tolist(), holm(p.tolist()), ci.tolist(), strict=True)
    for (row_a, row_b), own, corrected, (low, high) in rows:
        a, b = systems[row_a], systems[row_b]
        by_query = [values[row_a] - values[row_b] for values in strata]
        n, wins, losses = (sum(map(count, by_query)) for count in (len, _positive, _negative))
        sd = sqrt(fsum(_variance(one) for one in by_query) / len(by_query))
        difference = mean[a] - mean[b]
        found.append(
            Comparison(
                a=a,
                b=b,
                mean_a=mean[a],
                mean_b=mean[b],
                difference=difference,
                ci95=(low, high),
                p=own,
                p_holm=corrected,
                n=n,
                wins=wins,
                ties=n - wins - losses,
                losses=losses,
                effect=difference / sd if sd else None if wins + losses else 0.0,
            )
        )
    return tuple(found)


def macro_difference(values_a: Table, values_b: Table, *, seed: int = SEED) -> Comparison:
    """Return the comparison of two systems over several datasets: dataset -> query_id -> value of each.

    The difference is the mean of the datasets' differences, each counting the same.

    Raises  as `compare_values`; MismatchError if one lacks a dataset
    """
    if odd := sorted(values_a.keys() ^ values_b.keys()):
        raise MismatchError(f"only one of the two systems was run on {', '.join(odd)}; a macro mean needs both on each")
    if not values_a:
        raise LotteError("there is no dataset to take a mean over")
    tables = {dataset: {"a": values_a[dataset], "b": values_b[dataset]} for dataset in values_a}
    (found,) = compare_macro(tables, seed=seed)
    return found


def holm(p: Sequence[float]) -> list[float]:
    """Return each p corrected for there being so many: the k-th smallest of m times m - k + 1, and at most 1.

    It never falls from one p to the next larger. Among all pairs claimed at
    p_holm <= .05, the chance that any claim is false is at most .05.

    Source  Holm 1979, Scandinavian Journal of Statistics 6

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    found, last = [0.0] * len(p), 0.0
    for done, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        last = found[place] = min(1.0, max(last, p[place] * (len(p) - done)))
    return found


def enough(pairs: int, *, alpha: float = ALPHA) -> int:
    """Return how many random sign patterns a family of so many pairs needs: 10,000, or more.

    The least p of m patterns is 1 / (m + 1), and Holm multiplies it by the
    number of pairs: 10,000 could tell no two of 50 systems apart, however far.
    Four times the least number lets up to 3 patterns be as extreme by chance.

    >>> enough(45), enough(1225)
    (10000, 98000)
    """
    return max(RESAMPLES, ceil(4 * pairs / alpha))


def tally(values_a: Values, values_b: Values, groups: Mapping[str, str]) -> dict[str, Tally]:
    """Return group -> wins, ties and losses of a, by any grouping of queries: topic, community. In order of name.

    groups  query_id -> group; may have more queries than were scored

    Raises  as `compare_values`; MismatchError if a query has no group
    """
    query_ids = _query_ids("", ["a", "b"], {"a": values_a, "b": values_b}, least=1)
    if missing := [query_id for query_id in query_ids if query_id not in groups]:
        raise MismatchError(f"{len(missing):,} queries are in no group; the first is {shown(missing[0])}")
    members: dict[str, list[str]] = {}
    for query_id in query_ids:
        members.setdefault(groups[query_id], []).append(query_id)
    found = {}
    for group, ids in sorted(members.items()):
        of_a, of_b = resample.on_grid([[values[query_id] for query_id in ids] for values in (values_a, values_b)])
        wins, losses = _positive(of_a - of_b), _negative(of_a - of_b)
        difference = _mean({i: values_a[i] for i in ids}) - _mean({i: values_b[i] for i in ids})
        found[group] = Tally(wins=wins, ties=len(ids) - wins - losses, losses=losses, difference=difference)
    return found


def detectable(sd: float, n: int, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the smallest true difference of means that n queries show with this power, tested at alpha, two-sided.

    (z(1 - alpha/2) + z(power)) * sd / sqrt(n), by the normal approximation: a
    little small below some 30 queries. For a family of pairs, give alpha over
    their number: that is what Holm asks of the first.

    sd  of the queries' differences

    Source  Sakai, Information Retrieval 19 (2016); Card et al., EMNLP 2020

    >>> round(detectable(0.4, 500), 4)
    0.0501
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * sd / sqrt(n)


def smallest_difference(values: Table, *, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """Return what `detectable` says of a dataset, with the median SD over all pairs of systems; None without a pair.

    Raises  as `compare_values`
    """
    systems = list(values)
    query_ids = _query_ids("", systems, values)
    rows = [resample.on_grid([[values[system][query_id] for query_id in query_ids]])[0] for system in systems]
    spreads = [sqrt(_variance(a - b)) for a, b in combinations(rows, 2)]
    return detectable(median(spreads), len(query_ids), alpha=alpha, power=power) if spreads else None


def method(pairs: int) -> dict[str, Any]:
    """Return how so many pairs are compared, for records and pages."""
    return {
        "test": "paired randomisation over queries, two-sided",
        "test_resamples": enough(pairs),
        "exact_up_to_differing_queries": resample.EXACT,
        "correction": "holm",
        "pairs": pairs,
        "interval": "percentile of the paired bootstrap over queries",
        "level": LEVEL,
        "interval_resamples": RESAMPLES,
        "seed": SEED,
    }


def _mean(values: Values) -> float:
    return fsum(values.values()) / len(values)


def _positive(differences: Floats) -> int:
    return int(np.count_nonzero(differences > 0))


def _negative(differences: Floats) -> int:
    return int(np.count_nonzero(differences < 0))


def _variance(differences: Floats) -> float:
    """Return the variance, with n - 1, of differences on the grid."""
    return float((differences * resample.UNIT).var(ddof=1))


def _query_ids(dataset: str, systems: Sequence[str], values: Table, *, least: int = 2) -> list[str]:
    """Return the queries that all these systems were scored on, in order; refuse values that cannot be compared."""
    on = f" on {dataset}" if dataset else ""
    if odd := sorted(values.keys() ^ set(systems)):
        raise MismatchError(f"{shown(odd[0])} was not run on every dataset; a macro mean needs every system on each")
    first: Values = values[systems[0]] if systems else {}
    for system in systems:
        if odd := sorted(first.keys() ^ values[system].keys()):
            raise MismatchError(
                f"{system!r} has values of {len(values[system]):,} queries{on} and {systems[0]!r} of {len(first):,}; "
                f"the first that only one has is {shown(odd[0])}. Score both against the same judgments."
            )
        for query_id, value in values[system].items():
            if not (isinstance(value, float | Real) and abs(value) < _HUGE):  # false of NaN
                raise CorruptFileError(
                    f"{system!r} has {value!r} for query {shown(query_id)}{on}, and a value is a finite number; "
                    "score its run again"
                )
    if systems and len(first) < least:
        raise LotteError(f"there are too few queries{on} to compare systems by: {len(first)}, and it takes {least}")
    return sorted(first)


def _require_same(name: str, first: Result, other_name: str, other: Result, measure: str) -> None:
    for key in _SAME:
        wanted, found = (one.dataset.get(key) for one in (first, other))
        if not wanted or wanted != found:
            raise MismatchError(
                f"{other_name!r} on {_dataset(other)} has {key} {_short(found)}, {name!r} on {_dataset(first)} has "
                f"{_short(wanted)}; only records of the same dataset can be compared"
            )
    levels = [one.measures.get("relevance_level") for one in (first, other)]
    if levels[0] != levels[1]:
        raise MismatchError(
            f"{measure} of {other_name!r} counts grades from {levels[1]} as relevant, of {name!r} from {levels[0]}; "
            "score their runs again at one level"
        )


def _short(sha256: Any) -> str:
    return str(sha256)[:8] if sha256 else "none"


def _dataset(result: Result) -> str:
    return str(result.dataset.get("name", "a dataset without a name"))


def _names(results: Sequence[Result]) -> list[str]:
    """Return the systems' names, with the options that tell those of one name apart: colbertv2(bits=1)."""
    named = [(str(result.retriever.get("name")), dict(result.retriever.get("options") or {})) for result in results]
    found = []
    for name, options in named:
        namesakes = [other for known, other in named if known == name]
        keys = sorted(key for key in options if any(one.get(key) != options[key] for one in namesakes))
        apart = ", ".join(f"{key[:60]}={str(options[key])[:60]}" for key in keys[:9])
        found.append(f"{name}({apart})" if keys else name)
    return found
