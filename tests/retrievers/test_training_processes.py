"""A training in processes of its own: killed, asked to stop, or several that train together."""

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
from forked_training import Fork, Forks, ended
from places import HOUSE, TESTS
from toy_training import close, log, same, states

from lotte import artifact

pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
pytest.importorskip("transformers", reason="needs lotte-bench[colbert]")

from retrievers.training.settings import Fit, lasting

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def forks():
    with Forks() as forks:
        yield forks


def whole(processes: list[Fork]) -> None:
    """Wait for processes that end well."""
    assert [code for code, _ in ended(processes)] == [0] * len(processes), [one.said.read_text() for one in processes]


def launched(folder: Path, settings):
    """Start a training in two processes, as a person does: by torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join([str(TESTS / "helpers"), str(HOUSE)])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    folder.parent.mkdir(parents=True, exist_ok=True)
    program = [sys.executable, *launcher, toy_training.__file__, str(folder), json.dumps(settings)]
    return subprocess.Popen(program, env=env, stderr=subprocess.PIPE, text=True)


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


def steps_kept(folder) -> list[int]:
    return [int(name.partition("state-")[2].partition(".")[0]) for name in states(folder)]


def test_a_process_that_was_killed_goes_on_to_the_same_weights(tmp_path, forks):
    """With a real SIGKILL, three times, wherever it strikes."""
    settings = {"steps": 60, "count": 100, "save_every": 4, "validate_every": 25}
    # a process as well: how many threads there are is part of what a sum comes to
    whole([forks.start(tmp_path / "whole" / "run", settings)])
    folder = tmp_path / "killed" / "run"
    killed = 0
    for least in (5, 20, 41):
        process = forks.start(folder, settings)
        until(process, lambda least=least: any(step >= least for step in steps_kept(folder)))
        process.kill()
        killed += ended([process])[0][0] == -signal.SIGKILL
    whole([forks.start(folder, settings)])
    assert killed >= 2
    same(weights(folder), weights(tmp_path / "whole" / "run"))
    assert log(folder) == log(tmp_path / "whole" / "run")
    assert states(folder) == ["state-60"]


@pytest.mark.parametrize("scores", [False, True])
def test_two_processes_train_the_model_that_one_trains(tmp_path, forks, scores):
    """Without in-batch negatives, which each process takes from its own half of the batch."""
    pytest.importorskip("torch.distributed", reason="needs torch with gloo")
    settings = {"steps": 5, "count": 20, "dropout": 0.0, "in_batch": False, "scores": scores, "validate_every": 2}
    one, facts = toy_training.train(tmp_path / "one" / "run", **settings)
    toy_training.late(tmp_path / "two", Fit())  # pairs and the start, which processes share
    whole(forks.ranks(tmp_path / "two" / "run", settings))
    close(weights(tmp_path / "two" / "run"), one.model.state_dict(), rtol=1e-3, atol=2e-5)
    written = [line for line in log(tmp_path / "two" / "run") if "loss" in line]
    assert [line["step"] for line in written] == [1, 2, 3, 4, 5]
    alone = [line["gradient"] for line in log(tmp_path / "one" / "run") if "loss" in line]
    assert [line["gradient"] for line in written] == pytest.approx(alone, rel=1e-3)
    found = json.loads((tmp_path / "two" / "run" / "facts.json").read_text())
    assert found["validations"] == pytest.approx(facts["validations"])


@pytest.mark.parametrize(
    "settings",
    [
        {"gather": True},
        {"gather": True, "scores": True, "loss": "margin_mse", "parts": 2},
        {"gather": True, "scoring": "xtr", "xtr_k": 20, "scale": 5.0},
        {"gather": True, "tct": "batch"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_with_the_passages_of_all_processes_two_train_the_model_that_one_trains(tmp_path, forks, settings):
    """In-batch negatives, and what the teacher says, are then those of the whole batch."""
    pytest.importorskip("torch.distributed", reason="needs torch with gloo")
    settings = {"steps": 4, "count": 24, "dropout": 0.0, **settings}
    one, _ = toy_training.train(tmp_path / "one" / "run", **settings)
    toy_training.late(tmp_path / "two", Fit())  # pairs and the start, which processes share
    whole(forks.ranks(tmp_path / "two" / "run", {**settings, "parts": 1}))
    close(weights(tmp_path / "two" / "run"), one.model.state_dict(), rtol=1e-3, atol=2e-5)
    alone, together = (
        [line["gradient"] for line in log(tmp_path / name / "run") if "loss" in line] for name in ("one", "two")
    )
    assert together == pytest.approx(alone, rel=1e-3)


@pytest.mark.slow(seconds=20)
def test_two_processes_that_are_asked_to_stop_go_on_to_the_same_weights(tmp_path, forks):
    """torchrun hands SIGTERM to all; they end the same step, and in-batch negatives and dropout are on."""
    settings = {"steps": 40, "count": 100, "save_every": 100}
    for name in ("whole", "stopped"):
        toy_training.late(tmp_path / name, Fit())
    whole(forks.ranks(tmp_path / "whole" / "run", settings))
    folder = tmp_path / "stopped" / "run"
    process = launched(folder, {**settings, "pause": 0.05})
    assert until(process, lambda: (folder / "begun").exists())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert process.returncode != 0
    (state,) = states(folder)
    assert 0 < int(state.removeprefix("state-")) < 40
    fit = Fit(batch=6, nway=3, lr=1e-3, dropout=0.1, save_every=100, steps=40)
    assert artifact.meta(folder / state)["fit"] == lasting(asdict(fit))
    process = launched(folder, settings)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    same(weights(folder), weights(tmp_path / "whole" / "run"))
    assert log(folder) == log(tmp_path / "whole" / "run")


def test_a_batch_that_cannot_be_dealt_out_is_one_line(tmp_path, forks):
    toy_training.late(tmp_path, Fit())
    for code, said in ended(forks.ranks(tmp_path / "run", {"batch": 5})):
        assert code == 1
        assert "MismatchError: a batch of 5 cannot be divided among 2 processes; change batch" in said
