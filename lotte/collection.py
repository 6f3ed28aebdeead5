"""Passages in a TSV file, read where they lie: a corpus of any size costs 8 bytes a passage.

A row ends at "\\n" and nowhere else: passages may contain U+2028 or a form
feed, which `splitlines` would cut at. Quotes mean nothing. A row is checked
when it is read, so a bad one is named with its line and no good one pays for
a second pass.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from lotte import ids
from lotte.dataset import Corpus, Doc
from lotte.errors import CorruptFileError, shown
from lotte.line_index import LineIndex

_HELD = 1 << 16  # rows in whose memory a corpus that is read from end to end is held


def number_of(doc_id: object) -> int:
    """Return the number that an id spells, as we spell it: no sign, no zero in front. -1 for anything else."""
    if not (isinstance(doc_id, str) and doc_id.isascii() and doc_id.isdigit() and len(doc_id) < 19):
        return -1
    return int(doc_id) if doc_id[0] != "0" or doc_id == "0" else -1


class RowIds(Sequence[str]):
    """The ids "0", "1", ... of documents that are named by their line, without a list of them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        rows = range(self._count)[row]
        return str(rows) if isinstance(rows, int) else [str(number) for number in rows]

    def __contains__(self, doc_id: object) -> bool:
        return 0 <= number_of(doc_id) < self._count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(other) == self._count and all(map(str.__eq__, self, other))


class Collection:
    """A `collection.tsv`: `pid TAB text [TAB title]`, where pid is the number of the line, from 0.

    A title is joined in front of its text with a blank, once, here.

    Raises  UnavailableError if there is no such file,
            CorruptFileError, when a row is read, if it has another number or
            another count of fields than its place asks for
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._rows = LineIndex(self.path)

    @property
    def doc_ids(self) -> Sequence[str]:
        """The ids "0", "1", ... without a list of them."""
        return RowIds(len(self))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Doc:
        row = range(len(self))[row]
        fields = self._rows[row].split(b"\t")
        if not 2 <= len(fields) <= 3:
            raise CorruptFileError(
                f"{self.path}:{row + 1}: expected a number and a text with a tab between, found {len(fields)} fields"
            )
        if fields[0] != b"%d" % row:
            raise CorruptFileError(
                f"{self.path}:{row + 1}: expected passage {row}, found {shown(fields[0], 40)}; passages are "
                "numbered by their line, from 0"
            )
        try:
            text = b" ".join(reversed(fields[1:])).decode()
        except UnicodeDecodeError as error:
            raise CorruptFileError(f"{self.path}:{row + 1}: not UTF-8 at byte {error.start}") from None
        return Doc(str(row), text)

    def __iter__(self) -> Iterator[Doc]:
        for row in range(len(self)):
            if not row % _HELD:
                self._rows.release()
            yield self[row]


class OwnIds:
    """A TSV of documents with ids of the user's own: `doc_id TAB text [TAB title]`, each id once.

    Raises  UnavailableError if there is no such file,
            CorruptFileError for a row without an id, with an id that was there before, or with other fields
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = LineIndex(path)
        where: dict[str, int] = {}
        for row in range(len(self._rows)):
            doc_id = ids.checked(self._fields(row)[0], "document", f"{path}:{row + 1}")
            if doc_id in where:
                raise CorruptFileError(
                    f"{path}:{row + 1}: document {shown(doc_id)} is on line {where[doc_id] + 1} already"
                )
            where[doc_id] = row
        self._doc_ids = list(where)

    @property
    def doc_ids(self) -> Sequence[str]:
        """The ids, in the order of the file."""
        return self._doc_ids

    def __len__(self) -> int:
        return len(self._doc_ids)

    def __getitem__(self, row: int) -> Doc:
        doc_id, *texts = self._fields(range(len(self))[row])
        return Doc(doc_id, " ".join(reversed(texts)).strip())

    def __iter__(self) -> Iterator[Doc]:
        for row in range(len(self)):
            if not row % _HELD:
                self._rows.release()
            yield self[row]

    def _fields(self, row: int) -> list[str]:
        try:
            fields = self._rows[row].decode().split("\t")
        except UnicodeDecodeError as error:
            raise CorruptFileError(f"{self.path}:{row + 1}: not UTF-8 at byte {error.start} of the line") from None
        if not 2 <= len(fields) <= 3:
            raise CorruptFileError(
                f"{self.path}:{row + 1}: expected an id and a text with a tab between, found {len(fields)} fields"
            )
        return fields


def of_tsv(path: Path) -> "Collection | OwnIds":
    """Return the documents of a TSV: numbered by its lines if the first is 0, else with ids of their own."""
    rows = LineIndex(path)
    numbered = len(rows) == 0 or rows[0].split(b"\t")[0] == b"0"
    return Collection(path) if numbered else OwnIds(path)


class Selection:
    """Some rows of a corpus, under the ids they have there."""

    def __init__(self, whole: Corpus, rows: Sequence[int]) -> None:
        self._whole, self._rows = whole, rows

    @property
    def doc_ids(self) -> Sequence[str]:
        """The ids of these rows, in their order."""
        doc_ids = self._whole.doc_ids
        return [doc_ids[row] for row in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Doc:
        return self._whole[self._rows[row]]

    def __iter__(self) -> Iterator[Doc]:
        return (self[row] for row in range(len(self)))
