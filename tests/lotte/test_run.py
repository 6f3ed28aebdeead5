"""A run has one order, and no query is silent in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotte import Hit, Run
from lotte.errors import MismatchError
from lotte.run import BY_RANK, BY_SCORE


def test_hits_are_by_score_then_by_doc_id_both_descending():
    run = Run.of({"q": {"a": 1.0, "c": 1.0, "b": 2.0, "10": 1.0, "9": 1.0}}, depth=10)
    assert run.doc_ids("q") == ["b", "c", "a", "9", "10"]
    assert run.ties == BY_SCORE


def test_scores_that_are_one_float32_are_a_tie():
    assert Run.of({"q": {"a": 1.0 + 1e-9, "b": 1.0}}, depth=10).hits["q"] == (Hit("b", 1.0), Hit("a", 1.0))


def test_the_depth_cuts_after_the_tie_is_broken():
    assert Run.of({"q": {"a": 1.0, "b": 1.0}}, depth=1).doc_ids("q") == ["b"]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_a_score_without_a_place_in_an_order_is_refused(score):
    with pytest.raises(ValueError, match=r"document 'a' scored .*; a score must be a finite float32"):
        Run.of({"q": {"a": score}}, depth=10)


def test_ranks_become_scores_that_say_the_same_order():
    run = Run.of_ranks({"q": ["a", "c", "b"], "empty": []})
    assert run.hits == {"q": (Hit("a", 3.0), Hit("c", 2.0), Hit("b", 1.0)), "empty": ()}
    assert run.ties == BY_RANK


@given(st.lists(st.integers(0, 999).map(str), unique=True, max_size=40))
def test_a_run_of_ranks_is_a_fixed_point_of_ranking(doc_ids):
    run = Run.of_ranks({"q": doc_ids})
    assert Run.of({"q": dict(run.hits["q"])}, depth=99).doc_ids("q") == doc_ids


@given(st.dictionaries(st.text(max_size=3), st.floats(-1e30, 1e30)))
def test_the_order_is_the_obvious_one(scores):
    expected = sorted(scores, key=lambda doc_id: (np.float32(scores[doc_id]), doc_id.encode("utf-8", "surrogatepass")))
    assert Run.of({"q": scores}, depth=99).doc_ids("q") == expected[::-1]


def test_a_silence_is_refused_and_named():
    run = Run.of({"1": {"a": 1.0}, "2": {}}, depth=10)
    run.require(["1", "2"])
    with pytest.raises(MismatchError) as raised:
        run.require(["1", "4", "3"])
    assert str(raised.value) == (
        "the run answers 1 of 3 queries; first missing: '3'. Give a query without results an empty list."
    )


def test_a_silence_can_be_filled_and_strangers_are_left_out():
    run = Run.of_ranks({"1": ["a"], "9": ["b"]})
    assert run.missing(["2", "1", "3"]) == ["2", "3"]
    filled = run.filled(["2", "1"])
    assert filled == Run({"2": (), "1": (Hit("a", 1.0),)}, BY_RANK)


def test_a_document_with_its_querys_own_id_can_be_left_out():
    run = Run.of({"a": {"a": 3.0, "b": 2.0, "c": 1.0}, "b": {"a": 1.0}}, depth=10)
    assert {query_id: run.without_own().cut(1).doc_ids(query_id) for query_id in run.hits} == {"a": ["b"], "b": ["a"]}
    assert (run.depth, run.cut(1).depth, Run({}).depth) == (3, 1, 0)
