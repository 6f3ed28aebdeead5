"""The order of the examples, and batches in that order: the next one is read while the current one is trained on.

The order depends only on the seed and the step number, so a resumed training
continues with the examples that would have come next.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeAlias

import numpy as np

from retrievers.training.example import Example
from retrievers.training.ranks import Ranks
from retrievers.training.settings import Fit
from retrievers.training.trainer import TrainingTask

Batch: TypeAlias = tuple[list[Example], list[Any]]  # the examples, and what the task read of each of its parts


class ExampleOrder:
    """Which examples a step takes: line i goes to process i mod count, and every pass has an order of its own."""

    def __init__(self, count: int, config: Fit, ranks: Ranks) -> None:
        self._count, self._config, self._ranks = count, config, ranks
        self._passes: dict[int, Any] = {}

    def rows(self, step: int) -> list[int]:
        """Return the rows of the examples that this process takes in a step."""
        batch = self._config.batch
        lines = range(step * batch + self._ranks.rank, (step + 1) * batch, self._ranks.count)
        return [self._row(line) for line in lines]

    def _row(self, line: int) -> int:
        number, line = divmod(line, self._count)
        if number not in self._passes:
            order = np.arange(self._count)  # the first pass is in the order of the file, which is shuffled
            if number:
                order = np.random.default_rng([self._config.seed, number]).permutation(self._count)
            self._passes = {key: self._passes[key] for key in [number - 1] if key in self._passes} | {number: order}
        return int(self._passes[number][line])


def tokenised(task: TrainingTask, examples: Sequence[Example], rows: Sequence[int], parts: int) -> Batch:
    """Return the batch of some rows, read by the task in so many parts."""
    batch = [examples[row] for row in rows]
    size = -(-len(batch) // parts)
    return batch, [task.read(batch[begin : begin + size]) for begin in range(0, len(batch), size)]


def batches(
    reader: Executor, task: TrainingTask, examples: Sequence[Example], config: Fit, steps: range
) -> Iterator[Batch]:
    """Give the batch of each step; `reader` reads the next one meanwhile."""
    order = ExampleOrder(len(examples), config, Ranks.here())
    ahead: list[Future[Batch]] = []
    for step in steps:
        for coming in range(step + len(ahead), min(step + 2, steps.stop)):
            ahead.append(reader.submit(tokenised, task, examples, order.rows(coming), config.parts))
        yield ahead.pop(0).result()
