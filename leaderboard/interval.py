"""The 95 % interval of a mean over queries, by bootstrap.

The queries are resampled with replacement 10,000 times; the interval spans the
middle 95 % of the means (the percentile bootstrap: Efron 1979; Sakai 2006 for retrieval). The seed is fixed, so that
the same values have the same interval.
"""

from collections.abc import Sequence

import numpy as np

LEVEL, RESAMPLES, SEED = 0.95, 10_000, 0
METHOD = {
    "method": "percentile bootstrap over queries",
    "level": LEVEL,
    "resamples": RESAMPLES,
    "seed": SEED,
}
_DRAWS = 1 << 21  # at a time: 32 MB, whatever the number of queries


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the 95 % interval of the mean of these values, of which there is at least one.

    >>> interval([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    sample = np.asarray(values, dtype=np.float64)
    random = np.random.default_rng(SEED)
    means = np.empty(RESAMPLES)
    rows = max(1, _DRAWS // len(sample))
    for begin in range(0, RESAMPLES, rows):
        block = means[begin : begin + rows]
        drawn = random.integers(0, len(sample), size=(len(block), len(sample)))
        block[:] = sample[drawn].mean(axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, (tail, 1 - tail)).tolist()
    return low, high
