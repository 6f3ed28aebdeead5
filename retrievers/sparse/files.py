"""Word weights from other programs: Anserini's JsonVectorCollection, one object per line.

    {"id": "7", "contents": "the text, which is not read", "vector": {"moon": 31, "tide": 4.5}}

A file, or a folder of such files; plain or .gz; the lines in any order. Queries have the same format. An error names
any other line.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lotte import jsonl
from lotte.collection import RowIds
from lotte.errors import CorruptFileError, MismatchError, UnavailableError, shown
from lotte.line_index import LineIndex
from lotte.lines import require_file
from retrievers.batches import Batch
from retrievers.sparse.rows import SparseRows, batch_of

ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
TOGETHER = 4096  # passages of a batch of postings
LARGEST = float(np.finfo(np.float32).max) / 2**20  # so that no sum of weights is infinite
_WORD = re.compile(r"\w+|[^\w\s]")


class WeighedText(NamedTuple):
    where: str  # file and line
    text_id: str
    weights: dict[str, float]


def words(text: str) -> list[str]:
    """Return the words of a query text for such an index: as they are written, without case, each sign alone.

    >>> words("What's RAM?")
    ['what', "'", 's', 'ram', '?']
    """
    return _WORD.findall(text.lower())


def read(path: Path) -> Iterator[WeighedText]:
    """Yield the texts of a file or folder. Raises CorruptFileError with file and line for what is none."""
    for file in _files(path):
        for number, value in jsonl.objects(file):
            yield _parsed(value, f"{file}:{number}")


def by_id(path: Path) -> dict[str, dict[str, float]]:
    """Return the weights of all texts by their ids. Raises CorruptFileError as `read`, and for an id twice."""
    found: dict[str, dict[str, float]] = {}
    for where, text_id, weights in read(path):
        if text_id in found:
            raise CorruptFileError(f"{where}: id {shown(text_id)} occurs twice")
        found[text_id] = weights
    return found


def in_order(path: Path, doc_ids: Sequence[str]) -> Iterator[dict[str, float]]:
    """Yield the weights of each document of a collection, in its order.

    Raises  CorruptFileError as `read`, and for an id that occurs twice;
            MismatchError for an id that the collection lacks, or a document without a line
    """
    texts = read(path)
    for row, doc_id in enumerate(doc_ids):
        if (text := next(texts, None)) is None or text.text_id != doc_id:
            yield from _looked_up(path, doc_ids, row)
            return
        yield text.weights
    if (text := next(texts, None)) is not None:
        _ = list(_looked_up(path, doc_ids, len(doc_ids)))  # which says what is wrong with it


def batches(
    path: Path, doc_ids: Sequence[str], advance: Callable[[int], None], *, lengths_are_sums: bool
) -> Iterator[Batch]:
    """Yield the postings of a collection. Raises as `in_order` does.

    lengths_are_sums  whether a document is as long as its weights together, rounded; else, as it has words
    """
    texts = in_order(path, doc_ids)
    while some := list(islice(texts, TOGETHER)):
        numbers: dict[str, int] = {}
        ids = [numbers.setdefault(word, len(numbers)) for weights in some for word in weights]
        rows = SparseRows(
            np.array([len(weights) for weights in some], dtype=np.int32),
            np.array(ids, dtype=np.int32),
            np.array([weight for weights in some for weight in weights.values()], dtype=np.float32),
        )
        batch = batch_of(rows, list(numbers))
        if lengths_are_sums:
            batch = batch._replace(lengths=np.array([round(sum(one.values())) for one in some], dtype=np.int64))
        yield batch
        advance(len(some))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        require_file(path)
        return [path]
    if not (files := sorted(file for file in path.iterdir() if file.name.endswith(ENDINGS))):
        raise UnavailableError(f"{path} has no file that ends in {', '.join(ENDINGS)}")
    return files


def _parsed(value: Mapping[str, Any], where: str) -> WeighedText:
    text_id = value.get("id")
    if type(text_id) not in (str, int):
        raise CorruptFileError(f"{where}: 'id' must be a string, found {shown(text_id)}")
    weights = value.get("vector")
    if not isinstance(weights, dict):
        raise CorruptFileError(f"{where}: 'vector' must be an object of words with weights, found {shown(weights, 40)}")
    for word, weight in weights.items():
        if type(weight) not in (int, float) or not 0 <= weight <= LARGEST or not isfinite(weight):
            raise CorruptFileError(
                f"{where}: the weight of {shown(word, 40)} must be 0 or more, found {shown(weight, 40)}"
            )
        if not word or any("\ud800" <= letter <= "\udfff" for letter in word):
            raise CorruptFileError(f"{where}: {shown(word, 40)} is not a word")
    return WeighedText(where, str(text_id), {word: float(weight) for word, weight in weights.items() if weight})


def _looked_up(path: Path, doc_ids: Sequence[str], begin: int) -> Iterator[dict[str, float]]:
    """Yield the weights of the documents from a row on, wherever they stand."""
    row_of = None if isinstance(doc_ids, RowIds) else {doc_id: row for row, doc_id in enumerate(doc_ids)}
    file_of, line_of = np.full(len(doc_ids), -1, dtype=np.int32), np.zeros(len(doc_ids), dtype=np.int64)
    files = _files(path)
    for number, file in enumerate(files):
        for line, value in jsonl.objects(file):
            where, text_id, _ = _parsed(value, f"{file}:{line}")
            if text_id not in (doc_ids if row_of is None else row_of):
                raise MismatchError(f"{where}: id {shown(text_id)} is not a document of the collection")
            row = int(text_id) if row_of is None else row_of[text_id]
            if file_of[row] >= 0:
                raise CorruptFileError(f"{where}: id {shown(text_id)} occurs twice")
            file_of[row], line_of[row] = number, line
    if len(lacking := np.flatnonzero(file_of < 0)):
        raise MismatchError(
            f"{path} has no line for {len(lacking):,} of {len(doc_ids):,} documents; the first is "
            f"{shown(doc_ids[int(lacking[0])])}"
        )
    indexes = [LineIndex(file) for file in files]
    for row in range(begin, len(doc_ids)):
        file, line = files[file_of[row]], int(line_of[row])
        where = f"{file}:{line}"
        yield _parsed(jsonl.parsed(indexes[file_of[row]][line - 1], where), where).weights
