"""The checkpoint that ships: small, with its papers, the default where the published one cannot be had."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="late interaction needs the extra 'colbert'")

import lotte
from leaderboard.evaluate import Order, evaluate
from lotte.errors import UnavailableError
from retrievers import load
from retrievers.colbert.model import checkpoint
from retrievers.colbert.retriever import SHIPPED, WEIGHTS
from retrievers.systems import colbertv2

HELD_OUT = {"squad_dev11/dev", "squadshifts_new_wiki/test", "nq_qed/dev", "scifact/test", "medquad/test"}


@pytest.fixture
def hub(monkeypatch):
    """Let the hub's checkpoint be there, or not, whatever this machine can reach."""
    real = checkpoint.find

    def here(there):
        def find(source, **more):
            if source != colbertv2.CHECKPOINT:
                return real(source, **more)
            if not there:
                raise UnavailableError(f"{source} is not on this machine")
            return real(WEIGHTS)

        monkeypatch.setattr(checkpoint, "find", find)
        colbertv2.reachable.cache_clear()

    yield here
    colbertv2.reachable.cache_clear()


def test_it_fits_a_package():
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 30_000_000


def test_its_card_says_what_it_has_seen_and_how_it_was_made():
    said, card = json.loads((WEIGHTS / "training.json").read_text()), (WEIGHTS / "README.md").read_text()
    assert all(part["licence"] != "unknown" and part["licence"] in card for part in said["data"])
    assert all(part["name"] in card and f"{part['questions']:,}" in card for part in said["data"])
    assert said["start"]["seen"] and all(name in card for name in said["start"]["seen"])
    assert {"seed", "v1", "crossencoder", "distil"} <= said["settings"].keys()
    assert all(step["steps"] and step["settings"]["seed"] for step in said["steps"].values())
    assert {one["dataset"] for one in said["overlap"]} > HELD_OUT


def test_it_was_not_trained_on_a_question_that_it_is_measured_on():
    """A query of tldr pages, such as "Display version", is that of many commands: its words alone are known."""
    for one in json.loads((WEIGHTS / "training.json").read_text())["overlap"]:
        assert one["queries_equal"] == 0 or one["dataset"] == "tldr_commands/test", one["dataset"]


def test_it_is_the_default_only_where_the_published_one_cannot_be_had(hub, capsys):
    hub(there=False)
    assert load("colbertv2").checkpoint == SHIPPED
    assert "colbert-ir/colbertv2.0 cannot be reached: using the small bundled checkpoint" in capsys.readouterr().err
    assert load("colbertv2", ["checkpoint=some/other"]).checkpoint == "some/other"
    hub(there=True)
    assert load("colbertv2").checkpoint == colbertv2.CHECKPOINT
    assert capsys.readouterr().err == ""


def test_its_records_say_which_model_it_is_and_what_that_one_had_seen(tmp_path, tiny):
    (result,) = evaluate("colbertv2", load("colbertv2", ["checkpoint=shipped"]), [tiny], Order(out=tmp_path))
    assert result.retriever.model.id == SHIPPED
    assert result.retriever.options["checkpoint"] == SHIPPED
    assert any("Stack Exchange" in name for name in result.retriever.training_data)
    (said,) = result.contamination
    assert said.level == "some" and "Stack Exchange" in said.evidence  # as LoTTE is


def test_it_finds_more_than_words_do(tmp_path, typed):
    """On the sample's forum questions, of communities that no training saw."""
    sample = Path(lotte.__file__).parent / "sample"
    built = typed("build", "--dumps", sample / "dumps", "--gooaq", sample / "gooaq.jsonl", "--spec", sample / "spec.toml",
                  "--out", tmp_path / "built")  # fmt: skip
    assert built.returncode == 0, built.stderr
    (forum,) = lotte.read(tmp_path / "built" / "pooled" / "test" / "forum")
    found = {}
    for name, options in (("bm25", ()), ("colbertv2", ("checkpoint=shipped",))):
        (result,) = evaluate(name, load(name, options), [forum], Order(out=tmp_path / "out", k=10))
        found[name] = result.value
    assert found["colbertv2"] > 0.85 > found["bm25"]
