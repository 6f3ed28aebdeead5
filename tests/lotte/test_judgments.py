"""Grades and pairs: what judgments may say, whatever file they stand in."""

import json

import pytest

from leaderboard.evaluate import Order, evaluate, rescore
from leaderboard.measure import Success, nDCG, scores
from lotte import reading
from lotte.dataset import Dataset, Doc, Docs
from lotte.errors import CorruptFileError, MismatchError
from lotte.judgments import LARGEST, Judgments, grade
from lotte.run import Run
from retrievers.systems.overlap import retriever


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("3", 3), ("12", 12), ("+2", 2), ("1.0", 1), ("2.", 2), ("007", 7), ("-1", 0), ("-2.0", 0), ("-" + "9" * 5000, 0),
     (str(LARGEST), LARGEST)],
)  # fmt: skip
def test_a_whole_number_is_a_grade_and_below_zero_is_zero(text, value):
    assert grade(text, "f:1") == value


@pytest.mark.parametrize("text", ["", "x", "1.5", "1e2", "1_0", "\u0661", "nan", "inf", "0x1", "--1", " 1", "True"])
def test_anything_else_is_none(text):
    with pytest.raises(CorruptFileError, match=r"^f:1: relevance .* is not a whole number$"):
        grade(text, "f:1")


@pytest.mark.parametrize("text", [str(LARGEST + 1), "2147483648", "1" + "0" * 30, "9" * 5000])
def test_a_grade_that_trec_eval_would_misread_is_refused(text):
    with pytest.raises(CorruptFileError, match=r"^f:1: relevance .* is above 100,000, the largest that is scored"):
        grade(text, "f:1")


def test_the_largest_grade_is_scored_as_it_is():
    run = Run.of({"q": {"a": 2.0, "b": 1.0}}, depth=9)
    found = scores(run, {"q": {"a": 1, "b": LARGEST}}, [Success @ 5, nDCG @ 10])
    assert found[Success @ 5] == {"q": 1.0}
    assert found[nDCG @ 10]["q"] == pytest.approx((1 + LARGEST / 1.5849625) / (LARGEST + 1 / 1.5849625))


def test_a_larger_one_from_python_never_reaches_trec_eval():
    with pytest.raises(MismatchError, match="a relevance of 2147483648 is above 100,000"):
        scores(Run.of({"q": {"a": 1.0}}, depth=9), {"q": {"a": 1 << 31}}, [nDCG @ 10])


def test_a_pair_that_contradicts_itself_is_refused():
    judged = Judgments()
    judged.add("q", "d", 1, "f:1")
    with pytest.raises(CorruptFileError) as raised:
        judged.add("q", "d", 0, "f:2")
    assert str(raised.value) == (
        "f:2: query 'q' and document 'd' are judged a second time, 0 here and 1 before; leave one of the two out"
    )


def test_a_pair_that_repeats_itself_is_counted():
    judged = Judgments()
    for line in range(1, 5):
        judged.add("q", "d", 1, f"f:{line}")
    assert judged == {"q": {"d": 1}}
    assert judged.notes() == ("f:2: a pair is judged a second time with the same relevance, 3 in all",)


def colbert(folder, qrels):
    folder.mkdir()
    (folder / "collection.tsv").write_text("0\tred\n1\tblue\n")
    (folder / "queries.test.tsv").write_text("q\tred\n")
    (folder / "qrels.test.tsv").write_text(qrels)


def beir(folder, qrels):
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "0", "text": "red"}\n{"_id": "1", "text": "blue"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "red"}\n')
    (folder / "qrels" / "test.tsv").write_text(qrels.replace("\t0\t", "\t", 1).replace("\nq\t0\t", "\nq\t"))


@pytest.mark.parametrize("layout", [colbert, beir])
def test_every_layout_refuses_a_contradiction_with_its_line(layout, tmp_path):
    layout(tmp_path / "set", "q\t0\t1\t1\nq\t0\t1\t2\n")
    with pytest.raises(CorruptFileError, match=r"test.tsv:2: query 'q' and document '1' are judged a second time, 2 here"):
        reading.read(tmp_path / "set")


@pytest.mark.parametrize("layout", [colbert, beir])
def test_every_layout_refuses_a_grade_without_end(layout, tmp_path):
    layout(tmp_path / "set", f"q\t0\t1\t{'9' * 5000}\n")
    with pytest.raises(CorruptFileError, match=r"test.tsv:1: relevance '99.* is above 100,000"):
        reading.read(tmp_path / "set")


@pytest.mark.parametrize("layout", [colbert, beir])
def test_whoever_scores_is_told_of_repeated_judgments(layout, tmp_path):
    layout(tmp_path / "set", "q\t0\t1\t1\nq\t0\t1\t1\n")
    said = []
    order = Order(out=tmp_path / "out", say=said.append)
    (result,) = evaluate("overlap", retriever(), reading.read(tmp_path / "set"), order)
    assert result.dataset.counts["judgments"] == 1
    assert [line for line in said if "a pair is judged a second time with the same relevance, 1 in all" in line]


def test_an_answer_of_lotte_that_is_named_twice_is_counted(tmp_path):
    topic = tmp_path / "a" / "test"
    topic.mkdir(parents=True)
    (topic / "collection.tsv").write_text("0\tred\n1\tblue\n")
    (topic / "questions.forum.tsv").write_text("0\tred\n")
    (topic / "qas.forum.jsonl").write_text(json.dumps({"qid": 0, "query": "red", "answer_pids": [0, 1, 0]}) + "\n")
    (found,) = reading.read(topic)
    assert found.qrels == {"0": {"0": 1, "1": 1}}
    assert found.notes == (f"{topic / 'qas.forum.jsonl'}:1: a pair is judged a second time with the same relevance, 1 in all",)


# documents that have their query's own id


def numbered(folder, qrels):
    """Three documents and three queries that are numbered alike, in BEIR's layout."""
    (folder / "qrels").mkdir(parents=True)
    words = ("red", "blue", "green")
    for name in ("corpus", "queries"):
        rows = [{"_id": str(number), "text": f"{word} all"} for number, word in enumerate(words)]
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def scored(folder, tmp_path):
    said = []
    (result,) = evaluate("overlap", retriever(), reading.read(folder), Order(out=tmp_path / "out", say=said.append))
    return result, said


def test_in_a_folder_of_ones_own_equal_numbers_mean_nothing(tmp_path):
    folder = numbered(tmp_path / "mine", "0\t0\t1\n1\t1\t1\n2\t2\t1\n")
    result, said = scored(folder, tmp_path)
    assert result.mean("nDCG@10") == 1 and not said


def test_an_unjudged_document_of_the_querys_own_id_is_kept_and_said(tmp_path):
    folder = numbered(tmp_path / "mine", "0\t1\t1\n")
    result, said = scored(folder, tmp_path)
    assert 0 < result.mean("nDCG@10") < 1
    assert said == [
        "beir/mine: in 1 rankings the document with its query's own id was kept: BEIR's code leaves it out, which is right "
        "where queries are documents too"
    ]


def test_in_a_published_set_it_is_left_out_and_said(tmp_path):
    folder = numbered(tmp_path / "arguana", "0\t2\t1\n")
    result, said = scored(folder, tmp_path)
    assert result.mean("nDCG@10") == 1
    assert said == ["beir/arguana: in 1 rankings the document with its query's own id was left out, as BEIR does"]


def test_what_is_judged_relevant_is_never_left_out(tmp_path):
    folder = numbered(tmp_path / "arguana", "0\t0\t1\n")
    result, said = scored(folder, tmp_path)
    assert result.mean("nDCG@10") == 1 and not said


# answers that are not there


def asked(qrels):
    return Dataset(
        name="mine", corpus=Docs((Doc("1", "red"), Doc("2", "blue"))), queries={"q": "red"}, qrels=qrels, measure="nDCG@10"
    )


def test_answers_that_the_collection_lacks_are_counted(tmp_path):
    said = []
    order = Order(out=tmp_path / "out", say=said.append)
    list(evaluate("overlap", retriever(), [asked({"q": {"1": 1, "9": 1}})], order))
    assert said == ["1 of the 2 relevant documents of mine are not in its collection, so no query can find them; the first is '9'"]


def test_judgments_of_other_ids_altogether_are_refused_before_anything_is_indexed(tmp_path):
    order = Order(out=tmp_path / "out", index=tmp_path / "index")
    with pytest.raises(MismatchError) as raised:
        list(evaluate("overlap", retriever(), [asked({"q": {"1.0": 1, "2.0": 2}})], order))
    assert str(raised.value) == (
        "2 of the 2 relevant documents of mine are not in its collection; the first is '1.0', and the first document '1'. "
        "Judgments and documents must have the same ids."
    )
    assert not (tmp_path / "index").exists()


def test_the_same_is_said_of_a_ranking_that_somebody_else_made(tmp_path):
    path = tmp_path / "run.trec"
    path.write_text("q Q0 1 1 1.0 t\n")
    with pytest.raises(MismatchError, match="relevant documents of mine are not in its collection"):
        rescore(path, "theirs", asked({"q": {"1.0": 1}}), Order(out=tmp_path / "out"))
