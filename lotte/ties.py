"""Ties in a file of rankings: written so that every tool sees one order, and read as the ties they were.

Other tools order equal scores by the id ascending, by the order of the file,
or by chance. So where scores are equal in float32, each is written one step of
float32 below the one above it. Read again, a score that is one step below the
one above it, with an id that comes later in our order of ties, is equal to
it: the order is the same either way, and sums of scores are what they were.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lotte.run import Hit

_SIGN = np.int64(1) << 31
_LEAST = -int(np.array(np.finfo(np.float32).max).view(np.int32))  # the step of the lowest float32


def falling(scores: Sequence[float]) -> Sequence[float]:
    """Return scores that are best first so that each is below the one before it in float32; those that are, stay.

    >>> falling([3.0, 2.0]), falling([1.0, 1.0]) == [1.0, float(np.nextafter(np.float32(1), np.float32(0)))]
    ([3.0, 2.0], True)
    """
    rounded = np.array(scores, np.float32)
    if (rounded[1:] < rounded[:-1]).all():
        return scores
    places = np.arange(len(rounded))
    steps = np.minimum.accumulate(_steps(rounded) + places) - places
    steps = np.maximum(steps, _LEAST + places[::-1])  # so many must have room below
    found: list[float] = _scores(steps).tolist()
    return found


def equalled(hits: Sequence[Hit]) -> Sequence[Hit]:
    """Return hits that are best first, those whose scores `falling` took apart equal again.

    >>> equalled([Hit("b", 1.0), Hit("a", falling([1.0, 1.0])[1])])
    [Hit(doc_id='b', score=1.0), Hit(doc_id='a', score=1.0)]
    """
    steps = _steps(np.array([hit.score for hit in hits], np.float32))
    if not (near := np.flatnonzero(np.diff(steps) == -1)).size:
        return hits
    restored = list(hits)
    for place in near.tolist():
        above, hit = restored[place : place + 2]
        if hit.doc_id < above.doc_id:
            restored[place + 1] = Hit(hit.doc_id, above.score)
    return restored


def _steps(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the place of each number among all of float32, 0 for 0."""
    bits = scores.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits + _SIGN), bits)


def _scores(steps: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.where(steps < 0, -steps - _SIGN, steps).astype(np.int32).view(np.float32)
