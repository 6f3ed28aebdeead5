"""TREC CAR 2017: Wikipedia's paragraphs; the queries are the titles and headings above them.

`test` is benchmarkY1test with the automatic judgments: a paragraph is relevant
to the heading it was taken from. Measured by AP, and MRR@10 beside it, as
ColBERT's paper prints them. The text of a query is its id: the page's title
and the headings down to the section.

The folder `treccar` has the published qrels and either `paragraphs.tsv`
(`id TAB text`) or the CBOR file `dedup.articles-paragraphs.cbor`, of which
`paragraphs` makes that table.

Source  Dietz et al., TREC 2017 overview; Khattab and Zaharia 2020, arXiv:2004.12832, table 2
        trec-car-tools' format: github.com/TREMA-UNH/trec-car-tools
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from lotte.artifact import Writer
from lotte.benchmarks.msmarco import read_judgments
from lotte.collection import OwnIds
from lotte.dataset import Corpus, Dataset
from lotte.errors import CorruptFileError, UnavailableError
from lotte.lines import plain_or_gz
from lotte.release import Release, ReleaseCounts, checked

NAMES = ("test",)
FOLDER = "treccar"
PARAGRAPHS = "paragraphs.tsv"
QRELS = "automatic.benchmarkY1test.cbor.hierarchical.qrels"
CBOR = "dedup.articles-paragraphs.cbor"
_LONGEST = 1 << 24  # bytes of one text
_DEEPEST = 64  # arrays within arrays; a paragraph has four


def release(name: str) -> Release:
    """Return what is published of a set in NAMES. Opens nothing."""
    return Release(
        name=f"treccar/{name}",
        measure="AP",
        also=("MRR@10",),
        counts=ReleaseCounts(documents=29_678_367, judgments=5_820),
        licence="CC BY-SA 3.0",
        homepage="http://trec-car.cs.unh.edu/datareleases/",
        needs={FOLDER: (PARAGRAPHS, QRELS)},
        by_hand=(
            "It comes as CBOR in .tar.xz: unpack paragraphcorpus-v1.5 and trec-car-2017-qrels from "
            f"http://trec-car.cs.unh.edu/datareleases, make {PARAGRAPHS} of {CBOR} with "
            "lotte.benchmarks.treccar.paragraphs, and put both there"
        ),
    )


def load(name: str, data: Path) -> Dataset:
    """Read a set from a data folder. Raises UnavailableError, saying how to get it, if it is not there."""
    release(name).require(data)
    return read(data / FOLDER, name)


def read(folder: Path, name: str = "test", corpus: Corpus | None = None) -> Dataset:
    """Read paragraphs.tsv and the judgments; a judgment of a paragraph that is not there is kept, as one nobody finds.

    Raises  UnavailableError if a file is not there, CorruptFileError for a line that is wrong
    """
    corpus = corpus or OwnIds(plain_or_gz(folder / PARAGRAPHS))
    judged = read_judgments(plain_or_gz(folder / QRELS), None, None)
    dataset = Dataset(
        name=f"treccar/{name}",
        corpus=corpus,
        queries={query_id: text_of(query_id) for query_id in judged},
        qrels=judged,
        measure="AP",
        source="local",
        notes=judged.notes(),
        facts={"queries": "title and headings of the query's id"},
    )
    return checked(dataset, release(name), {folder: (PARAGRAPHS, QRELS)})


def text_of(query_id: str) -> str:
    """Return a query's words.

    >>> text_of("enwiki:Aftertaste/Aftertaste%20processing/Taste")
    'Aftertaste Aftertaste processing Taste'
    """
    return unquote(query_id.removeprefix("enwiki:").replace("/", " "))


def paragraphs(cbor: Path, target: Path) -> Path:
    """Write CAR's paragraphs as lines `id TAB text`, whole or not at all. Links are their words.

    Raises  UnavailableError if there is no such file, CorruptFileError if it holds something else
    """
    if not cbor.is_file():
        raise UnavailableError(f"{cbor} is not there")
    with cbor.open("rb") as file, Writer(target) as out:
        for doc_id, text in _paragraphs(file, cbor):
            out.write(f"{doc_id}\t{' '.join(text.split())}\n".encode())
    return target


def _paragraphs(file: IO[bytes], path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and text: [0, id, [bodies]], a body being [0, text] or [1, page, section, page id, anchor text]."""
    count = 0
    for value in _values(file, path):
        if isinstance(value, list) and value and value[0] == "CAR":
            continue  # the header of newer releases
        try:
            _, doc_id, bodies = value
            text = "".join(str(body[1] if body[0] == 0 else body[-1]) for body in bodies)
            name = doc_id.decode() if isinstance(doc_id, bytes) else str(doc_id)
        except (TypeError, ValueError, IndexError):
            raise CorruptFileError(f"{path}: value {count} is not a paragraph: {str(value)[:80]!r}") from None
        yield name, text
        count += 1


class _End(Exception):
    """The file, or a list without a length, ends here."""


def _values(file: IO[bytes], path: Path) -> Iterator[Any]:
    """Yield the CBOR values of a file, one list without a length being taken apart. RFC 8949."""
    try:
        while True:
            first = file.read(1)
            if not first:
                return
            if first == b"\x9f":  # the paragraphs are elements of one long list
                continue
            if first == b"\xff":
                continue
            yield _value(file, first, 0)
    except (_End, struct.error, UnicodeDecodeError):
        raise CorruptFileError(f"{path}: the CBOR ends in the middle of a value, or is damaged") from None


def _value(file: IO[bytes], first: bytes, depth: int) -> Any:
    """Return one value whose first byte was read."""
    if not first or depth > _DEEPEST:
        raise _End
    kind, short = first[0] >> 5, first[0] & 31
    if kind == 7:
        return _simple(file, short)
    if short == 31:
        return _open_ended(file, kind, depth)
    length = _number(file, short)
    match kind:
        case 0:
            return length
        case 1:
            return -1 - length
        case 2:
            return _exactly(file, length)
        case 3:
            return _exactly(file, length).decode()
        case 4:
            return [_value(file, file.read(1), depth + 1) for _ in range(length)]
        case 5:
            return [
                (_value(file, file.read(1), depth + 1), _value(file, file.read(1), depth + 1)) for _ in range(length)
            ]
    return _value(file, file.read(1), depth + 1)  # a tag says what the value is for; the value is what counts


def _simple(file: IO[bytes], short: int) -> Any:
    sizes = {24: 1, 25: 2, 26: 4, 27: 8}
    if short == 31:
        raise _End
    if short in sizes:
        _exactly(file, sizes[short])  # a fraction, of which paragraphs have none
    return {20: False, 21: True}.get(short)


def _open_ended(file: IO[bytes], kind: int, depth: int) -> Any:
    values = []
    while (first := file.read(1)) != b"\xff":
        values.append(_value(file, first, depth + 1))
    if kind in (2, 3) and any(type(value) is not (bytes if kind == 2 else str) for value in values):
        raise _End
    if kind == 2:
        return b"".join(values)
    return "".join(values) if kind == 3 else values


def _number(file: IO[bytes], short: int) -> int:
    if short < 24:
        return short
    if short > 27:
        raise _End
    size = 1 << (short - 24)
    return int.from_bytes(_exactly(file, size), "big")


def _exactly(file: IO[bytes], length: int) -> bytes:
    if length > _LONGEST:
        raise _End
    content = file.read(length)
    if len(content) != length:
        raise _End
    return content
