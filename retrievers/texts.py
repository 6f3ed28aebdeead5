"""The texts behind the ids of an index: it holds none, but knows where its collection was."""

from collections.abc import Callable, Sequence
from functools import cached_property

from lotte import Corpus
from lotte.collection import RowIds
from lotte.reading import read_corpus
from retrievers.index_folder import IndexFolder


class Texts:
    """doc_id -> text; empty if the collection is gone or is another one now, which is said once."""

    def __init__(self, folder: IndexFolder, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._corpus: Corpus | None = None
        source = folder.text_source()
        if source and source.is_file() and len(corpus := read_corpus(source)) == len(folder.doc_ids):
            self._corpus = corpus
        else:
            say(f"no texts: the collection of {folder.path} is not at {source} any more")

    def __getitem__(self, doc_id: str) -> str:
        if self._corpus is None:
            return ""
        row = int(doc_id) if isinstance(self._folder.doc_ids, RowIds) else self._rows[doc_id]
        return self._corpus[row].text

    @cached_property
    def _rows(self) -> dict[str, int]:
        doc_ids: Sequence[str] = self._folder.doc_ids
        return {doc_id: row for row, doc_id in enumerate(doc_ids)}
