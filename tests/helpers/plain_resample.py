"""The tests and intervals of `leaderboard.resample` of one pair, in loops: the same draws, the same numbers to the last bit."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from leaderboard.interval import LEVEL, RESAMPLES, SEED
from leaderboard.resample import EXACT, TIE, Floats, draws, signs, weights


def p_value(a: Sequence[Floats], b: Sequence[Floats], *, resamples: int = RESAMPLES, seed: int = SEED) -> float:
    """Return what `p_values` does, of one pair, in loops. a, b: one (Q,) array a dataset, on the grid."""
    worth = weights([values[None] for values in a])

    def difference(pattern: Sequence[int]) -> float:
        rest = iter(pattern)
        kept = [[next(rest) for _ in values] for values in a]
        of_a = [sum(s * int(v) for s, v in zip(*pair, strict=True)) for pair in zip(kept, a, strict=True)]
        of_b = [sum(s * int(v) for s, v in zip(*pair, strict=True)) for pair in zip(kept, b, strict=True)]
        return _weighed(of_a, worth) - _weighed(of_b, worth)

    differing = [int(x != y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True)]
    least = abs(difference([1] * len(differing))) - TIE
    if sum(differing) <= EXACT:
        patterns = list(product(*[(-1, 1) if differs else (1,) for differs in differing]))
        return sum(abs(difference(pattern)) >= least for pattern in patterns) / len(patterns)
    extreme = 0
    for block in signs(len(differing), resamples, seed):
        for bits in block:
            extreme += abs(difference([2 * int(bit) - 1 for bit in bits])) >= least
    return (extreme + 1) / (resamples + 1)


def interval(
    a: Sequence[Floats], b: Sequence[Floats], *, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Return what `intervals` does by percentiles, of one pair, in loops."""
    worth = weights([values[None] for values in a])
    rows = [
        [row for block in draws(len(values), resamples, seed, stratum) for row in block]
        for stratum, values in enumerate(a)
    ]
    differences = []
    for drawn in zip(*rows, strict=True):
        of_a = [sum(int(values[q]) for q in row) for values, row in zip(a, drawn, strict=True)]
        of_b = [sum(int(values[q]) for q in row) for values, row in zip(b, drawn, strict=True)]
        differences.append(_weighed(of_a, worth) - _weighed(of_b, worth))
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return low, high


def _weighed(sums: Sequence[int], worth: Sequence[float]) -> float:
    total = sums[0] * worth[0]
    for one, weight in zip(sums[1:], worth[1:], strict=True):
        total = total + one * weight
    return total
