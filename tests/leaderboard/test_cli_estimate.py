"""`--estimate` of build, index, eval and train: it only says, and leaves nothing behind."""

import json

import pytest
from command import error, lotte
from places import DUMPS, GOOAQ, SPEC, TINY

SCIENCE = TINY / "science" / "test"
KEYS = {"step", "time", "seconds", "memory_mb", "disk_mb", "scratch_mb"}


def estimated(*words, out, **variables):
    """Return the lines of a command with --estimate; they are whole, and nothing was written."""
    done = lotte(*words, "--out", out, "--estimate", "--json", **variables)
    assert done.returncode == 0, done.stderr
    assert not out.exists()
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(line.keys() == KEYS and line["seconds"] > 0 and line["memory_mb"] > 0 for line in lines[-1:])
    return lines


def test_a_build_says_what_it_takes(tmp_path):
    words = ("build", "--dumps", DUMPS, "--gooaq", GOOAQ, "--spec", SPEC)
    assert [line["step"] for line in estimated(*words, out=tmp_path / "out")] == ["build", "gooaq", "total"]


def test_a_build_without_its_dumps_says_which_it_lacks(tmp_path):
    (tmp_path / "dumps").mkdir()
    words = ("build", "--dumps", tmp_path / "dumps", "--spec", SPEC, "--out", tmp_path / "out", "--estimate")
    assert "lacks" in error(*words)


@pytest.mark.parametrize("retriever", [("bm25",), ("colbertv2", "-o", "checkpoint=shipped")])
def test_an_index_says_what_it_takes(tmp_path, retriever):
    lines = estimated("index", "--retriever", *retriever, SCIENCE, out=tmp_path / "out")
    assert [line["step"] for line in lines] == ["index"]


def test_an_evaluation_says_what_each_dataset_takes(tmp_path):
    lines = estimated("eval", "--retriever", "bm25", SCIENCE, out=tmp_path / "out")
    names = [f"lotte/science/test/{kind}" for kind in ("search", "forum")]
    assert [line["step"] for line in lines] == [f"index {names[0]}", *names, "total"]


def test_estimates_and_changes_do_not_go_together(tmp_path):
    said = error("index", "--retriever", "bm25", SCIENCE, "--out", tmp_path / "out", "--delete", "1", "--estimate")
    assert said == "--estimate is about indexing a dataset; leave out --add, --delete and --collection"


def test_an_estimate_of_somebodys_ranking_is_one_line(tmp_path):
    assert error("eval", "--run", tmp_path / "run.trec", SCIENCE, "--estimate") == (
        "--estimate is about running a retriever, and --run is a ranking that is there already"
    )
