"""Runs and datasets as tables: pandas' frames and the datasets of Hugging Face, there and back.

Columns have the field's names: query_id, doc_id, rank, score, relevance. A frame of another tool is taken with the
names that it has for them: PyTerrier's qid and docno, ranx's q_id, BEIR's query-id and corpus-id. Ids are texts: what
pandas took for a number is written as a whole one.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lotte import extras, ids
from lotte.errors import MismatchError, shown, unknown

if TYPE_CHECKING:
    from pandas import DataFrame

    from lotte.dataset import Corpus, Dataset, Qrels, Queries
    from lotte.run import Run

FramePart: TypeAlias = Literal["judged", "corpus", "queries", "qrels"]
PARTS: tuple[FramePart, ...] = ("judged", "corpus", "queries", "qrels")
NAMES = {  # what a column is called here -> and elsewhere
    "query_id": ("qid", "q_id", "query-id", "_id", "id"),
    "doc_id": ("docno", "docid", "pid", "corpus-id", "did", "_id", "id"),
    "score": ("sim",),
    "rank": (),
    "relevance": ("rel", "label", "score"),
    "text": ("query", "body", "contents"),
    "title": (),
}


def run_frame(run: "Run") -> "DataFrame":
    """Return a run as query_id, doc_id, rank (from 1), score. A query that found nothing has no row."""
    rows = [
        (query_id, doc_id, rank, score)
        for query_id, hits in run.hits.items()
        for rank, (doc_id, score) in enumerate(hits, start=1)
    ]
    return _frame(rows, ("query_id", "doc_id", "rank", "score"))


def run_of_frame(frame: "DataFrame", queries: Sequence[str] = ()) -> "Run":
    """Return the run in a frame: by its scores, or by its ranks where it has no scores.

    queries  those that may have found nothing: they are in the run, and empty

    Raises  MismatchError for a column that is missing, or a cell that is empty or cannot be what it should
    """
    from lotte.run import Run

    has_scores = _found(frame, "score") is not None
    columns = _columns(frame, "a run", ("query_id", "doc_id", "score" if has_scores else "rank"))
    scores: dict[str, dict[str, float]] = {query_id: {} for query_id in queries}
    for row, (query_cell, doc_cell, value) in enumerate(zip(*columns, strict=True)):
        query_id, doc_id = _id(query_cell, "query", row), _id(doc_cell, "document", row)
        by_doc = scores.setdefault(query_id, {})
        if doc_id in by_doc:
            raise MismatchError(f"row {row} of the frame: query {shown(query_id)} has document {shown(doc_id)} again")
        by_doc[doc_id] = _number(value, "score" if has_scores else "rank", row)
    if has_scores:
        depth = max(map(len, scores.values()), default=0)
        try:
            return Run.of(scores, depth=depth)
        except ValueError as error:
            raise MismatchError(f"the frame: {error}") from None
    return Run.of_ranks({query_id: sorted(by_doc, key=by_doc.__getitem__) for query_id, by_doc in scores.items()})


def dataset_frame(dataset: "Dataset", part: FramePart = "judged") -> "DataFrame":
    """Return a part of a dataset as a frame.

    judged   query_id, query, doc_id, text, relevance: a row a judgment
    corpus   doc_id, text       queries  query_id, text       qrels  query_id, doc_id, relevance
    """
    if part not in PARTS:
        raise unknown("part of a dataset", part, PARTS)
    if part == "corpus":
        return _frame(list(dataset.corpus), ("doc_id", "text"))
    if part == "queries":
        return _frame(list(dataset.queries.items()), ("query_id", "text"))
    judgments = list(_judgments(dataset.qrels))
    if part == "qrels":
        return _frame(judgments, ("query_id", "doc_id", "relevance"))
    texts = _texts(dataset.corpus, {doc_id for _, doc_id, _ in judgments})
    rows = [
        (query_id, dataset.queries.get(query_id, ""), doc_id, texts.get(doc_id, ""), relevance)
        for query_id, doc_id, relevance in judgments
    ]
    return _frame(rows, ("query_id", "query", "doc_id", "text", "relevance"))


def dataset_of_frames(
    corpus: "DataFrame", queries: "DataFrame", qrels: "DataFrame", *, name: str, measure: str = "nDCG@10"
) -> "Dataset":
    """Return the dataset in three frames. Its measure is nDCG@10 unless another is named.

    Raises  MismatchError for a column that is missing, or a cell that is empty or cannot be what it should
    """
    from lotte.dataset import Dataset, Doc, Docs
    from lotte.judgments import Judgments

    doc_ids, texts = _columns(corpus, "a corpus", ("doc_id", "text"))
    titles = corpus[_found(corpus, "title")].tolist() if _found(corpus, "title") else [""] * len(doc_ids)
    docs = [
        Doc(_id(doc_id, "document", row), f"{_text(title, row)} {_text(text, row)}".strip())
        for row, (doc_id, text, title) in enumerate(zip(doc_ids, texts, titles, strict=True))
    ]
    asked = zip(*_columns(queries, "queries", ("query_id", "text")), strict=True)
    of_query = {_id(query_id, "query", row): _text(text, row) for row, (query_id, text) in enumerate(asked)}
    judged = Judgments()
    rows = zip(*_columns(qrels, "judgments", ("query_id", "doc_id", "relevance")), strict=True)
    for row, (query_id, doc_id, relevance) in enumerate(rows):
        number = _number(relevance, "relevance", row)
        if number != int(number):
            raise MismatchError(f"row {row} of the frame: relevance {shown(relevance)} is not a whole number")
        where = f"row {row} of the frame"
        judged.add(_id(query_id, "query", row), _id(doc_id, "document", row), int(number), where)
    return Dataset(name=name, corpus=Docs(tuple(docs)), queries=of_query, qrels=judged, measure=measure, source="local")


def tables(dataset: "Dataset") -> dict[str, Any]:
    """Return the corpus, the queries and the judgments as Hugging Face's datasets, with BEIR's columns.

    The tables are in memory. `lotte publish` writes files that `load_dataset` maps.
    """
    datasets = extras.package("datasets", "Dataset.to_datasets()")
    return {name: datasets.Dataset(table) for name, table in arrow_tables(dataset).items()}


def arrow_tables(dataset: "Dataset") -> dict[str, Any]:
    """Return corpus (_id, title, text), queries (_id, text), qrels (query-id, corpus-id, score) as Arrow has them."""
    return {"corpus": corpus_table(dataset.corpus), "queries": queries_table(dataset.queries),
            "qrels": qrels_table(dataset.qrels)}  # fmt: skip


def corpus_table(corpus: "Corpus") -> Any:
    """Return documents as Arrow has them. A title is joined into its text already, so that column is empty."""
    import pyarrow as pa

    return pa.Table.from_batches(corpus_batches(corpus), schema=corpus_schema())


def corpus_schema() -> Any:
    """Return the columns of a corpus."""
    import pyarrow as pa

    return pa.schema({name: pa.string() for name in ("_id", "title", "text")})


def queries_table(queries: "Queries") -> Any:
    """Return queries as Arrow has them."""
    import pyarrow as pa

    return pa.table(
        {"_id": pa.array(list(queries), pa.string()), "text": pa.array(list(queries.values()), pa.string())}
    )


def qrels_table(qrels: "Qrels") -> Any:
    """Return judgments as Arrow has them."""
    import pyarrow as pa

    columns = list(zip(*_judgments(qrels), strict=True)) or [(), (), ()]
    kinds = {"query-id": pa.string(), "corpus-id": pa.string(), "score": pa.int32()}
    return pa.table({name: pa.array(columns[at], kind) for at, (name, kind) in enumerate(kinds.items())})


_ROWS = 1 << 16  # documents of a batch


def corpus_batches(corpus: "Corpus") -> Iterator[Any]:
    """Yield the documents of a corpus of any size, some at a time, as batches of Arrow."""
    import pyarrow as pa

    docs = iter(corpus)
    while held := list(islice(docs, _ROWS)):
        doc_ids, texts = zip(*held, strict=True)
        columns = [doc_ids, [""] * len(held), texts]
        yield pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=corpus_schema())


def _judgments(qrels: "Qrels") -> Iterator[tuple[str, str, int]]:
    for query_id, judged in qrels.items():
        for doc_id, relevance in judged.items():
            yield query_id, doc_id, relevance


def _texts(corpus: "Corpus", wanted: set[str]) -> Mapping[str, str]:
    from lotte.collection import RowIds, number_of

    if isinstance(corpus.doc_ids, RowIds):
        rows = {doc_id: number_of(doc_id) for doc_id in wanted if doc_id in corpus.doc_ids}
    else:
        rows = {doc_id: row for row, doc_id in enumerate(corpus.doc_ids) if doc_id in wanted}
    return {doc_id: corpus[row].text for doc_id, row in rows.items()}


def _frame(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> "DataFrame":
    made: DataFrame = extras.package("pandas", "a frame").DataFrame(rows, columns=list(columns))
    return made


def _found(frame: "DataFrame", name: str) -> str | None:
    """Return what a frame calls a column; None if it has none."""
    there = [str(column) for column in frame.columns]
    return next((known for known in (name, *NAMES[name]) if known in there), None)


def _columns(frame: "DataFrame", what: str, names: Sequence[str]) -> list[list[Any]]:
    found = {name: _found(frame, name) for name in names}
    if lacking := [name for name, column in found.items() if column is None]:
        there = ", ".join(map(str, frame.columns))[:200] or "none"
        raise MismatchError(
            f"the frame has no column {lacking[0]}; {what} has {', '.join(names)}, and the frame has {there}"
        )
    return [frame[column].tolist() for column in found.values()]


def _id(cell: Any, what: str, row: int) -> str:
    """Return an id. A number of pandas is a whole one: 3.0 is what it makes of 3 beside an empty cell."""
    if isinstance(cell, float) and cell == cell and cell == int(cell):
        cell = int(cell)
    if not isinstance(cell, str | int) or isinstance(cell, bool):
        raise MismatchError(f"row {row} of the frame: expected the id of a {what}, found {shown(cell)}")
    return ids.checked(str(cell), what, f"row {row} of the frame")


def _number(cell: Any, what: str, row: int) -> float:
    if isinstance(cell, bool) or not isinstance(cell, int | float) or cell != cell or abs(cell) == float("inf"):
        raise MismatchError(f"row {row} of the frame: expected a {what} that is a number, found {shown(cell)}")
    return float(cell)


def _text(cell: Any, row: int) -> str:
    if not isinstance(cell, str):
        raise MismatchError(f"row {row} of the frame: expected a text, found {shown(cell)}")
    return cell
