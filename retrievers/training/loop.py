"""The training loop: it can be killed at any step, and goes on along the same loss curve.

What is settled here: the order of the data follows from the seed and the number
of the step alone; a state is written beside the one before it and renamed, so
there is always a whole one; a step over several parts of a batch, or over
several GPUs, has the gradient of the whole batch (of a GPU's whole batch, for
in-batch negatives, as in the reference).

Parts of a batch: every part is encoded without a gradient, the loss of the
whole batch gives the gradient of each vector, and every part is encoded once
more to carry it on. So a part's memory is what counts, and in-batch negatives
still see the whole batch.

Source  Gao et al. 2021, arXiv:2101.06983 (GradCache)
"""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lotte import artifact
from lotte.errors import CorruptFileError, LotteError, MismatchError, reason, writing
from lotte.parsing import json_of
from lotte.progress import Progress
from retrievers.training.bounds import require_bounds
from retrievers.training.example import Example
from retrievers.training.ranks import Ranks

LOG = "log.jsonl"  # a line for every step
SMOOTH = 0.98  # of the loss that people see
FREE = ("parts", "validate_every", "save_every")  # settings that may change while a training is stopped


def lasting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a training must go on with: all but FREE, in sections too."""
    kept = {key: one for key, one in settings.items() if key not in FREE}
    return {key: lasting(one) if isinstance(one, Mapping) else one for key, one in kept.items()}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The settings of one training."""

    steps: int = 0  # 0: once over the examples
    batch: int = 32  # lines a step, of all GPUs together
    nway: int = 2  # passages of a line
    lr: float = 1e-5
    warmup: int = 0  # steps
    decay: bool = True  # to 0 at the last step, along a line
    weight_decay: float = 0.0
    clip: float = 2.0  # length of the gradient
    parts: int = 1  # a batch is encoded in so many parts: memory against time, the same result
    dropout: float = 0.0
    seed: int = 12345
    validate_every: int = 0  # steps; 0: at the end alone
    save_every: int = 200  # steps
    in_batch: bool = True  # whether other questions' passages are negatives too
    temperature: float = 1.0  # of the teacher
    distil_weight: float = 1.0
    in_batch_weight: float = 1.0

    def __post_init__(self) -> None:
        """Raise LotteError for a number that no training can have."""
        require_bounds(self, above_0=("batch", "nway", "lr", "clip", "parts", "save_every", "temperature"))
        if self.nway < 2:
            raise LotteError(f"nway must be 2 or more, a positive and a negative, not {self.nway}")
        if not 0 <= self.dropout < 1:
            raise LotteError(f"dropout must be 0 or more and less than 1, not {self.dropout}")


class TrainingTask(Protocol):
    """What is trained, and by which loss."""

    @property
    def model(self) -> nn.Module: ...

    def read(self, examples: Sequence[Example]) -> Any:
        """Return the examples tokenised. Runs in a thread of its own."""
        ...

    def encode(self, read: Any) -> tuple[Tensor, ...]:
        """Return what the loss needs of some examples, as tensors."""
        ...

    def loss(self, encoded: Sequence[tuple[Tensor, ...]], examples: Sequence[Example]) -> dict[str, Tensor]:
        """Return the terms of the loss of a batch, from what `encode` gave for its parts."""
        ...

    def validate(self) -> float:
        """Return MRR@10 on questions that are not trained on."""
        ...


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
    ranks = Ranks.here()
    if config.batch % ranks.count:
        raise MismatchError(f"a batch of {config.batch} cannot be dealt out to {ranks.count} processes; change batch")
    folder.mkdir(parents=True, exist_ok=True)
    steps = config.steps or len(examples) // config.batch
    if not steps or len(examples) < config.batch:
        raise MismatchError(
            f"{len(examples)} examples are fewer than one batch of {config.batch}; take a smaller batch"
        )
    trainer = _Trainer(task, config, steps, ranks, {"fit": lasting(asdict(config)), "data": data, "steps": steps})
    trainer.resume(folder)
    ranks.share(task.model)
    if trainer.step:
        say(f"{title}: going on at step {trainer.step} of {steps}")
    board: Any = _board(folder, trainer.step) if ranks.rank == 0 else None
    with (
        _stopping() as stopped,
        Progress(steps, "steps", title, done=trainer.step) as progress,
        ThreadPoolExecutor(1) as reader,
    ):
        order = _Order(len(examples), config, ranks, steps)
        ahead = reader.submit(_read, task, examples, order.rows(trainer.step), config.parts)
        log = (folder / LOG).open("a", buffering=1, encoding="utf-8")  # a line is there once it is written
        while trainer.step < steps:
            batch, parts = ahead.result()
            if trainer.step + 1 < steps:
                ahead = reader.submit(_read, task, examples, order.rows(trainer.step + 1), config.parts)
            terms = trainer.update(batch, parts)
            step = trainer.step
            if ranks.rank == 0:
                log.write(artifact.json_line({"step": step, **terms}))
                progress.title = f"{title}, loss {trainer.smooth:.4f}"
                for name, value in terms.items() if board else ():
                    board.add_scalar(name, value, step)
            progress.advance()
            if step == steps or (config.validate_every and step % config.validate_every == 0):
                value = trainer.validate()
                log.write(artifact.json_line({"step": step, "MRR@10": value})) if ranks.rank == 0 else None
                say(f"{title}: MRR@10 {value:.4f} on the questions kept aside, after {step} of {steps} steps")
                if board:
                    board.add_scalar("MRR@10", value, step)
            stop = ranks.any(bool(stopped))  # a signal comes to one process a step before it comes to another
            if step == steps or step % config.save_every == 0 or stop:
                log.flush()
                if ranks.rank == 0:
                    trainer.save(folder)
                ranks.wait()
            if stop:
                raise KeyboardInterrupt
        log.close()
    if board:
        board.close()
    trainer.take_best()
    return {"steps": steps, "examples": len(examples), "loss": trainer.smooth, "best": trainer.best,
            "validations": trainer.validations, "settings": asdict(config)}  # fmt: skip


class _Order:
    """Which examples a step takes: line i goes to process i mod count, and every pass has an order of its own."""

    def __init__(self, count: int, config: Fit, ranks: Ranks, steps: int) -> None:
        self._count, self._config, self._ranks = count, config, ranks
        self._passes: dict[int, Any] = {}

    def rows(self, step: int) -> list[int]:
        batch = self._config.batch
        places = range(step * batch + self._ranks.rank, (step + 1) * batch, self._ranks.count)
        return [self._row(place) for place in places]

    def _row(self, place: int) -> int:
        number, place = divmod(place, self._count)
        if number not in self._passes:
            order = np.arange(self._count)  # the first pass is in the order of the file, which is shuffled
            if number:
                order = np.random.default_rng([self._config.seed, number]).permutation(self._count)
            self._passes = {key: self._passes[key] for key in [number - 1] if key in self._passes} | {number: order}
        return int(self._passes[number][place])


def _read(
    task: TrainingTask, examples: Sequence[Example], rows: Sequence[int], parts: int
) -> tuple[list[Example], list[Any]]:
    batch = [examples[row] for row in rows]
    size = -(-len(batch) // parts)
    return batch, [task.read(batch[begin : begin + size]) for begin in range(0, len(batch), size)]


class _Trainer:
    """Model, optimiser, step: what a state is made of."""

    def __init__(self, task: TrainingTask, config: Fit, steps: int, ranks: Ranks, papers: Mapping[str, Any]) -> None:
        self.task, self.config, self.steps, self.ranks, self.papers = task, config, steps, ranks, dict(papers)
        self.optimiser = torch.optim.AdamW(
            task.model.parameters(), lr=config.lr, eps=1e-8, weight_decay=config.weight_decay, fused=True
        )
        self.step, self.smooth, self.best = 0, 0.0, 0.0
        self.validations: dict[str, float] = {}
        self._best: dict[str, Tensor] = {}

    def update(self, batch: Sequence[Example], parts: Sequence[Any]) -> dict[str, float]:
        """Make one step. Returns the terms of the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._lr()
        self.optimiser.zero_grad(set_to_none=True)
        terms = self._one_part(batch, parts[0]) if len(parts) == 1 else self._many_parts(batch, parts)
        self.ranks.average(self.task.model)
        length = torch.nn.utils.clip_grad_norm_(self.task.model.parameters(), self.config.clip)
        loss = sum(terms.values())
        if not np.isfinite(loss) or not torch.isfinite(length):
            raise MismatchError(
                f"the loss is {loss} at step {self.step + 1}: take a smaller learning rate than {self.config.lr}"
            )
        self.optimiser.step()
        self.step += 1
        share = SMOOTH if self.step > 1 else 0.0
        self.smooth = share * self.smooth + (1 - share) * loss
        return {"loss": loss, **terms, "lr": self._lr(-1), "gradient": float(length)}

    def _one_part(self, batch: Sequence[Example], part: Any) -> dict[str, float]:
        self._draw(0)
        terms = self.task.loss([self.task.encode(part)], batch)
        sum(terms.values(), torch.zeros(())).backward()
        return {name: float(term.detach()) for name, term in terms.items()}

    def _many_parts(self, batch: Sequence[Example], parts: Sequence[Any]) -> dict[str, float]:
        leaves = []
        with torch.no_grad():
            for number, part in enumerate(parts):
                self._draw(number)
                leaves.append(tuple(_leaf(tensor) for tensor in self.task.encode(part)))
        terms = self.task.loss(leaves, batch)
        sum(terms.values(), torch.zeros(())).backward()
        for number, (part, leaf) in enumerate(zip(parts, leaves, strict=True)):
            self._draw(number)  # the same dropout as the first time
            encoded = self.task.encode(part)
            carried = [(out, given.grad) for out, given in zip(encoded, leaf, strict=True) if given.grad is not None]
            torch.autograd.backward([out for out, _ in carried], [grad for _, grad in carried])
        return {name: float(term.detach()) for name, term in terms.items()}

    def _draw(self, part: int) -> None:
        drawn = ((self.config.seed * 1_000_003 + self.step) * 1009 + part) * 1009 + self.ranks.rank
        torch.manual_seed(drawn % (1 << 64))  # which is what it takes

    def _lr(self, offset: int = 0) -> float:
        done, config = self.step + 1 + offset, self.config
        if done <= config.warmup:
            return config.lr * done / config.warmup
        if not config.decay:
            return config.lr
        return config.lr * max(0.0, (self.steps - done + 1) / max(1, self.steps - config.warmup))

    def validate(self) -> float:
        self.task.model.eval()
        with torch.inference_mode():
            value = self.task.validate()
        self.task.model.train()
        self.validations[str(self.step)] = value
        if value >= self.best:  # of equals the later one; without questions to validate by, the last
            self.best = value
            self._best = {name: weight.detach().clone() for name, weight in self.task.model.state_dict().items()}
        return value

    def take_best(self) -> None:
        if self._best:
            self.task.model.load_state_dict(self._best)

    def save(self, folder: Path) -> None:
        """Write the state beside the one before, then remove that."""
        from safetensors.torch import save_file

        tensors = {f"model.{name}": weight for name, weight in self.task.model.state_dict().items()}
        tensors |= {f"best.{name}": weight for name, weight in self._best.items()}
        names = [name for name, _ in self.task.model.named_parameters()]
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"{key}.{names[number]}": value for key, value in state.items()}
        said = {"step": self.step, "smooth": self.smooth, "best": self.best, "validations": self.validations}
        meta = {**self.papers, **said}
        with writing(folder), artifact.folder(folder / f"state-{self.step}", meta, seal=True) as made:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                made / "state.safetensors",
            )
        for older in {*folder.glob("state-*")} - {folder / f"state-{self.step}"}:
            rmtree(older, ignore_errors=True)

    def resume(self, folder: Path) -> None:
        """Take the last whole state, if there is one, and cut the log where it ends."""
        whole = [path.parent for path in folder.glob(f"state-*/{artifact.META}")]
        found = {int(step): path for path in whole if (step := path.name.removeprefix("state-")).isdecimal()}
        if found:
            self._take(found[max(found)])
        if self.ranks.rank:
            return  # the log is the first one's
        with suppress(FileNotFoundError):
            lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _before(line, self.step)]
            artifact.write_whole(folder / LOG, "".join(f"{line}\n" for line in kept))

    def _take(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            meta = artifact.whole(path)
        except (OSError, LotteError) as error:
            raise _unreadable(path, error) from None
        for key, asked in self.papers.items():
            begun = meta.get(key)
            if (lasting(begun) if isinstance(begun, Mapping) else begun) != asked:
                had, wants = _difference(begun, asked)
                raise MismatchError(
                    f"{path.parent} was begun with {key} {had}, and is asked to go on with {wants}; a training goes on "
                    "with what it began with. Change it back, or name another --out"
                )
        try:
            tensors = load_file(path / "state.safetensors")
            self.task.model.load_state_dict(_under("model.", tensors))
            self._best = _under("best.", tensors)
            state = {
                number: {key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
                for number, (name, _) in enumerate(self.task.model.named_parameters())
                if f"exp_avg.{name}" in tensors
            }
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
            self.step, self.smooth, self.best = int(meta["step"]), float(meta["smooth"]), float(meta["best"])
            self.validations = dict(meta["validations"])
        except (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError) as error:
            raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> CorruptFileError:
    return CorruptFileError(f"{path}: the state cannot be read ({reason(error)}); remove it to begin again")


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_() if tensor.is_floating_point() else tensor


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _before(line: str, step: int) -> bool:
    try:
        return int(json_of(line, LOG)["step"]) <= step
    except (CorruptFileError, ValueError, KeyError, TypeError):
        return False  # the end of a line that was never finished


def _difference(had: Any, asked: Any) -> tuple[str, str]:
    if isinstance(had, Mapping) and isinstance(asked, Mapping):
        other = [key for key in asked if had.get(key) != asked[key]]
        return ", ".join(f"{key}={had.get(key)}" for key in other), ", ".join(f"{key}={asked[key]}" for key in other)
    return str(had)[:12], str(asked)[:12]


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """Give a list that is no longer empty once somebody asked to stop: the step is finished, and its state saved."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt  # the second time at once
        asked.append(number)

    try:
        before: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread, which alone may listen
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if asked and callable(handler := before.get(asked[0])):
            handler(asked[0], None)  # who listened until then hears of it: the exit status says what it was


def _board(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
