"""What a checkpoint keeps of the pairs it was trained on: hashes of runs of words, from which no text can be read.

Texts are compared as words (lotte/word_runs.py). Sets of hashes are sorted, each once. Of
questions are kept the whole and every run of 8 words, of positive passages a
sample of their runs of 13, the same sample whoever takes it: those whose hash
is a multiple of `every`, and each passage's least one, so that a passage that
was copied whole is always found. Hashes are the same on every machine.

Source  Brown et al. 2020, arXiv:2005.14165, appendix C: runs of 8 to 13 words, by the length of the texts;
        EleutherAI/lm-evaluation-harness, docs/decontamination.md: 13, and one shared run counts;
        Schleimer et al. 2003, doi:10.1145/872757.872770, section 2: sampling hashes that are 0 mod p, what it misses
"""

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import Dataset, artifact, word_runs
from lotte.errors import CorruptFileError, MismatchError, reason
from lotte.word_runs import BITS, Hashes, Rows, hash_of, normalised

NAME = "training_fingerprint.npz"
FORMAT = 1  # raised when words, hashes or the file change

QUESTION_RUN, PASSAGE_RUN = 8, 13  # words in a row
SHORTEST = 8  # words of a passage that is compared at all; up to PASSAGE_RUN, all of them are one run
SAMPLE = 1 << 17  # runs of passages that are kept; `every` is the least power of two with which they are no more

_TEXTS = 4_096  # hashed together
_LARGEST = 1 << 28  # bytes of a fingerprint, unpacked; 5 million training pairs take less
_COUNTS = ("every", "num_questions", "num_passages")
_SETS = ("questions", "question_runs", "passage_runs", "least_runs")


@dataclass(frozen=True, eq=False, kw_only=True)
class Fingerprint:
    """What is kept of training pairs: hashes, from which no text can be read."""

    every: int = 1  # of the runs of passages, those whose hash is a multiple of it are kept
    num_questions: int = 0
    num_passages: int = 0
    questions: Hashes  # of all words of a question
    question_runs: Hashes
    passage_runs: Hashes  # the sampled ones
    least_runs: Hashes  # the least of each passage

    @classmethod
    def of(cls, datasets: Iterable[Dataset], *, sample: int = SAMPLE) -> "Fingerprint":
        """Return the fingerprint of the questions with relevant passages, and of these.

        sample  how many runs of passages are kept at most, beside the least of each passage; 1 or more
        """
        made = cls(questions=_none(), question_runs=_none(), passage_runs=_none(), least_runs=_none())
        for dataset in datasets:
            answered = [
                query_id for query_id, judged in dataset.qrels.items() if any(grade > 0 for grade in judged.values())
            ]
            texts = (dataset.queries[query_id] for query_id in answered if query_id in dataset.queries)
            for group in _batched(texts):
                made = made.merge(_of_questions(group), sample=sample)
            for group in _batched(text for _, text in relevant_passages(dataset)):
                made = made.merge(_of_passages(group, made.every), sample=sample)
        return made

    def merge(self, other: "Fingerprint", *, sample: int = SAMPLE) -> "Fingerprint":
        """Return the fingerprint of the pairs of both; the same as if they had been read together."""
        every = max(self.every, other.every)
        runs = _sampled(_set(self.passage_runs, other.passage_runs), every)
        while len(runs) > sample:
            every *= 2
            runs = _sampled(runs, every)
        return Fingerprint(
            every=every,
            num_questions=self.num_questions + other.num_questions,
            num_passages=self.num_passages + other.num_passages,
            questions=_set(self.questions, other.questions),
            question_runs=_set(self.question_runs, other.question_runs),
            passage_runs=runs,
            least_runs=_set(self.least_runs, other.least_runs),
        )

    def save(self, folder: Path) -> Path:
        """Write the fingerprint into a checkpoint's folder, under NAME."""
        return artifact.write_whole(folder / NAME, self.content())

    def content(self) -> bytes:
        """Return what the file NAME holds, about 3 bytes a hash: 1.6 MB for 100,000 questions and paragraphs."""
        content = io.BytesIO()
        counts = {name: np.array(getattr(self, name), np.int64) for name in _COUNTS}
        sets = {name: _packed(getattr(self, name)) for name in _SETS}
        arrays: dict[str, Any] = {"format": np.array(FORMAT), **counts, **sets}
        np.savez_compressed(content, **arrays)
        return content.getvalue()

    @classmethod
    def load(cls, folder: Path) -> "Fingerprint | None":
        """Return the fingerprint in a checkpoint's folder; None if there is none.

        Raises  CorruptFileError if it cannot be read, MismatchError if another version wrote it
        """
        path = folder / NAME
        if not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(member.file_size for member in archive.infolist()) > _LARGEST:
                    raise ValueError(f"more than {_LARGEST >> 20} MB unpacked")
            with np.load(path, allow_pickle=False) as arrays:
                if (version := int(arrays["format"])) != FORMAT:
                    raise MismatchError(f"{path} has format {version}, this is {FORMAT}; fetch the checkpoint again")
                counts: dict[str, Any] = {name: int(arrays[name]) for name in _COUNTS}
                sets: dict[str, Any] = {name: _unpacked(arrays[name]) for name in _SETS}
            if (every := counts["every"]) < 1 or every & (every - 1) or every > 1 << BITS:
                raise ValueError(f"every is {every}")
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            MemoryError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            why = f"is not a fingerprint of training data ({reason(error)}); fetch it again"
            raise CorruptFileError(f"{path} {why}") from None
        return cls(**counts, **sets)

    def equal(self, questions: Sequence[str]) -> NDArray[np.bool_]:
        """Return for each question whether its words are those of a training question."""
        texts = list(map(normalised, questions))
        known = np.isin(np.array(list(map(hash_of, texts)), np.uint64), self.questions)
        found: NDArray[np.bool_] = known & np.fromiter(map(bool, texts), bool, len(texts))
        return found

    def sharing(self, questions: Sequence[str]) -> NDArray[np.bool_]:
        """Return for each question whether QUESTION_RUN of its words in a row are in a training question."""
        is_shared = np.zeros(len(questions), bool)
        for first in range(0, len(questions), _TEXTS):
            runs, owners = _runs(questions[first : first + _TEXTS], QUESTION_RUN)
            is_shared[first + owners[np.isin(runs, self.question_runs)]] = True
        return is_shared

    def shares(self, passages: Sequence[str]) -> NDArray[np.float64]:
        """Return for each passage which share of its sampled runs are in training passages; NaN if it has no run."""
        known = _set(self.passage_runs, self.least_runs)
        share_of = np.full(len(passages), np.nan)
        for first in range(0, len(passages), _TEXTS):
            runs, owners = _runs(passages[first : first + _TEXTS], PASSAGE_RUN)
            sampled = runs & np.uint64(self.every - 1) == 0
            with_least, least = _least(runs, owners)
            runs, owners = np.append(runs[sampled], least), np.append(owners[sampled], with_least)
            order = np.lexsort((runs, owners))
            runs, owners = runs[order], owners[order]
            once = np.append(True, (runs[1:] != runs[:-1]) | (owners[1:] != owners[:-1]))[: len(runs)]
            total, shared = np.bincount(owners[once]), np.bincount(owners[once & np.isin(runs, known)])
            shared = np.append(shared, np.zeros(len(total) - len(shared)))
            share_of[first + with_least] = shared[with_least] / total[with_least]
        return share_of


def _of_questions(texts: Sequence[str]) -> Fingerprint:
    wholes = [hash_of(text) for text in map(normalised, texts) if text]
    return Fingerprint(
        num_questions=len(texts),
        questions=_set(np.array(wholes, np.uint64)),
        question_runs=_set(_runs(texts, QUESTION_RUN)[0]),
        passage_runs=_none(),
        least_runs=_none(),
    )


def _of_passages(texts: Sequence[str], every: int) -> Fingerprint:
    runs, owners = _runs(texts, PASSAGE_RUN)
    return Fingerprint(
        every=every,
        num_passages=len(texts),
        questions=_none(),
        question_runs=_none(),
        passage_runs=_set(_sampled(runs, every)),
        least_runs=_set(_least(runs, owners)[1]),
    )


def relevant_passages(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Give id and text of every passage that is relevant to a question, once each, in the order of the corpus.

    A judgment of a document that the corpus lacks, as BEIR has them, is passed over.
    """
    wanted = {doc_id for judged in dataset.qrels.values() for doc_id, grade in judged.items() if grade > 0}
    for row, doc_id in enumerate(dataset.corpus.doc_ids if wanted else ()):
        if doc_id in wanted:
            yield doc_id, dataset.corpus[row].text


def _sampled(runs: Hashes, every: int) -> Hashes:
    kept: Hashes = runs[runs & np.uint64(every - 1) == 0]
    return kept


def _least(runs: Hashes, owners: Rows) -> tuple[Rows, Hashes]:
    """Return the texts that have runs, and the least run of each."""
    with_runs, first = np.unique(owners, return_index=True)
    return with_runs, np.minimum.reduceat(runs, first) if len(first) else runs


def _runs(texts: Sequence[str], length: int) -> tuple[Hashes, Rows]:
    """Return the hash of every run of so many words, and the row of its text; a short text that counts is a run."""
    return word_runs.runs(texts, length, shortest=SHORTEST)


def _packed(hashes: Hashes) -> NDArray[np.uint8]:
    """Return the steps from each hash to the next, byte by byte: (BITS / 8, N). Their high bytes are mostly 0."""
    steps = np.diff(hashes, prepend=np.uint64(0)).astype("<u8")
    return np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 8)[:, : BITS // 8].T)


def _unpacked(planes: NDArray[np.uint8]) -> Hashes:
    if planes.dtype != np.uint8 or planes.ndim != 2 or len(planes) != BITS // 8:
        raise ValueError(f"hashes in {planes.dtype}{list(planes.shape)}")
    steps = np.zeros((planes.shape[1], 8), np.uint8)
    steps[:, : BITS // 8] = planes.T
    return np.cumsum(steps.reshape(-1).view("<u8"), dtype=np.uint64)


def _set(*parts: Hashes) -> Hashes:
    """Return what is in any of these, sorted, each once. np.unique is slow where all low bits are 0."""
    ordered = np.sort(np.concatenate(parts), kind="stable")
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def _none() -> Hashes:
    return np.zeros(0, np.uint64)


def _batched(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _TEXTS:
            yield batch
            batch = []
    if batch:
        yield batch
