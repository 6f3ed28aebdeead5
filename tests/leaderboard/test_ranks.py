"""Ranks and letters: two systems share a letter exactly if they are not told apart."""

from dataclasses import replace
from itertools import combinations
from math import fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_scores import listed, random_table

from leaderboard.compare import (
    Comparison,
    compare_values,
)
from leaderboard.letter_display import Standing, groups, standings


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
