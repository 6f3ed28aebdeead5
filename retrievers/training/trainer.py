"""The state of a training: model, optimiser, step; it runs a step, validates, saves and resumes.

A new state is written beside the old one and renamed, so there is always a
complete one. A step over several parts of a batch, or over several GPUs, has the
gradient of the whole batch (of a GPU's whole batch, for in-batch negatives, as
in the reference).

Parts of a batch: every part is encoded without a gradient, the loss of the
whole batch gives the gradient of each vector, and every part is encoded once
more to carry it on. So memory is that of one part, and in-batch negatives
still come from the whole batch.

Source  Gao et al. 2021, arXiv:2101.06983 (GradCache)
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lotte import artifact
from lotte.errors import CorruptFileError, LotteError, MismatchError, reason, writing
from retrievers.training.example import Example
from retrievers.training.ranks import Ranks
from retrievers.training.settings import Fit, completed, lasting

SMOOTH = 0.98  # of the loss that people see


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


class Trainer:
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

    def is_due(self, every: int) -> bool:
        """Whether what is done at the end, and every so many steps if that is not 0, is to be done now."""
        return self.step == self.steps or bool(every and self.step % every == 0)

    def validate(self) -> float:
        """Return MRR@10 as the task has it; the weights are kept if there were no better ones."""
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
        """Set the model to the weights that validated best."""
        if self._best:
            self.task.model.load_state_dict(self._best)

    def save(self, folder: Path) -> None:
        """Write the state beside the one before, then remove that. The first process does it, and the others wait."""
        if self.ranks.rank == 0:
            self._write(folder)
        self.ranks.wait()

    def _write(self, folder: Path) -> None:
        from safetensors.torch import save_file

        tensors = {f"model.{name}": weight for name, weight in self.task.model.state_dict().items()}
        tensors |= {f"best.{name}": weight for name, weight in self._best.items()}
        names = [name for name, _ in self.task.model.named_parameters()]
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"{key}.{names[number]}": value for key, value in state.items()}
        numbers = {"step": self.step, "smooth": self.smooth, "best": self.best, "validations": self.validations}
        meta = {**self.papers, **numbers}
        with writing(folder), artifact.folder(folder / f"state-{self.step}", meta, seal=True) as made:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                made / "state.safetensors",
            )
        for older in {*folder.glob("state-*")} - {folder / f"state-{self.step}"}:
            rmtree(older, ignore_errors=True)

    def resume(self, folder: Path) -> None:
        """Take the last whole state, if there is one."""
        whole = [path.parent for path in folder.glob(f"state-*/{artifact.META}")]
        states = {int(step): path for path in whole if (step := path.name.removeprefix("state-")).isdecimal()}
        if states:
            self._take(states[max(states)])

    def _take(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            meta = artifact.whole(path)
        except (OSError, LotteError) as error:
            raise _unreadable(path, error) from None
        for key, asked in self.papers.items():
            begun = meta.get(key)
            if isinstance(begun, Mapping):
                begun = completed(begun, asdict(Fit()))  # with settings that are newer than the state
            if (lasting(begun) if isinstance(begun, Mapping) else begun) != asked:
                had, wants = _difference(begun, asked)
                raise MismatchError(
                    f"{path.parent} was begun with {key} {had}, but is now given {wants}; a training run resumes "
                    "with the settings it was started with. Change it back, or name another --out"
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


def _difference(had: Any, settings: Any) -> tuple[str, str]:
    if isinstance(had, Mapping) and isinstance(settings, Mapping):
        other = [key for key in settings if had.get(key) != settings[key]]
        return ", ".join(f"{key}={had.get(key)}" for key in other), ", ".join(f"{key}={settings[key]}" for key in other)
    return str(had)[:12], str(settings)[:12]
