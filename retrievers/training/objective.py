"""The training objective of a late-interaction student: lines of passages, with or without a teacher's scores."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from retrievers.colbert.model.tokens import Tokens
from retrievers.training import losses
from retrievers.training.example import Example
from retrievers.training.examples import Pairs, even
from retrievers.training.ranks import Ranks
from retrievers.training.settings import Fit
from retrievers.training.student import Student

RANKED_AT_ONCE = 16  # questions of the validation
CUT = 10  # of the reciprocal rank


class Read(NamedTuple):
    """A batch's queries and passages, tokenised."""

    queries: Tokens
    docs: Tokens


class LateTask:
    """Scores by MaxSim; cross-entropy or distillation over a line, and in-batch negatives.

    ranking  question -> passages to put in order, for the validation: some that are right, and some that look so
    """

    def __init__(self, student: Student, pairs: Pairs, config: Fit, ranking: dict[int, list[int]]) -> None:
        self.model, self._pairs, self._config, self._ranking = student, pairs, config, ranking

    def read(self, examples: Sequence[Example]) -> Read:
        pairs = self._pairs
        return Read(
            self.model.tokens.queries([pairs.questions[example.qid] for example in examples]),
            self.model.tokens.docs([pairs.passage(pid) for example in examples for pid in example.pids]),
        )

    def encode(self, read: Read) -> tuple[Tensor, ...]:
        query_BQH = self._queries(read.queries)
        doc_NLH, kept_NL = self.model.encode(read.docs)
        return query_BQH, doc_NLH, kept_NL

    def _queries(self, tokens: Tokens) -> Tensor:
        """Return (B, Q, H), zeros after a question that is shorter than the others: they add nothing to MaxSim."""
        query_BQH, kept_BQ = self.model.encode(tokens)
        return query_BQH * kept_BQ[..., None]

    def loss(self, encoded: Sequence[tuple[Tensor, ...]], examples: Sequence[Example]) -> dict[str, Tensor]:
        config = self._config
        even(examples)
        query_BQH, doc_NLH, kept_NL = (joined(parts) for parts in zip(*encoded, strict=True))
        score_BW, score_BN, ranks = self._scores(query_BQH, doc_NLH, kept_NL, len(examples[0].pids))
        terms = {}
        if examples[0].scores is None or config.loss == "contrastive":
            terms["first"] = losses.first_wins(score_BW)
        else:
            teacher_BW = torch.tensor([example.scores for example in examples], device=score_BW.device)
            distance = losses.DISTANCES[config.loss](score_BW, teacher_BW, temperature=config.temperature)
            terms[config.loss] = config.distil_weight * distance
        if config.in_batch and score_BN is not None:
            labelled_BN = labelled(self._pairs, examples, ranks).to(score_BN.device)
            first, width = ranks.rank * len(examples), len(examples[0].pids)
            in_batch = losses.in_batch(score_BN, labelled_BN, width=width, first=first)
            terms["in_batch"] = config.in_batch_weight * in_batch
        return terms

    def _scores(
        self, query_BQH: Tensor, doc_NLH: Tensor, kept_NL: Tensor, width: int
    ) -> tuple[Tensor, Tensor | None, Ranks]:
        """Return the scores of every question with its line, with all passages if these count, and whose they are."""
        config, ranks = self._config, Ranks()
        if config.scoring == "maxsim" and not config.in_batch:
            return config.scale * losses.own_scores(query_BQH, doc_NLH, kept_NL), None, ranks
        if config.gather:
            ranks = Ranks.here()
            doc_NLH, kept_NL = ranks.gathered(doc_NLH), ranks.gathered(kept_NL)
        if config.scoring == "xtr":
            score_BN = losses.xtr_scores(query_BQH, doc_NLH, kept_NL, top=config.xtr_k)
        else:
            score_BN = losses.all_scores(query_BQH, doc_NLH, kept_NL)
        score_BN = config.scale * score_BN
        lines = len(query_BQH)
        line_B = torch.arange(lines, device=score_BN.device)
        own_BW = score_BN.view(lines, -1, width)[line_B, ranks.rank * lines + line_B]
        return own_BW, score_BN, ranks

    def validate(self) -> float:
        """Return the mean reciprocal rank at 10 over the candidates of every question that is held out."""
        values = []
        questions = sorted(self._ranking)
        for begin in range(0, len(questions), RANKED_AT_ONCE):
            some = questions[begin : begin + RANKED_AT_ONCE]
            query_BQH = self._queries(self.model.tokens.queries([self._pairs.questions[qid] for qid in some]))
            for query_QH, qid in zip(query_BQH, some, strict=True):
                pids = self._ranking[qid]
                doc_NLH, kept_NL = self.model.encode(self.model.tokens.docs([self._pairs.passage(pid) for pid in pids]))
                score_N = losses.all_scores(query_QH[None], doc_NLH, kept_NL)[0]
                values.append(reciprocal_rank(score_N.tolist(), pids, self._pairs.positives[qid]))
        return sum(values) / len(values) if values else 0.0


def labelled(pairs: Pairs, examples: Sequence[Example], ranks: Ranks) -> Tensor:
    """Return (B, N), which passages of the batch, of all processes, are right answers of which question."""
    pids = torch.tensor([pid for example in examples for pid in example.pids])
    if ranks.count > 1:
        pids = ranks.gathered(pids.to("cuda" if torch.cuda.is_available() else "cpu"))
    rows = [{*pairs.positives.get(example.qid, ()), example.pids[0]} for example in examples]
    return torch.tensor([[pid in right for pid in pids.tolist()] for right in rows])


def reciprocal_rank(scores: Sequence[float], pids: Sequence[int], right: Sequence[int]) -> float:
    """Return 1 / the place of the first right passage among the best ten, or 0.

    >>> reciprocal_rank([0.1, 0.9, 0.5], [7, 8, 9], [9])
    0.5
    """
    best = sorted(zip(scores, pids, strict=True), key=lambda pair: (-pair[0], pair[1]))[:CUT]
    return next((1 / place for place, (_, pid) in enumerate(best, start=1) if pid in right), 0.0)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return parts of a batch as one, each widened to the longest text."""
    if parts[0].dim() < 3 and parts[0].dtype != torch.bool:  # a vector a text has no length
        return torch.cat(list(parts))
    width = max(part.shape[1] for part in parts)
    widened = [torch.nn.functional.pad(part, (0, 0) * (part.dim() - 2) + (0, width - part.shape[1])) for part in parts]
    return torch.cat(widened) if len(widened) > 1 else widened[0]
