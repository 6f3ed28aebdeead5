"""A corpus for another process: where it lies, and not what is in it.

A process opens a file once and reads all its steps' documents there. A corpus that lies in no file of its own is
written to one first, on the disk that all processes share.
"""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from lotte import artifact
from lotte.beir_folder import BeirCorpus
from lotte.collection import Collection, OwnIds
from lotte.dataset import Corpus, Doc
from lotte.line_index import LineIndex

DOCS = "docs.jsonl"


class StoredDocs:
    """Documents in a file: a line for each, its id and its text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = LineIndex(path)

    @property
    def doc_ids(self) -> Sequence[str]:
        """The ids, in the order of the file."""
        return [doc.doc_id for doc in self]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Doc:
        return Doc(*json.loads(self._rows[range(len(self))[row]]))

    def __iter__(self) -> Iterator[Doc]:
        return (self[row] for row in range(len(self)))


_OPENED_BY: dict[type, Any] = {kind: kind for kind in (Collection, OwnIds, BeirCorpus, StoredDocs)}


class SentCorpus:
    """What opens a corpus where it arrives: it is pickled as its path."""

    def __init__(self, kind: type, path: Path) -> None:
        self._kind, self._path = kind, path

    def opened(self) -> Corpus:
        """Return the corpus; the next call in this process returns the same."""
        return _opened(self._kind, self._path)


@lru_cache(2)
def _opened(kind: type, path: Path) -> Corpus:
    corpus: Corpus = _OPENED_BY[kind](path)
    return corpus


def sent(corpus: Corpus, folder: Path) -> SentCorpus:
    """Return what other processes open a corpus by; one that has no file is written into the folder."""
    if type(corpus) in _OPENED_BY:
        return SentCorpus(type(corpus), corpus.path.absolute())  # type: ignore[attr-defined]
    path = folder / DOCS
    if not path.is_file():
        with artifact.Writer(path) as file:
            for doc in corpus:
                file.write(artifact.json_line([doc.doc_id, doc.text]).encode())
    return SentCorpus(StoredDocs, path.absolute())
