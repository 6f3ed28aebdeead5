"""What a training needs is looked at before any work: its settings, its device, its start. A full disk is one line."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import tiny_checkpoint
import toy_training
import trained_checkpoint

pytest.importorskip("torch", reason="training needs the extra 'colbert'")

import torch

from lotte import artifact
from lotte.errors import LotteError, MismatchError, UnavailableError
from retrievers.colbert.model import checkpoint
from retrievers.training import settings, teacher
from retrievers.training.run import SETTINGS, Training
from retrievers.training.settings import changed

QUICK = "query_maxlen=12 doc_maxlen=16 precision=fp32 validation=4 v1.steps=1 v1.batch=4 v1.lr=1e-12 bm25_depth=10".split()


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    return toy_training.start(tmp_path_factory.mktemp("start") / "late")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny_checkpoint.write(tmp_path_factory.mktemp("start") / "plain", "plain", hidden=16, layers=1, heads=2, inner=32, positions=64)


def training(folder, start, *options, say=lambda line: None):
    recipe = changed(settings.small(), [f"start={start}", *QUICK, *options])
    return Training(folder, recipe, [toy_training.dataset()], say)


BAD = {
    "precision": ["zzz", "", "bf16 ", "fp16"], "device": ["zzz", "cuda:x", "gpu", ""], "seed": ["-1", "1e3", str(1 << 64)],
    "bits": ["3", "0", "-1"], "dim": ["-1", "x", str(1 << 40)], "query_maxlen": ["0", "-5"], "doc_maxlen": ["0"],
    "limit": ["-1"], "passages": ["-1"], "validation": ["-1", "nan"], "validation_depth": ["0"], "bm25_depth": ["0"],
    "v1_passes": ["-1"], "teacher_maxlen": ["0"], "teacher_passes": ["-1"], "rounds": ["-1"], "depth": ["0"],
    "scored": ["-1"], "mined_questions": ["-1"], "passes": ["0"], "start": [""], "scratch": ["yes"],
    "projection": ["orthogonal"], "teacher_negatives": ["none"], "v1.batch": ["0", "-4", "1.5", "9" * 5000],
    "v1.nway": ["1", "0"], "v1.lr": ["0", "-1", "nan", "inf", "1e400"], "v1.warmup": ["-1"], "v1.steps": ["-1"],
    "v1.weight_decay": ["nan", "-1", "inf"], "v1.clip": ["nan", "0"], "v1.parts": ["0"], "v1.dropout": ["1", "nan", "-0.1"],
    "v1.seed": ["-1"], "v1.save_every": ["0"], "distil.temperature": ["0", "nan", "inf"], "distil.distil_weight": ["nan"],
    "distil.in_batch_weight": ["-1"], "crossencoder.validate_every": ["-1"], "v1.decay": ["maybe"],
    "distil.loss": ["mse", ""], "distil.scoring": ["XTR"], "distil.xtr_k": ["0"], "distil.scale": ["0", "nan"],
    "distil.gather": ["all"], "mask_punctuation": ["no"],
}  # fmt: skip


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, texts in BAD.items() for text in texts])
def test_a_setting_that_no_training_can_have_is_one_short_line_with_its_name(key, text):
    with pytest.raises(LotteError, match=f"^{key} ") as error:
        changed(settings.small(), [f"{key}={text}"])
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


BAD_TCT = {
    "distil": ["kl", ""], "gamma": ["1.5", "-0.1", "nan"], "temperature": ["0", "-1"], "student.batch": ["0"],
    "student_passes": ["0"],
}  # fmt: skip


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, texts in BAD_TCT.items() for text in texts])
def test_a_setting_that_no_training_of_tct_colbert_can_have_is_one_short_line(key, text):
    with pytest.raises(LotteError, match=f"^{key} ") as error:
        changed(settings.tct_small(), [f"{key}={text}"])
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_a_device_that_is_not_here_is_told_before_any_work(tmp_path, late):
    with pytest.raises(UnavailableError, match="device=cuda was requested, but this machine has 0 GPUs"):
        training(tmp_path / "run", late, "device=cuda").all()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [SETTINGS]


def test_a_start_that_is_not_here_is_told_before_any_work(tmp_path):
    with pytest.raises(LotteError):
        training(tmp_path / "run", tmp_path / "nothing").all()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [SETTINGS]


def projections(start, trained):
    return [checkpoint.find(path).projection()[0].weight_HI for path in (start, trained)]


def test_the_projection_of_the_start_is_kept_unless_another_is_asked_for(tmp_path, late):
    before, after = projections(late, training(tmp_path / "run", late).all("v1"))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("wanted", ["random", "principal"])
def test_a_projection_that_is_asked_for_replaces_the_start_s_and_that_is_said(tmp_path, late, wanted):
    said = []
    trained = training(tmp_path / "run", late, f"projection={wanted}", "dim=8", say=said.append).all("v1")
    before, after = projections(late, trained)
    assert (after - before).abs().max() > 1e-2
    assert f"the projection of late is not used: projection={wanted} creates a new one" in said


@pytest.mark.parametrize(("options", "said"), [
    (["dim=16"], "late gives vectors of 8 dimensions, but dim=16 was set; leave dim out"),
    (["projection=principal"], "late has 16 numbers in a hidden state, and projection=principal cannot make dim=128"),
])  # fmt: skip
def test_a_width_that_cannot_be_had_is_told_before_any_work(tmp_path, late, options, said):
    with pytest.raises(MismatchError, match=f"^{said}"):
        training(tmp_path / "run", late, *options).all()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [SETTINGS]


def test_a_start_without_a_projection_gets_the_one_that_the_settings_name(plain, tmp_path):
    assert training(tmp_path / "a", plain, "dim=8")._projection() == "principal"
    recipe = changed(settings.paper(), [f"start={plain}"])
    assert Training(tmp_path / "b", recipe, [toy_training.dataset()], print)._projection() == "random"


def test_a_run_that_an_older_version_began_goes_on(tmp_path, plain):
    run = training(tmp_path / "run", plain)
    older = {**json.loads((tmp_path / "run" / SETTINGS).read_text()), "projection": "principal", "dim": 128}
    (tmp_path / "run" / SETTINGS).write_text(json.dumps(older))
    assert asdict(training(tmp_path / "run", plain).recipe) == asdict(run.recipe)
    with pytest.raises(MismatchError, match="was begun with dim=128, but is now given dim=8"):
        training(tmp_path / "run", plain, "dim=8")


def test_a_run_goes_on_that_was_begun_before_there_were_some_settings(tmp_path, plain):
    training(tmp_path / "run", plain)
    older = json.loads((tmp_path / "run" / SETTINGS).read_text())
    del older["mask_punctuation"], older["distil"]["loss"], older["v1"]["gather"]
    (tmp_path / "run" / SETTINGS).write_text(json.dumps(older))
    training(tmp_path / "run", plain)
    with pytest.raises(MismatchError, match=r"was begun with distil\.loss=kl, but is now given distil.loss=margin_mse"):
        training(tmp_path / "run", plain, "distil.loss=margin_mse")


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, "null", "\udcff"])
def test_damaged_settings_of_a_run_are_one_line(tmp_path, plain, content):
    (tmp_path / SETTINGS).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(LotteError, match=rf"{SETTINGS}: (not JSON|expected a JSON object).*; name another --out"):
        training(tmp_path, plain)


def test_a_disk_that_is_full_is_one_line_and_the_last_state_is_kept(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling(config):
        task = toy_training.late(tmp_path, config)
        measured = task.validate

        def validate():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # enough for the log, and for no state
            return measured()

        task.validate = validate
        return task

    try:
        with pytest.raises(UnavailableError, match=r"ulimit -f.* while writing under .*run"):
            toy_training.train(tmp_path / "run", steps=6, save_every=2, validate_every=3, task=filling)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "run").glob("*state*")] == ["state-2"]
    assert artifact.meta(tmp_path / "run" / "state-2")["step"] == 2
    said = []
    toy_training.train(tmp_path / "run", steps=6, save_every=2, validate_every=3, say=said.append)
    assert said[0] == "toy: resuming at step 2 of 6"


def test_a_seed_of_any_size_is_a_seed(tmp_path):
    _, facts = toy_training.train(tmp_path / "run", steps=1, seed=(1 << 63) - 1)
    assert facts["steps"] == 1


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("doc_maxlen=2", "doc_maxlen=2 leaves no room for words"),
        ("query_maxlen=1", "query_maxlen=1 leaves no room for words"),
        ("doc_maxlen=65", "has 64 positions, but a text may have 65 tokens"),
    ],
)
def test_a_length_that_the_start_cannot_have_is_told_before_any_work(tmp_path, plain, option, says):
    with pytest.raises(MismatchError, match=says):
        training(tmp_path / "run", plain, "projection=random", option).all()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [SETTINGS]


def test_keeping_every_question_aside_is_told_before_anything_is_mined(tmp_path, late):
    with pytest.raises(MismatchError, match=r"^validation=1000 of \d+ questions leaves none to train on"):
        training(tmp_path / "run", late, "validation=1000").all()
    assert not (tmp_path / "run" / "bm25").exists() and not (tmp_path / "run" / "pairs" / "sets.json").exists()


def test_a_start_of_the_teacher_that_is_not_here_is_told_before_any_work(tmp_path, late):
    with pytest.raises(LotteError, match="nowhere"):
        training(tmp_path / "run", late, f"teacher_start={tmp_path / 'nowhere'}").all()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [SETTINGS]


QUICKER = "teacher_maxlen=64 crossencoder.batch=4 crossencoder.nway=4 distil.batch=4 validation=2".split()


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("v1.nway=12", r"^v1\.nway=12 asks for 11 negatives of a question, and there are 10 at most, of 40 passages; take a"),
        ("v1.batch=13", r"^v1\.batch=13 is more than the 12 lines that 12 questions give; take a smaller batch, or more v1_p"),
    ],
)
def test_lines_and_batches_of_v1_that_cannot_be_filled_are_told_before_any_work(tmp_path, late, option, says):
    with pytest.raises(MismatchError, match=says):
        training(tmp_path / "run", late, option).all()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [SETTINGS]


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("v1.batch=12", r"^v1\.batch=12 is more than the 10 lines that 10 questions give"),
        ("crossencoder.nway=52", r"^crossencoder\.nway=52 asks for 51 negatives .* 39 at most, .* mine deeper \(depth\)"),
        ("distil.nway=13", r"^distil\.nway=13 asks for 12 negatives of a question, and there are 11 at most"),
        ("distil.batch=99", r"^distil\.batch=99 is more than the 10 lines"),
        ("teacher_maxlen=65", "has 64 positions, but pairs have 65 tokens"),
    ],
)
def test_what_a_later_step_cannot_have_is_told_before_anything_is_mined(tmp_path, late, option, says):
    with pytest.raises(MismatchError, match=says):
        training(tmp_path / "run", late, *QUICKER, option).all()
    assert not (tmp_path / "run" / "bm25").exists()


def test_a_start_in_int8_begins_a_teacher_with_its_own_weights(tmp_path, late):
    """The checkpoint that ships is one; transformers cannot read it."""
    small = trained_checkpoint.write(tmp_path / "int8", **trained_checkpoint.parts(late), precision="int8")
    begun = teacher.CrossEncoder.load(small, maxlen=32, fresh=True)
    for name, weight in checkpoint.find(small).model().state_dict().items():
        assert name.startswith("pooler.") or torch.equal(begun.model.base_model.state_dict()[name], weight)
    assert np.isfinite(begun.score(begun.read(["how"], ["so"]), begun.rounded()).detach().numpy()).all()
    with pytest.raises(MismatchError, match="has a model in int8 without an output, and a cross-encoder has one"):
        teacher.CrossEncoder.load(small, maxlen=32)
