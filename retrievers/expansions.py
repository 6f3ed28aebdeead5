"""The expansions of documents, one JSON object per line: {"id": "7", "predicted_queries": ["what is ...", ...]}.

That is how castorini publishes the predictions of doc2query-T5. A file of our own begins with a line that says what
made it, has the documents in the order of the collection, and grows by batches: what was made once is not made again.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lotte import Corpus, artifact, lock
from lotte.errors import CorruptFileError, MismatchError, UnavailableError, shown, writing
from lotte.jsonl import parsed
from lotte.line_index import LineIndex
from lotte.lines import require_file

OURS = b'{"made_by": "doc2query", '  # what our files begin with
KEYS = ("predicted_queries", "predicted")
BATCH = 8  # documents that are expanded together, and written together

Make = Callable[[Sequence[str]], list[list[str]]]  # texts -> what each is expanded with


def is_ours(path: Path) -> bool:
    """Whether a file is one of ours, or is to become one: not there yet, empty, or begun. What is packed is not."""
    if path.suffix == ".gz" or path.is_dir():
        return False
    if not path.is_file():
        return True
    with path.open("rb") as file:
        begin = file.read(len(OURS))
    return OURS.startswith(begin)


class OwnExpansions:
    """A file of ours, as far as it was made. What a killed process did not finish of it is cut off.

    of      what its lines depend on: model, seed, collection, ...
    shared  whether other processes may write it: one in an index that is being made has its lock

    Raises  MismatchError for a file of something else, CorruptFileError for a line that is none of the collection
    """

    def __init__(self, path: Path, of: Mapping[str, Any], doc_ids: Sequence[str], *, shared: bool = True) -> None:
        self._path, self._doc_ids, self._shared = path, doc_ids, shared
        self._header = artifact.json_line({"made_by": "doc2query", "of": dict(of)}).encode()
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._alone(), path.open("a+b") as file:
                self.done = self._whole(file)
                self._size = file.tell()

    def _alone(self) -> AbstractContextManager[None]:
        return lock.held(self._path.parent) if self._shared else nullcontext()

    def _whole(self, file: Any) -> int:
        """Cut the file after its last whole batch, and stay there. Returns how many documents it has."""
        file.seek(0)
        first = file.readline()
        if first != self._header and (first.endswith(b"\n") or not self._header.startswith(first)):
            raise MismatchError(
                f"{self._path} has expansions by other settings than {self._header.decode().strip()}; it is left "
                "unchanged: name another file, or use the options it was made with"
            )
        end = whole = len(self._header)  # of the lines that were read, and of the last batch that is whole
        done = 0
        for row, line in enumerate(file):
            if not line.endswith(b"\n"):
                break
            where = f"{self._path}:{row + 2}"
            expected = self._doc_ids[row] if row < len(self._doc_ids) else None
            if expected is None or _read(line, where)[0] != expected:
                raise CorruptFileError(f"{where}: expected document {shown(expected)}; remove the file")
            end += len(line)
            if not (row + 1) % BATCH or row + 1 == len(self._doc_ids):
                done, whole = row + 1, end
        if first != self._header:
            file.truncate(0)
            file.write(self._header)
        file.truncate(whole)
        file.seek(whole)
        return done

    def make(self, corpus: Corpus, make: Make) -> Iterator[int]:
        """Make the lines that are missing. Yields how many documents were expanded, batch by batch."""
        for first in range(self.done, len(corpus), BATCH):
            rows = range(first, min(first + BATCH, len(corpus)))
            docs = [corpus[row] for row in rows]
            made = make([doc.text for doc in docs])
            lines = [
                artifact.json_line({"id": doc.doc_id, KEYS[0]: queries})
                for doc, queries in zip(docs, made, strict=True)
            ]
            self._append("".join(lines).encode())
            yield len(rows)

    def _append(self, content: bytes) -> None:
        with writing(self._path.parent), self._alone(), self._path.open("ab") as file:
            if file.tell() != self._size:
                raise UnavailableError(f"{self._path} is being written by another process; try again when it is done")
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            self._size = file.tell()

    def __iter__(self) -> Iterator[list[str]]:
        """Give what each document is expanded with, in the order of the collection."""
        with self._path.open("rb") as file:
            file.readline()
            for number, line in enumerate(file, start=2):
                yield _read(line, f"{self._path}:{number}")[1]


class TheirExpansions:
    """A file of somebody else's, of some or all documents of a collection, in any order; plain or .gz.

    Raises  UnavailableError if it is not there
    """

    def __init__(self, path: Path) -> None:
        require_file(path, ", and is to have expansions of documents")
        self._path, self._lines = path, LineIndex(path)
        self._rows: dict[str, int] | None = None  # doc_id -> line; read when lines are in another order than documents
        self._next = 0

    def each(self, corpus: Corpus, say: Callable[[str], None]) -> Iterator[list[str]]:
        """Give what each document is expanded with; nothing for one that the file lacks, which is counted and said.

        Raises  MismatchError if the file has none of the documents; CorruptFileError for a line that is not an
                expansion
        """
        lacking = 0
        for doc_id in corpus.doc_ids:
            if (queries := self._of(doc_id)) is None:
                lacking += 1
            yield queries or []
        if lacking and lacking == len(corpus):
            raise MismatchError(
                f"{self._path}: none of its ids is a document of the collection, whose first is "
                f"{shown(corpus.doc_ids[0])}; do they belong to another collection?"
            )
        if lacking:
            say(f"{lacking:,} of {len(corpus):,} documents have no expansion in {self._path}")

    def _of(self, doc_id: str) -> list[str] | None:
        if self._rows is None:
            if self._next < len(self._lines):
                found, queries = self._read(self._next)
                if found == doc_id:
                    self._next += 1
                    return queries
            self._rows = self._by_id()
        row = self._rows.get(doc_id)
        return None if row is None else self._read(row)[1]

    def _by_id(self) -> dict[str, int]:
        rows: dict[str, int] = {}
        for row in range(len(self._lines)):
            doc_id, _ = self._read(row)
            if doc_id in rows:
                raise CorruptFileError(
                    f"{self._path}:{row + 1}: document {shown(doc_id)} is on line {rows[doc_id] + 1} already"
                )
            rows[doc_id] = row
        return rows

    def _read(self, row: int) -> tuple[str, list[str]]:
        return _read(self._lines[row], f"{self._path}:{row + 1}")


def _read(line: bytes, where: str) -> tuple[str, list[str]]:
    """Return the id of a line, and what the document is expanded with."""
    value = parsed(line, where)
    doc_id = value.get("id")
    queries = next((value[key] for key in KEYS if key in value), None)
    if type(doc_id) is int:
        doc_id = str(doc_id)
    if isinstance(queries, str):
        queries = [queries]
    if not isinstance(doc_id, str) or not isinstance(queries, list) or not all(isinstance(one, str) for one in queries):
        raise CorruptFileError(
            f'{where}: expected {{"id": "...", "predicted_queries": ["...", ...]}}, found {shown(value, 60)}'
        )
    return doc_id, queries
