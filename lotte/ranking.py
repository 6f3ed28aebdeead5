"""Rankings as files: a run that somebody else made is read, and ours are written for others to read.

  TREC      query_id Q0 doc_id rank score tag   the scores are the order, as in trec_eval
  LoTTE     qid pid rank score                  the ranks are, and must be 1, 2, 3, ... down the file
  MS MARCO  qid pid rank                        the same
  JSON      {query_id: {doc_id: score}}         the scores are, as ranx and pytrec_eval write it

Columns end at white space; what follows TREC's sixth is ignored. Which of the
four a file is, its first line says; an ir_metadata header in front of it is
passed over. A file that says something impossible is refused with the line
that says it. Scores are written so that they strictly fall: see `ties.py`.
"""

import gc
import gzip
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from lotte.artifact import Writer
from lotte.collection import RowIds
from lotte.errors import CorruptFileError, LotteError, MismatchError, shown, writing
from lotte.lines import DAMAGED, lines, opened, whole_gz
from lotte.parsing import json_of
from lotte.run import BY_SCORE, LARGEST, Run, ranked
from lotte.ties import equalled, falling

TREC, LOTTE, MSMARCO = 6, 4, 3  # columns
ENDINGS = (".gz", ".txt", ".tsv", ".trec", ".run", ".json")  # of ranking files
START, END = "ir_metadata.start", "ir_metadata.end"  # of a header, after "#"
_HEADER = 10_000  # lines of one at most; a header that does not end is none
FORMATS = {TREC: "TREC", LOTTE: "LoTTE", MSMARCO: "MS MARCO"}


def read(path: Path, query_ids: Collection[str], doc_ids: Sequence[str]) -> Run:
    """Read a ranking in one of the four formats, plain or .gz.

    query_ids, doc_ids  what the run may name
    returns  a run that is silent where the file is: see `Run.missing` and `Run.filled`

    Raises  CorruptFileError for a line that is wrong in itself, or repeats a document,
            MismatchError for a query or a document that the dataset has not
    """
    known = doc_ids if isinstance(doc_ids, RowIds) else frozenset(doc_ids)
    with no_garbage():
        if is_json(path):
            return _by_score(_read_json(path, query_ids, known))
        above = 0 if (said := header(path)) is None else len(said) + 2
        columns = _columns(path, above)
        rows = islice(lines(path), above, None)
        if columns == TREC:
            return _by_score(_read_scores(path, rows, query_ids, known))
        return Run.of_ranks(_read_ranks(path, rows, columns, query_ids, known))


def _by_score(scores: Mapping[str, Mapping[str, float]]) -> Run:
    hits = {query_id: tuple(equalled(ranked(by_doc))) for query_id, by_doc in scores.items()}
    return Run(hits, ties=BY_SCORE)


def is_json(path: Path) -> bool:
    """Whether a file begins as an object of JSON: a brace, and then a quote."""
    start = b""
    with suppress(*DAMAGED), opened(path) as file:  # whoever reads all of it says what is damaged
        start = file.read(64).removeprefix(b"\xef\xbb\xbf")
    return b"".join(start.split(None, 1))[:2] in (b'{"', b"{}")


def header(path: Path) -> list[str] | None:
    """Return the lines between the first and the last of a run's ir_metadata header; None if it has none.

    Raises  CorruptFileError if it has no end
    """
    text: list[str] = []
    number = 0
    for number, line in lines(path):
        bare = line.removeprefix("#").strip()
        if number == 1 and (bare != START or not line.startswith("#")):
            return None
        if bare == END:
            return text
        if number > 1:
            text.append(line.removeprefix("#").removeprefix(" "))
        if number > _HEADER:
            break
    if number == 0:
        return None
    raise CorruptFileError(f"{path}: its header begins with {START} and has no {END}")


def _read_json(path: Path, query_ids: Collection[str], known: Container[str]) -> dict[str, dict[str, float]]:
    """Return query_id -> doc_id -> score of a JSON file."""
    with whole_gz(path), opened(path) as file:
        found = json_of(file.read(), path)
    scores: dict[str, dict[str, float]] = {}
    for query_id, by_doc in found.items():
        where = f"{path}: query {shown(query_id)}"
        if not isinstance(by_doc, dict):
            raise CorruptFileError(f"{where}: expected an object, document to score, found {shown(by_doc)}")
        scores[query_id] = _new_query(str(path), query_id, query_ids)
        for doc_id, score in by_doc.items():
            if doc_id not in known:
                raise _bad_document(where, query_id, doc_id, repeated=False)
            if type(score) not in (int, float) or not -LARGEST <= score <= LARGEST:  # false for NaN too
                what = f"document {shown(doc_id)} has the score {shown(score)}"
                raise CorruptFileError(f"{where}: {what}, which is not a float32")
            scores[query_id][doc_id] = float(score)
    return scores


@contextmanager
def no_garbage() -> Iterator[None]:
    """Keep the garbage collector from walking over millions of hits, again and again, to find none.

    It took a third of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _columns(path: Path, header: int) -> int:
    """Return how many columns the format of this file has, by its first line."""
    number, first = next(islice(lines(path), header, None), (header + 1, ""))
    columns = min(len(first.split()), TREC)
    if columns not in FORMATS:
        raise CorruptFileError(
            f"{path}:{number}: found {columns} columns; a ranking has 6 (TREC: query Q0 document rank score tag), "
            "4 (LoTTE: query document rank score) or 3 (MS MARCO: query document rank)"
        )
    return columns


def _read_scores(
    path: Path, rows: Iterator[tuple[int, str]], query_ids: Collection[str], known: Container[str]
) -> dict[str, dict[str, float]]:
    """Return query_id -> doc_id -> score of a TREC file."""
    scores: dict[str, dict[str, float]] = {}
    seen = ""  # the last tag; mostly all are one
    for number, line in rows:
        fields = line.split(None, TREC - 1)
        if len(fields) != TREC:
            raise _wrong_count(path, number, len(fields), TREC)
        query_id, _, doc_id, _, text, tag = fields
        if tag != seen:  # another row that hangs on this one is in its last column, which is otherwise ignored
            if len(line.splitlines()) > 1:
                what = "carriage return" if "\r" in line else "line break"
                raise CorruptFileError(f"{path}:{number}: a {what} within the line; lines end in \\n or \\r\\n")
            seen = tag
        if (by_doc := scores.get(query_id)) is None:
            by_doc = scores[query_id] = _new_query(f"{path}:{number}", query_id, query_ids)
        if doc_id in by_doc or doc_id not in known:
            raise _bad_document(f"{path}:{number}", query_id, doc_id, repeated=doc_id in by_doc)
        try:  # Python reads 1_0 and digits of other scripts as well, and trec_eval other numbers in them
            score = float(text if "_" not in text and text.isascii() else "")
        except ValueError:
            raise CorruptFileError(f"{path}:{number}: score {shown(text)} is not a number") from None
        if not -LARGEST <= score <= LARGEST:  # false for NaN too
            raise CorruptFileError(f"{path}:{number}: score {shown(text)} is not a finite float32, so it has no order")
        by_doc[doc_id] = score
    return scores


def _read_ranks(
    path: Path, rows: Iterator[tuple[int, str]], columns: int, query_ids: Collection[str], known: Container[str]
) -> dict[str, list[str]]:
    """Return query_id -> doc_ids, best first, of a file whose ranks are the order."""
    rankings: dict[str, dict[str, float]] = {}  # doc_ids in order; the values mean nothing
    for number, line in rows:
        fields = line.split()
        if len(fields) != columns:
            raise _wrong_count(path, number, len(fields), columns)
        query_id, doc_id, text = fields[:3]
        if (ranking := rankings.get(query_id)) is None:
            ranking = rankings[query_id] = _new_query(f"{path}:{number}", query_id, query_ids)
        if doc_id in ranking or doc_id not in known:
            raise _bad_document(f"{path}:{number}", query_id, doc_id, repeated=doc_id in ranking)
        ranking[doc_id] = 0.0
        if text != str(len(ranking)):
            raise CorruptFileError(
                f"{path}:{number}: found rank {shown(text)} where query {shown(query_id)} has its rank {len(ranking)}; "
                "ranks must be 1, 2, 3, ... down the file"
            )
    return {query_id: list(ranking) for query_id, ranking in rankings.items()}


def _new_query(where: str, query_id: str, query_ids: Collection[str]) -> dict[str, float]:
    if query_id not in query_ids:
        raise MismatchError(
            f"{where}: query {shown(query_id)} is not one of the dataset's {len(query_ids):,}; "
            "is this a run of another dataset?"
        )
    return {}


def _bad_document(where: str, query_id: str, doc_id: str, *, repeated: bool) -> LotteError:
    if repeated:
        return CorruptFileError(
            f"{where}: document {shown(doc_id)} occurs a second time for query {shown(query_id)}; "
            "a ranking names a document once"
        )
    return MismatchError(
        f"{where}: document {shown(doc_id)} is not in the collection; is this a run of another dataset?"
    )


def _wrong_count(path: Path, number: int, num_fields: int, columns: int) -> CorruptFileError:
    least = "at least " if columns == TREC else ""
    return CorruptFileError(
        f"{path}:{number}: found {num_fields} columns; the file began as {FORMATS[columns]} with {least}{columns}"
    )


def write_trec(path: Path, run: Run, *, tag: str) -> str:
    """Write six columns. trec_eval, which goes by the scores, finds the run's own order in them.

    path     packed, if it ends in .gz
    returns  the sha256 of the file
    """

    return _write(path, run, TREC, " Q0 ", " ", f" {tag}\n")


def write_lotte(path: Path, run: Run) -> str:
    """Write LoTTE's four columns, which its own scoring script reads. Returns the sha256 of the file."""
    return _write(path, run, LOTTE, "\t", "\t", "\n")


def _write(path: Path, run: Run, columns: int, first: str, blank: str, last: str) -> str:
    """Write a line for each hit: query, `first`, document, `blank`, rank, `blank`, score, `last`."""
    ranks = [f"{blank}{rank}{blank}" for rank in range(1, run.depth + 1)]
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path.parent), Writer(path) as file, _packed(file, path) as target:
        for query_id, hits in run.hits.items():
            names = [query_id, *(hit.doc_id for hit in hits)]
            if " ".join(names).split() != names:
                raise MismatchError(
                    f"{path}: an id of query {query_id!r} or of its documents has a blank in it, "
                    f"which {FORMATS[columns]} columns cannot hold"
                )
            start = query_id + first
            scores = falling([hit.score for hit in hits])
            lines = [
                f"{start}{doc_id}{rank}{score:.9g}{last}"
                for doc_id, rank, score in zip(names[1:], ranks, scores, strict=False)
            ]
            target.write("".join(lines).encode())
    return file.sha256


@contextmanager
def _packed(file: Writer, path: Path) -> Iterator["Writer | gzip.GzipFile"]:
    """Give the file itself, or what packs into it: the same bytes for the same content, whatever the day."""
    if path.suffix != ".gz":
        yield file
        return
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
        yield packed
