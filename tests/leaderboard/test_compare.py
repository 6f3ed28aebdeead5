"""Who is better, and how sure that is: the fast road is the plain one, SciPy agrees, and no tie or sign gets lost."""

from dataclasses import replace
from itertools import combinations
from math import fsum, log2

import numpy as np
import plain_resample
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard import resample
from leaderboard.compare import (
    MOST,
    Comparison,
    Tally,
    compare_macro,
    compare_values,
    detectable,
    enough,
    holm,
    method,
    smallest_difference,
    table,
    tally,
)
from leaderboard.interval import interval
from leaderboard.letter_display import Standing, groups, standings
from leaderboard.record.schema import Record
from lotte.errors import CorruptFileError, LotteError, MismatchError

# what measures give: shares, reciprocal ranks, discounts; ties and near ties on purpose
shares = st.sampled_from([0.0, 1.0, 1.0, 0.0, 1 / 2, 1 / 3, 2 / 3, 0.1 + 0.2, 0.3, 1 / log2(3), 1 - 1 / log2(3)])
values = st.one_of(shares, st.floats(0, 1))


@st.composite
def strata(draw, most=24):
    """One to three datasets, two to four systems."""
    systems = draw(st.integers(2, 4))
    sizes = draw(st.lists(st.integers(2, most), min_size=1, max_size=3))
    rows = [
        draw(st.lists(st.lists(values, min_size=size, max_size=size), min_size=systems, max_size=systems))
        for size in sizes
    ]
    return [resample.on_grid(one) for one in rows]


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
    """.1 + .2 is no .3 in floats; as differences of three queries they are as extreme as each other."""
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


# several datasets


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


# what a dataset can show, and where


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


# ranks


def told(a, b, difference, p_holm):
    return Comparison(
        a=a, b=b, mean_a=difference, mean_b=0.0, difference=difference, ci95=(0.0, 0.0), p=p_holm, p_holm=p_holm,
        n=9, wins=0, ties=0, losses=0, effect=0.0,
    )  # fmt: skip


def test_systems_that_cannot_be_told_apart_share_a_rank():
    """a = b and b = c, but a beats c: c loses one place to a, and b is in both groups."""
    found = standings(
        {"c": 0.5, "b": 0.6, "a": 0.7, "d": 0.1},
        [told("a", "b", 0.1, 0.4), told("c", "a", -0.2, 0.05), told("b", "c", 0.1, 0.06),
         told("d", "a", -0.6, 0.01), told("b", "d", 0.5, 0.01), told("c", "d", 0.4, 0.01)],
    )  # fmt: skip
    assert found == (
        Standing(system="a", mean=0.7, rank=1, letters=("a",)),
        Standing(system="b", mean=0.6, rank=1, letters=("a", "b")),
        Standing(system="c", mean=0.5, rank=2, letters=("b",)),
        Standing(system="d", mean=0.1, rank=4, letters=("c",)),
    )


def test_it_is_the_corrected_p_that_tells_systems_apart():
    one = replace(told("a", "b", 0.1, 0.06), p=0.01)
    assert [row.rank for row in standings({"a": 0.1, "b": 0.0}, [one])] == [1, 1]
    assert [row.rank for row in standings({"a": 0.1, "b": 0.0}, [one], alpha=0.06)] == [1, 2]


def test_a_group_that_others_make_superfluous_is_left_out():
    """Grown one after the other they are seven, and four of them hold every pair."""
    apart = {frozenset(pair) for pair in ("af", "be", "cd")}
    assert ["".join(group) for group in groups("abcdef", apart)] == ["abc", "ade", "bdf", "cef"]


def test_one_system_is_the_first_and_none_are_none():
    assert standings({"a": 0.5}, []) == (Standing(system="a", mean=0.5, rank=1, letters=("a",)),)
    assert standings({}, []) == ()


def test_equal_systems_stand_by_name_in_one_group():
    one = compare_values(listed(*[[0.5, 1.0, 0.0]] * 4))
    found = standings(dict.fromkeys("dcba", 0.5), one)
    assert [(row.system, row.rank, row.letters) for row in found] == [(name, 1, ("a",)) for name in "abcd"]


def test_a_pair_that_was_not_compared_is_a_mistake():
    with pytest.raises(ValueError, match=r"1 pairs were not compared, the first is \('a', 'b'\)"):
        standings({"b": 0.1, "a": 0.2}, [])


@settings(deadline=None)
@given(st.integers(0, 12).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.tuples(*[st.integers(0, n)] * 2)))))
def test_two_systems_share_a_letter_exactly_if_they_are_not_told_apart(drawn):
    number, pairs = drawn
    systems = [f"s{row:02}" for row in range(number)]
    apart = {frozenset((systems[a], systems[b])) for a, b in pairs if a != b and max(a, b) < number}
    found = groups(systems, apart)
    for a, b in combinations(systems, 2):
        assert any(a in group and b in group for group in found) != (frozenset((a, b)) in apart)
    assert {system for group in found for system in group} == set(systems)
    assert len(set(found)) == len(found)
    assert all(not set(one) < set(other) for one in found for other in found)
    for group in found:  # none could be left out
        inside = [{(a, b) for a in one for b in one} for one in found if one != group]
        assert not {(a, b) for a in group for b in group} <= set().union(*inside)


def test_real_steps_are_ranked_as_they_were_made():
    one = random_table(400, 6, step=0.04)
    means = {system: fsum(row.values()) / 400 for system, row in one.items()}
    found = standings(means, compare_values(one))
    assert [row.system for row in found] == ["s5", "s4", "s3", "s2", "s1", "s0"]
    assert found[0].rank == 1 and found[-1].rank >= 5


# records


def record(name="bm25", options=None, measures=None, values=(1.0, 0.0, 0.5), model=None, **dataset):
    said = {"official": "nDCG@10", "relevance_level": 1, "per_query": {"nDCG@10": {str(q): v for q, v in enumerate(values)}}}
    said |= measures or {}
    said["aggregate"] = {name: {"value": 0.5} for name in {said["official"], *said["per_query"]}}
    return Record.of(
        created="2026-11-21T08:00:00+00:00",
        retriever={"name": name, "options": options or {}, "model": model},
        dataset={
            "name": "beir/tiny", "source": "local", "counts": {},
            "corpus_sha256": "c" * 64, "queries_sha256": "d" * 64, "qrels_sha256": "e" * 64, **dataset,
        },
        measures=said,
        run={}, cost={}, platform={}, implementation={}, contamination=[], verification={"level": "self-run"},
    )  # fmt: skip


def test_records_are_compared_by_their_values_of_each_query():
    found = compare_values(table([record(), record("dense", values=(1.0, 1.0, 0.75))], "nDCG@10"))
    assert [(one.a, one.b, one.difference, one.losses, one.p) for one in found] == [
        ("bm25", "dense", pytest.approx(-1.25 / 3), 2, 0.5)
    ]


def test_systems_of_one_name_are_told_apart_by_the_options_that_differ():
    results = [record(options={"k1": 0.9, "b": 0.4}), record(options={"k1": 1.2, "b": 0.4}), record("dense")]
    assert list(table(results, "nDCG@10")) == ["bm25(k1=0.9)", "bm25(k1=1.2)", "dense"]
    assert list(table(results, "nDCG@10", names=["x", "y", "z"])) == ["x", "y", "z"]


def test_an_option_is_spelled_as_in_json():
    assert list(table([record(options={"lowercase": low}) for low in (True, False)], "nDCG@10")) == [
        "bm25(lowercase=true)", "bm25(lowercase=false)",
    ]  # fmt: skip


def test_two_models_under_one_name_are_told_apart():
    records = [record("dense", model={"id": "m", "sha256": digit * 64}) for digit in "ab"]
    assert list(table(records, "nDCG@10")) == ["dense(model sha256=aaaaaaaa)", "dense(model sha256=bbbbbbbb)"]


def test_less_than_two_records_have_no_pairs():
    assert compare_values(table([], "nDCG@10")) == compare_values(table([record()], "nDCG@10")) == ()


@pytest.mark.parametrize(
    ("results", "kind", "message"),
    [
        (
            [record(), record("dense", qrels_sha256="f" * 64)],
            MismatchError,
            "'dense' on beir/tiny has qrels_sha256 ffffffff, 'bm25' on beir/tiny has eeeeeeee; "
            "only records of the same dataset can be compared",
        ),
        (
            [record(corpus_sha256=None)],
            MismatchError,
            "'bm25' on beir/tiny has corpus_sha256 none, 'bm25' on beir/tiny has none; "
            "only records of the same dataset can be compared",
        ),
        (
            [record(), record("dense", measures={"relevance_level": 2, "per_query": {"nDCG@10": {}}})],
            MismatchError,
            "nDCG@10 of 'dense' counts grades from 2 as relevant, of 'bm25' from 1; score their runs again at one level",
        ),
        (
            [record(), record("dense", measures={"relevance_level": 1, "per_query": {"Success@5": {}, "AP": {}}})],
            MismatchError,
            "'dense' has no nDCG@10 for each query of beir/tiny; it has Success@5, AP",
        ),
        (
            [record(measures={"per_query": {}})],
            MismatchError,
            "'bm25' has no nDCG@10 for each query of beir/tiny; it has no measure",
        ),
        ([record(), record()], LotteError, "two records are of 'bm25' on beir/tiny; compare one of them"),
        (
            [record(), record("dense", values=(1.0, 0.0))],
            MismatchError,
            "'dense' has values of 2 queries and 'bm25' of 3; the first that only one has is '2'. "
            "Score both against the same judgments.",
        ),
    ],
)
def test_records_that_do_not_belong_together_are_refused(results, kind, message):
    with pytest.raises(kind) as raised:
        compare_values(table(results, "nDCG@10"))
    assert str(raised.value) == message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", None, 10**400], ids=str)
def test_a_value_that_is_no_number_is_refused(value):
    with pytest.raises(CorruptFileError) as raised:
        compare_values(listed([0.5, 0.5], [0.5, value]))
    assert str(raised.value) == (
        f"'b' has {value!r} for query '001', and a value is a finite number; score its run again"
    )


def test_too_few_queries_too_large_values_and_too_many_systems_are_refused():
    with pytest.raises(LotteError, match=r"^there are too few queries to compare systems by: 1, and it takes 2$"):
        compare_values(listed([0.5], [0.7]))
    with pytest.raises(LotteError, match=r"^there are too few queries on x to compare systems by: 0, and it takes 2$"):
        compare_macro({"x": {"a": {}, "b": {}}})
    with pytest.raises(LotteError, match=r"^a value of 1e\+09 over 2 queries is too large to be compared exactly; "):
        compare_values(listed([1e9, 0], [0, 0]))
    with pytest.raises(LotteError, match=r"^201 systems are too many to compare pair by pair; choose at most 200$"):
        compare_values({str(number): {"0": 0.0, "1": 0.0} for number in range(MOST + 1)})


def test_a_cell_that_was_not_run_is_not_averaged_away():
    one = listed([1, 0, 1], [0, 0, 1])
    with pytest.raises(MismatchError) as raised:
        compare_macro({"x": one, "y": {"a": one["a"]}})
    assert str(raised.value) == "'b' was not run on every dataset; a macro mean needs every system on each"
    with pytest.raises(MismatchError, match="1 queries are in no group; the first is '002'"):
        tally(one["a"], one["b"], {"000": "x", "001": "x"})
