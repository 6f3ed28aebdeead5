"""Distributed training: several processes, one per GPU, as torchrun starts them."""

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Made = TypeVar("Made")


@dataclass(frozen=True)
class Ranks:
    """This process among those of the launcher (torchrun); one alone if there is no launcher."""

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> "Ranks":
        """Join the processes that the launcher started."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        if not torch.distributed.is_initialized():
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # else all of them wait on the first GPU
            # the others wait while the first one mines and scores, which takes longer than any time limit
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            torch.distributed.init_process_group(backend, timeout=timedelta(days=30))
            if backend == "gloo":
                # Its threads outlive the interpreter else, and end the process by SIGABRT when all its work is done.
                # NCCL's ends by itself, and would wait here for the others where one of them has failed.
                atexit.register(torch.distributed.destroy_process_group)
        return cls(torch.distributed.get_rank(), count)

    def share(self, model: nn.Module) -> None:
        """Give every process the weights of the first."""
        for weight in model.state_dict().values() if self.count > 1 else ():
            torch.distributed.broadcast(weight, 0)

    def any(self, flag: bool) -> bool:
        """Return whether one of the processes says yes."""
        if self.count == 1:
            return flag
        said = torch.tensor(float(flag), device="cuda" if torch.cuda.is_available() else "cpu")
        torch.distributed.all_reduce(said)
        return bool(said)

    def average(self, model: nn.Module) -> None:
        """Set every gradient to the mean over the processes."""
        if self.count == 1:
            return
        grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
        flat = torch.cat([grad.reshape(-1) for grad in grads]) / self.count
        torch.distributed.all_reduce(flat)
        for grad, part in zip(grads, torch.split(flat, [grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def gathered(self, part: Tensor) -> Tensor:
        """Return what all processes have, one part after the other, each widened to the longest one.

        The gradient of what is gathered comes back to whose part it is, from the losses of all processes.
        """
        if self.count == 1:
            return part
        if part.dim() > 1:
            width = torch.tensor(part.shape[1], device=part.device)
            torch.distributed.all_reduce(width, torch.distributed.ReduceOp.MAX)
            part = nn.functional.pad(part, (0, 0) * (part.dim() - 2) + (0, int(width) - part.shape[1]))
        if part.dtype == torch.bool:  # which not every backend sends
            return self.gathered(part.to(torch.uint8)).bool()
        gathered: Tensor = _AllGather.apply(part.contiguous(), self)  # type: ignore[no-untyped-call]
        return gathered

    def once(self, make: Callable[[], Made]) -> Made:
        """Let the first process make something, then the others, who find it made."""
        if self.rank == 0:
            made = make()
        self.wait()
        return made if self.rank == 0 else make()

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            torch.distributed.barrier()


class _AllGather(torch.autograd.Function):
    """`all_gather`, which has no gradient of its own, with one."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        parts = [torch.empty_like(part) for _ in range(ranks.count)]
        torch.distributed.all_gather(parts, part)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.contiguous()
        torch.distributed.all_reduce(grad)
        return grad.chunk(ctx.ranks.count)[ctx.ranks.rank], None
