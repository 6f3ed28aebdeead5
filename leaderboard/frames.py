"""Records as pandas tables: one row per record, or one row per query."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotte import artifact, extras
from lotte.errors import absent
from lotte.terminal import say

if TYPE_CHECKING:
    from pandas import DataFrame

    from leaderboard.record.schema import Record

_COLUMNS = (
    "system", "dataset", "measure", "value", "low", "high", "family", "model", "options", "queries", "documents",
    "index_bytes", "index_seconds", "latency_ms", "queries_per_second", "level", "created", "commit", "id", "path",
)  # fmt: skip


def results(folder: Path | str = "results") -> "DataFrame":
    """Return every record of a folder as a row: what ran, the official measure with its 95 % interval, what it cost.

    Further columns are the means of all measures that records have, by their names. A file that is not a whole record
    is left out, with a line on stderr.

    Raises  UnavailableError if it is not a folder, or pandas is not installed
    """
    pandas = extras.package("pandas", "a frame of records")
    rows = [row(path, record) for path, record in _records(folder)]
    measures = sorted({name for one in rows for name in one} - set(_COLUMNS))
    made: DataFrame = pandas.DataFrame(rows, columns=[*_COLUMNS, *measures])
    return made


def per_query(folder: Path | str = "results", *, measure: str = "", dataset: str = "") -> "DataFrame":
    """Return the values of each query: system, dataset, measure, query_id, value, id (of the record).

    measure  one for all; "": each dataset's own
    dataset  only this one; "": all

    Raises  as `results` does
    """
    pandas = extras.package("pandas", "a frame of records")
    rows = [
        (record.retriever.name, record.dataset.name, name, query_id, value, record.id)
        for _, record in _records(folder)
        if dataset in ("", record.dataset.name)
        for name in [measure or record.official]
        for query_id, value in record.measures.per_query.get(name, {}).items()
    ]
    made: DataFrame = pandas.DataFrame(rows, columns=["system", "dataset", "measure", "query_id", "value", "id"])
    return made


def _records(folder: Path | str) -> "Iterator[tuple[Path, Record]]":
    from leaderboard.record.read import readable

    if not Path(folder).is_dir():
        raise absent(Path(folder), "; a folder of records is wanted, as `lotte eval --out` leaves it")
    return iter(readable(Path(folder), say))


def row(path: Path, record: "Record") -> dict[str, Any]:
    """Return a record as a row: _COLUMNS, and the mean of each of its measures."""
    aggregate, retriever, cost = record.measures.aggregate, record.retriever, record.cost
    low, high = aggregate[record.official].ci95 or (None, None)
    return {
        "system": retriever.name,
        "dataset": record.dataset.name,
        "measure": record.official,
        "value": record.value,
        "low": low,
        "high": high,
        "family": retriever.family,
        "model": retriever.model.id if retriever.model else None,
        "options": artifact.canonical(retriever.options),
        "queries": record.dataset.counts.get("queries"),
        "documents": record.dataset.counts.get("documents"),
        "index_bytes": cost.index_bytes,
        "index_seconds": cost.index_seconds,
        "latency_ms": cost.latency_ms.p50,
        "queries_per_second": cost.queries_per_second,
        "level": record.verification.level,
        "created": record.created,
        "commit": record.implementation.commit,
        "id": record.id,
        "path": str(path),
    } | {name: one.value for name, one in aggregate.items()}
