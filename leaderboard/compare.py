"""Whether a difference between two systems is real: paired comparisons over per-query values.

Decisions:

- The test is the paired randomisation test, two-sided, over all queries that
  are judged; the interval is the percentile bootstrap's (`resample.py`).
- All pairs of systems of a dataset are one family, and Holm's correction is
  over it. p is for one pair alone, p_holm is the corrected value to report.
- Only records of the same corpus, queries and judgments, by sha256, are
  compared. Equal names are not enough.
- A difference over several datasets is the mean of theirs (macro), with the
  queries of each dataset resampled within it.

Queries are sorted by their ids, so the same values have the same
p and the same interval, whatever file they came from and whatever the order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil, fsum, sqrt
from numbers import Real
from statistics import NormalDist, median
from typing import Any, TypeAlias

import numpy as np

from leaderboard import resample
from leaderboard.interval import LEVEL, RESAMPLES, SEED
from leaderboard.record.label import labels
from leaderboard.record.schema import LARGEST_NUMBER, Record
from leaderboard.resample import Ends, Floats
from lotte.errors import CorruptFileError, LotteError, MismatchError, shown

Values: TypeAlias = Mapping[str, float]  # query_id -> value
Table: TypeAlias = Mapping[str, Values]  # system -> its values, all of the same queries

ALPHA, POWER = 0.05, 0.8
MOST = 200  # systems at once: 19,900 pairs; more would take minutes, and Holm would leave little of any


@dataclass(frozen=True, kw_only=True)
class Tally:
    """On how many queries a was better, the same, worse; and by how much on average, a minus b."""

    wins: int
    ties: int
    losses: int
    difference: float

    @property
    def n(self) -> int:
        """How many queries there are."""
        return self.wins + self.ties + self.losses


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two systems on the same queries: how much better a is than b, and how sure that is."""

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
        return replace(
            self,
            a=self.b,
            b=self.a,
            mean_a=self.mean_b,
            mean_b=self.mean_a,
            difference=-self.difference,
            ci95=(-self.ci95[1], -self.ci95[0]),
            wins=self.losses,
            losses=self.wins,
            effect=None if self.effect is None else -self.effect,
        )


def table(records: Sequence[Record], measure: str, *, names: Sequence[str] | None = None) -> dict[str, Values]:
    """Return system -> query_id -> value. Systems with the same name are labelled by the options that differ.

    Raises  MismatchError if the records are not all of one dataset, by its hashes, or lack the measure;
            LotteError if two of them are of the same system
    """
    names = labels(records) if names is None else names
    values: dict[str, Values] = {}
    for name, record in zip(names, records, strict=True):
        _require_same(names[0], records[0], name, record, measure)
        dataset, per_query = record.dataset.name, record.measures.per_query
        if measure not in per_query:
            raise MismatchError(
                f"{shown(name)} has no {measure[:60]} for each query of {dataset}; "
                f"it has {', '.join(per_query)[:160] or 'no measure'}"
            )
        if name in values:
            raise LotteError(f"two records are of {shown(name)} on {dataset}; compare one of them")
        values[name] = per_query[measure]
    return values


def compare_values(
    values: Table, *, resamples: int | None = None, seed: int = SEED, ends: Ends = "percentile"
) -> tuple[Comparison, ...]:
    """Return the comparison of each pair of systems, in the order of `itertools.combinations`.

    resamples  of the test and of the bootstrap; by default 10,000, and for the test what `enough` says
    ends       of the interval: "percentile" or "bca"

    Raises  MismatchError if the systems' queries differ; CorruptFileError if a value is not a finite number;
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
    query_ids = [_query_ids(dataset, systems, table) for dataset, table in tables.items()]
    if len(systems) < 2:
        return ()
    strata = [
        resample.on_grid([[table[system][query_id] for query_id in ids] for system in systems])
        for ids, table in zip(query_ids, tables.values(), strict=True)
    ]
    pairs = list(combinations(range(len(systems)), 2))
    p = resample.p_values(strata, resamples=resamples or enough(len(pairs)), seed=seed).tolist()
    ci95 = resample.intervals(strata, resamples=resamples or RESAMPLES, seed=seed, ends=ends).tolist()
    mean = {system: fsum(_mean(table[system]) for table in tables.values()) / len(tables) for system in systems}
    comparisons = []
    for (row_a, row_b), p_alone, p_holm, (low, high) in zip(pairs, p, holm(p), ci95, strict=True):
        a, b = systems[row_a], systems[row_b]
        counts = _counts(mean[a] - mean[b], [values[row_a] - values[row_b] for values in strata])
        comparisons.append(
            Comparison(
                a=a,
                b=b,
                mean_a=mean[a],
                mean_b=mean[b],
                ci95=(low, high),
                p=p_alone,
                p_holm=p_holm,
                **counts,
            )
        )
    return tuple(comparisons)


def _counts(difference: float, by_dataset: Sequence[Floats]) -> dict[str, Any]:
    """Return the fields difference and n to effect of a comparison, from the differences of each query."""
    n, wins, losses = (sum(map(count, by_dataset)) for count in (len, _positive, _negative))
    sd = sqrt(fsum(map(_variance, by_dataset)) / len(by_dataset))
    no_spread = None if wins + losses else 0.0
    effect = difference / sd if sd else no_spread
    return {
        "difference": difference,
        "n": n,
        "wins": wins,
        "ties": n - wins - losses,
        "losses": losses,
        "effect": effect,
    }


def holm(p: Sequence[float]) -> list[float]:
    """Return each p corrected for there being so many: the k-th smallest of m times m - k + 1, and at most 1.

    It never falls from one p to the next larger. Among all pairs claimed at
    p_holm <= .05, the chance that any claim is false is at most .05.

    Source  Holm 1979, Scandinavian Journal of Statistics 6

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, last = [0.0] * len(p), 0.0
    for done, row in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        last = corrected[row] = min(1.0, max(last, p[row] * (len(p) - done)))
    return corrected


def enough(pairs: int) -> int:
    """Return how many random sign patterns a family of so many pairs needs: 10,000, or more.

    The least p of m patterns is 1 / (m + 1), and Holm multiplies it by the
    number of pairs: 10,000 could tell no two of 50 systems apart, however far.
    Four times the least number lets up to 3 patterns be as extreme by chance.

    >>> enough(45), enough(1225)
    (10000, 98000)
    """
    return max(RESAMPLES, ceil(4 * pairs / ALPHA))


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
    tallies = {}
    for group, ids in sorted(members.items()):
        of_a, of_b = resample.on_grid([[values[query_id] for query_id in ids] for values in (values_a, values_b)])
        wins, losses = _positive(of_a - of_b), _negative(of_a - of_b)
        difference = _mean({i: values_a[i] for i in ids}) - _mean({i: values_b[i] for i in ids})
        tallies[group] = Tally(wins=wins, ties=len(ids) - wins - losses, losses=losses, difference=difference)
    return tallies


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


def smallest_difference(values: Table) -> float | None:
    """Return what `detectable` says of a dataset, with the median SD over all pairs of systems; None without a pair.

    Raises  as `compare_values`
    """
    systems = list(values)
    query_ids = _query_ids("", systems, values)
    rows = [resample.on_grid([[values[system][query_id] for query_id in query_ids]])[0] for system in systems]
    spreads = [sqrt(_variance(a - b)) for a, b in combinations(rows, 2)]
    return detectable(median(spreads), len(query_ids)) if spreads else None


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
                f"{shown(system)} has values of {len(values[system]):,} queries{on} and {shown(systems[0])} "
                f"of {len(first):,}; the first that only one has is {shown(odd[0])}. "
                "Score both against the same judgments."
            )
        for query_id, value in values[system].items():
            if not (isinstance(value, float | Real) and abs(value) < LARGEST_NUMBER):  # false of NaN
                raise CorruptFileError(
                    f"{shown(system)} has {value!r} for query {shown(query_id)}{on}, and a value is a finite number; "
                    "score its run again"
                )
    if systems and len(first) < least:
        raise LotteError(f"there are too few queries{on} to compare systems by: {len(first)}, and it takes {least}")
    return sorted(first)


def _require_same(name: str, first: Record, other_name: str, other: Record, measure: str) -> None:
    for key, wanted in first.dataset.hashes.items():
        sha256 = other.dataset.hashes[key]
        if not wanted or wanted != sha256:
            raise MismatchError(
                f"{shown(other_name)} on {other.dataset.name} has {key} {_short(sha256)}, {shown(name)} on "
                f"{first.dataset.name} has {_short(wanted)}; only records of the same dataset can be compared"
            )
    level, other_level = first.measures.relevance_level, other.measures.relevance_level
    if level != other_level:
        raise MismatchError(
            f"{measure[:60]} of {shown(other_name)} counts grades from {other_level} as relevant, of {shown(name)} "
            f"from {level}; score their runs again at one level"
        )


def _short(sha256: str | None) -> str:
    return sha256[:8] if sha256 else "none"
