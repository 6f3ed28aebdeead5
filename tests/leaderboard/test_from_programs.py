"""What programs hand in, by way of pandas or by hand: the right number, or an error that says what is wrong."""

from pathlib import Path

import numpy as np
import pytest
from places import TINY

import lotte
import retrievers
from leaderboard.evaluate import Order, evaluate
from leaderboard.measure import AP, MRR, P, scores
from lotte import Dataset, Doc, Docs, Hit, Run
from lotte.dataset import corpus_sha256, qrels_sha256
from lotte.errors import CorruptFileError, MismatchError

DOCS = Docs((Doc("a", "salt water"), Doc("b", "cold air"), Doc("c", "warm air")))
ODD_DOCS = [Doc("a", None), Doc("a", float("nan")), Doc(7, "text"), Doc(np.int64(7), "text"), Doc(None, "text"),
            Doc("a", b"text"), ("a", "text"), {"doc_id": "a", "text": "text"}]  # fmt: skip


def dataset(queries=None, qrels=None, docs=DOCS):
    return Dataset(
        name="mine/test", corpus=docs, queries=queries or {"q": "salt"}, qrels=qrels or {"q": {"a": 1}}, measure="MRR@10"
    )


@pytest.mark.parametrize("odd", ODD_DOCS, ids=repr)
def test_a_document_that_is_no_pair_of_texts_is_named_by_its_row(odd):
    with pytest.raises(TypeError, match="document 1: expected Doc"):
        Docs((Doc("x", "text"), odd))


def test_documents_may_come_one_by_one():
    assert Docs(Doc(str(n), "text") for n in range(3)).doc_ids == ["0", "1", "2"]


def test_ids_of_numpy_are_texts():
    docs = Docs(tuple(Doc(np.str_(doc.doc_id), doc.text) for doc in DOCS))
    assert corpus_sha256(docs) == corpus_sha256(DOCS)


@pytest.mark.parametrize("queries", [{0: "salt"}, {"q": None}, {"q": float("nan")}, {np.int64(1): "salt"}], ids=repr)
def test_a_question_that_is_no_text_is_refused(queries):
    with pytest.raises(TypeError, match="queries: expected text -> text"):
        dataset(queries=queries)


@pytest.mark.parametrize("query_id", ["q 1", "", "q\x1b1"])
def test_a_question_under_an_id_that_is_no_word_is_refused(query_id):
    with pytest.raises(CorruptFileError, match="an id is one word"):
        dataset(queries={query_id: "salt"})


@pytest.mark.parametrize("qrels", [{0: {"a": 1}}, {"q": {0: 1}}, {"q": ["a"]}, {"q": {"a"}}], ids=repr)
def test_judgments_of_another_kind_are_refused(qrels):
    with pytest.raises(TypeError, match=r"qrels.*expected"):
        dataset(qrels=qrels)


@pytest.mark.parametrize("one", [True, 1.0, np.int64(1), np.float32(1), np.uint8(1)], ids=repr)
def test_a_relevance_that_is_a_whole_number_is_that_number(one):
    found = dataset(qrels={"q": {"a": one}})
    assert type(found.qrels["q"]["a"]) is int
    assert qrels_sha256(found.qrels) == qrels_sha256({"q": {"a": 1}})


@pytest.mark.parametrize("odd", [0.5, float("nan"), float("inf"), "1", None], ids=repr)
def test_a_relevance_that_is_no_whole_number_is_refused(odd):
    with pytest.raises(TypeError, match="a relevance must be a whole number"):
        dataset(qrels={"q": {"a": odd}})


@pytest.mark.parametrize("name", ["overlap", "bm25", "rank_bm25"])
def test_two_documents_of_one_id_are_refused_before_anything_is_scored(name, tmp_path):
    twice = dataset(docs=Docs((*DOCS.docs, Doc("a", "another"))))
    with pytest.raises(MismatchError, match="2 documents have the id 'a'"):
        list(evaluate(name, retrievers.load(name), [twice], Order(out=tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_half_a_character_is_a_line():
    with pytest.raises(CorruptFileError, match="an unpaired surrogate"):
        corpus_sha256([Doc("a", "\ud800")])


def hits(*pairs):
    return Run({"q": tuple(Hit(*pair) for pair in pairs)})


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (hits(("b", 0.1), ("a", 0.9)), "not best first"),
        (hits(("b", 0.9), ("a", 0.5), ("a", 0.4)), "occurs twice"),
        (hits(("b", float("nan")), ("a", 0.4)), "NaN or infinite"),
        (hits(("b", float("inf")), ("a", 0.4)), "NaN or infinite"),
        (Run.of_ranks({"q": ["b", "a", "a"]}), "occurs twice"),
    ],
    ids=["order", "twice", "nan", "inf", "ranks"],
)
@pytest.mark.parametrize("measure", [MRR @ 10, AP, P @ 2], ids=str)
def test_hits_that_are_no_ranking_have_no_score(run, message, measure):
    with pytest.raises(MismatchError, match=message):
        scores(run, {"q": {"a": 1}}, [measure])


def test_a_depth_below_0_is_no_depth():
    with pytest.raises(ValueError, match="depth is -1"):
        Run.of({"q": {"a": 1.0, "b": 0.5}}, depth=-1)


@pytest.mark.parametrize("found", [{"a": None}, {"a": "1.0"}, {1: 1.0, "2": 1.0}, {1: 1.0}], ids=repr)
def test_scores_of_another_kind_are_named(found):
    with pytest.raises(TypeError, match="expected scores as text -> number"):
        Run.of({"q": found}, depth=10)


def test_a_folder_and_a_collection_may_be_named_by_a_text():
    folder = Path(TINY) / "science" / "test"
    assert [one.name for one in lotte.read(str(folder))] == [one.name for one in lotte.read(folder)]
    assert list(lotte.Collection(str(folder / "collection.tsv"))) == list(lotte.Collection(folder / "collection.tsv"))
