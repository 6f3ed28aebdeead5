"""`topk` is `topk_reference`, faster: ties go by doc_id, at the cut too."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotte import Hit, Run
from lotte.collection import RowIds
from retrievers.topk import FoundHits, best, places, topk, topk_reference

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
    rows, found = best(scores, np.arange(5), 10)
    assert (rows.tolist(), found.tolist()) == ([4, 1, 2], [0.5, 0.5, -0.5])
    assert best(scores, np.arange(5), 1)[0].tolist() == [4]


@pytest.mark.parametrize("doc_ids", [RowIds(3), ["0", "1", "2"]], ids=["numbers", "texts"])
def test_hits_that_are_made_when_asked_for_are_a_run_like_any_other(doc_ids):
    found = {"q": (np.array([2, 0]), np.array([0.5, 0.25], dtype=np.float32)), "none": (np.zeros(0, int), np.zeros(0, np.float32))}
    hits = FoundHits(found, doc_ids)
    whole = {"q": (Hit("2", 0.5), Hit("0", 0.25)), "none": ()}
    assert (Run(hits), dict(hits), repr(hits)) == (Run(whole), whole, repr(whole))
    assert pickle.loads(pickle.dumps(Run(FoundHits(found, doc_ids)))) == Run(whole)
    assert isinstance(hits["q"][0], Hit) and "other" not in hits
