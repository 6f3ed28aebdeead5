"""Values of each query for a few systems, drawn from a seed or written by hand."""

import numpy as np

from leaderboard.compare import (
    compare_values,
)


def random_table(queries, systems, seed=0, step=0.0):
    """Systems s0, s1, ... that answer the same hard and easy queries; each is better than the last by `step`."""
    rng = np.random.default_rng(seed)
    easy = rng.random(queries)
    return {
        f"s{number}": dict(
            zip(
                map(str, range(queries)),
                np.clip(easy + rng.normal(0, 0.2, queries) + step * number, 0, 1).tolist(),
                strict=True,
            )
        )
        for number in range(systems)
    }


def listed(*rows):
    """Tables from lists: systems a, b, ...; ids whose order is the list's."""
    return {name: {f"{q:03}": value for q, value in enumerate(row)} for name, row in zip("abcdefg", rows, strict=False)}


def pair(a, b, **options):
    (found,) = compare_values(listed(a, b), **options)
    return found
