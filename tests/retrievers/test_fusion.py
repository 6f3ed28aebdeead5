"""Rankings made one: each formula by hand, and the whole system through the command."""

import json

import pytest
from command import error, lotte
from hypothesis import given
from hypothesis import strategies as st
from places import TINY

from lotte import Run
from lotte.errors import LotteError
from retrievers import load
from retrievers.fusion import METHODS, add_scores, convex, fuse, reciprocal_ranks

SPARSE, DENSE = {"a": 9.0, "b": 5.0, "c": 1.0}, {"c": 0.9, "d": 0.5}
LISTS = st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-9, 9, width=32), max_size=6), min_size=2, max_size=3)


def test_a_document_that_a_run_lacks_has_the_least_score_of_that_run():
    found = add_scores([SPARSE, DENSE], [0.1, 1.0])
    assert found == pytest.approx({"a": 0.9 + 0.5, "b": 0.5 + 0.5, "c": 0.1 + 0.9, "d": 0.1 + 0.5})


def test_the_least_score_of_an_empty_run_is_0():
    assert add_scores([SPARSE, {}], [1.0, 1.0]) == SPARSE


def test_a_true_score_of_0_is_a_score():
    assert add_scores([{"a": 0.0, "b": -2.0}, {"b": 1.0}], [1.0, 1.0]) == {"a": 1.0, "b": -1.0}


def test_reciprocal_ranks_are_those_of_the_paper():
    found = reciprocal_ranks([SPARSE, DENSE], [1.0, 1.0])
    assert found == pytest.approx({"a": 1 / 61, "b": 1 / 62, "c": 1 / 63 + 1 / 61, "d": 1 / 62})


def test_a_convex_combination_scales_each_run_from_0_to_1():
    assert convex([SPARSE, DENSE], [1.0, 3.0]) == pytest.approx({"a": 0.25, "b": 0.125, "c": 0.75, "d": 0.0})


def test_a_run_of_equal_scores_is_worth_1():
    assert convex([{"a": 2.0, "b": 2.0}, {}], [1.0, 1.0]) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize("method", METHODS)
@given(lists=LISTS)
def test_all_that_one_run_has_is_in_the_ranking_and_nothing_else(method, lists):
    runs = [Run.of({"q": scores}, depth=9) for scores in lists]
    assert set(fuse(runs, method, [1.0] * len(runs), k=99).doc_ids("q")) == {doc_id for scores in lists for doc_id in scores}


@pytest.mark.parametrize("method", METHODS)
@given(lists=LISTS)
def test_the_order_of_the_runs_does_not_matter(method, lists):
    runs = [Run.of({"q": scores}, depth=9) for scores in lists]
    there, back = (fuse(order, method, [1.0] * len(runs), k=99).hits["q"] for order in (runs, runs[::-1]))
    assert {hit.doc_id: hit.score for hit in there} == pytest.approx({hit.doc_id: hit.score for hit in back}, abs=1e-5)


@pytest.mark.parametrize(
    "options, said",
    [
        (["of=bm25"], "of must name two or more systems"),
        (["of=bm25+overlap", "method=best"], "method must be one of rrf, convex, scores, not 'best'"),
        (["of=bm25+overlap", "weights=1"], "weights must be 2 numbers"),
        (["of=bm25+overlap", "weights=1,nan"], "weights must be numbers of 0 or more"),
        (["of=bm25+overlap", "weights=0,0"], "weights must be numbers of 0 or more, not all 0"),
        (["of=bm25+overlap", "depth=0"], "depth must be 1 or more"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(options, said):
    with pytest.raises(LotteError, match=said):
        load("hybrid", options)


@pytest.mark.parametrize(
    "options, weights",
    [
        (["of=bm25+overlap"], [1, 1]),
        (["of=bm25+colbertv2(checkpoint=shipped)"], [0.2, 0.8]),
        (["of=bm25+colbertv2(checkpoint=shipped)+overlap"], [0.1, 0.8, 0.1]),
        (["of=bm25+colbertv2(checkpoint=shipped)", "method=rrf"], [1, 1]),
        (["of=bm25+colbertv2(checkpoint=shipped)", "weights=1,3"], [1, 3]),
    ],
)
def test_words_have_a_share_of_the_weights_that_nobody_gives(options, weights):
    assert load("hybrid", options).numbers == pytest.approx(weights)


def test_a_record_shows_every_stage_and_what_it_cost(tmp_path):
    science = TINY / "science" / "test"
    done = lotte("eval", str(science), "--retriever", "hybrid", "-o", "of=bm25+overlap", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    record = json.loads(next((tmp_path / "out").rglob("*search.json")).read_text())
    stages = record["retriever"]["search"]["stages"]
    assert [stage["stage"] for stage in stages] == ["bm25", "overlap"]
    assert all(stage["milliseconds_a_query"] > 0 for stage in stages)


def test_a_system_that_is_not_there_is_told_by_the_command(tmp_path):
    line = error("eval", TINY / "science" / "test", "--retriever", "hybrid", "-o", "of=bm25+bm52", "--out", tmp_path)
    assert "'bm52' is neither a system nor a ranking file" in line
