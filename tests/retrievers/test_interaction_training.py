"""`lotte train knrm`, and of Conv-KNRM and Duet: the steps, the papers, lines of somebody else."""

import json

import pytest
import toy_training

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from lotte.errors import MismatchError  # noqa: E402
from retrievers import load  # noqa: E402
from retrievers.contamination.check import Seen  # noqa: E402
from retrievers.interaction.models import MODELS  # noqa: E402
from retrievers.training import run, settings  # noqa: E402

QUICK = "dim=8 validation=4 validation_depth=6 bm25_depth=10 net.steps=4 net.batch=4 net.warmup=0".split()
SET = toy_training.dataset()


def begun(folder, *options, kind="knrm", **more):
    recipe = settings.changed(settings.RUNS[kind]["small"](), [*QUICK, *options])
    return run.training(recipe, folder, [SET], lambda line: None, **more)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for kind in MODELS:
        begun(folder / kind, kind=kind, held_out=[toy_training.dataset("toy/b", seed=1)]).all()
    return folder


@pytest.mark.parametrize("kind", MODELS)
def test_a_run_leaves_a_checkpoint_that_ranks(made, kind, tmp_path):
    system = load(kind, [f"checkpoint={made / kind / 'checkpoint'}"])
    run = system.index(SET.corpus, tmp_path / "index").search({"q": "yeast bread"}, k=5)
    assert len(run.hits["q"]) == 5


def test_the_papers_name_the_data(made):
    assert Seen.read(made / "knrm" / "checkpoint").names() == ["toy/a"]


def test_the_papers_hold_the_training_against_what_is_held_out(made):
    said = json.loads((made / "duet" / "checkpoint" / "training.json").read_text())
    assert [one["dataset"] for one in said["overlap"]] == ["toy/b"]


def test_a_card_names_the_training_data(made):
    card = load("knrm", [f"checkpoint={made / 'knrm' / 'checkpoint'}"]).card
    assert card.training_data == ["toy/a"]


def test_what_is_done_is_not_done_again(made):
    path = made / "knrm" / "net" / "checkpoint" / "model.safetensors"
    before = path.stat().st_mtime_ns
    begun(made / "knrm", held_out=[toy_training.dataset("toy/b", seed=1)]).all()
    assert path.stat().st_mtime_ns == before


def test_two_runs_are_the_same(made, tmp_path):
    begun(tmp_path / "again").all("net")
    weights = [folder / "net" / "checkpoint" / "model.safetensors" for folder in (made / "knrm", tmp_path / "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_line_longer_than_what_is_mined_is_refused_before_anything_is_mined(tmp_path):
    with pytest.raises(MismatchError, match="net"):
        begun(tmp_path / "run", "net.nway=30").all()
