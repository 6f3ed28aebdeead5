"""`lotte export`, as a person types it."""

import pytest
from command import error
from places import HOUSE

pytest.importorskip("torch", reason="needs lotte-bench[train]")


def test_the_checkpoint_that_ships_is_written_with_the_lengths_of_its_records(typed, tmp_path):
    done = typed("export", "checkpoint", "shipped", "--out", tmp_path / "out", "--no-onnx", "--results", HOUSE / "results")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'out'}\n", "")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| trained with; what other packages take | 32 | 180 |\n| results on 18 datasets | 32 | 300 |\n" in card


def test_a_checkpoint_that_is_nowhere_is_one_line(tmp_path):
    assert error("export", "checkpoint", "no folder", "--out", tmp_path / "out") == (
        "'no folder' is neither a folder here nor a name on the Hugging Face hub (owner/name)"
    )
