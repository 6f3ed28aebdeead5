"""TCT-ColBERT's training: a student with one vector per text, and its ColBERT teacher, which scores every batch.

  v1          the teacher, unless one is named
  student     initialised with the teacher's weights; the frozen teacher scores every pair of the batch
  checkpoint  the student with its provenance

The loss is (1 - gamma) KL(teacher || student) + gamma times the cross-entropy of the right passages, over all passages
of the batch (`distil=batch`). With `triplet` the teacher scores only a question's own line; with `none` it is not used,
and the cross-entropy has the weight 1. The paper's equation 6 has a minus before its sum, which would maximise KL;
here both terms are minimised. The released code trains on KL alone: `gamma=0`. In it, the teacher's question vectors
are not normalised, and a similarity of exactly 0 counts as -15, for padding; here they have length 1, as in ColBERT,
and padding is masked.

Source  Lin et al. 2020, arXiv:2010.11386, equations 5 and 6 and table 3; castorini/tct_colbert, train/model_fn.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lotte.errors import MismatchError
from retrievers.colbert.model import checkpoint, export
from retrievers.colbert.model.checkpoint import Checkpoint
from retrievers.colbert.model.config import ModelConfig
from retrievers.colbert.model.tct import MARKED, TctTokens
from retrievers.colbert.model.tokens import TextTokens, Tokens
from retrievers.training import losses
from retrievers.training.example import Example
from retrievers.training.examples import Pairs, even
from retrievers.training.objective import Read, joined, labelled, reciprocal_rank
from retrievers.training.ranks import Ranks
from retrievers.training.settings import Fit, TctRecipe
from retrievers.training.steps import PairTraining
from retrievers.training.student import PRECISIONS, TOKENS_AT_ONCE, Student, casts, groups, padded, set_dropout


class TctStudent(nn.Module):
    """A model of one vector per text that is trained."""

    def __init__(self, body: Any, settings: ModelConfig, start: Checkpoint, *, dropout: float, precision: str) -> None:
        super().__init__()
        self.body, self.settings, self.start, self.dtype = body, settings, start, PRECISIONS[precision]
        self.tokens = TctTokens(start.tokenizer, settings)
        for name, weight in body.named_parameters():
            if name.startswith("pooler."):  # nobody reads it, and no checkpoint brings it: else whatever memory held
                nn.init.zeros_(weight)
        set_dropout(body, dropout)

    @classmethod
    def load(cls, source: str | Path, settings: ModelConfig, *, dropout: float, precision: str) -> "TctStudent":
        """Return a student with the transformer of a checkpoint, whatever projection that has."""
        start = checkpoint.find(source)
        return cls(start.model(), settings, start, dropout=dropout, precision=precision)

    def forward(self, ids_NL: Tensor, seen_NL: Tensor, kept_NL: Tensor) -> Tensor:
        """Return (N, I), the mean of the tokens that are kept."""
        hidden_NLI = self.body(input_ids=ids_NL, attention_mask=seen_NL).last_hidden_state.float()
        sum_NI: Tensor = (hidden_NLI * kept_NL[..., None]).sum(1)
        return sum_NI / kept_NL.sum(1, keepdim=True).clamp(min=1)

    def encode(self, tokens: Tokens) -> Tensor:
        """Return (N, I), a vector for each text."""
        device = next(self.parameters()).device
        parts = padded(tokens, device, self.start.positions)
        lengths = (tokens.starts[1:] - tokens.starts[:-1]).tolist()
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        budget = TOKENS_AT_ONCE if device.type == "cpu" else len(lengths) * parts[0].shape[1]
        weights, vectors = casts(self, self.dtype), []
        for begin, end in groups([lengths[row] for row in order], budget):
            width = parts[0].shape[1] if device.type != "cpu" else lengths[order[end - 1]]
            vectors.append(
                torch.func.functional_call(self, weights, tuple(part[order[begin:end], :width] for part in parts))
            )
        return torch.cat(vectors)[torch.argsort(torch.tensor(order, device=device))]

    def save(self, folder: Path, *, training: Mapping[str, Any], readme: str) -> Path:
        """Write the model as a checkpoint that transformers opens."""
        model = export.TrainedModel(
            described=self.start.described,
            state={name: tensor.float().cpu() for name, tensor in self.body.state_dict().items()},
            projection_HI=None,
            tokenizer=self.start.tokenizer.parent,
            settings=self.settings,
        )
        return export.write(folder, model, export.Papers(training=training, readme=readme))


class ReadTwice(NamedTuple):
    """A batch, tokenised for the student, and for the teacher if there is one."""

    student: Read
    teacher: Read | None


class TctTask:
    """Scores by the dot product of one vector with another; the teacher's MaxSim says how they should be.

    teacher  a late-interaction model that is not trained; None: there is none, and distil is "none"
    ranking  question -> passages to put in order, for the validation: some that are right, and some that look so
    """

    def __init__(
        self, student: TctStudent, teacher: Student | None, pairs: Pairs, recipe: TctRecipe,
        ranking: dict[int, list[int]],
    ) -> None:  # fmt: skip
        self.model, self._teacher, self._pairs, self._recipe, self._ranking = student, teacher, pairs, recipe, ranking
        if teacher:
            teacher.eval().requires_grad_(requires_grad=False)

    def read(self, examples: Sequence[Example]) -> ReadTwice:
        questions = [self._pairs.questions[example.qid] for example in examples]
        passages = [self._pairs.passage(pid) for example in examples for pid in example.pids]

        def by(tokens: TextTokens | TctTokens) -> Read:
            return Read(tokens.queries(questions), tokens.docs(passages))

        return ReadTwice(by(self.model.tokens), by(self._teacher.tokens) if self._teacher else None)

    def encode(self, read: ReadTwice) -> tuple[Tensor, ...]:
        vectors = self.model.encode(read.student.queries), self.model.encode(read.student.docs)
        if not self._teacher or not read.teacher:
            return vectors
        with torch.no_grad():
            query_BQH, kept_BQ = self._teacher.encode(read.teacher.queries)
            doc_NLH, kept_NL = self._teacher.encode(read.teacher.docs)
        return *vectors, query_BQH * kept_BQ[..., None], doc_NLH, kept_NL

    def loss(self, encoded: Sequence[tuple[Tensor, ...]], examples: Sequence[Example]) -> dict[str, Tensor]:
        even(examples)
        recipe, width = self._recipe, len(examples[0].pids)
        ranks = Ranks.here() if recipe.student.gather else Ranks()
        query_BI, doc_NI, *late = (joined(parts) for parts in zip(*encoded, strict=True))
        score_BN = recipe.student.scale * (query_BI @ ranks.gathered(doc_NI).T)
        labelled_BN = labelled(self._pairs, examples, ranks).to(score_BN.device)
        first = ranks.rank * len(examples)
        right = losses.in_batch(score_BN, labelled_BN, width=width, first=first, own=True)
        if not late:
            return {"first": right}
        query_BQH, doc_NLH, kept_NL = (part.detach() for part in late)
        if recipe.distil == "triplet":
            line_B = torch.arange(len(examples), device=score_BN.device)
            score_BN = score_BN.view(len(examples), -1, width)[line_B, first + line_B]
            teacher_BN = losses.own_scores(query_BQH, doc_NLH, kept_NL)
        else:
            teacher_BN = losses.all_scores(query_BQH, ranks.gathered(doc_NLH), ranks.gathered(kept_NL))
        kl = losses.distil(score_BN, teacher_BN, temperature=recipe.temperature)
        return {"kl": (1 - recipe.gamma) * kl, "first": recipe.gamma * right}

    def validate(self) -> float:
        """Return the mean reciprocal rank at 10 over the candidates of every question that is held out."""
        values = []
        for qid, pids in sorted(self._ranking.items()):
            query_1I = self.model.encode(self.model.tokens.queries([self._pairs.questions[qid]]))
            doc_NI = self.model.encode(self.model.tokens.docs([self._pairs.passage(pid) for pid in pids]))
            values.append(reciprocal_rank((doc_NI @ query_1I[0]).tolist(), pids, self._pairs.positives[qid]))
        return sum(values) / len(values) if values else 0.0


class TctTraining(PairTraining[TctRecipe]):
    """TCT-ColBERT's training: the teacher's, and the student's."""

    system = "tct_colbert"

    @property
    def steps(self) -> list[str]:
        """The names of the steps, in the order in which they are done."""
        begin = [step for step in self._begin if not self.recipe.teacher or step not in ("v1", "given")]
        return [*begin, "student", "checkpoint"]

    @property
    def last(self) -> Path:
        """Return the checkpoint of the last step that trains."""
        return self.folder / "student" / "checkpoint"

    def _require(self) -> None:
        named = checkpoint.find(self.recipe.teacher or self.recipe.start)
        settings = self._student_config
        TctTokens(named.tokenizer, settings)
        if settings.doc_maxlen > named.positions:
            raise MismatchError(
                f"{named.name} has {named.positions} positions, but the student needs {settings.doc_maxlen}: "
                f"doc_maxlen and the {MARKED} tokens before a text"
            )
        if self.recipe.teacher and not named.steps():
            raise MismatchError(
                f"{named.name} has no projection, so it is not a ColBERT that could teach; "
                "`lotte train colbert` makes one"
            )

    @property
    def _student_config(self) -> ModelConfig:
        recipe = self.recipe
        return ModelConfig(query_maxlen=recipe.query_maxlen + MARKED, doc_maxlen=recipe.doc_maxlen + MARKED)

    def _student(self) -> Path:
        recipe, folder, config = self.recipe, self.folder / "student", self.recipe.student
        if (self.last / "config.json").exists():
            return self.last
        path = self._lines or self._triples("student", self._bm25, config.nway, recipe.student_passes, recipe.seed + 2)
        source = recipe.teacher or self.v1
        student = TctStudent.load(source, self._student_config, dropout=config.dropout, precision=recipe.precision).to(
            self._device
        )
        task = TctTask(student, self._late_teacher(source, config), self.pairs, recipe, self._ranking)
        facts = self._run(task, path, folder, config, "training the student")
        if Ranks.here().rank == 0:
            student.save(self.last, training={"step": "student", **facts}, readme="The student of a training.\n")
        Ranks.here().wait()
        return self.last

    def _late_teacher(self, source: str | Path, config: Fit) -> Student | None:
        """Return the ColBERT that teaches, None if none does."""
        recipe = self.recipe
        if recipe.distil == "none":
            return None
        settings = checkpoint.find(source).settings
        settings = replace(settings, query_maxlen=recipe.query_maxlen, doc_maxlen=recipe.doc_maxlen)
        teacher = Student.load(source, settings, dropout=0.0, precision=recipe.precision)
        return teacher.to(self._device)
