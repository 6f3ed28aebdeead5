"""A training that is killed at any step goes on to the same weights; parts and processes are the whole batch."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import toy_training
from places import HOUSE, TESTS

from lotte import artifact
from lotte.errors import CorruptFileError, LotteError, MismatchError

torch = pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
pytest.importorskip("transformers", reason="needs lotte-bench[colbert]")

from retrievers.training.batches import ExampleOrder, tokenised  # noqa: E402
from retrievers.training.journal import LOG  # noqa: E402
from retrievers.training.ranks import Ranks  # noqa: E402
from retrievers.training.settings import Fit, lasting  # noqa: E402
from retrievers.training.trainer import Trainer  # noqa: E402

STEPS = 7


def log(folder):
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def losses(folder):
    return [line["loss"] for line in log(folder) if "loss" in line]


def states(folder):
    return sorted(path.name for path in folder.glob("*state-*"))


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def close(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name in a:
        if not name.endswith("key.bias"):  # its gradient is nothing but rounding, of which Adam makes a whole step
            torch.testing.assert_close(a[name], b[name], **tolerance)


class Stopped(BaseException):
    """What a test kills a training with: nothing of the loop listens to it."""


def stopping_at(task, step, kind=Stopped):
    """Return the task, but with the step's loss the process is at its end."""
    computed, count = task.loss, iter(range(10_000))

    def loss(encoded, batch):
        if next(count) == step:
            raise kind
        return computed(encoded, batch)

    task.loss = loss
    return task


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
        assert said[0] == f"toy: going on at step {step // 2 * 2} of 7"


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


# states


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
    import shutil

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
        ({"data": "other"}, "data toy, and is asked to go on with other"),
        ({"lr": 0.5}, "fit lr=0.001, and is asked to go on with lr=0.5"),
        (
            {"batch": 4, "in_batch": False},
            "fit batch=6, in_batch=True, and is asked to go on with batch=4, in_batch=False",
        ),
    ],
)
def test_a_resume_with_other_data_or_settings_is_one_line(tmp_path, changed, says):
    toy_training.train(tmp_path / "run", steps=2)
    before = log(tmp_path / "run")
    with pytest.raises(MismatchError) as error:
        toy_training.train(tmp_path / "run", steps=2, **changed)
    assert str(error.value) == (
        f"{tmp_path}/run was begun with {says}; a training goes on with what it began with. Change it back, or name "
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


# batches, parts, orders


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("in_batch", [False, True])
def test_parts_of_a_batch_are_the_whole_batch(tmp_path, scores, in_batch):
    """The same gradients, other questions' passages among the negatives or not; 6 lines in 1, 2, 4 and 6 parts."""
    found = []
    for parts in (1, 2, 4, 6):
        task, _ = toy_training.train(
            tmp_path / f"run{parts}", steps=3, parts=parts, dropout=0.0, scores=scores, in_batch=in_batch,
        )  # fmt: skip
        found.append(
            (task.model.state_dict(), [(line["loss"], line["gradient"]) for line in log(tmp_path / f"run{parts}")[:3]])
        )
    for weights, curve in found[1:]:
        close(weights, found[0][0], rtol=1e-3, atol=2e-5)
        torch.testing.assert_close(torch.tensor(curve), torch.tensor(found[0][1]), rtol=1e-4, atol=1e-5)


def test_the_gradient_of_parts_is_that_of_the_batch(tmp_path):
    """Before the optimiser, which makes of the smallest gradient a step as long as of any."""
    found = []
    for parts in (1, 3):
        config = Fit(batch=6, nway=3, parts=parts)
        task = toy_training.late(tmp_path, config)
        batch = toy_training.lines(task._pairs, 6)
        trainer = Trainer(task, config, 10, Ranks(), {})
        trainer.optimiser.step = lambda: None
        trainer.update(*tokenised(task, batch, range(6), parts))
        found.append({name: weight.grad for name, weight in task.model.named_parameters() if weight.grad is not None})
    assert len(found[0]) > 15
    close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_dropout_in_parts_is_the_same_in_both_passes(tmp_path):
    """The vectors whose gradient is carried on are those that the loss has seen."""
    config = Fit(batch=4, nway=3, parts=2, dropout=0.3)
    task = toy_training.late(tmp_path, config)
    trainer = Trainer(task, config, 10, Ranks(), {})
    seen, encode = [], task.encode

    def watched(read):
        out = encode(read)
        seen.append([tensor.detach().clone() for tensor in out])
        return out

    task.encode = watched
    trainer.update(*tokenised(task, toy_training.lines(task._pairs, 4), range(4), 2))
    assert len(seen) == 4
    for first, second in zip(seen[:2], seen[2:], strict=True):
        assert all(map(torch.equal, first, second))


def test_every_pass_takes_each_example_once_and_processes_share_them():
    """The first pass in the order of the file, line i at process i mod count, each later one in another order."""
    config = Fit(batch=4, seed=3)
    one = ExampleOrder(10, config, Ranks())
    rows = [row for step in range(10) for row in one.rows(step)]
    assert rows[:10] == list(range(10))
    passes = [rows[begin : begin + 10] for begin in range(0, 40, 10)]
    assert all(sorted(some) == list(range(10)) for some in passes)
    assert len(set(map(tuple, passes))) == 4
    two = [ExampleOrder(10, config, Ranks(rank, 2)) for rank in range(2)]
    for step in reversed(range(10)):  # in whichever order steps are asked for
        wanted = one.rows(step) if step == 9 else ExampleOrder(10, config, Ranks()).rows(step)
        assert sorted(two[0].rows(step) + two[1].rows(step)) == sorted(wanted)
        assert two[0].rows(step) == wanted[::2]
        assert ExampleOrder(10, config, Ranks()).rows(step) == rows[4 * step : 4 * step + 4]


def test_the_learning_rate_goes_up_and_then_down_to_nothing(tmp_path):
    toy_training.train(tmp_path / "a", steps=8, warmup=2, lr=0.6)
    assert [line["lr"] for line in log(tmp_path / "a")[:8]] == pytest.approx([0.3, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    toy_training.train(tmp_path / "b", steps=3, warmup=2, lr=0.6, decay=False)
    assert [line["lr"] for line in log(tmp_path / "b")[:3]] == pytest.approx([0.3, 0.6, 0.6])


def test_without_a_number_of_steps_it_goes_once_over_the_examples(tmp_path):
    """What does not fill a batch is left out, as in the reference."""
    _, facts = toy_training.train(tmp_path / "run", count=21, batch=6)
    assert facts["steps"] == 3 and facts["examples"] == 21


def test_the_gradient_is_cut_to_its_longest(tmp_path):
    config = Fit(batch=4, nway=3, clip=0.01)
    task = toy_training.late(tmp_path, config)
    trainer = Trainer(task, config, 10, Ranks(), {})
    terms = trainer.update(*tokenised(task, toy_training.lines(task._pairs, 4), range(4), 1))
    grads = [weight.grad for weight in task.model.parameters() if weight.grad is not None]
    assert terms["gradient"] > 0.1  # the log has the length before
    assert float(torch.cat([grad.reshape(-1) for grad in grads]).norm()) == pytest.approx(0.01, rel=1e-3)


# what cannot be


@pytest.mark.parametrize(("settings", "says"), [
    ({"count": 5}, "5 examples are fewer than one batch of 6; take a smaller batch"),
    ({"count": 0}, "0 examples are fewer than one batch of 6; take a smaller batch"),
])  # fmt: skip
def test_too_few_examples_are_one_line(tmp_path, settings, says):
    with pytest.raises(MismatchError) as error:
        toy_training.train(tmp_path / "run", **settings)
    assert str(error.value) == says


@pytest.mark.parametrize("name", ["batch", "parts", "save_every", "nway", "clip", "lr", "temperature"])
def test_a_setting_of_nothing_is_one_line(name):
    """Rather than a division by zero, hours later."""
    for value in (0, -1):
        with pytest.raises(LotteError, match=f"^{name} must be "):
            Fit(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("steps", -1),
        ("warmup", -1),
        ("validate_every", -1),
        ("weight_decay", -1.0),
    ],
)
def test_a_setting_that_is_out_of_its_range_is_one_line(name, value):
    with pytest.raises(LotteError, match=f"^{name} must be "):
        Fit(**{name: value})


def test_a_loss_that_is_no_number_is_one_line(tmp_path):
    def poisoned(config):
        task = toy_training.late(tmp_path, config)
        computed, count = task.loss, iter(range(10_000))
        task.loss = lambda encoded, batch: {
            name: term * (float("nan") if name == "first" and next(count) == 3 else 1.0)
            for name, term in computed(encoded, batch).items()
        }
        return task

    with pytest.raises(MismatchError) as error:
        toy_training.train(tmp_path / "run", steps=6, task=poisoned)
    assert str(error.value) == "the loss is nan at step 4: take a smaller learning rate than 0.001"
    assert states(tmp_path / "run") == ["state-2"]  # of which no weight is NaN
    task, _ = toy_training.train(tmp_path / "run", steps=6)
    assert all(weight.isfinite().all() for weight in task.model.parameters())


def test_a_line_that_cannot_be_read_ends_the_training_with_its_line(tmp_path):
    def broken(config):
        task = toy_training.late(tmp_path, config)
        read, count = task.read, iter(range(10_000))

        def reading(batch):
            if next(count) == 3:
                raise CorruptFileError("lines.json:19: expected")
            return read(batch)

        task.read = reading
        return task

    with pytest.raises(CorruptFileError, match=r"^lines\.json:19"):
        toy_training.train(tmp_path / "run", steps=6, task=broken)


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


# processes


def started(folder: Path, settings, processes=1):
    """Start a training in a process of its own, or in several that torchrun starts."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    program = [sys.executable, *launcher, toy_training.__file__, str(folder), json.dumps(settings)]
    path = os.pathsep.join([str(TESTS / "helpers"), str(HOUSE)])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    folder.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(program, env=env, stderr=subprocess.PIPE, text=True)


def ended(process):
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "weights.safetensors")


def until(process, condition):
    """Wait for a condition while the process runs. Returns whether it came."""
    for _ in range(3000):
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.02)
    return False


@pytest.mark.slow
def test_a_process_that_was_killed_goes_on_to_the_same_weights(tmp_path):
    """With a real SIGKILL, three times, wherever it strikes."""
    settings = {"steps": 60, "count": 100, "save_every": 4, "validate_every": 25}
    # a process as well: how many threads there are is part of what a sum comes to
    code, said = ended(started(tmp_path / "whole" / "run", settings))
    assert code == 0, said
    folder = tmp_path / "killed" / "run"
    killed = 0
    for least in (5, 20, 41):
        process = started(folder, settings)
        until(
            process,
            lambda least=least: any(
                int(name.partition("state-")[2].partition(".")[0]) >= least for name in states(folder)
            ),
        )
        process.kill()
        killed += ended(process)[0] == -signal.SIGKILL
    code, said = ended(started(folder, settings))
    assert code == 0, said
    assert killed >= 2
    same(weights(folder), weights(tmp_path / "whole" / "run"))
    assert log(folder) == log(tmp_path / "whole" / "run")
    assert states(folder) == ["state-60"]


@pytest.mark.slow
@pytest.mark.parametrize("scores", [False, True])
def test_two_processes_train_the_model_that_one_trains(tmp_path, scores):
    """Without in-batch negatives, which each process takes from its own half of the batch."""
    pytest.importorskip("torch.distributed", reason="needs torch with gloo")
    settings = {"steps": 5, "count": 20, "dropout": 0.0, "in_batch": False, "scores": scores, "validate_every": 2}
    one, facts = toy_training.train(tmp_path / "one" / "run", **settings)
    toy_training.late(tmp_path / "two", Fit())  # pairs and the start, which processes share
    code, said = ended(started(tmp_path / "two" / "run", settings, processes=2))
    assert code == 0, said
    close(weights(tmp_path / "two" / "run"), one.model.state_dict(), rtol=1e-3, atol=2e-5)
    written = log(tmp_path / "two" / "run")
    assert [line["step"] for line in written if "loss" in line] == [1, 2, 3, 4, 5]
    lengths = [line["gradient"] for line in written if "loss" in line]
    assert lengths == pytest.approx(
        [line["gradient"] for line in log(tmp_path / "one" / "run") if "loss" in line], rel=1e-3
    )
    found = json.loads((tmp_path / "two" / "run" / "facts.json").read_text())
    assert found["validations"] == pytest.approx(facts["validations"])


@pytest.mark.slow
def test_two_processes_that_are_asked_to_stop_go_on_to_the_same_weights(tmp_path):
    """torchrun hands SIGTERM to all; they end the same step, and in-batch negatives and dropout are on."""
    settings = {"steps": 40, "count": 100, "save_every": 100}
    for name in ("whole", "stopped"):
        toy_training.late(tmp_path / name, Fit())
    code, said = ended(started(tmp_path / "whole" / "run", settings, processes=2))
    assert code == 0, said
    folder = tmp_path / "stopped" / "run"
    slow = {**settings, "pause": 0.05}
    process = started(folder, slow, processes=2)
    assert until(process, lambda: (folder / "begun").exists())
    process.send_signal(signal.SIGTERM)
    code, said = ended(process)
    assert code != 0
    (state,) = states(folder)
    assert 0 < int(state.removeprefix("state-")) < 40
    fit = Fit(batch=6, nway=3, lr=1e-3, dropout=0.1, save_every=100, steps=40)
    assert artifact.meta(folder / state)["fit"] == lasting(asdict(fit))
    code, said = ended(started(folder, settings, processes=2))
    assert code == 0, said
    same(weights(folder), weights(tmp_path / "whole" / "run"))
    assert log(folder) == log(tmp_path / "whole" / "run")


@pytest.mark.slow
def test_a_batch_that_cannot_be_dealt_out_is_one_line(tmp_path):
    toy_training.late(tmp_path, Fit())
    code, said = ended(started(tmp_path / "run", {"batch": 5}, processes=2))
    assert code == 1
    assert "MismatchError: a batch of 5 cannot be dealt out to 2 processes; change batch" in said
