"""`lotte export`, as a person types it."""

import subprocess
import sys

import pytest
from command import error, lotte
from places import HOUSE, TINY

pytest.importorskip("torch", reason="needs lotte-bench[train]")


def test_the_checkpoint_that_ships_is_written_with_the_lengths_of_its_records(typed, tmp_path):
    done = typed("export", "checkpoint", "shipped", "--out", tmp_path / "out", "--no-onnx", "--results", HOUSE / "results")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'out'}\n", "")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| trained with; what other packages take | 32 | 180 |\n| results on 21 datasets | 32 | 300 |\n" in card


def test_a_checkpoint_that_is_nowhere_is_one_line(tmp_path):
    assert error("export", "checkpoint", "no folder", "--out", tmp_path / "out") == (
        "'no folder' is neither a folder here nor a name on the Hugging Face hub (owner/name)"
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "index"
    words = ("index", "--retriever", "colbertv2", "-o", "checkpoint=shipped", TINY / "science" / "test", "--out", path)
    assert lotte(*words).returncode == 0
    return path


@pytest.mark.parametrize("words", [("export", "index", "{index}", "--to", "parquet"), ("export", "{index}", "--to=parquet"), ("export", "--to", "parquet", "{index}")])
def test_an_index_is_exported_with_or_without_the_word_index(index, tmp_path, words):
    done = lotte(*(word.format(index=index) for word in words), "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'out'}\n")
    assert done.stderr == "4 documents in passages.parquet, in the order of the index; doc_id is yours\n"


def test_an_index_called_index_needs_no_name(index, tmp_path):
    command = [sys.executable, "-m", "leaderboard.cli", "export", "index", "--to", "parquet", "--out", tmp_path / "out"]
    done = subprocess.run(command, cwd=index.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_an_index_that_is_not_there_is_one_line(tmp_path):
    assert error("export", tmp_path / "none", "--to", "parquet", "--out", tmp_path / "out") == (
        f"{tmp_path / 'none'} is not an index, or an incomplete one. Build it with `lotte index`."
    )
