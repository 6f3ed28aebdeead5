"""Forum questions: titles of posts, with a quota per community.

The decisions here (spec B.4, 16 to 20): a community's share of the topic is
its share of the questions with passages, rounded up, at least 50; and within
it the questions with the highest score come first, then those seen most often.
What the rounding and the minimum add is not taken from the others.
"""

from collections.abc import Sequence

import numpy as np

from lotte.builder.arrow import Ints
from lotte.builder.spec import BuildOptions


def quotas(weights: Sequence[int], available: Sequence[int], options: BuildOptions) -> list[int]:
    """Return how many questions each community of a topic gives.

    weights    the number that a community's share is computed from
    available  how many questions of it could be taken

    >>> quotas([900, 90, 10], [800, 85, 9], BuildOptions(forum_size=100, forum_min=20))
    [90, 20, 9]
    """
    total = sum(weights)
    return [
        min(has, max(options.forum_min, _rounded(options.forum_size * weight, total, options)))
        for weight, has in zip(weights, available, strict=True)
    ]


def _rounded(part: int, whole: int, options: BuildOptions) -> int:
    """Return part / whole as an integer, without the errors of floating point."""
    if not whole:
        return 0
    up = {"ceil": whole - 1, "nearest": whole // 2, "floor": 0}[options.forum_rounding]
    return (part + up) // whole


def order(question_ids: Ints, scores: Ints, views: Ints, options: BuildOptions) -> Ints:
    """Return the rows of a community's questions, the most popular first; ties by the lower id."""
    first, second = (scores, views) if options.forum_rank == "score" else (views, scores)
    return np.lexsort((question_ids, -second, -first))
