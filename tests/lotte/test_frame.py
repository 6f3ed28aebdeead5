"""Runs and datasets as pandas has them: there, back, and one line for a frame that is none."""

from pathlib import Path

import pytest
from places import TINY

from lotte import Dataset, Doc, Docs, Run, read
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnknownNameError

pandas = pytest.importorskip("pandas", reason="needs lotte-bench[frames]")

RUN = Run.of({"q1": {"a": 2.5, "b": 1.0}, "q2": {"c": 3.0}}, depth=9)
SMALL = Dataset(
    name="mine",
    corpus=Docs((Doc("a", "salt"), Doc("b", "ice"))),
    queries={"q1": "what is salt", "q2": "what is glass"},
    qrels={"q1": {"a": 2, "b": 0}, "q2": {"zz": 1}},
    measure="nDCG@10",
)


def test_a_run_is_a_frame():
    frame = RUN.to_frame()
    assert list(frame.columns) == ["query_id", "doc_id", "rank", "score"]
    assert frame.values.tolist() == [["q1", "a", 1, 2.5], ["q1", "b", 2, 1.0], ["q2", "c", 1, 3.0]]


def test_a_run_comes_back_from_its_frame():
    assert Run.of_frame(RUN.to_frame()) == RUN


def test_queries_that_found_nothing_are_named():
    assert Run.of_frame(RUN.to_frame(), ["q1", "q2", "q3"]).hits["q3"] == ()


def test_ranks_are_the_order_where_there_are_no_scores():
    frame = pandas.DataFrame({"query_id": ["q", "q"], "doc_id": ["b", "a"], "rank": [2, 1]})
    assert Run.of_frame(frame).doc_ids("q") == ["a", "b"]


@pytest.mark.parametrize("names", [("qid", "docno", "score"), ("q_id", "doc_id", "score"), ("query-id", "corpus-id", "score")])
def test_the_names_of_other_tools_are_known(names):
    frame = pandas.DataFrame([["q1", "a", 2.5], ["q1", "b", 1.0], ["q2", "c", 3.0]], columns=list(names))
    assert Run.of_frame(frame) == RUN


def test_ids_that_pandas_took_for_numbers_are_texts():
    frame = pandas.DataFrame({"query_id": [1, 1], "doc_id": [3.0, 4.0], "score": [2, 1]})
    assert Run.of_frame(frame).doc_ids("1") == ["3", "4"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query_id": ["q"], "score": [1.0]}, "the frame has no column doc_id; a run has query_id, doc_id, score, and the frame has query_id, score"),
        ({"query_id": ["q"], "doc_id": ["a"]}, "the frame has no column rank; a run has query_id, doc_id, rank, and the frame has query_id, doc_id"),
        ({}, "the frame has no column query_id; a run has query_id, doc_id, rank, and the frame has none"),
        ({"query_id": ["q"], "doc_id": ["a"], "score": [float("nan")]}, "row 0 of the frame: expected a score that is a number, found nan"),
        ({"query_id": ["q"], "doc_id": ["a"], "score": ["high"]}, "row 0 of the frame: expected a score that is a number, found 'high'"),
        ({"query_id": ["q"], "doc_id": [None], "score": [1.0]}, "row 0 of the frame: expected the id of a document, found None"),
        ({"query_id": [float("nan")], "doc_id": ["a"], "score": [1.0]}, "row 0 of the frame: expected the id of a query, found nan"),
        ({"query_id": ["q", "q"], "doc_id": ["a", "a"], "score": [1.0, 2.0]}, "row 1 of the frame: query 'q' has document 'a' again"),
        ({"query_id": ["q"], "doc_id": ["a"], "score": [1e300]}, "the frame: document 'a' scored 1e+300; a score must be a finite float32"),
    ],
)  # fmt: skip
def test_a_frame_that_is_no_run_is_one_line(columns, message):
    with pytest.raises(MismatchError) as caught:
        Run.of_frame(pandas.DataFrame(columns))
    assert str(caught.value) == message


def test_an_id_with_a_blank_is_one_line():
    with pytest.raises(CorruptFileError, match="row 0 of the frame: the document id 'a b' has ' ' in it"):
        Run.of_frame(pandas.DataFrame({"query_id": ["q"], "doc_id": ["a b"], "score": [1.0]}))


def test_judgments_have_both_texts():
    assert SMALL.to_frame().values.tolist() == [
        ["q1", "what is salt", "a", "salt", 2], ["q1", "what is salt", "b", "ice", 0], ["q2", "what is glass", "zz", "", 1],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("part", "columns", "rows"),
    [("corpus", ["doc_id", "text"], 2), ("queries", ["query_id", "text"], 2), ("qrels", ["query_id", "doc_id", "relevance"], 3)],
)
def test_a_part_is_a_frame(part, columns, rows):
    frame = SMALL.to_frame(part)
    assert (list(frame.columns), len(frame)) == (columns, rows)


def test_another_part_is_one_line():
    with pytest.raises(UnknownNameError, match="no part of a dataset is named 'docs'; there are corpus, judged, qrels, queries"):
        SMALL.to_frame("docs")


def test_texts_of_numbered_passages_are_found():
    (forum,) = read(TINY / "science" / "test" / "forum")
    frame = forum.to_frame()
    assert set(frame.doc_id) <= set(forum.corpus.doc_ids) and all(frame.text == [forum.corpus[int(one)].text for one in frame.doc_id])


def test_a_dataset_comes_back_from_its_frames():
    again = Dataset.of_frames(SMALL.to_frame("corpus"), SMALL.to_frame("queries"), SMALL.to_frame("qrels"), name="mine")
    assert (again.corpus, again.queries, again.qrels) == (SMALL.corpus, SMALL.queries, SMALL.qrels)


def test_a_title_is_joined_in_front_of_its_text():
    corpus = pandas.DataFrame({"_id": ["a"], "title": ["Salt"], "text": ["melts ice"]})
    again = Dataset.of_frames(corpus, SMALL.to_frame("queries"), SMALL.to_frame("qrels"), name="mine")
    assert again.corpus[0] == Doc("a", "Salt melts ice")


@pytest.mark.parametrize(
    ("part", "column", "value", "message"),
    [
        ("corpus", "text", float("nan"), "row 0 of the frame: expected a text, found nan"),
        ("queries", "text", 7, "row 0 of the frame: expected a text, found 7"),
        ("qrels", "relevance", 0.5, "row 0 of the frame: relevance 0.5 is not a whole number"),
    ],
)
def test_a_cell_that_cannot_be_is_one_line(part, column, value, message):
    frames = {name: SMALL.to_frame(name) for name in ("corpus", "queries", "qrels")}
    frames[part][column] = [value, *frames[part][column][1:]]
    with pytest.raises(LotteError) as caught:
        Dataset.of_frames(*frames.values(), name="mine")
    assert str(caught.value) == message


def test_a_dataset_is_three_tables_of_hugging_face():
    pytest.importorskip("datasets", reason="needs lotte-bench[data]")
    made = SMALL.to_datasets()
    assert {name: table.column_names for name, table in made.items()} == {
        "corpus": ["_id", "title", "text"], "queries": ["_id", "text"], "qrels": ["query-id", "corpus-id", "score"],
    }  # fmt: skip
    assert made["qrels"][0] == {"query-id": "q1", "corpus-id": "a", "score": 2}


def test_types_are_shipped():
    import leaderboard
    import lotte
    import retrievers

    assert all((Path(room.__file__).parent / "py.typed").exists() for room in (lotte, retrievers, leaderboard))


@pytest.mark.parametrize("room", ["lotte", "retrievers", "leaderboard"])
def test_what_is_public_is_there_and_says_what_it_is(room):
    from importlib import import_module

    module = import_module(room)
    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
