"""Two systems on the same questions: p, interval and effect are those of the plain loops, of a count by hand and of SciPy."""

from dataclasses import replace
from itertools import combinations
from math import log2

import numpy as np
import plain_resample
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_scores import pair, random_table

from leaderboard import resample
from leaderboard.compare import (
    Comparison,
    compare_macro,
    compare_values,
    enough,
    holm,
    method,
)
from leaderboard.interval import interval

# what measures give: shares, reciprocal ranks, discounts; ties and near ties on purpose
SHARES = st.sampled_from([0.0, 1.0, 1.0, 0.0, 1 / 2, 1 / 3, 2 / 3, 0.1 + 0.2, 0.3, 1 / log2(3), 1 - 1 / log2(3)])


VALUES = st.one_of(SHARES, st.floats(0, 1))


@st.composite
def strata(draw, most=24):
    """One to three datasets, two to four systems."""
    systems = draw(st.integers(2, 4))
    sizes = draw(st.lists(st.integers(2, most), min_size=1, max_size=3))
    rows = [
        draw(st.lists(st.lists(VALUES, min_size=size, max_size=size), min_size=systems, max_size=systems))
        for size in sizes
    ]
    return [resample.on_grid(one) for one in rows]


# the twins


@settings(max_examples=25, deadline=None)
@given(strata=strata(), seed=st.integers(0, 3))
def test_the_matrix_product_finds_what_the_loop_finds(strata, seed):
    fast_p = resample.p_values(strata, resamples=150, seed=seed)
    fast_ends = resample.intervals(strata, resamples=150, seed=seed)
    for number, (a, b) in enumerate(combinations(range(len(strata[0])), 2)):
        of_a, of_b = ([one[system] for one in strata] for system in (a, b))
        if sum(int(np.count_nonzero(x != y)) for x, y in zip(of_a, of_b, strict=True)) not in range(9, 15):
            assert plain_resample.p_value(of_a, of_b, resamples=150, seed=seed) == fast_p[number]  # 9 to 14: slow in loops
        assert plain_resample.interval(of_a, of_b, resamples=150, seed=seed) == tuple(fast_ends[number])


def test_all_patterns_at_once_are_the_loop_too():
    rng = np.random.default_rng(5)
    a, b = (resample.on_grid([rng.integers(0, 4, size).tolist() for size in (6, 5)][at : at + 1])[0] for at in (0, 1))
    c, d = (resample.on_grid([rng.random(size).tolist()])[0] for size in (6, 5))
    fast = resample.p_values([np.stack([a, c]), np.stack([b, d])])
    assert fast.tolist() == [plain_resample.p_value([a, b], [c, d])]


def test_blocks_change_nothing(monkeypatch):
    datasets = {name: random_table(queries, 4) for name, queries in (("x", 101), ("y", 33))}
    whole = compare_macro(datasets, resamples=500)
    monkeypatch.setattr(resample, "_CELLS", 1_000)
    assert compare_macro(datasets, resamples=500) == whole


def test_the_draws_of_one_dataset_are_those_of_a_single_systems_interval():
    row = random_table(200, 1)["s0"]
    found = pair(list(row.values()), [0.0] * 200)
    assert found.ci95 == pytest.approx(interval(list(row.values())), abs=1e-8)


def test_two_datasets_of_one_size_are_not_drawn_alike():
    first, second = (next(resample.draws(50, 10, 0, stratum)) for stratum in (0, 1))
    assert (first != second).any()


def test_half_of_the_signs_are_kept_of_every_query():
    kept = np.concatenate(list(resample.signs(70, 20_000))).mean(axis=0)
    assert kept == pytest.approx(0.5, abs=0.02)


# by hand


@pytest.mark.parametrize(
    ("a", "b", "p"),
    [
        ([1, 1, 1], [0, 0, 0], 2 / 8),  # +++ and ---
        ([1, 1, 0], [0, 0, 1], 8 / 8),  # the sums are 3, 1, 1, 1 and their negatives: all at least 1
        ([0.3, 0.2, 0.5], [0.1, 0.1, 0.6], 6 / 8),  # .2 .1 -.1: sums .4 .2 .2 .0 and their negatives, observed .2
        ([0.5, 0.0, 0.0], [0.0, 0.0, 0.0], 2 / 2),  # only one query differs: it could as well be the other way round
        ([0.9, 0.8, 0.7, 0.5], [0.5, 0.5, 0.5, 0.5], 2 / 8),  # a tie has no sign
    ],
)
def test_p_of_three_queries_is_a_count(a, b, p):
    assert pair(a, b).p == pair(b, a).p == p


def test_sums_that_rounding_tears_apart_are_ties():
    """.1 + .2 is not .3 in floats; as differences of three queries they are as extreme as each other."""
    found = pair([0.1, 0.2, 0.3, 0.0], [0.0, 0.0, 0.0, 0.3])
    sums = [abs(x + 2 * y + 3 * z + 3 * w) for x in (1, -1) for y in (1, -1) for z in (1, -1) for w in (1, -1)]
    assert found.p == sum(total >= 3 for total in sums) / 16


def test_p_of_sampled_signs_never_is_zero_and_counts_the_observed_one():
    found = pair([1.0] * 60, [0.0] * 60, resamples=999)
    assert found.p == 1 / 1000


def test_p_is_the_binomial_one_for_wins_and_losses():
    """20 wins, 8 losses, the rest ties: the sign test's 2 P(X >= 20), X of 28 throws."""
    stats = pytest.importorskip("scipy.stats")
    found = pair([1] * 20 + [0] * 8 + [1] * 30, [0] * 20 + [1] * 8 + [1] * 30, resamples=200_000)
    assert (found.wins, found.losses, found.ties) == (20, 8, 30)
    assert found.p == pytest.approx(stats.binomtest(20, 28).pvalue, abs=0.001)


def test_a_pair_that_is_equal_everywhere_has_p_one():
    found = pair([0.25, 0.5, 1.0], [0.25, 0.5, 1.0])
    assert found == Comparison(
        a="a", b="b", mean_a=1.75 / 3, mean_b=1.75 / 3, difference=0.0, ci95=(0.0, 0.0), p=1.0, p_holm=1.0,
        n=3, wins=0, ties=3, losses=0, effect=0.0,
    )  # fmt: skip
    assert pair([0.5] * 40, [0.5] * 40, ends="bca").ci95 == (0.0, 0.0)


def test_a_pair_that_differs_by_the_same_everywhere_has_no_effect_size_and_a_point_for_an_interval():
    found = pair([0.75] * 30, [0.5] * 30)
    assert (found.difference, found.ci95, found.effect) == (0.25, (0.25, 0.25), None)
    assert found.swapped.effect is None
    assert pair([0.75] * 30, [0.5] * 30, ends="bca").ci95 == (0.25, 0.25)


def test_signs_are_those_of_a_minus_b():
    found = pair([1.0, 0.75, 0.5, 1.0], [0.5, 0.75, 0.75, 0.25])
    assert (found.wins, found.ties, found.losses, found.n) == (2, 1, 1, 4)
    assert (found.mean_a, found.mean_b, found.difference) == (0.8125, 0.5625, 0.25)
    assert found.ci95[0] < 0.25 < found.ci95[1]
    assert found.effect == pytest.approx(0.25 / np.std([0.5, 0, -0.25, 0.75], ddof=1))


@pytest.mark.parametrize("queries", [9, 40])
def test_a_pair_seen_from_the_other_side_is_its_mirror(queries):
    one = random_table(queries, 2)
    (there,) = compare_values(one)
    (back,) = compare_values({"s1": one["s1"], "s0": one["s0"]})
    assert back.ci95 == pytest.approx(there.swapped.ci95, abs=1e-12)
    assert replace(back, ci95=()) == replace(there.swapped, ci95=())
    assert there.swapped.swapped == there


def test_the_order_of_queries_and_the_company_of_other_systems_change_nothing():
    one = random_table(80, 3)
    turned = {system: dict(reversed(row.items())) for system, row in one.items()}
    assert compare_values(turned) == compare_values(one)
    (alone,) = compare_values({"s0": one["s0"], "s2": one["s2"]})
    assert replace(alone, p_holm=0) == replace(compare_values(one)[1], p_holm=0)


def test_holm_by_hand():
    """Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; the last may not fall below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.02, 0.02]) == [0.04, 0.04]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_and_never_helps(p):
    corrected = holm(p)
    assert all(own <= after <= 1 for own, after in zip(p, corrected, strict=True))
    assert [corrected[place] for place in sorted(range(len(p)), key=p.__getitem__)] == sorted(corrected)


def test_fifty_systems_can_be_told_apart_at_all():
    assert (1225 - 3) * 4 / (enough(1225) + 1) <= 0.05 < 1225 / 10_001  # what 10,000 patterns would leave of the best
    found = compare_values(random_table(200, 50, step=0.02))
    assert min(one.p_holm for one in found) < 0.05
    assert method(1225)["test_resamples"] == 98_000


# SciPy


@pytest.mark.parametrize("seed", range(4))
def test_scipys_permutation_test_finds_the_same_p(seed):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 5, (2, 10)) / 4
    found = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
    )  # fmt: skip
    assert pair(a.tolist(), b.tolist()).p == pytest.approx(found.pvalue)


def test_sampled_signs_come_near_to_all_signs():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(7)
    a, b = rng.random((2, 16))
    a += 0.15
    found = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
    )  # fmt: skip
    assert 0.01 < found.pvalue < 0.5
    assert pair(a.tolist(), b.tolist(), resamples=100_000).p == pytest.approx(found.pvalue, abs=0.006)


@pytest.mark.parametrize("seed", range(3))
def test_of_signed_ranks_it_is_the_wilcoxon_test(seed):
    stats = pytest.importorskip("scipy.stats")
    differences = np.random.default_rng(seed).normal(0.3, 1, 12)
    ranks = stats.rankdata(np.abs(differences)) * np.sign(differences)
    wilcoxon = stats.wilcoxon(differences, method="exact").pvalue
    assert pair(ranks.tolist(), [0.0] * 12).p == pytest.approx(wilcoxon)


@pytest.mark.parametrize("ends", ["percentile", "bca"])
@pytest.mark.parametrize("queries", [5, 60])
def test_scipys_bootstrap_finds_the_same_interval(queries, ends):
    """SciPy draws as we do, so from the same generator it has the same resamples."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    a, b = np.floor(rng.random((2, queries)) ** 3 * 64) / 64  # so that SciPy's sums are exact too, and ties are ties
    found = stats.bootstrap(
        (a - b,), np.mean, n_resamples=2_000, method={"percentile": "percentile", "bca": "BCa"}[ends],
        rng=np.random.default_rng([4, 0]),
    )  # fmt: skip
    ours = pair(a.tolist(), b.tolist(), resamples=2_000, seed=4, ends=ends)
    assert ours.ci95 == pytest.approx(tuple(found.confidence_interval), abs=1e-7)


def test_both_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(11)
    hits = {"percentile": 0, "bca": 0}
    for seed in range(150):
        a, b = rng.beta(2, 2, 60), rng.beta(2, 3, 60)
        for ends in hits:
            low, high = pair(a.tolist(), b.tolist(), resamples=1_000, seed=seed, ends=ends).ci95
            hits[ends] += low <= 0.5 - 0.4 <= high
    assert all(130 <= count <= 149 for count in hits.values())


def test_p_of_no_difference_is_below_a_twentieth_a_twentieth_of_the_time():
    rng = np.random.default_rng(12)
    below = sum(pair(*rng.random((2, 30)).tolist(), resamples=500).p <= 0.05 for _ in range(400))
    assert 8 <= below <= 34
