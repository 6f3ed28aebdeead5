"""A teacher that is the last model and BM25 together, and rounds that begin with a late-interaction checkpoint."""

import pytest
import toy_training

pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from lotte.errors import LotteError, MismatchError
from retrievers import load
from retrievers.colbert.model import checkpoint, config
from retrievers.contamination.fingerprint import Fingerprint
from retrievers.training import settings, teacher
from retrievers.training.run import Training

QUICK = (
    "query_maxlen=12 doc_maxlen=16 precision=fp32 validation=4 validation_depth=6 bm25_depth=10 rounds=1 depth=8 v1_passes=0 "
    "teacher=hybrid distil.steps=3 distil.batch=4 distil.nway=3 distil.lr=1e-3"
).split()
SETS = [toy_training.dataset()]


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    return toy_training.start(tmp_path_factory.mktemp("start") / "late")


def begun(folder, start, *options):
    recipe = settings.changed(settings.small(), [f"start={start}", *QUICK, *options])
    return Training(folder, recipe, SETS, lambda line: None)


@pytest.fixture(scope="module")
def run(late, tmp_path_factory):
    training = begun(tmp_path_factory.mktemp("runs") / "hybrid", late)
    training.all()
    return training


def test_there_is_no_step_for_what_is_there(run):
    assert run.steps == ["pairs", "negatives", "mine-1", "score-1", "tuples-1", "distil-1", "checkpoint"]


def test_a_score_is_the_model_s_and_a_share_of_bm25_s(run):
    qid, scores = next(iter(teacher.read(run.folder / "round1" / "distillation_scores.json").items()))
    query = {"q": run.pairs.questions[qid]}
    found = [
        {int(hit.doc_id): hit.score for hit in load(name, options).open(run.folder / where / "0.index").search(query, k=8).hits["q"]}
        for name, options, where in (
            ("colbertv2", [f"checkpoint={run.recipe.start}", "doc_maxlen=16", "bits=2"], "round1/mined"),
            ("bm25", [], "bm25"),
        )
    ]
    least = [min(one.values(), default=0.0) for one in found]
    wanted = {pid: found[0].get(pid, least[0]) + 0.4 * found[1].get(pid, least[1]) for pid in scores}
    assert scores == pytest.approx(wanted, abs=1e-4)


def test_the_best_are_first(run):
    for scores in teacher.read(run.folder / "round1" / "distillation_scores.json").values():
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_the_papers_say_who_taught(run):
    said = config.read_json(run.folder / "checkpoint" / "training.json")
    assert said["teacher"] == "the last model and BM25 together, whose scores had the weight 0.4"


def test_the_model_is_another_one_than_its_start(run, late):
    made = run.folder / "checkpoint" / "model.safetensors"
    assert made.read_bytes() != (late / "model.safetensors").read_bytes()


def test_a_start_that_is_no_late_interaction_checkpoint_needs_v1(tmp_path):
    import tiny_checkpoint

    plain = tiny_checkpoint.write(tmp_path / "plain", "plain", hidden=16, layers=1, heads=2, inner=32, positions=64)
    with pytest.raises(MismatchError, match="v1_passes=0 begins the rounds with"):
        begun(tmp_path / "run", plain).all()


def test_colbert_itself_cannot_be_trained_in_no_pass():
    with pytest.raises(LotteError, match="v1_passes"):
        settings.changed(settings.colbert_small(), ["v1_passes=0"])


@pytest.fixture(scope="module")
def again(run, tmp_path_factory):
    """A second training, which begins with the checkpoint of the first."""
    training = begun(tmp_path_factory.mktemp("runs") / "again", run.folder / "checkpoint", "seed=7")
    training.all()
    return training


def test_a_training_that_begins_with_our_checkpoint_keeps_what_that_had_seen(run, again):
    before, said = (config.read_json(one.folder / "checkpoint" / "training.json") for one in (run, again))
    assert said["start"] == before["start"]
    assert said["data"] == before["data"]  # the same pairs: they are said once
    assert [stage["steps"] for stage in said["before"]] == [before["steps"]]


def test_its_card_shows_the_steps_of_both_trainings(run, again):
    card = (again.folder / "checkpoint" / "README.md").read_text()
    assert card.count("| round1 |") == 2
    assert f"left the weights {checkpoint.find(str(run.folder / 'checkpoint')).sha256[:16]}" in card


def test_its_fingerprint_knows_the_pairs_of_both(run, again, tmp_path):
    other = [toy_training.dataset("toy/b", seed=3)]
    recipe = settings.changed(settings.small(), [f"start={run.folder / 'checkpoint'}", *QUICK])
    training = Training(tmp_path / "other", recipe, other, lambda line: None)
    training.all()
    one, both = (Fingerprint.load(made.folder / "checkpoint") for made in (run, training))
    assert set(one.questions.tolist()) < set(both.questions.tolist())
    assert Fingerprint.load(again.folder / "checkpoint").num_questions == one.num_questions
