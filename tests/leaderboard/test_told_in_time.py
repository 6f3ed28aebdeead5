"""Commands on files and options that look almost right: a wrong number is refused or said, and nobody's file is lost."""

import gzip
import json
import os

import pytest

from leaderboard import mteb
from lotte import LotteError, reading
from lotte.errors import CorruptFileError, UnavailableError, UnknownNameError, unknown
from lotte.lines import lines
from lotte.ranking import read
from retrievers import index_folder, load, registry
from retrievers.texts import IndexTexts

SCIENCE = "lotte/science/test/search"


@pytest.mark.parametrize("end", ["\v", "\f", "\x1e", "\x85", "\u2028", "\r"], ids=ascii)
@pytest.mark.parametrize("tag", [" mine", ""], ids=["tag", "no tag"])
def test_a_row_of_a_run_that_hangs_on_another_is_refused(end, tag, tmp_path):
    path = tmp_path / "joined.trec"
    path.write_text(f"q Q0 a 1 2.0{tag}{end}q Q0 b 2 1.0 mine\n", newline="")
    with pytest.raises(CorruptFileError, match=r"joined\.trec:1: a (line break|carriage return) within the line"):
        read(path, ["q"], ["a", "b"])


def test_a_break_at_the_end_of_a_row_loses_nothing(tmp_path):
    path = tmp_path / "feeds.trec"
    path.write_text("q Q0 a 1 2.0 mine\f\nq Q0 b 2 1.0 mine\f\n", newline="")
    assert read(path, ["q"], ["a", "b"]).doc_ids("q") == ["a", "b"]


@pytest.mark.parametrize("title", [0, False, [], {}, ""], ids=repr)
def test_a_title_is_a_text_or_none(title, tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "d", "title": title, "text": "ice"}) + "\n")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "ice"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    (dataset,) = reading.read(tmp_path)
    if title == "" and isinstance(title, str):
        assert dataset.corpus[0].text == "ice"
        return
    with pytest.raises(CorruptFileError, match=r"corpus\.jsonl:1: 'title' must be a string"):
        list(dataset.corpus)


@pytest.mark.parametrize("text", ["1_2", "\u0661", " 1", "1\n"], ids=ascii)
@pytest.mark.parametrize(("name", "key"), [("bm25", "k1"), ("colbertv2", "bits")])
def test_a_number_on_the_command_line_is_written_as_everywhere(name, key, text):
    with pytest.raises(LotteError, match=f"{name}: {key} takes"):
        registry.read_options(name, [f"{key}={text}"])


def test_no_list_is_named_that_there_is_not():
    with pytest.raises(UnknownNameError, match=r"no device is named 'gpu'; did you mean 'cpu'\? there are auto, cpu"):
        raise unknown("device", "gpu", ["cpu", "auto"])


def test_measures_below_the_depth_of_a_ranking_are_said(typed, tmp_path):
    done = typed("eval", "--retriever", "overlap", SCIENCE, "--k", 2, "--measure", "R@3", "--out", tmp_path)
    assert done.stderr == f"{SCIENCE}: rankings are 2 deep, so Success@5, R@3 cannot count more than that\n"


def test_nothing_is_said_of_a_depth_that_takes_in_the_whole_collection(typed, tmp_path):
    done = typed("eval", "--retriever", "overlap", SCIENCE, "--k", 4, "--measure", "R@100", "--out", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", ["my notes", '{"mine": 1}', "[]"])
def test_a_file_that_is_no_record_is_not_written_over(typed, text, tmp_path):
    mine = tmp_path / "overlap" / f"{SCIENCE}.json"
    mine.parent.mkdir(parents=True)
    mine.write_text(text)
    done = typed("eval", "--retriever", "overlap", SCIENCE, "--out", tmp_path)
    assert (done.returncode, mine.read_text()) == (1, text)
    assert done.stderr == f"error: {mine} exists and is not a record; move it, or choose another --out\n"


@pytest.mark.parametrize("ending", [".trec", ".trec.gz"])
def test_a_run_of_another_system_is_not_written_over(typed, ending, tmp_path):
    theirs = tmp_path / "overlap" / f"{SCIENCE}{ending}"
    theirs.parent.mkdir(parents=True)
    line = b"1 Q0 2 1 9.5 theirs\n"
    theirs.write_bytes(kept := gzip.compress(line) if ending.endswith(".gz") else line)
    done = typed("eval", "--retriever", "overlap", SCIENCE, "--out", tmp_path)
    assert (done.returncode, theirs.read_bytes()) == (1, kept)
    assert done.stderr == (
        f"error: {theirs} exists and is not a run of overlap: its first line ends in 'theirs'; move it, or choose "
        "another --out\n"
    )


def test_a_ranking_that_is_scored_where_its_record_would_stand_is_kept(typed, tmp_path):
    theirs = tmp_path / "overlap" / f"{SCIENCE}.trec"
    theirs.parent.mkdir(parents=True)
    theirs.write_text(kept := "1 Q0 2 1 9.5 theirs\n")
    done = typed("eval", "--run", theirs, "--retriever", "overlap", SCIENCE, "--out", tmp_path)
    assert (done.returncode, theirs.read_text()) == (1, kept)


def test_a_run_without_its_record_is_written_anew_where_the_same_system_made_it(typed, tmp_path):
    """A kill between the two renames leaves it."""
    assert typed("eval", "--retriever", "overlap", SCIENCE, "--out", tmp_path).returncode == 0
    record = tmp_path / "overlap" / f"{SCIENCE}.json"
    record.unlink()
    assert typed("eval", "--retriever", "overlap", SCIENCE, "--out", tmp_path).returncode == 0
    assert record.is_file()


@pytest.mark.parametrize("harm", [lambda text: text[:-40], lambda text: text.replace("0", "1"), lambda text: "", lambda text: "\0" * 99])
def test_a_damaged_record_is_written_anew(typed, harm, tmp_path):
    record = tmp_path / "overlap" / f"{SCIENCE}.json"
    assert typed("eval", "--retriever", "overlap", SCIENCE, "--out", tmp_path).returncode == 0
    record.write_text(harm(record.read_text()))
    assert typed("eval", "--retriever", "overlap", SCIENCE, "--out", tmp_path).returncode == 0
    assert json.loads(record.read_text())["schema"] == "lotte-result/1"


def test_a_folder_in_place_of_a_file_is_called_one(tmp_path):
    with pytest.raises(UnavailableError, match="is a folder, but a file is needed"):
        next(lines(tmp_path))


def test_a_file_that_is_not_there_is_called_so(tmp_path):
    with pytest.raises(UnavailableError, match="none is not there"):
        next(lines(tmp_path / "none"))


def test_a_pipe_in_place_of_a_file_is_called_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnavailableError, match="is a pipe or a device"):
        next(lines(tmp_path / "pipe"))


def test_two_scores_of_one_dataset_are_refused_and_neither_is_taken(tmp_path):
    entry = {"hf_subset": "default", "main_score": 0.5, "ndcg_at_10": 0.5}
    path = tmp_path / "SciFact.json"
    path.write_text(json.dumps({"task_name": "SciFact", "scores": {"test": [entry, {**entry, "ndcg_at_10": 0.7}]}}))
    with pytest.raises(CorruptFileError, match="has two scores of beir/scifact"):
        mteb.read(path)


@pytest.fixture
def index(tmp_path):
    (tmp_path / "collection.tsv").write_text("0\tred ice\n1\tblue ice\n")
    load("bm25").index(reading.read_corpus(tmp_path / "collection.tsv"), tmp_path / "index")
    return index_folder.read(tmp_path / "index")


def said_of(found, path):
    """What is said where an index says that its collection is at this path."""
    source = {**found.meta["sources"][0], "path": str(path), "size": 0, "mtime_ns": 0}
    meta = {**found.meta, "sources": [source], "corpus": {**found.meta["corpus"], "path": str(path)}}
    said: list[str] = []
    IndexTexts(index_folder.IndexFolder(found.path, meta, found.doc_ids), said.append)
    return said


def test_a_file_without_a_length_is_not_read_because_an_index_names_it(index, tmp_path, monkeypatch):
    (tmp_path / "endless").touch()
    monkeypatch.setattr("lotte.artifact.sha256", lambda path: pytest.fail(f"{path} was read"))
    assert said_of(index, tmp_path / "endless") == [f"no texts: the collection of {index.path} is no longer at "
                                                    f"{tmp_path / 'endless'}"]  # fmt: skip


def test_a_long_path_that_an_index_names_is_cut(index):
    (line,) = said_of(index, "a" * 100_000)
    assert len(line) < 600


@pytest.mark.parametrize(("numbers", "message"), [([], "no segments"), ([0, 0], "segments have the numbers")])
def test_an_index_without_segments_or_with_one_twice_is_a_line(numbers, message):
    from retrievers.colbert.index.meta import IndexMeta

    part = {"documents": 1, "tokens": 1, "distance": 0.0, "doc_ids": "doc_ids.txt", "paths": []}
    with pytest.raises(CorruptFileError, match=rf"meta\.json: {message}"):
        IndexMeta.parse({"segments": [{"number": number, **part} for number in numbers]})
