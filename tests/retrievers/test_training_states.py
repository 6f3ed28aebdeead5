"""The state that a training goes on from: whole or absent, of one training, and read only as it was written."""

import shutil

import pytest
import toy_training
from toy_training import Stopped, log, losses, same, states, stopping_at

from lotte.errors import CorruptFileError, MismatchError

pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
pytest.importorskip("transformers", reason="needs lotte-bench[colbert]")

from retrievers.training.journal import LOG

STEPS = 7


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nobody disturbed: dropout on, two passes over the examples, a validation in between."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    task, facts = toy_training.train(folder, steps=STEPS, count=20, validate_every=3)
    return folder, task.model.state_dict(), facts


def test_a_half_written_state_is_ignored_and_an_old_one_goes_when_the_new_one_is_whole(tmp_path, whole, monkeypatch):
    """A process that dies while it writes leaves the state before; what it began is not taken for one."""
    import safetensors.torch

    written = safetensors.torch.save_file

    def dying(tensors, path):
        if "state-4" in str(path):
            assert states(tmp_path / "run")[-1] == "state-2"  # still there
            path.write_bytes(b"half")
            raise Stopped
        written(tensors, path)

    monkeypatch.setattr(safetensors.torch, "save_file", dying)
    settings = {"steps": STEPS, "count": 20, "validate_every": 3}
    with pytest.raises(Stopped):
        toy_training.train(tmp_path / "run", **settings)
    monkeypatch.undo()
    assert states(tmp_path / "run") == ["state-2"]
    half = tmp_path / "run" / "state-6"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half")
    (tmp_path / "run" / ".state-4.partial-999999999").mkdir()
    task, facts = toy_training.train(tmp_path / "run", **settings)
    same(task.model.state_dict(), whole[1])
    assert facts == whole[2] and states(tmp_path / "run") == ["state-7"]


def test_of_two_states_the_later_one_counts(tmp_path, whole):
    """As when a process died between writing one and removing the other."""
    with pytest.raises(Stopped):
        toy_training.train(
            tmp_path / "run", steps=STEPS, count=20, validate_every=3,
            task=lambda config: stopping_at(toy_training.late(tmp_path, config), 5),
        )  # fmt: skip
    shutil.copytree(tmp_path / "run" / "state-4", tmp_path / "run" / "state-2")
    (tmp_path / "run" / "state-2" / "state.safetensors").write_bytes(b"not read")
    task, _ = toy_training.train(tmp_path / "run", steps=STEPS, count=20, validate_every=3)
    same(task.model.state_dict(), whole[1])


def test_a_state_that_cannot_be_read_is_one_line(tmp_path):
    toy_training.train(tmp_path / "run", steps=2)
    (tmp_path / "run" / "state-2" / "state.safetensors").write_bytes(b"spoilt")
    with pytest.raises(CorruptFileError) as error:
        toy_training.train(tmp_path / "run", steps=2)
    assert str(error.value).startswith(f"{tmp_path}/run/state-2: the state cannot be read (")
    assert str(error.value).endswith("); remove it to begin again")


@pytest.mark.parametrize("name", ["meta.json", "state.safetensors"])
def test_a_state_with_one_bit_turned_over_is_refused(tmp_path, name):
    """The last byte of the weights is one of a number: no reader would notice."""
    toy_training.train(tmp_path / "run", steps=2)
    path = tmp_path / "run" / "state-2" / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=rf"{name}.*; remove it to begin again$"):
        toy_training.train(tmp_path / "run", steps=2)


def test_a_log_with_a_half_line_is_cut_where_the_state_ends(tmp_path, whole):
    with pytest.raises(Stopped):
        toy_training.train(
            tmp_path / "run", steps=STEPS, count=20, validate_every=3,
            task=lambda config: stopping_at(toy_training.late(tmp_path, config), 5),
        )  # fmt: skip
    with (tmp_path / "run" / LOG).open("a") as file:
        file.write('{"step": 5, "loss": 1.0}\n{"step": 6, "lo')
    toy_training.train(tmp_path / "run", steps=STEPS, count=20, validate_every=3)
    assert log(tmp_path / "run") == log(whole[0])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"data": "other"}, "data toy, but is now given other"),
        ({"lr": 0.5}, "fit lr=0.001, but is now given lr=0.5"),
        (
            {"batch": 4, "in_batch": False},
            "fit batch=6, in_batch=True, but is now given batch=4, in_batch=False",
        ),
    ],
)
def test_a_resume_with_other_data_or_settings_is_one_line(tmp_path, changed, says):
    toy_training.train(tmp_path / "run", steps=2)
    before = log(tmp_path / "run")
    with pytest.raises(MismatchError) as error:
        toy_training.train(tmp_path / "run", steps=2, **changed)
    assert str(error.value) == (
        f"{tmp_path}/run was begun with {says}; a training run resumes with the settings it was started with. Change it back, or name "
        "another --out"
    )
    assert log(tmp_path / "run") == before and states(tmp_path / "run") == ["state-2"]


def test_memory_and_saving_may_change_while_a_training_is_stopped(tmp_path):
    settings = {"steps": STEPS, "count": 20, "dropout": 0.0}
    toy_training.train(tmp_path / "whole", **settings)
    with pytest.raises(Stopped):
        toy_training.train(
            tmp_path / "run", **settings, task=lambda config: stopping_at(toy_training.late(tmp_path, config), 5)
        )
    toy_training.train(tmp_path / "run", **settings, save_every=3, parts=3, validate_every=2)
    found, known = losses(tmp_path / "run"), losses(tmp_path / "whole")
    assert len(found) == STEPS and found == pytest.approx(known, rel=1e-4)


def test_a_state_goes_on_that_was_written_before_there_were_some_settings(tmp_path, whole):
    import json

    from lotte import artifact

    with pytest.raises(Stopped):
        toy_training.train(
            tmp_path / "run", steps=STEPS, count=20, validate_every=3,
            task=lambda config: stopping_at(toy_training.late(tmp_path, config), 5),
        )  # fmt: skip
    path = tmp_path / "run" / "state-4" / "meta.json"
    meta = json.loads(path.read_text())
    for name in ("loss", "scoring", "xtr_k", "scale", "gather"):
        del meta["fit"][name]
    del meta["digest"]
    path.write_bytes(artifact.sealed(meta))
    task, _ = toy_training.train(tmp_path / "run", steps=STEPS, count=20, validate_every=3)
    same(task.model.state_dict(), whole[1])
