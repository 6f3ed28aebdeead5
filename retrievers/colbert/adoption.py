"""Import of another program's index: its arrays, the ids of its documents, and the location of their texts.

The ids come from a map beside the index; else from the collection that was
indexed, in the same order; else they are the positions of the documents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lotte import Corpus, artifact
from lotte.collection import RowIds
from lotte.errors import MismatchError, shown
from retrievers import index_folder
from retrievers.colbert.index import foreign, foreign_ids
from retrievers.colbert.index.meta import Built
from retrievers.texts import TEXTS


@dataclass(frozen=True)
class Adoption:
    """What is taken over, and from where."""

    folder: Path  # with the arrays
    corpus: Corpus | None  # what it was made of, if somebody has it
    say: Callable[[str], None]

    def fill(self, out: Path) -> Built:
        """Write the index into an empty folder. Raises MismatchError if the collection is not what was indexed."""
        lengths = foreign.lengths(self.folder)
        doc_ids = self._doc_ids(lengths)
        built = foreign.convert(self.folder, out)
        if not isinstance(doc_ids, RowIds):
            index_folder.write_doc_ids(out / index_folder.DOC_IDS, doc_ids)
        if self.corpus is None and (texts := foreign_ids.texts(self.folder, len(lengths))) is not None:
            with artifact.Writer(out / TEXTS) as file:
                file.write("".join(map(artifact.json_line, texts)).encode())
        return built

    def _doc_ids(self, lengths: Sequence[int]) -> Sequence[str]:
        where = str(self.folder)
        doc_ids = index_folder.fit_ids(foreign_ids.read(self.folder, lengths, self.say), where)
        if self.corpus is None:
            return doc_ids
        if isinstance(doc_ids, RowIds):
            if len(self.corpus) != len(lengths):
                raise MismatchError(
                    f"{where} has {len(lengths):,} documents, and the collection {len(self.corpus):,}; which documents "
                    "they are goes by their order, so give the collection that was indexed"
                )
            return index_folder.check_ids(self.corpus)
        known = frozenset(self.corpus.doc_ids)
        for doc_id, length in zip(doc_ids, lengths, strict=True):
            if length and doc_id not in known:
                raise MismatchError(f"{where} has document {shown(doc_id)}, which is not in the collection")
        return doc_ids
