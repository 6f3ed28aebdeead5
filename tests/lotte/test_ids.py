"""What is an id, in every file that has them: one rule, applied before any work is done."""

import json

import pytest

from leaderboard.evaluate import Order, evaluate
from lotte import reading
from lotte.collection import OwnIds, RowIds
from lotte.errors import CorruptFileError, LotteError
from retrievers.systems.overlap import retriever

ODD = {"a blank": "d 1", "no-break": "d\u00a01", "mark": "d\ufeff1", "return": "d\r1", "line": "d\u20281", "escape": "d\x1b1",
       "nul": "d\x001", "c1": "d\x851", "nothing": ""}  # fmt: skip


def beir(folder, doc_id="d1", query_id="q1", judged=None):
    """A set of two documents in BEIR's layout; ids are written as JSON has them."""
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": doc_id, "text": "red wing"}, {"_id": "other", "text": "blue"}]
    (folder / "corpus.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": query_id, "text": "red"}) + "\n")
    (folder / "qrels" / "test.tsv").write_text(
        f"query-id\tcorpus-id\tscore\n{query_id}\t{doc_id if judged is None else judged}\t1\n", newline=""
    )
    return folder


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_document_id_is_refused_with_its_line_before_anything_is_indexed(odd, tmp_path):
    folder = beir(tmp_path / "set", doc_id=odd, judged="other")
    order = Order(out=tmp_path / "out", index=tmp_path / "index")
    with pytest.raises(CorruptFileError, match=r"corpus.jsonl:1: the document id .* an id is one word"):
        list(evaluate("overlap", retriever(), reading.read(folder), order))
    assert not (tmp_path / "index").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_query_id_is_refused_with_its_line(odd, tmp_path):
    with pytest.raises(CorruptFileError, match=r"queries.jsonl:1: the query id .* an id is one word"):
        reading.read(beir(tmp_path / "set", query_id=odd))


@pytest.mark.parametrize("odd", ["d 1", "d\u00a01", "\ufeffd1"])
def test_an_odd_id_in_judgments_is_refused_with_its_line(odd, tmp_path):
    with pytest.raises(CorruptFileError, match=r"test.tsv:2: the document id"):
        reading.read(beir(tmp_path / "set", judged=odd))


@pytest.mark.parametrize("odd", ["d 1", "d\u00a01", "d\r1", "d\x1b[2J"])
def test_an_odd_id_in_a_table_of_documents_is_refused_with_its_line(odd, tmp_path):
    path = tmp_path / "more.tsv"
    path.write_text(f"good\ttext\n{odd}\ttext\n", newline="")
    with pytest.raises(CorruptFileError, match=r"more.tsv:2: the document id"):
        OwnIds(path)


@pytest.mark.parametrize("odd", ["q 1", "q\u00a01", ""])
def test_an_odd_id_in_a_table_of_questions_is_refused_with_its_line(odd, tmp_path):
    (tmp_path / "collection.tsv").write_text("0\ttext\n")
    (tmp_path / "queries.test.tsv").write_text(f"q0\tasked\n{odd}\tasked\n")
    (tmp_path / "qrels.test.tsv").write_text("q0\t0\t0\t1\n")
    with pytest.raises(CorruptFileError, match=r"queries.test.tsv:2: the query id"):
        reading.read(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_id(tmp_path):
    path = tmp_path / "more.tsv"
    path.write_bytes(b"\xef\xbb\xbfa\tred\r\nb\tblue\r\n")
    assert [*OwnIds(path)] == [("a", "red"), ("b", "blue")]


def test_a_byte_order_mark_in_front_of_a_collection_changes_nothing(tmp_path):
    (tmp_path / "collection.tsv").write_bytes(b"\xef\xbb\xbf0\tred\n1\tblue\n")
    assert [doc.text for doc in reading.read_corpus(tmp_path)] == ["red", "blue"]


def test_integers_are_ids_as_they_are_written(tmp_path):
    (found,) = reading.read(beir(tmp_path / "set", doc_id=12, query_id=7))
    assert (list(found.corpus.doc_ids), found.queries, found.qrels) == (["12", "other"], {"7": "red"}, {"7": {"12": 1}})


@pytest.mark.parametrize("odd", [True, 1.5, None, ["a"]])
def test_what_is_neither_text_nor_integer_is_no_id(odd, tmp_path):
    with pytest.raises(LotteError, match="must be a string or an integer"):
        reading.read(beir(tmp_path / "set", query_id=odd))


def test_ids_of_other_words_are_what_they_are(tmp_path):
    for number, doc_id in enumerate(["doi:10.1/x#1", "größe", "猫", "a\u200bb", "..", "#x", "-", "x" * 5000]):
        (found,) = reading.read(beir(tmp_path / str(number), doc_id=doc_id))
        assert found.corpus.doc_ids[0] == doc_id


@pytest.mark.parametrize("doc_id", ["9" * 5000, "3", "01", "-0", "+1", "1_0", "\u0661", " 1", "", "1.0"])
def test_a_number_that_no_row_has_is_no_document(doc_id):
    assert doc_id not in RowIds(3)


def test_a_ranking_with_lone_carriage_returns_is_refused_and_not_read_as_one_line(tmp_path):
    from lotte import ranking

    path = tmp_path / "mac.trec"
    path.write_text("q Q0 a 1 2.0 t\rq Q0 b 2 1.0 t\r", newline="")
    with pytest.raises(CorruptFileError, match=r"mac.trec:1: a carriage return within the line"):
        ranking.read(path, ["q"], ["a", "b"])
