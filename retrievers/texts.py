"""The texts that belong to the ids of an index: it holds none, but knows where its collections were."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lotte import Corpus, Doc, LotteError, Queries, artifact
from lotte.collection import OwnIds, RowIds
from lotte.dataset import corpus_sha256
from lotte.errors import CorruptFileError, UnavailableError
from lotte.line_index import LineIndex
from lotte.parsing import json_of
from lotte.reading import read_corpus
from retrievers.index_folder import IndexFolder, source_of, sources

TEXTS = "texts.jsonl"  # of a collection that is not a file: one text per line, by row


def write_texts(folder: Path, corpus: Corpus) -> None:
    """Keep the texts in an index, unless they are in a file of their own, which the index then knows."""
    if not source_of(corpus, ""):
        with artifact.Writer(folder / TEXTS) as file:
            for doc in corpus:
                file.write(artifact.json_line(doc.text).encode())


class IndexTexts:
    """doc_id -> text; empty if the collection is missing or has changed, which is reported once.

    Where a file was is what the index says, and anybody may have written that: what is shown has the hash of what was
    indexed. The hash is taken again only if the file has another size or time than it had then.
    """

    def __init__(self, folder: IndexFolder, say: Callable[[str], None]) -> None:
        self._corpora: list[Corpus] = []
        if TEXTS in folder.meta.get("files", ()):
            self._corpora.append(_Kept(folder))
            return
        origins = sources(folder.meta)
        for source in origins:
            if (corpus := _corpus(folder, source)) is not None:
                self._corpora.append(corpus)
            else:
                where = source["path"] if len(source["path"]) <= 400 else f"{source['path'][:400]}..."
                say(f"no texts: the collection of {folder.path} is no longer at {where}")
        if not origins:
            say(f"no texts: the location of the collection of {folder.path} is unknown")

    @property
    def is_gone(self) -> bool:
        """Whether no text can be had."""
        return not self._corpora

    def __getitem__(self, doc_id: str) -> str:
        for corpus, rows in zip(reversed(self._corpora), reversed(self._rows), strict=True):
            if rows is None and doc_id in corpus.doc_ids:
                return corpus[int(doc_id)].text
            if rows is not None and doc_id in rows:
                return corpus[rows[doc_id]].text
        return ""

    @cached_property
    def _rows(self) -> list[dict[str, int] | None]:
        """Where each document is, for the collections whose ids are not their rows."""
        return [
            None if isinstance(corpus.doc_ids, RowIds) else {doc_id: row for row, doc_id in enumerate(corpus.doc_ids)}
            for corpus in self._corpora
        ]


def required(folder: IndexFolder, say: Callable[[str], None], reader: str) -> IndexTexts:
    """Return the texts of an index for a system that reads passages. Raises UnavailableError if they are gone."""
    texts = IndexTexts(folder, say)
    if texts.is_gone:
        raise UnavailableError(
            f"{folder.path}: its collection is missing or has changed, but {reader} reads the passages; put the "
            "collection back, or build the index again"
        )
    return texts


@dataclass(frozen=True)
class CandidatePairs:
    """Queries, and the passages of an index that are read with them."""

    questions: Queries
    texts: IndexTexts

    def passage(self, doc_id: str) -> str:
        return self.texts[doc_id]


class _Kept(Sequence[Doc]):
    """The documents of an index that keeps their texts."""

    def __init__(self, folder: IndexFolder) -> None:
        self.doc_ids, self._path, self._rows = folder.doc_ids, folder.path / TEXTS, LineIndex(folder.path / TEXTS)
        if len(self._rows) != len(self.doc_ids):
            raise CorruptFileError(f"{self._path}: {len(self._rows):,} texts of {len(self.doc_ids):,} documents")

    def __len__(self) -> int:
        return len(self.doc_ids)

    def __getitem__(self, row: Any) -> Any:
        return Doc(self.doc_ids[row], json_of(self._rows[row], f"{self._path}:{row + 1}"))


def _corpus(folder: IndexFolder, source: Mapping[str, Any]) -> Corpus | None:
    """Return the documents at a source; None if they are not those that were indexed."""
    path, sha256 = Path(source["path"]), source["sha256"]
    try:
        if not sha256 or not path.is_file():
            return None
        stat = path.stat()
        same = (stat.st_size, stat.st_mtime_ns) == (source["size"], source["mtime_ns"])
        if not same and not stat.st_size:
            return None  # not read: a file of /proc may have no end, or wait for ever
        same = same or artifact.sha256(path) == sha256  # which is soon known, and is that of a plain collection
        corpus = read_corpus(path) if source["path"] == folder.meta["corpus"]["path"] else OwnIds(path)  # of --add
        return corpus if same or corpus_sha256(corpus) == sha256 else None
    except (LotteError, OSError, ValueError):
        return None
