"""`lotte describe INDEX`, as a person types it: tables, JSON, a picture, and a line where it cannot be."""

import json
import shutil

import pytest
import tiny_checkpoint
from places import TINY

pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")


@pytest.fixture
def topic(tmp_path):
    return shutil.copytree(TINY / "science" / "test", tmp_path / "topic")


@pytest.fixture
def index(typed, topic, tmp_path):
    checkpoint = tiny_checkpoint.write(tmp_path / "checkpoint", dim=32)
    done = typed("index", topic, "--retriever", "colbertv2", "-o", f"checkpoint={checkpoint}", "--out", tmp_path / "index")
    assert done.returncode == 0, done.stderr
    return tmp_path / "index"


def test_three_tables_are_printed(typed, index):
    done = typed("describe", index, "--examples", 3)
    assert (done.returncode, done.stderr) == (0, "")
    counts, spread, examples = done.stdout.split("\n\n")
    assert counts.startswith("documents\ttokens\tdistinct_tokens\tclusters\t")
    assert [line.split("\t")[:2] for line in spread.splitlines()[1:]] == [
        [vectors, what]
        for vectors in ("index", "random")
        for what in (
            "distinct tokens per cluster",
            "distinct tokens per cluster, without the most frequent",
            "clusters per token",
        )
    ]
    assert examples.splitlines()[0] == "cluster\ttokens\tdistinct\tmost" and len(examples.splitlines()) == 4


def test_json_is_an_object_a_line(typed, index):
    rows = [json.loads(line) for line in typed("describe", index, "--json", "--examples", 2).stdout.splitlines()]
    assert len(rows) == 1 + 6 + 2
    assert rows[-1]["most"][0].keys() == {"token", "here", "in_all"}


def test_the_picture_is_drawn(typed, index, tmp_path):
    done = typed("describe", index, "--plot", tmp_path / "clusters.svg")
    assert (done.returncode, done.stderr) == (0, f"{tmp_path / 'clusters.svg'}: Figure 2\n")
    assert (tmp_path / "clusters.svg").read_bytes().startswith(b"<?xml")


def test_texts_that_are_gone_are_one_line(typed, index, topic):
    shutil.rmtree(topic)
    done = typed("describe", index)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {index}: its collection is missing or has changed, but the tokens of a cluster are read from "
        "the documents; put the collection back, or build the index again\n"
    )


def test_an_index_of_another_kind_is_one_line(typed, topic, tmp_path):
    typed("index", topic, "--retriever", "bm25", "--out", tmp_path / "words")
    done = typed("describe", tmp_path / "words")
    assert done.stderr == f"error: {tmp_path / 'words'} is an index of bm25, which has no clusters\n"


def test_an_ending_that_is_no_picture_is_told_before_documents_are_read(typed, index, tmp_path):
    done = typed("describe", index, "--plot", tmp_path / "x.gif")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: --plot takes a file that ends in .png, .svg or .pdf, not 'x.gif'\n"
