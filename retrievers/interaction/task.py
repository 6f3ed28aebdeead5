"""The training objective of an interaction model: rank the relevant passage of a line first."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from retrievers.interaction.model import InteractionModel
from retrievers.training import losses
from retrievers.training.example import Example
from retrievers.training.examples import Pairs, even
from retrievers.training.objective import reciprocal_rank


class InteractionTask:
    """Pairwise softmax cross-entropy on the lines that ColBERT's first step is trained on.

    ranking  question -> passages to put in order, for the validation
    """

    def __init__(self, model: InteractionModel, pairs: Pairs, ranking: dict[int, list[int]]) -> None:
        self.model, self._pairs, self._ranking = model, pairs, ranking

    def read(self, examples: Sequence[Example]) -> Any:
        questions = [self._pairs.questions[example.qid] for example in examples for _ in example.pids]
        passages = [self._pairs.passage(pid) for example in examples for pid in example.pids]
        return self.model.read(questions, passages)

    def encode(self, read: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        return (self.model(*read),)

    def loss(self, encoded: Sequence[tuple[Tensor, ...]], examples: Sequence[Example]) -> dict[str, Tensor]:
        even(examples)
        score_BW = torch.cat([scores for (scores,) in encoded]).view(len(examples), -1)
        return {"first": losses.first_wins(score_BW)}

    def validate(self) -> float:
        """Return the mean reciprocal rank at 10 over the candidates of every question that is held out."""
        values = [
            reciprocal_rank(list(scores.values()), list(scores), self._pairs.positives[qid])
            for qid, scores in self.model.scored(self._pairs, dict(sorted(self._ranking.items())))
        ]
        self.model.train()
        return sum(values) / len(values) if values else 0.0
