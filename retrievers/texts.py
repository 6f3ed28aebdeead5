"""The texts behind the ids of an index: it holds none, but knows where its collections were."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from lotte import Corpus
from lotte.collection import OwnIds, RowIds
from lotte.reading import read_corpus
from retrievers.index_folder import IndexFolder


class Texts:
    """doc_id -> text; empty if the collection is gone or is another one now, which is said once."""

    def __init__(self, folder: IndexFolder, say: Callable[[str], None]) -> None:
        self._corpora: list[Corpus] = []
        for source in folder.text_sources():
            if source.is_file() and (corpus := _corpus(folder, source)) is not None:
                self._corpora.append(corpus)
            else:
                say(f"no texts: the collection of {folder.path} is not at {source} any more")
        if not folder.text_sources():
            say(f"no texts: nobody knows where the collection of {folder.path} is")

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


def _corpus(folder: IndexFolder, source: Path) -> Corpus | None:
    """Return the documents at a source; None if the collection there is of another size than the one indexed."""
    first = folder.meta["corpus"]
    if str(source) != first["path"]:
        return OwnIds(source)  # of `lotte index --add`
    corpus = read_corpus(source)
    return corpus if len(corpus) == first["documents"] else None
