"""A training that is stopped at any step goes on to the same weights; its log, and what it keeps."""

import os
import signal

import pytest
import toy_training
from toy_training import Stopped, log, losses, same, states, stopping_at

pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
pytest.importorskip("transformers", reason="needs lotte-bench[colbert]")

from retrievers.training.journal import LOG
from retrievers.training.settings import Fit

STEPS = 7


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nobody disturbed: dropout on, two passes over the examples, a validation in between."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    task, facts = toy_training.train(folder, steps=STEPS, count=20, validate_every=3)
    return folder, task.model.state_dict(), facts


@pytest.mark.parametrize("kind", [Stopped, KeyboardInterrupt])
@pytest.mark.parametrize("step", range(STEPS))
def test_killed_at_any_step_it_goes_on_to_the_same_weights(tmp_path, whole, step, kind):
    """To the last bit, with dropout, and whether a state was just written or not."""
    settings = {"steps": STEPS, "count": 20, "validate_every": 3}
    with pytest.raises(kind):
        toy_training.train(
            tmp_path / "run",
            **settings,
            task=lambda config: stopping_at(toy_training.late(tmp_path, config), step, kind),
        )
    assert states(tmp_path / "run") == ([f"state-{step // 2 * 2}"] if step >= 2 else [])
    said = []
    task, facts = toy_training.train(tmp_path / "run", **settings, say=said.append)
    folder, weights, wanted = whole
    same(task.model.state_dict(), weights)
    assert facts == wanted
    assert log(tmp_path / "run") == log(folder)
    if step >= 2:
        assert said[0] == f"toy: resuming at step {step // 2 * 2} of 7"


def test_a_signal_ends_the_step_and_saves_it(tmp_path, whole):
    """Ctrl-C and a cluster's SIGTERM lose no step; the second one does not wait."""
    settings = {"steps": STEPS, "count": 20, "validate_every": 3, "save_every": 2}
    before = signal.getsignal(signal.SIGTERM)

    def signalled(config):
        task = toy_training.late(tmp_path, config)
        computed, count = task.loss, iter(range(10_000))

        def loss(encoded, batch):
            if next(count) == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            return computed(encoded, batch)

        task.loss = loss
        return task

    heard = []
    signal.signal(signal.SIGTERM, listener := lambda number, frame: heard.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            toy_training.train(tmp_path / "run", **settings, task=signalled)
        assert signal.getsignal(signal.SIGTERM) is listener and heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert states(tmp_path / "run") == ["state-5"]
    task, facts = toy_training.train(tmp_path / "run", **settings)
    same(task.model.state_dict(), whole[1])
    assert log(tmp_path / "run") == log(whole[0]) and facts == whole[2]


def test_a_finished_training_is_not_done_again(whole):
    folder, weights, facts = whole
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != LOG and path.is_file()}
    task, again = toy_training.train(folder, steps=STEPS, count=20, validate_every=3)
    same(task.model.state_dict(), weights)
    assert again == facts
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_log_has_a_line_for_every_step_and_validation(whole):
    folder, _, facts = whole
    written = log(folder)
    assert [line["step"] for line in written if "loss" in line] == list(range(1, STEPS + 1))
    assert {str(line["step"]): line["MRR@10"] for line in written if "MRR@10" in line} == facts["validations"]
    assert sorted(facts["validations"]) == ["3", "6", "7"] and facts["best"] == max(facts["validations"].values())
    for line in written:
        if "loss" in line:
            assert line["loss"] == pytest.approx(line["first"] + line["in_batch"])
    smooth = losses(folder)[0]
    for loss in losses(folder)[1:]:
        smooth = 0.98 * smooth + 0.02 * loss
    assert facts["loss"] == pytest.approx(smooth)


# the best


def test_the_best_of_the_validations_is_what_is_left_in_the_model(tmp_path):
    """Of equals the later. The state keeps it too: a training that was stopped after its best moment ends with it."""
    values = {"2": 0.25, "4": 0.75, "6": 0.75, "8": 0.5}
    kept = {}

    def judged(config):
        task = toy_training.late(tmp_path, config)
        count = iter(range(10_000))

        def validate():
            step = str(2 * next(count) + 2)
            kept.setdefault(step, {name: weight.clone() for name, weight in task.model.state_dict().items()})
            assert not task.model.training and not task.model.body.training
            return values[step]

        task.validate = validate
        return task

    task, facts = toy_training.train(tmp_path / "run", steps=8, validate_every=2, task=judged)
    assert facts["best"] == 0.75 and facts["validations"] == values
    same(task.model.state_dict(), kept["6"])
    assert task.model.training
    again, _ = toy_training.train(tmp_path / "run", steps=8, validate_every=2)
    same(again.model.state_dict(), kept["6"])


def test_with_nothing_to_validate_the_last_weights_are_the_best(tmp_path):
    def blind(config):
        task = toy_training.late(tmp_path, config)
        task._ranking = {}
        return task

    task, _ = toy_training.train(tmp_path / "a", steps=4, validate_every=2, task=blind)
    never, _ = toy_training.train(tmp_path / "b", steps=4, validate_every=0, task=blind)
    same(task.model.state_dict(), never.model.state_dict())


def test_training_learns(tmp_path):
    task = toy_training.late(tmp_path, Fit())
    before = task.validate()
    _, facts = toy_training.train(tmp_path / "run", steps=60, count=120, lr=3e-3, dropout=0.0, save_every=100)
    curve = losses(tmp_path / "run")
    assert sum(curve[-10:]) < 0.8 * sum(curve[:10])
    assert facts["best"] > before


def test_tensorboard_gets_every_number(tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    toy_training.train(tmp_path / "run", steps=4, validate_every=2)
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"loss", "first", "in_batch", "lr", "gradient", "MRR@10"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4]
    assert [event.value for event in board.Scalars("loss")] == pytest.approx(losses(tmp_path / "run"))
