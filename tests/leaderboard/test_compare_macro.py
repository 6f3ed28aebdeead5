"""Systems over several datasets, and the smallest difference that a dataset can show."""

from dataclasses import replace
from itertools import combinations
from math import fsum

import numpy as np
import pytest
from made_scores import listed, random_table

from leaderboard.compare import (
    Tally,
    compare_macro,
    compare_values,
    detectable,
    smallest_difference,
    tally,
)


def macro_difference(values_a, values_b):
    """The comparison of two systems over several datasets: dataset -> query_id -> value of each."""
    (found,) = compare_macro({dataset: {"a": values_a[dataset], "b": values_b[dataset]} for dataset in values_a})
    return found


def test_a_macro_difference_is_the_mean_of_the_datasets():
    small, large = listed([1, 1, 0], [0, 0, 0]), listed([0.5] * 90 + [1] * 10, [0.5] * 100)
    found = macro_difference({"x": small["a"], "y": large["a"]}, {"x": small["b"], "y": large["b"]})
    assert found.difference == pytest.approx((2 / 3 + 0.05) / 2)
    assert (found.a, found.b, found.n, found.wins, found.ties, found.losses) == ("a", "b", 103, 12, 91, 0)
    assert found.mean_a == pytest.approx((2 / 3 + 0.55) / 2)
    assert found.p == 2 / 2**12  # all that differ, the same way
    sd = np.sqrt((np.var([1, 1, 0], ddof=1) + np.var([0.5] * 10 + [0] * 90, ddof=1)) / 2)
    assert found.effect == pytest.approx(found.difference / sd)


def test_the_interval_of_a_macro_difference_has_the_width_of_independent_means():
    rng = np.random.default_rng(3)
    datasets = {name: rng.random((2, 400)) for name in "pqrs"}
    rows = [{name: {str(q): v for q, v in enumerate(one[at])} for name, one in datasets.items()} for at in (0, 1)]
    found = macro_difference(*rows)
    error = fsum(np.var(one[0] - one[1], ddof=1) / 400 for one in datasets.values()) ** 0.5 / 4
    assert found.ci95 == pytest.approx((found.difference - 1.96 * error, found.difference + 1.96 * error), abs=0.003)
    assert found.ci95[1] - found.ci95[0] == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_the_order_of_datasets_changes_nothing():
    datasets = {name: random_table(queries, 3, seed=queries) for name, queries in (("x", 50), ("y", 50), ("z", 20))}
    assert compare_macro(dict(reversed(datasets.items()))) == compare_macro(datasets)


def test_one_dataset_is_the_macro_of_itself():
    one = random_table(50, 2)
    assert compare_macro({"x": one}) == compare_values(one)
    assert replace(macro_difference({"x": one["s0"]}, {"x": one["s1"]}), a="s0", b="s1") == compare_values(one)[0]


def test_the_smallest_difference_is_the_formulas():
    assert detectable(0.4, 500) == pytest.approx((1.959964 + 0.841621) * 0.4 / 500**0.5, rel=1e-6)
    assert detectable(0.4, 500, alpha=0.05 / 10) > detectable(0.4, 500)


def test_the_smallest_difference_is_found_four_times_in_five():
    stats = pytest.importorskip("scipy.stats")
    sd, n = 0.3, 150
    shift = detectable(sd, n) / (sd / n**0.5)
    limit = stats.t.ppf(0.975, n - 1)
    assert stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift) == pytest.approx(0.8, abs=0.006)


def test_a_datasets_smallest_difference_is_that_of_its_median_pair():
    one = random_table(300, 3)
    spreads = sorted(
        np.std([one[a][q] - one[b][q] for q in one[a]], ddof=1) for a, b in combinations(["s0", "s1", "s2"], 2)
    )
    assert smallest_difference(one) == pytest.approx(detectable(spreads[1], 300), rel=1e-6)
    assert smallest_difference({"s0": one["s0"]}) is None
    assert smallest_difference({"x": one["s0"], "y": one["s0"]}) == 0


def test_wins_are_counted_by_group():
    one = listed([1, 0, 0.5, 1, 0.1 + 0.2], [0, 1, 0.5, 0, 0.3])
    names = ["science", "science", "writing", "science", "writing", "unused"]
    topics = {f"{q:03}": name for q, name in enumerate(names)}
    assert tally(one["a"], one["b"], topics) == {
        "science": Tally(wins=2, ties=0, losses=1, difference=pytest.approx(1 / 3)),
        "writing": Tally(wins=0, ties=2, losses=0, difference=pytest.approx(0.0)),
    }
