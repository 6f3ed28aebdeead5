"""Resampling over queries: the paired randomisation test and the paired bootstrap, for all pairs of systems.

Decisions:

- One set of random signs and one set of bootstrap draws serve all systems of
  a dataset, so a resample costs one matrix product, not one per pair.
- Values lie on a grid of 2^-30. Sums of them are whole numbers that float64
  holds exactly, so no order of adding, number of threads or BLAS changes a
  result, and a tie is a tie. float32 would hold them for a few queries only.
- Several datasets are strata: queries are drawn within each, and the figure
  is the mean of the datasets' means. One dataset is the case of one stratum.

Shapes: K systems, Q queries of one stratum, N queries of all, P = K(K-1)/2
pairs in the order of `itertools.combinations`, B resamples of a block.

Source  Smucker, Allan, Carterette, CIKM 2007 (randomisation); Sakai, SIGIR 2006 (bootstrap);
        Phipson and Smyth 2010, arXiv:1603.05766 ((b + 1) / (m + 1));
        Efron and Tibshirani 1993, sections 13.3 and 14.3 (percentile, BCa)
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from math import fsum
from statistics import NormalDist
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from leaderboard.interval import LEVEL, RESAMPLES, SEED
from lotte.errors import LotteError

Floats: TypeAlias = NDArray[np.float64]
Strata: TypeAlias = Sequence[Floats]  # one (K, Q) array a dataset, of numbers of the grid
Ends: TypeAlias = Literal["percentile", "bca"]

UNIT = 2.0**-30  # of the grid: 1e-9, far below what a measure or a resample can tell
# Two differences of means that are equal lie at most 2 UNIT apart once their values are on the grid. The root keeps
# the border off every whole number of units, so that the last bit of a float decides nothing.
TIE = 5**0.5 * UNIT
EXACT = 14  # differing queries up to which all 2 ** 14 signs are tried: hardly more than 10,000 random ones
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)  # shares of the drawn values at which an interval ends
_EXACT_SUM = 2.0**51  # twice this is still exact in float64
_CELLS = 1 << 20  # of a block: 8 MB, whatever the number of queries


def on_grid(values: Sequence[Sequence[float]]) -> Floats:
    """Return values as whole numbers of UNIT, in float64, rounded to the nearest.

    Raises  LotteError if they are so large that their sum would not be exact
    """
    grid: Floats = np.rint(np.array(values, dtype=np.float64) / UNIT)
    if grid.size and np.abs(grid).max() * grid.shape[1] > _EXACT_SUM:
        raise LotteError(
            f"a value of {np.abs(grid).max() * UNIT:g} over {grid.shape[1]:,} queries is too large to be compared "
            "exactly; measures are shares between 0 and 1"
        )
    return grid


def weights(strata: Strata) -> list[float]:
    """Return what one unit of a value is worth in the mean of the datasets' means."""
    return [UNIT / (values.shape[1] * len(strata)) for values in strata]


def means(strata: Strata) -> Floats:
    """Return (K,), the mean over datasets of each system's mean."""
    return _weighed([values.sum(axis=1) for values in strata], weights(strata))


def signs(queries: int, resamples: int, seed: int = SEED) -> Iterator[NDArray[np.uint8]]:
    """Yield (B, N) blocks of random bits: 1 where a query keeps its sign, 0 where it is flipped."""
    random = np.random.default_rng([seed, 0, 1])
    words = -(-queries // 64)
    for rows in _blocks(resamples, queries):
        drawn = random.integers(0, 2**64, size=(rows, words), dtype=np.uint64).astype("<u8", copy=False)
        yield np.unpackbits(drawn.view(np.uint8), axis=1)[:, :queries]


def draws(queries: int, resamples: int, seed: int = SEED, stratum: int = 0) -> Iterator[NDArray[np.int64]]:
    """Yield (B, Q) blocks of rows drawn with repetition, those of `leaderboard.interval` in stratum 0."""
    random = np.random.default_rng([seed, stratum])
    for rows in _blocks(resamples, queries):
        yield random.integers(0, queries, size=(rows, queries))


def p_values(strata: Strata, *, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Return (P,), the two-sided p of the paired randomisation test.

    If two systems were the same, a query's difference could as well have the
    other sign. p is the share of sign patterns whose difference is as large as
    the one observed: of all patterns if at most EXACT queries differ, else
    (b + 1) / (m + 1) for b of m random ones.
    """
    count = len(strata[0])
    p = np.empty(count * (count - 1) // 2)
    sampled = np.zeros(len(p), dtype=bool)
    for pair, (a, b) in enumerate(combinations(range(count), 2)):
        differences = [values[a] - values[b] for values in strata]
        sampled[pair] = sum(map(np.count_nonzero, differences)) > EXACT
        if not sampled[pair]:
            p[pair] = _exact_p(differences, weights(strata))
    if sampled.any():
        extreme = _as_extreme(strata, resamples, seed)
        p[sampled] = (extreme[sampled] + 1) / (resamples + 1)
    return p


def intervals(strata: Strata, *, resamples: int = RESAMPLES, seed: int = SEED, ends: Ends = "percentile") -> Floats:
    """Return (P, 2), the ends of the interval of each difference of means, by the paired bootstrap.

    ends  "percentile", or "bca": corrected for bias and skewness
    """
    count = len(strata[0])
    drawn = _drawn_means(strata, resamples, seed)
    ends_of = np.empty((count * (count - 1) // 2, 2))
    begin = 0
    for a in range(count - 1):
        differences = drawn[a] - drawn[a + 1 :]
        rows = ends_of[begin : begin + len(differences)]
        if ends == "percentile":
            rows[:] = np.quantile(differences, TAILS, axis=1).T
        else:
            for b, row in enumerate(rows, start=a + 1):
                exact = [values[a] - values[b] for values in strata]
                row[:] = np.quantile(differences[b - a - 1], _bca(differences[b - a - 1], exact, TAILS))
        begin += len(differences)
    return ends_of


def mean_intervals(strata: Strata, *, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Return (K, 2), the ends of the interval of each system's mean over the datasets, by the bootstrap."""
    ends: Floats = np.quantile(_drawn_means(strata, resamples, seed), TAILS, axis=1).T
    return ends


def drawn_differences(before: Strata, after: Strata, *, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Return (K, resamples), each system's mean over the datasets of `after` less that over those of `before`.

    Their questions are others, so each side is drawn by itself.
    """
    return _drawn_means(after, resamples, seed, first=len(before)) - _drawn_means(before, resamples, seed)


def _blocks(resamples: int, queries: int) -> Iterator[int]:
    """Yield how many resamples each block holds."""
    rows = max(1, _CELLS // queries)
    for begin in range(0, resamples, rows):
        yield min(rows, resamples - begin)


def _weighed(sums: Sequence[Floats], worth: Sequence[float]) -> Floats:
    """Return the sums of the strata as one mean, added from the first to the last."""
    total: Floats = sums[0] * worth[0]
    for one, weight in zip(sums[1:], worth[1:], strict=True):
        total = total + one * weight
    return total


def _as_extreme(strata: Strata, resamples: int, seed: int) -> NDArray[np.int64]:
    """Return (P,), how many of the random sign patterns give a difference as large as the observed one."""
    worth, ends = weights(strata), np.cumsum([values.shape[1] for values in strata])
    totals = [values.sum(axis=1)[:, None] for values in strata]
    observed = means(strata)
    count = len(observed)
    counts = np.zeros(count * (count - 1) // 2, dtype=np.int64)
    for block in signs(int(ends[-1]), resamples, seed):
        bits = np.split(block, ends[:-1], axis=1)
        # kept minus flipped is twice the kept less all; the product is (K, Q) by (Q, B)
        kept = [values @ of.T.astype(np.float64) for values, of in zip(strata, bits, strict=True)]
        flipped = _weighed([2 * sums - total for sums, total in zip(kept, totals, strict=True)], worth)
        begin = 0
        for a in range(count - 1):
            differences = np.abs(flipped[a] - flipped[a + 1 :])
            least = np.abs(observed[a] - observed[a + 1 :]) - TIE
            counts[begin : begin + len(least)] += np.count_nonzero(differences >= least[:, None], axis=1)
            begin += len(least)
    return counts


def _exact_p(differences: Sequence[Floats], worth: Sequence[float]) -> float:
    """Return the share of all sign patterns, of the queries that differ, that are as extreme as all plus."""
    differing = [values[values != 0] for values in differences]
    patterns = _patterns(sum(map(len, differing)))
    of = np.split(patterns, np.cumsum([len(values) for values in differing])[:-1], axis=1)
    sizes: Floats = np.abs(_weighed([rows @ values for rows, values in zip(of, differing, strict=True)], worth))
    return float(np.mean(sizes >= sizes[0] - TIE))


@lru_cache(maxsize=EXACT + 1)
def _patterns(number: int) -> Floats:
    """Return (2 ** number, number) of +1 and -1, the first row all plus."""
    flips = (np.arange(1 << number)[:, None] >> np.arange(number)) & 1
    patterns: Floats = 1.0 - 2.0 * flips.astype(np.float64)
    return patterns


def _drawn_means(strata: Strata, resamples: int, seed: int, first: int = 0) -> Floats:
    """Return (K, resamples), each system's mean over the queries drawn; a draw is the same for all systems.

    first  number of the first stratum: those of different numbers are drawn apart from each other
    """
    sums = []
    for stratum, values in enumerate(strata, start=first):
        queries = values.shape[1]
        totals = np.empty((len(values), resamples))
        begin = 0
        for block in draws(queries, resamples, seed, stratum):
            rows = len(block)
            block += np.arange(0, rows * queries, queries)[:, None]
            times = np.bincount(block.ravel(), minlength=rows * queries).reshape(rows, queries)
            totals[:, begin : begin + rows] = values @ times.T.astype(np.float64)
            begin += rows
        sums.append(totals)
    return _weighed(sums, weights(strata))


def _bca(drawn: Floats, differences: Sequence[Floats], tails: Sequence[float]) -> list[float]:
    """Return the shares of the drawn differences at which the corrected interval ends."""
    worth = weights([values[None] for values in differences])
    parts = [(values - values.mean()) * weight for values, weight in zip(differences, worth, strict=True)]
    spread = fsum(float((part**2).sum()) for part in parts)
    if spread == 0:
        return list(tails)
    skew = fsum(float((part**3).sum()) for part in parts) / (6 * spread**1.5)
    observed = float(_weighed([values.sum(keepdims=True) for values in differences], worth)[0])
    below = (np.mean(drawn < observed - TIE / 2) + np.mean(drawn <= observed + TIE / 2)) / 2
    edge = 1 / (2 * len(drawn))
    normal = NormalDist()
    bias = normal.inv_cdf(min(max(float(below), edge), 1 - edge))
    reach = [bias + normal.inv_cdf(tail) for tail in tails]
    return [normal.cdf(bias + z / (1 - skew * z)) for z in reach]
