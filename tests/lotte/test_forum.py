"""Forum questions: the quota that the released counts show, and the order of popularity."""

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotte.builder.forum import order, quotas
from lotte.builder.post import title_text
from lotte.builder.spec import BuildOptions

sizes = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 5000)), min_size=1, max_size=12)


@given(sizes)
def test_the_quota_is_the_share_rounded_up_at_least_fifty_and_never_more_than_there_is(communities):
    weights, available = zip(*communities, strict=True)
    total = sum(weights)
    for weight, has, quota in zip(weights, available, quotas(weights, available, BuildOptions()), strict=True):
        share = -(-2000 * weight // total) if total else 0
        assert quota == min(has, max(50, share))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=12))
def test_what_rounding_and_minimum_add_is_not_taken_back(weights):
    found = quotas(weights, [10**9] * len(weights), BuildOptions())
    assert sum(found) >= 2000
    assert sum(found) <= 2000 + 50 * len(weights)


def test_lifestyle_dev_has_the_minima_of_the_paper():
    """Table 9: crafts, coffee and lifehacks have 50 forum questions each, and the topic 2,076."""
    weights = [87, 14, 182, 87, 8, 76, 5, 287, 732, 229, 246]  # shares like those of the released counts
    found = quotas(weights, [10_000] * len(weights), BuildOptions())
    assert [found[1], found[4], found[6]] == [50, 50, 50]
    assert all(quota >= ceil(2000 * weight / sum(weights)) for quota, weight in zip(found, weights, strict=True))


def test_large_numbers_do_not_lose_a_question_to_floating_point():
    assert quotas([10**17 + 1, 10**17], [10**9, 10**9], BuildOptions()) == [1001, 1000]


@pytest.mark.parametrize(("rounding", "found"), [("ceil", [34, 67]), ("nearest", [33, 67]), ("floor", [33, 66])])
def test_rounding_is_an_option(rounding, found):
    options = BuildOptions(forum_size=100, forum_min=0, forum_rounding=rounding)
    assert quotas([1, 2], [1000, 1000], options) == found


def test_the_most_popular_come_first_and_ties_have_an_order():
    ids, scores, views = np.array([[5, 1, 4, 2, 3], [10, 3, 10, 3, -1], [1, 900, 7, 900, 9999]])
    assert [ids[row] for row in order(ids, scores, views, BuildOptions())] == [4, 5, 1, 2, 3]
    assert [ids[row] for row in order(ids, scores, views, BuildOptions(forum_rank="views"))] == [3, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ('I don\'t know "it"', "I dont know it"),
        (
            "\u201ccurly\u201d \u2018quotes\u2019 and `ticks` stay",
            "\u201ccurly\u201d \u2018quotes\u2019 and `ticks` stay",
        ),
        ("What does <?= mean, and a < b, x <<< y & z", "What does <?= mean, and a < b, x <<< y & z"),
        ("Is <b>bold</b> or <a href='x'>linked</a> right", "Is bold or linked right"),
        ("  two\tblanks \u00a0 here\n", "two blanks here"),
        ("$x^2$ &amp; so", "$x^2$ &amp; so"),
        ("<br>", ""),
    ],
)
def test_titles_lose_straight_quotation_marks_and_tags_and_nothing_else(title, text):
    assert title_text(title, BuildOptions()) == text


def test_all_quotation_marks_or_none_are_options():
    assert title_text("\u201ca\u201d 'b' `c`", BuildOptions(forum_quotes="all")) == "a b c"
    assert (
        title_text("\u201ca\u201d 'b' <i>c</i>", BuildOptions(forum_quotes="none", forum_tags="keep"))
        == "\u201ca\u201d 'b' <i>c</i>"
    )
