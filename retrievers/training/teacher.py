"""The teacher: a cross-encoder that reads a question and a passage together and scores their relevance.

Any Hugging Face model for sequence classification with one output will do;
`CrossTask` trains one if none is given. Scores are raw logits, written in the
format of the original's scorer, `[qid, [[score, pid], ...]]`, one line per
question, as they are computed: stopped work resumes with the next question.

Source  ColBERT, colbert/distillation/ranking_scorer.py: length 180, raw logits
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lotte import artifact, extras
from lotte.errors import CorruptFileError, MismatchError
from lotte.lines import lines
from lotte.parsing import json_of
from lotte.progress import Progress
from retrievers.colbert.model import checkpoint
from retrievers.colbert.model.checkpoint import Checkpoint
from retrievers.colbert.model.tokens import reported
from retrievers.training import losses
from retrievers.training.example import Example, finite, no_line, whole
from retrievers.training.examples import Pairs, even
from retrievers.training.objective import reciprocal_rank
from retrievers.training.settings import Fit
from retrievers.training.student import PRECISIONS, STEP, casts, groups, set_dropout

Question = TypeVar("Question")  # what a question is called: a number, an id
Passage = TypeVar("Passage")
Named = TypeVar("Named", contravariant=True)

MAXLEN = 180  # tokens of question and passage together
PAIRS_AT_ONCE = 2048  # sorted by length together
TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 131_072}


class CrossEncoder(nn.Module):
    """A transformer with one output over question and passage."""

    def __init__(self, model: Any, tokenizer: Any, *, maxlen: int = MAXLEN, precision: str = "fp32") -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.maxlen, self.dtype = maxlen, PRECISIONS[precision]

    @classmethod
    def load(
        cls, source: str | Path, *, maxlen: int = MAXLEN, precision: str = "fp32",
        fresh: bool = False, seed: int = 0,
    ) -> "CrossEncoder":  # fmt: skip
        """Return the cross-encoder of a folder, or of a name on the Hugging Face hub.

        fresh  begin one: a transformer's weights, and an output layer that is drawn

        Raises  UnavailableError if it cannot be had, MismatchError if it has another count of outputs than one
        """
        extras.package("transformers", "training")
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils import logging

        start = checkpoint.find(source)
        require_fit(start, maxlen=maxlen, fresh=fresh)
        load: Any = AutoModelForSequenceClassification.from_pretrained
        reader: Any = AutoTokenizer
        with reported(f"{start.folder}: transformers cannot read its tokenizer"):
            tokens = reader.from_pretrained(start.folder, local_files_only=True)
        torch.manual_seed(seed)
        logging.set_verbosity_error()  # an output layer that is drawn is no news here
        logging.disable_progress_bar()
        if start.in_bytes:  # transformers does not know our int8
            return cls(_begun(start), tokens, maxlen=maxlen, precision=precision)
        try:
            model, loading = load(
                start.folder, local_files_only=True, num_labels=1, use_safetensors=True, output_loading_info=True
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise CorruptFileError(
                f"{start.name}: transformers cannot read it ({str(error).splitlines()[0]})"
            ) from None
        if not fresh and (lacking := sorted(loading["missing_keys"])):
            raise CorruptFileError(
                f"{start.name} lacks the tensor {lacking[0]!r}: it is not a trained cross-encoder"
            )
        return cls(model.float(), tokens, maxlen=maxlen, precision=precision)

    def read(self, questions: Sequence[str], passages: Sequence[str]) -> dict[str, Tensor]:
        """Return the tokens of pairs, padded to the longest; what is cut off is the passage's end."""
        questions, passages = ([_whole_characters(text) for text in texts] for texts in (questions, passages))
        questions = [self._cut(question) for question in questions]
        rows = self.tokenizer(questions, passages, truncation="only_second", max_length=self.maxlen)
        return dict(self.tokenizer.pad(rows, pad_to_multiple_of=STEP, return_tensors="pt"))

    def _cut(self, question: str) -> str:
        """Return a question cut to half of all tokens, so that a passage has a place."""
        room = self.maxlen // 2
        if len(question.encode()) <= room:  # no token is less than a byte
            return question
        ends = [end for _, end in self._words.encode(question, add_special_tokens=False).offsets]
        return question if len(ends) <= room else question[: ends[room - 1]]

    @cached_property
    def _words(self) -> Any:
        """Return a tokenizer that cuts nothing: where to cut is a setting, and a thread may read with the other one."""
        words = deepcopy(self.tokenizer.backend_tokenizer)
        words.no_truncation()
        words.no_padding()
        return words

    def forward(self, names: Sequence[str], *inputs: Tensor) -> Tensor:
        """Return the (N,) raw scores of N pairs; `names` says which input is which."""
        out: Tensor = self.model(**dict(zip(names, inputs, strict=True))).logits[:, 0]
        return out

    def score(self, tokens: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
        """Return (N,), the logits of pairs, with the weights rounded as `casts` does it: once for many calls."""
        device = next(self.parameters()).device
        inputs = (list(tokens), *(tensor.to(device) for tensor in tokens.values()))
        out: Tensor = torch.func.functional_call(self, dict(weights), inputs)
        return out.float()

    def rounded(self) -> dict[str, Tensor]:
        """Return the weights in the precision that is computed in."""
        return casts(self, self.dtype)

    def save(self, folder: Path, training: Mapping[str, Any]) -> Path:
        """Write it as transformers and sentence-transformers open it."""
        with artifact.folder(folder, {"training": dict(training)}, seal=True) as made:
            self.model.save_pretrained(made)
            self.tokenizer.save_pretrained(made)
        return folder


def _whole_characters(text: str) -> str:
    """Return a text with ? for each unpaired surrogate, which a tokenizer does not take."""
    return text.encode("utf-8", "replace").decode()


def require_fit(start: Checkpoint, *, maxlen: int, fresh: bool) -> None:
    """Raise MismatchError for a checkpoint that no teacher can be, or begin with, before a weight is read."""
    outputs = start.described.get("num_labels") or len(start.described.get("id2label") or {}) or 2
    if not fresh and (outputs != 1 or start.in_bytes):
        has = "a model in int8 without an output" if start.in_bytes else f"{outputs} outputs"
        raise MismatchError(
            f"{start.name} has {has}, and a cross-encoder has one: the score of a question with a passage"
        )
    if -(-maxlen // STEP) * STEP > start.positions:
        raise MismatchError(f"{start.name} has {start.positions} positions, but pairs have {maxlen} tokens")


def _begun(start: Checkpoint) -> Any:
    """Return a cross-encoder with the transformer of a checkpoint, and an output that is drawn."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    build: Any = AutoModelForSequenceClassification.from_config
    leave = ("auto_map", "torch_dtype", "dtype", "quantization_config", "architectures")
    said = {name: value for name, value in start.described.items() if name not in leave}
    model = build(AutoConfig.for_model(**said, num_labels=1))
    weights = {name: weight for name, weight in start.model().state_dict().items() if not name.startswith("pooler.")}
    model.base_model.load_state_dict(weights, strict=False)  # a pooler, which no late interaction has, is drawn too
    return model


class CrossTask:
    """The task of a teacher: the labelled passage of a line before the others."""

    def __init__(self, model: CrossEncoder, pairs: Pairs, config: Fit, ranking: dict[int, list[int]]) -> None:
        self.model, self._pairs, self._ranking = model, pairs, ranking
        set_dropout(model.model, config.dropout)

    def read(self, examples: Sequence[Example]) -> tuple[list[Any], list[Any]]:
        """Return groups of pairs, alike in length, and where they stand."""
        questions = [self._pairs.questions[example.qid] for example in examples for _ in example.pids]
        passages = [self._pairs.passage(pid) for example in examples for pid in example.pids]
        order = np.argsort([len(passage) for passage in passages], kind="stable")
        groups = np.array_split(order, max(1, len(order) // 16))
        return [self.model.read([questions[i] for i in rows], [passages[i] for i in rows]) for rows in groups], groups

    def encode(self, read: tuple[list[Any], list[Any]]) -> tuple[Tensor, ...]:
        batches, places = read
        weights = self.model.rounded()
        score_N = torch.cat([self.model.score(tokens, weights) for tokens in batches])
        order = torch.from_numpy(np.argsort(np.concatenate(places))).to(score_N.device)
        return (score_N[order],)

    def loss(self, encoded: Sequence[tuple[Tensor, ...]], examples: Sequence[Example]) -> dict[str, Tensor]:
        even(examples)
        score_BW = torch.cat([scores for (scores,) in encoded]).view(len(examples), -1)
        return {"first": losses.first_wins(score_BW)}

    def validate(self) -> float:
        values = [
            reciprocal_rank(list(scores.values()), list(scores), self._pairs.positives[qid])
            for qid, scores in scored(self.model, self._pairs, dict(sorted(self._ranking.items())))
        ]
        return sum(values) / len(values) if values else 0.0


def score(
    model: CrossEncoder, pairs: Pairs, candidates: Mapping[int, Sequence[int]], path: Path
) -> dict[int, dict[int, float]]:
    """Score every question's candidates, and leave them in a file; what is there already is not done again.

    Returns question -> passage -> score, the passages in the order they were given
    """
    if path.exists():
        return read(path)
    part, done = path.with_name(f".{path.name}.partial"), {}
    if part.exists():
        _cut(part)
        done = read(part)
    left = {qid: pids for qid, pids in candidates.items() if qid not in done and pids}
    total, before = sum(map(len, candidates.values())), sum(map(len, done.values()))
    with (
        part.open("a", encoding="utf-8") as file,
        Progress(total, "pairs", "scoring", done=before) as progress,
    ):
        for qid, scores in scored(model, pairs, left):
            file.write(_line(qid, scores))
            done[qid] = scores
            progress.advance(len(scores))
    part.replace(path)
    return done


def write(path: Path, scores: Mapping[int, Mapping[int, float]]) -> None:
    """Write scores in the original's form, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with artifact.Writer(path) as file:
        for qid, of_passages in scores.items():
            file.write(_line(qid, of_passages).encode())


def _line(qid: int, scores: Mapping[int, float]) -> str:
    return artifact.json_line([qid, [[value, pid] for pid, value in scores.items()]])


def read(path: Path) -> dict[int, dict[int, float]]:
    """Return the scores in a file, in the original's form or that of examples. Raises CorruptFileError for neither."""
    scores_of: dict[int, dict[int, float]] = {}
    for number, line in lines(path):
        try:
            qid, *rest = json_of(line, path)
            nested = len(rest) == 1 and rest[0] and isinstance(rest[0][0], list)
            scores = ((pid, value) for value, pid in rest[0]) if nested else rest
            scores_of[whole(qid)] = made = {whole(pid): finite(value) for pid, value in scores}
            if not made:
                raise ValueError("no scores")
        except (CorruptFileError, ValueError, TypeError, LookupError) as error:
            raise no_line(f"{path}:{number}", "[qid, [[score, pid], ...]]", line, error) from None
    return scores_of


class Texts(Protocol[Question, Named]):
    """Questions and passages by what they are called."""

    @property
    def questions(self) -> Mapping[Question, str]: ...
    def passage(self, pid: Named, /) -> str:
        """Return the text of a passage."""
        ...


def scored(
    model: CrossEncoder, pairs: Texts[Question, Passage], candidates: Mapping[Question, Sequence[Passage]]
) -> Iterator[tuple[Question, dict[Passage, float]]]:
    """Yield the scores of question after question; many questions' pairs are sorted by length together."""
    device = next(model.parameters()).device
    budget = TOKENS_AT_ONCE["cpu" if device.type == "cpu" else "cuda"]
    model.eval()
    with torch.inference_mode():
        weights = model.rounded()
    waiting: list[tuple[Question, Passage]] = []

    def flush() -> Iterator[tuple[Question, dict[Passage, float]]]:
        questions = [pairs.questions[qid] for qid, _ in waiting]
        passages = [pairs.passage(pid) for _, pid in waiting]
        # a token is about four letters; what the tokenizer makes of it only moves a border
        about = [min(model.maxlen, (len(q) + len(p)) // 4 + 4) for q, p in zip(questions, passages, strict=True)]
        order = sorted(range(len(about)), key=lambda place: about[place])
        values = [0.0] * len(about)
        for begin, end in groups([about[row] for row in order], budget):
            rows = order[begin:end]
            with torch.inference_mode():  # here, and not around a yield: it would hold for whoever asks
                out = model.score(model.read([questions[i] for i in rows], [passages[i] for i in rows]), weights)
            for row, value in zip(rows, out.tolist(), strict=True):
                values[row] = value
        by_question: dict[Question, dict[Passage, float]] = {}
        for (qid, pid), value in zip(waiting, values, strict=True):
            by_question.setdefault(qid, {})[pid] = round(value, 5)
        yield from by_question.items()

    for qid, pids in candidates.items():
        waiting += [(qid, pid) for pid in pids]
        if len(waiting) >= PAIRS_AT_ONCE:
            yield from flush()
            waiting = []
    if waiting:
        yield from flush()


def _cut(path: Path) -> None:
    """Take off the last line of a file if it was never finished."""
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
