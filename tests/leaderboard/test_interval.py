"""The interval of a mean is the bootstrap's, the same for the same values, at any size."""


import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard import interval as module
from leaderboard.interval import RESAMPLES, SEED, interval


def test_it_is_what_the_obvious_loop_finds():
    values = np.random.default_rng(1).random(37)
    random = np.random.default_rng(SEED)
    means = [values[random.integers(0, 37, size=37)].mean() for _ in range(RESAMPLES)]
    assert interval(values.tolist()) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=1e-12)


def test_it_agrees_with_the_normal_one_where_that_is_right():
    values = [1.0] * 567 + [0.0] * 433
    low, high = interval(values)
    half = 1.96 * (0.567 * 0.433 / 1000) ** 0.5
    assert (low, high) == pytest.approx((0.567 - half, 0.567 + half), abs=0.003)


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_same_values_have_the_same_interval_and_it_is_within_them(values):
    low, high = interval(values)
    assert interval(values) == (low, high)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_blocks_change_nothing(monkeypatch):
    values = np.random.default_rng(2).random(100).tolist()
    whole = interval(values)
    monkeypatch.setattr(module, "_DRAWS", 1_000)
    assert interval(values) == whole


def test_ten_thousand_queries_have_the_interval_of_their_standard_error():
    low, high = interval(np.random.default_rng(3).random(10_000).tolist())
    assert high - low == pytest.approx(2 * 1.96 * (1 / 12 / 10_000) ** 0.5, rel=0.1)
