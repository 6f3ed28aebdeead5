"""The training loop: it can be killed at any step, and resumes with the same loss curve."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from lotte.errors import MismatchError
from lotte.progress import Progress
from retrievers.training.batches import batches
from retrievers.training.example import Example
from retrievers.training.journal import Journal
from retrievers.training.ranks import Ranks
from retrievers.training.settings import Fit, lasting
from retrievers.training.trainer import Trainer, TrainingTask


def fit(
    task: TrainingTask, examples: Sequence[Example], folder: Path, config: Fit, *, data: str, title: str,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:  # fmt: skip
    """Train, from the beginning or from where it was stopped, and leave the best weights in the model.

    folder  for states, the log, and TensorBoard's files
    data    a name for what is trained on: a training goes on with the data it began with

    Returns the facts of the training: steps, losses, validations, the best one.
    Raises  MismatchError if the folder's state was trained on other data or with other settings
    """
    trainer = _begun(task, len(examples), folder, config, data)
    steps, ranks = trainer.steps, trainer.ranks
    if trainer.step:
        say(f"{title}: resuming at step {trainer.step} of {steps}")
    with (
        _stopping() as stopped,
        Progress(steps, "steps", title, done=trainer.step) as progress,
        ThreadPoolExecutor(1) as reader,
        Journal(folder, trainer.step) if ranks.rank == 0 else nullcontext() as journal,
    ):
        for batch, parts in batches(reader, task, examples, config, range(trainer.step, steps)):
            terms = trainer.update(batch, parts)
            if journal:
                journal.write(trainer.step, terms)
                progress.title = f"{title}, loss {trainer.smooth:.4f}"
            progress.advance()
            if trainer.is_due(config.validate_every):
                mrr = _validate(trainer, journal)
                say(f"{title}: MRR@10 {mrr:.4f} on the validation questions, after {trainer.step} of {steps} steps")
            stop = ranks.any(bool(stopped))  # a signal comes to one process a step before it comes to another
            if trainer.is_due(config.save_every) or stop:
                trainer.save(folder)
            if stop:
                raise KeyboardInterrupt
    trainer.take_best()
    return {"steps": steps, "examples": len(examples), "loss": trainer.smooth, "best": trainer.best,
            "validations": trainer.validations, "settings": asdict(config)}  # fmt: skip


def _begun(task: TrainingTask, count: int, folder: Path, config: Fit, data: str) -> Trainer:
    """Return the trainer for so many examples, at the step that the folder's state has."""
    ranks = Ranks.here()
    if config.batch % ranks.count:
        raise MismatchError(f"a batch of {config.batch} cannot be divided among {ranks.count} processes; change batch")
    folder.mkdir(parents=True, exist_ok=True)
    steps = config.steps or count // config.batch
    if not steps or count < config.batch:
        raise MismatchError(f"{count} examples are fewer than one batch of {config.batch}; take a smaller batch")
    trainer = Trainer(task, config, steps, ranks, {"fit": lasting(asdict(config)), "data": data, "steps": steps})
    trainer.resume(folder)
    ranks.share(task.model)
    return trainer


def _validate(trainer: Trainer, journal: Journal | None) -> float:
    mrr = trainer.validate()
    if journal:
        journal.write(trainer.step, {"MRR@10": mrr})
    return mrr


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """Give a list that is no longer empty after a request to stop: the step is finished, and its state saved."""
    signals: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if signals:
            raise KeyboardInterrupt  # the second time at once
        signals.append(number)

    try:
        before: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread, which alone may listen
        before = {}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if signals and callable(handler := before.get(signals[0])):
            handler(signals[0], None)  # who listened until then hears of it: the exit status says what it was
