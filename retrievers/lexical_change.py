"""Changes to a lexical index: documents are added and deleted, and every weight is that of an index built anew.

Word weights depend on all documents, so the index is rebuilt from the texts: the collection, and the documents added
since, must still be at the same paths. The new index replaces the old one when it is complete.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lotte import Corpus, Doc, artifact
from lotte.dataset import corpus_sha256
from lotte.errors import MismatchError, UnavailableError, shown
from lotte.terminal import say
from retrievers import index_folder, index_meta
from retrievers.texts import IndexTexts

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class WritesIndex(Protocol):
    """What makes an index of a collection at a path; `history` says where its documents are from."""

    def __call__(self, corpus: Corpus, path: Path, *, history: "index_folder.History") -> None: ...


class ChangedCorpus:
    """The documents of an index that stay, in their order, and those that are added after them."""

    def __init__(self, doc_ids: Sequence[str], texts: IndexTexts, added: Corpus | None) -> None:
        self._kept, self._texts, self._added = doc_ids, texts, added
        self.doc_ids = [*doc_ids, *(added.doc_ids if added is not None else ())]

    def __len__(self) -> int:
        return len(self.doc_ids)

    def __getitem__(self, row: int) -> Doc:
        row = range(len(self))[row]
        if row < len(self._kept) or self._added is None:
            return Doc(self._kept[row], self._texts[self._kept[row]])
        return self._added[row - len(self._kept)]

    def __iter__(self) -> Iterator[Doc]:
        return (self[row] for row in range(len(self)))


def change(
    path: Path, recipe: "DataclassInstance", *, delete: Sequence[str], add: Corpus | None, write: WritesIndex
) -> None:
    """Take documents out of the index at `path` and put others in: both or neither, whenever this is stopped.

    write  makes an index of the recipe

    Raises  MismatchError, and changes nothing, if a document to delete is not there, or one to add is;
            UnavailableError if the texts are not where they were
    """
    added = "" if add is None else corpus_sha256(add)
    found = index_folder.open_checked(path, recipe)
    request = artifact.digest([sorted(delete), added])
    if delete and added and found.meta.get("changed") == request:
        say(f"{path} already has this change; nothing to do")  # a command that was stopped at its end
        return
    kept = dict.fromkeys(found.doc_ids)
    for doc_id in dict.fromkeys(delete):
        if doc_id not in kept:
            raise MismatchError(f"document {shown(doc_id)} is not in {path}; nothing was deleted")
        del kept[doc_id]
    sources = index_folder.sources(found.meta)
    if add is not None:
        if twice := next((doc_id for doc_id in index_folder.check_ids(add) if doc_id in kept), None):
            raise MismatchError(f"document {twice!r} is in {path} already; --delete it first, or use another id")
        sources = sources + index_folder.source_of(add, added)
    corpus = ChangedCorpus(list(kept), _texts(found), add)
    history = index_folder.History(sources, {"changed": request}, _unchanged(path, found.meta))
    write(corpus, path, history=history)


def _texts(found: index_folder.IndexFolder) -> IndexTexts:
    """Return the texts of an index, all of them. Raises UnavailableError if a part is gone."""
    lines: list[str] = []
    texts = IndexTexts(found, lines.append)
    if lines:
        what = lines[0].removeprefix("no texts: ")
        raise UnavailableError(
            f"changing an index of {found.meta['recipe']['retriever']} needs the texts, but {what}; put the "
            "collection back, or index the changed collection"
        )
    return texts


def _unchanged(path: Path, before: Mapping[str, Any]) -> Callable[[], None]:
    """Return what raises MismatchError if another process changed the index meanwhile."""

    def check() -> None:
        if index_meta.read(path).get("digest") != before.get("digest"):
            raise MismatchError(f"{path} was changed by another process meanwhile; run the command again")

    return check
