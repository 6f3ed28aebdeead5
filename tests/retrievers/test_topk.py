"""`topk` is `topk_reference`, faster: ties go by doc_id, at the cut too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotte import Run
from lotte.collection import RowIds
from retrievers.topk import hits, places, topk, topk_reference

few_scores = st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0]), max_size=30)
any_scores = st.lists(st.floats(-(2.0**99), 2.0**99, width=32), max_size=30)


@given(scores=few_scores | any_scores, k=st.integers(0, 40), seed=st.integers(0, 99))
def test_agrees_with_the_reference(scores, k, seed):
    array = np.array(scores, dtype=np.float32)
    place = np.random.default_rng(seed).permutation(len(scores))
    assert topk(array, place, k).tolist() == topk_reference(array, place, k)


@given(scores=few_scores, k=st.integers(1, 40))
def test_the_order_is_that_of_a_run(scores, k):
    doc_ids = [str(row) for row in range(len(scores))]
    rows = topk(np.array(scores, dtype=np.float32), places(doc_ids), k)
    run = Run.of({"q": dict(zip(doc_ids, scores, strict=True))}, depth=k)
    assert [doc_ids[row] for row in rows] == run.doc_ids("q")


@given(st.lists(st.text(max_size=4), unique=True, max_size=30))
def test_places_are_those_of_the_sorted_ids(doc_ids):
    assert [sorted(doc_ids)[place] for place in places(doc_ids)] == doc_ids


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 123, 1000])
def test_numbered_ids_sort_as_strings_without_being_strings(count):
    assert places(RowIds(count)).tolist() == places([str(row) for row in range(count)]).tolist()


def test_a_large_tie_at_the_cut_is_broken_by_id_alone():
    scores = np.ones(100_000, dtype=np.float32)
    scores[500] = 2
    place = np.random.default_rng(0).permutation(100_000)
    rows = topk(scores, place, 3)
    assert rows[0] == 500
    assert place[rows[1:]].tolist() == sorted(np.delete(place, 500).tolist())[-2:][::-1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_without_a_place_is_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        topk(np.array([1.0, bad, 2.0], dtype=np.float32), np.arange(3), 1)


def test_what_scored_nothing_is_no_hit():
    scores = np.array([0.0, 0.5, -0.5, 0.0, 0.5], dtype=np.float32)
    found = hits(scores, np.arange(5), "abcde", 10)
    assert found == (("e", 0.5), ("b", 0.5), ("c", -0.5))
    assert hits(scores, np.arange(5), "abcde", 1) == (("e", 0.5),)
