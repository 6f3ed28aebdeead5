"""Rankings as files: a run that somebody else made is read, and ours are written for others to read.

  TREC      query_id Q0 doc_id rank score tag   the scores are the order, as in trec_eval; more columns are ignored
  LoTTE     qid pid rank score                  the ranks are the order, and must be 1, 2, 3, ... down the file
  MS MARCO  qid pid rank                        the same

Columns end at white space. Which of the three a file is, its first line says.
A file that says something impossible is refused with the line that says it.
"""

from collections.abc import Collection, Container, Iterator, Sequence
from pathlib import Path

from lotte.artifact import write_whole
from lotte.collection import RowIds
from lotte.errors import CorruptFileError, LotteError, MismatchError
from lotte.lines import lines
from lotte.run import BY_SCORE, LARGEST, Run, ranked

TREC, LOTTE, MSMARCO = 6, 4, 3  # columns
FORMATS = {TREC: "TREC", LOTTE: "LoTTE", MSMARCO: "MS MARCO"}


def read(path: Path, query_ids: Collection[str], doc_ids: Sequence[str]) -> Run:
    """Read a ranking in one of the three formats, plain or .gz.

    query_ids, doc_ids  what the run may name
    returns  a run that is silent where the file is: see `Run.missing` and `Run.filled`

    Raises  CorruptFileError for a line that is wrong in itself, or repeats a document,
            MismatchError for a query or a document that the dataset has not
    """
    known = doc_ids if isinstance(doc_ids, RowIds) else frozenset(doc_ids)
    columns = _columns(path)
    if columns == TREC:
        scores = _read_scores(path, query_ids, known)
        return Run({query_id: tuple(ranked(found)) for query_id, found in scores.items()}, ties=BY_SCORE)
    return Run.of_ranks(_read_ranks(path, columns, query_ids, known))


def _columns(path: Path) -> int:
    """Return how many columns the format of this file has, by its first line."""
    _, first = next(lines(path), (1, ""))
    found = min(len(first.split()), TREC)
    if found not in FORMATS:
        raise CorruptFileError(
            f"{path}:1: found {found} columns; a ranking has 6 (TREC: query Q0 document rank score tag), "
            "4 (LoTTE: query document rank score) or 3 (MS MARCO: query document rank)"
        )
    return found


def _read_scores(
    path: Path, query_ids: Collection[str], known: Container[str]
) -> dict[str, dict[str, float]]:
    """Return query_id -> doc_id -> score of a TREC file."""
    scores: dict[str, dict[str, float]] = {}
    for number, line in lines(path):
        fields = line.split(None, TREC - 1)
        if len(fields) != TREC:
            raise _wrong_count(path, number, len(fields), TREC)
        query_id, _, doc_id, _, text, _ = fields
        if (found := scores.get(query_id)) is None:
            found = scores[query_id] = _new_query(path, number, query_id, query_ids)
        if doc_id in found or doc_id not in known:
            raise _bad_document(path, number, query_id, doc_id, repeated=doc_id in found)
        try:
            score = float(text)
        except ValueError:
            raise CorruptFileError(f"{path}:{number}: score {text!r} is no number") from None
        if not -LARGEST <= score <= LARGEST:  # false for NaN too
            raise CorruptFileError(f"{path}:{number}: score {text!r} has no place in an order; it must be a finite float32")
        found[doc_id] = score
    return scores


def _read_ranks(
    path: Path, columns: int, query_ids: Collection[str], known: Container[str]
) -> dict[str, list[str]]:
    """Return query_id -> doc_ids, best first, of a file whose ranks are the order."""
    rankings: dict[str, dict[str, float]] = {}  # doc_ids in order; the values mean nothing
    for number, line in lines(path):
        fields = line.split()
        if len(fields) != columns:
            raise _wrong_count(path, number, len(fields), columns)
        query_id, doc_id, text = fields[:3]
        if (found := rankings.get(query_id)) is None:
            found = rankings[query_id] = _new_query(path, number, query_id, query_ids)
        if doc_id in found or doc_id not in known:
            raise _bad_document(path, number, query_id, doc_id, repeated=doc_id in found)
        found[doc_id] = 0.0
        if text != str(len(found)):
            raise CorruptFileError(
                f"{path}:{number}: found rank {text!r} where query {query_id!r} has its rank {len(found)}; "
                "ranks must be 1, 2, 3, ... down the file"
            )
    return {query_id: list(found) for query_id, found in rankings.items()}


def _new_query(path: Path, number: int, query_id: str, query_ids: Collection[str]) -> dict[str, float]:
    if query_id not in query_ids:
        raise MismatchError(
            f"{path}:{number}: query {query_id!r} is not one of the dataset's {len(query_ids):,}; "
            "is this a run of another dataset?"
        )
    return {}


def _bad_document(path: Path, number: int, query_id: str, doc_id: str, *, repeated: bool) -> LotteError:
    if repeated:
        return CorruptFileError(
            f"{path}:{number}: document {doc_id!r} is there a second time for query {query_id!r}; "
            "a ranking names a document once"
        )
    return MismatchError(
        f"{path}:{number}: document {doc_id!r} is not in the collection; is this a run of another dataset?"
    )


def _wrong_count(path: Path, number: int, found: int, columns: int) -> CorruptFileError:
    least = "at least " if columns == TREC else ""
    return CorruptFileError(
        f"{path}:{number}: found {found} columns; the file began as {FORMATS[columns]} with {least}{columns}"
    )


def write_trec(path: Path, run: Run, *, tag: str) -> Path:
    """Write six columns. trec_eval, which goes by the scores, finds the run's own order in them."""
    return _write(
        path,
        run,
        TREC,
        (
            "".join(f"{query_id} Q0 {hit.doc_id} {rank} {hit.score:.9g} {tag}\n" for rank, hit in enumerate(hits, 1))
            for query_id, hits in run.hits.items()
        ),
    )


def write_lotte(path: Path, run: Run) -> Path:
    """Write LoTTE's four columns, which its own scoring script reads."""
    return _write(
        path,
        run,
        LOTTE,
        (
            "".join(f"{query_id}\t{hit.doc_id}\t{rank}\t{hit.score:.9g}\n" for rank, hit in enumerate(hits, 1))
            for query_id, hits in run.hits.items()
        ),
    )


def _write(path: Path, run: Run, columns: int, blocks: Iterator[str]) -> Path:
    text = []
    for (query_id, hits), block in zip(run.hits.items(), blocks, strict=True):
        if len(block.split()) != columns * len(hits):
            raise MismatchError(
                f"{path}: an id of query {query_id!r} or of its documents has a blank in it, "
                f"which {FORMATS[columns]} columns cannot hold"
            )
        text.append(block)
    return write_whole(path, "".join(text))
