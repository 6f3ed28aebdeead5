"""What a training cannot do: settings, examples and numbers that cannot be are one line."""

import pytest
import toy_training
from toy_training import states

from lotte.errors import CorruptFileError, LotteError, MismatchError

pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
pytest.importorskip("transformers", reason="needs lotte-bench[colbert]")

from retrievers.training.settings import Fit


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
