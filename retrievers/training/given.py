"""Training lines from outside: the original's examples.json or triples, with the collection that they refer to.

ColBERT's published 64-way lines of MS MARCO are such a file. Its ids are those
of the dataset: pid is the number of a passage's line, qid the question's own.
The last lines are held out, to select the best checkpoint.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import artifact
from lotte.collection import RowIds
from lotte.dataset import Dataset, corpus_sha256, queries_sha256
from lotte.errors import MismatchError
from lotte.line_index import LineIndex
from retrievers.training.example import Example, question
from retrievers.training.examples import Examples, Pairs, Part, facts_of


class Given(Pairs):
    """A dataset under its own ids, and a file of lines about it. Reads like `gather`'s pairs."""

    def __init__(self, dataset: Dataset, path: Path, *, validation: int) -> None:
        self._dataset, self.path = dataset, path
        if odd := next((query_id for query_id in dataset.queries if not _is_number(query_id)), None):
            raise MismatchError(
                f"{dataset.name}: question {odd!r} has no number, and {path.name} names questions by it"
            )
        if (doc_ids := dataset.corpus.doc_ids) != RowIds(len(doc_ids)):
            raise MismatchError(
                f"{dataset.name}: its passages are not called 0, 1, 2 and so on in their order, and {path.name} names "
                "passages by the numbers of their lines"
            )
        self.corpus = dataset.corpus
        self._lines = Examples(path, pairs=self)
        self._kept = min(validation, len(self._lines) // 10)
        facts = facts_of(
            dataset,
            questions=len(dataset.queries),
            passages=len(dataset.corpus),
            left_out_as_held_out=0,
            lines=path.name,
        )
        self.parts = [Part(dataset.name, range(len(dataset.corpus)), range(len(dataset.queries)), facts)]

    @cached_property
    def sha256(self) -> str:
        """The hash of the dataset's texts and of the lines."""
        data = self._dataset
        return artifact.digest([corpus_sha256(data.corpus), queries_sha256(data.queries), artifact.sha256(self.path)])

    @cached_property
    def questions(self) -> dict[int, str]:
        """Number of a question -> its text."""
        return {int(query_id): text for query_id, text in self._dataset.queries.items()}

    @cached_property
    def positives(self) -> dict[int, tuple[int, ...]]:
        """Number of a question -> its right passages: those that are judged, else the first of its line."""
        labelled: dict[int, tuple[int, ...]] = {
            int(query_id): tuple(int(doc_id) for doc_id, relevance in judged.items() if relevance > 0)
            for query_id, judged in self._dataset.qrels.items()
        }
        return labelled | {line.qid: (line.pids[0],) for line in self._last() if not labelled.get(line.qid)}

    @cached_property
    def validation(self) -> frozenset[int]:
        """The questions that are kept from training, to choose the best checkpoint by."""
        return frozenset(line.qid for line in self._last())

    @property
    def ranking(self) -> dict[int, list[int]]:
        """Return what is put in order for the validation: the passages of the lines that were kept."""
        return {line.qid: sorted({*line.pids, *self.positives[line.qid]}) for line in self._last()}

    def passage(self, pid: int) -> str:
        return self.corpus[pid].text

    def dataset(self) -> Dataset:
        return self._dataset

    def lines(self, nway: int) -> "Some":
        """Return the lines that are trained on: those of questions that were not kept."""
        kept, rows = self.validation, LineIndex(self.path)
        trained = [row for row in range(len(rows)) if question(rows[row], f"{self.path}:{row + 1}") not in kept]
        return Some(Examples(self.path, nway=nway, pairs=self), np.array(trained, np.int64))

    def _last(self) -> list[Example]:
        return [self._lines[row] for row in range(len(self._lines) - self._kept, len(self._lines))]


class Some(Sequence[Example]):
    """Some of the lines of a file."""

    def __init__(self, lines: Examples, rows: NDArray[np.int64]) -> None:
        self._lines, self._rows = lines, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: Any) -> Any:
        return self._lines[int(self._rows[row])]


def _is_number(query_id: str) -> bool:
    """Whether an id is the only spelling of a number: 7, and not 07."""
    return query_id.isascii() and query_id.isdecimal() and query_id == str(int(query_id[:18]))
