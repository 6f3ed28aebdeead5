"""Training data: pairs of question and passage, and lines of one positive and several negatives.

Pairs are read as datasets. `gather` combines several into one collection with
integer ids, because the files of ColBERT's training have these; it also stores
which ids came from which dataset, so that negatives come from the dataset's
own passages.

Source  ColBERT, colbert/data/examples.py
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lotte import artifact
from lotte.artifact import Writer
from lotte.benchmarks.lotte import read_queries
from lotte.collection import Collection
from lotte.dataset import Corpus, Dataset, corpus_sha256, qrels_sha256, queries_sha256
from lotte.errors import CorruptFileError, MismatchError
from lotte.line_index import LineIndex
from lotte.lines import lines
from lotte.parsing import json_object
from retrievers.training.example import Example, parsed, whole

SETS = "sets.json"  # written last: a folder of pairs that has it is whole
_BLANKS = str.maketrans("\t\n\r", "   ")  # what would end a field or a line; BEIR's passages have all three


@dataclass(frozen=True)
class Part:
    """What one dataset gave to the pairs: a range of passages and one of questions."""

    name: str
    pids: range
    qids: range
    facts: Mapping[str, Any]


class Pairs:
    """A folder that `gather` made: collection.tsv, queries.tsv, qrels.tsv, sets.json."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._facts = _json(folder / SETS)
        self.corpus: Corpus = Collection(folder / "collection.tsv")
        try:
            self.parts = [
                Part(str(part["name"]), range(*part["pids"]), range(*part["qids"]), dict(part["facts"]))
                for part in self._facts["sets"]
            ]
            self._validation, self._sha256 = frozenset(map(whole, self._facts["validation"])), self._facts["sha256"]
        except (LookupError, TypeError, ValueError) as error:
            raise CorruptFileError(
                f"{folder / SETS} is damaged ({error!r:.80}); remove {folder} to begin again"
            ) from None

    @property
    def sha256(self) -> str:
        """Return a name for these pairs: of everything that was gathered."""
        return str(self._sha256)

    @property
    def validation(self) -> frozenset[int]:
        """Return the questions that are kept from training, to choose the best checkpoint by."""
        return self._validation

    @cached_property
    def questions(self) -> dict[int, str]:
        """Number of a question -> its text."""
        return {int(qid): text for qid, text in read_queries(self.folder / "queries.tsv").items()}

    @cached_property
    def positives(self) -> dict[int, tuple[int, ...]]:
        """Return the labelled passages of every question that has some."""
        positives: dict[int, list[int]] = {}
        for number, line in lines(path := self.folder / "qrels.tsv"):
            try:
                qid, _, pid, _ = line.split("\t")
                positives.setdefault(whole(qid), []).append(whole(pid))
            except ValueError:
                raise CorruptFileError(f"{path}:{number}: expected qid, 0, pid, 1, found {line[:60]!r}") from None
        return {qid: tuple(pids) for qid, pids in positives.items()}

    def dataset(self) -> Dataset:
        """Return the pairs as a dataset, to hold others against."""
        qrels = {str(qid): {str(pid): 1 for pid in pids} for qid, pids in self.positives.items()}
        queries = {str(qid): text for qid, text in self.questions.items()}
        return Dataset(name="pairs", corpus=self.corpus, queries=queries, qrels=qrels, measure="MRR@10")

    def passage(self, pid: int) -> str:
        return self.corpus[pid].text


def gather(
    datasets: Iterable[Dataset], folder: Path, *, validation: int, held_out: Iterable[Dataset] = (), limit: int = 0,
    passages: int = 0, seed: int = 0,
) -> Pairs:  # fmt: skip
    """Put datasets together as pairs to train on. Does nothing if that was done before.

    validation  questions kept from training, the same share of every set
    held_out    datasets that are measured on: a training question that is one of theirs, or has an answer that is
                an answer there, is left out. Letters and digits are compared, and no more
    limit       questions taken of one set at most; 0 for all. Which ones is drawn with `seed`
    passages    passages taken of one set, right answers and others; 0 for all. Right answers are always taken

    Raises  MismatchError if the folder holds other pairs, or a set has no question with a relevant passage
    """
    datasets, held_out = list(datasets), list(held_out)
    sha256 = artifact.digest(
        [[_name(data) for data in datasets], [_name(data) for data in held_out], [validation, limit, passages, seed]]
    )
    if (folder / SETS).exists():
        if _json(folder / SETS)["sha256"] != sha256:
            raise MismatchError(
                f"{folder} holds other pairs than these; a training run resumes with the data it was started with. "
                "Name the same data, or another --out"
            )
        return Pairs(folder)
    folder.mkdir(parents=True, exist_ok=True)
    draw, taboo = np.random.default_rng(seed), _taboo(held_out)
    with (
        Writer(folder / "collection.tsv") as texts,
        Writer(folder / "queries.tsv") as questions,
        Writer(folder / "qrels.tsv") as judgments,
    ):
        pairs = _Gathered(texts, questions, judgments)
        for data in datasets:
            pairs.add(data, _Choice.of(data, taboo, limit, passages, draw))
    record = {"sets": pairs.sets, "validation": pairs.kept(validation, draw), "sha256": sha256}
    artifact.write_whole(folder / SETS, artifact.readable(record, ascii=True, sort=False))
    return Pairs(folder)


@dataclass(frozen=True)
class _Choice:
    """What is taken of a dataset: its questions, and its passages, right answers and others."""

    query_ids: list[str]
    doc_ids: set[str]
    num_left_out: int  # questions that are held out

    @classmethod
    def of(cls, data: Dataset, taboo: set[str], limit: int, passages: int, draw: np.random.Generator) -> "_Choice":
        useful = _useful(data)
        free = _free(data, useful, taboo)
        query_ids = _drawn(free, limit, draw)
        right = {doc_id for query_id in query_ids for doc_id in _relevant(data, query_id)}
        others = [doc_id for doc_id in data.corpus.doc_ids if doc_id not in right]
        others = _drawn(others, max(1, passages - len(right)) if passages else 0, draw)
        return cls(query_ids, right | set(others), len(useful) - len(free))


class _Gathered:
    """The files of pairs while they are written: each dataset's questions and passages have the next numbers."""

    def __init__(self, texts: Writer, questions: Writer, judgments: Writer) -> None:
        self._texts, self._questions, self._judgments = texts, questions, judgments
        self._num_passages = self._num_questions = 0
        self.sets: list[dict[str, Any]] = []

    def add(self, data: Dataset, choice: _Choice) -> None:
        """Write what is chosen of a dataset. Raises MismatchError if that is nothing, or names an absent passage."""
        first_pid, first_qid, pid_of = self._num_passages, self._num_questions, self._add_passages(data, choice.doc_ids)
        if not choice.query_ids:
            raise MismatchError(f"{data.name} has no question with a relevant passage, so nothing to train on")
        for qid, query_id in enumerate(choice.query_ids, start=first_qid):
            self._questions.write(f"{qid}\t{data.queries[query_id].translate(_BLANKS)}\n".encode())
            for doc_id in _relevant(data, query_id):
                self._judgments.write(f"{qid}\t0\t{_resolved(pid_of, doc_id, query_id, data)}\t1\n".encode())
        self._num_questions += len(choice.query_ids)
        pids, qids = [first_pid, self._num_passages], [first_qid, self._num_questions]
        facts = facts_of(
            data, questions=len(choice.query_ids), passages=len(pid_of), left_out_as_held_out=choice.num_left_out
        )
        self.sets.append({"name": data.name, "pids": pids, "qids": qids, "facts": facts})

    def _add_passages(self, data: Dataset, doc_ids: set[str]) -> dict[str, int]:
        """Write these passages. Returns the number of each."""
        pid_of: dict[str, int] = {}
        for doc in data.corpus:
            if doc.doc_id in doc_ids:
                pid_of[doc.doc_id] = self._num_passages
                self._texts.write(f"{self._num_passages}\t{doc.text.translate(_BLANKS)}\n".encode())
                self._num_passages += 1
        return pid_of

    def kept(self, count: int, draw: np.random.Generator) -> list[int]:
        """Return the questions that are kept from training, the same share of every set."""
        total, kept = self._num_questions, list[int]()
        if count >= total:
            raise MismatchError(f"validation={count} of {total} questions leaves none to train on; hold out fewer")
        for begin, end in (part["qids"] for part in self.sets):
            share = round(count * (end - begin) / total)
            kept += sorted((begin + draw.permutation(end - begin)[:share]).tolist())
        return kept


def facts_of(data: Dataset, **counts: int | str) -> dict[str, Any]:
    """Return what a checkpoint's card says of one of the datasets it was trained on."""
    return {
        "source": data.source,
        "licence": data.licence,
        **counts,
        "queries_sha256": queries_sha256(data.queries),
        "qrels_sha256": qrels_sha256(data.qrels),
        "facts": dict(data.facts),
    }


def _name(data: Dataset) -> list[str]:
    return [data.name, corpus_sha256(data.corpus), queries_sha256(data.queries), qrels_sha256(data.qrels)]


def _useful(data: Dataset) -> list[str]:
    """Return the questions that can be trained on: with a text, and a relevant passage."""
    return [query_id for query_id, text in data.queries.items() if text.strip() and _relevant(data, query_id)]


def _drawn(query_ids: list[str], limit: int, draw: np.random.Generator) -> list[str]:
    if not limit or len(query_ids) <= limit:
        return query_ids
    return [query_ids[row] for row in sorted(draw.permutation(len(query_ids))[:limit].tolist())]


def _relevant(data: Dataset, query_id: str) -> list[str]:
    return [doc_id for doc_id, relevance in data.qrels.get(query_id, {}).items() if relevance > 0]


def _taboo(held_out: Iterable[Dataset]) -> set[str]:
    """Return what the held-out questions and their answers say, letters and digits only."""
    said: set[str] = set()
    for data in held_out:
        said |= {_bare(text) for text in data.queries.values()}
        said |= {_bare(data.corpus[row].text) for row in _answers(data).values()}
    return said - {""}


def _free(data: Dataset, query_ids: list[str], taboo: set[str]) -> list[str]:
    """Return the questions that are no held-out one's, and whose answers are none's."""
    if not taboo:
        return query_ids
    barred = {doc_id for doc_id, row in _answers(data).items() if _bare(data.corpus[row].text) in taboo}
    return [
        query_id
        for query_id in query_ids
        if _bare(data.queries[query_id]) not in taboo and barred.isdisjoint(_relevant(data, query_id))
    ]


def _answers(data: Dataset) -> dict[str, int]:
    """Return the row of every passage that is a right answer."""
    right = {doc_id for query_id in data.qrels for doc_id in _relevant(data, query_id)}
    return {doc_id: row for row, doc_id in enumerate(data.corpus.doc_ids) if doc_id in right}


def _bare(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _resolved(row_of: Mapping[str, int], doc_id: str, query_id: str, data: Dataset) -> int:
    if doc_id not in row_of:
        raise MismatchError(f"{data.name}: question {query_id} names passage {doc_id}, which its collection lacks")
    return row_of[doc_id]


class Examples(Sequence[Example]):
    """A file of examples, read where it lies.

    nway  passages of a line that are used, the positive among them; 0: all
    pairs  if given, ids are looked up in it when a line is read

    Raises  CorruptFileError, when a line is read, if it is none or has no negative
            MismatchError, when a line is read, if an id does not resolve
    """

    def __init__(self, path: Path, *, nway: int = 0, pairs: Pairs | None = None) -> None:
        self.path, self.nway, self._pairs = path, nway, pairs
        self._rows = LineIndex(path)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: Any) -> Any:
        row = range(len(self))[row]
        line, where = self._rows[row], f"{self.path}:{row + 1}"
        example = parsed(line, where)
        nway = self.nway or len(example.pids)
        if len(example.pids) < max(2, nway):
            raise CorruptFileError(
                f"{where}: question {example.qid} has {max(0, len(example.pids) - 1)} negatives, and "
                f"{max(1, nway - 1)} are needed; mine deeper, or train with a smaller nway"
            )
        if self._pairs:
            self._check(example, nway, where)
        return Example(example.qid, example.pids[:nway], example.scores and example.scores[:nway])

    def _check(self, example: Example, nway: int, where: str) -> None:
        assert self._pairs
        if example.qid not in self._pairs.questions:
            raise MismatchError(f"{where}: question {example.qid} is not among the training questions")
        last = len(self._pairs.corpus) - 1
        if far := [pid for pid in example.pids if not 0 <= pid <= last]:
            raise MismatchError(f"{where}: passage {far[0]} is named, and the collection ends at {last}")
        if len(set(pids := example.pids[:nway])) < len(pids):
            twice = next(pid for number, pid in enumerate(pids) if pid in pids[:number])
            what = "the positive and a negative" if twice == pids[0] else "two of the negatives"
            raise CorruptFileError(
                f"{where}: question {example.qid} has passage {twice} as {what}; a line names a passage once"
            )


def even(batch: Sequence[Example]) -> None:
    """Raise MismatchError if the lines of a batch have other numbers of passages, or some have scores and some none."""
    for qid, pids, scores in batch:
        if len(pids) != len(batch[0].pids):
            raise MismatchError(
                f"question {qid} has {len(pids)} passages, and question {batch[0].qid} of the same batch "
                f"{len(batch[0].pids)}; set nway to what all lines have"
            )
        if (scores is None) != (batch[0].scores is None):
            with_them, without = (batch[0].qid, qid) if scores is None else (qid, batch[0].qid)
            raise MismatchError(f"question {with_them} has scores, and question {without} of the same batch has none")


def write(path: Path, examples: Iterable[Example]) -> int:
    """Write examples as the original reads them, whole or not at all. Returns how many there were."""
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with Writer(path) as file:
        for qid, pids, scores in examples:
            passages = list(pids) if scores is None else [list(pair) for pair in zip(pids, scores, strict=True)]
            file.write(artifact.json_line([qid, *passages]).encode())
            count += 1
    return count


def triples(
    pairs: Pairs, candidates: Mapping[int, Sequence[int]], *, nway: int, passes: int, seed: int
) -> Iterator[Example]:
    """Yield lines for ColBERT v1: a labelled passage, and nway - 1 of the candidates that are not labelled.

    passes  how often every question comes; each time with a positive and negatives drawn anew

    The order is shuffled once, here, so that a file is read from its beginning to its end.
    """
    draw = np.random.default_rng(seed)
    for _ in range(passes):
        for qid in _order(candidates, draw):
            positives = pairs.positives[qid]
            others = np.array([pid for pid in candidates[qid] if pid not in positives])
            if len(others) < nway - 1:
                continue
            chosen = draw.choice(others, nway - 1, replace=False).tolist()
            yield Example(qid, (positives[int(draw.integers(len(positives)))], *chosen), None)


def tuples(
    pairs: Pairs, scored: Mapping[int, Mapping[int, float]], *, nway: int, passes: int, depth: int, seed: int
) -> Iterator[Example]:
    """Yield lines for distillation: one positive, and nway - 1 passages that the teacher puts below it.

    scored  question -> passage -> the teacher's score; the passages in the order they were mined
    depth   how many of the mined passages negatives are drawn from, uniformly, without repetition

    The positive is the labelled passage that the teacher scores best, or, where no
    label is among the scored, the teacher's best of all.

    Source  Santhanam et al. 2022, section 3.2; the paper does not say how the others are drawn
    """
    draw = np.random.default_rng(seed)
    for _ in range(passes):
        for qid in _order(scored, draw):
            if not (scores := scored[qid]):
                continue
            labelled = [pid for pid in pairs.positives.get(qid, ()) if pid in scores]
            positive = max(labelled or scores, key=lambda pid: (scores[pid], -pid))
            below = [pid for pid in list(scores)[:depth] if pid not in labelled and scores[pid] < scores[positive]]
            if len(below) < nway - 1:  # the teacher thinks little of the label: others than it, whatever their score
                below = [pid for pid in list(scores)[:depth] if pid not in labelled and pid != positive]
            if len(below) < nway - 1:
                continue
            chosen = draw.choice(np.array(below), nway - 1, replace=False).tolist()
            yield Example(qid, (positive, *chosen), tuple(scores[pid] for pid in (positive, *chosen)))


def _order(questions: Iterable[int], draw: np.random.Generator) -> list[int]:
    shuffled: list[int] = draw.permutation(np.array(sorted(questions))).tolist()
    return shuffled


def _json(path: Path) -> dict[str, Any]:
    try:
        return json_object(path)
    except FileNotFoundError:
        raise MismatchError(f"{path} is not there: {path.parent} holds no training pairs") from None
