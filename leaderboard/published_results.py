"""A folder of records for publication: the records and runs unchanged, two tables of them, a card, checksums."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leaderboard import frames
from leaderboard.record.audit import Report, audit
from leaderboard.record.read import read, record_files
from leaderboard.record.schema import Record
from lotte import publication
from lotte.errors import MismatchError, UnavailableError
from lotte.publication import CardHead, CardTable

RECORDS, VALUES = "records.parquet", "per_query.parquet"


def write(results: Path, out: Path, repo: str = "") -> Path:
    """Write a folder that others read. Returns `out`.

    repo  what the card calls it; "": as the folder

    Raises  UnavailableError if there is no record; MismatchError for a record with a problem, or if something else
            stands at `out`
    """
    if not (paths := record_files(results)):
        raise UnavailableError(f"{results} holds no record; `lotte eval --out {results}` makes one")
    for problem in audit(results, results, Report(), quick=True):
        raise MismatchError(f"{problem}; `lotte board verify {results} --quick` lists all")
    records = [(path, read(path)) for path in paths]
    with publication.folder(out) as part:
        shutil.copytree(results, part / "results", ignore=shutil.ignore_patterns(".*"))
        _write_tables(results, records, part)
        tables = [CardTable(name, {"train": f"{name}.parquet"}) for name in ("per_query", "records")]
        head = CardHead(f"{len(records):,} records", tables, ("information-retrieval", "leaderboard"))
        (part / publication.CARD).write_text(publication.card(head, _body(records, repo or out.name)), encoding="utf-8")
    return out


def _write_tables(results: Path, records: list[tuple[Path, Record]], part: Path) -> None:
    import pyarrow as pa

    rows = [frames.row(path.relative_to(results), record) for path, record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    publication.write_table(part / RECORDS, table.to_batches(), table.schema)
    values: dict[str, list[Any]] = {name: [] for name in ("system", "dataset", "measure", "query_id", "value", "id")}
    for _, record in records:
        for measure, by_query in record.measures.per_query.items():
            own = (record.retriever.name, record.dataset.name, measure)
            for query_id, value in by_query.items():
                for name, cell in zip(values, (*own, query_id, float(value), record.id), strict=True):
                    values[name].append(cell)
    table = pa.table(values)
    publication.write_table(part / VALUES, table.to_batches(), table.schema)


def _body(records: list[tuple[Path, Record]], repo: str) -> str:
    systems = sorted({record.retriever.name for _, record in records})
    datasets = sorted({record.dataset.name for _, record in records})
    return "\n".join(
        [
            f"{len(records):,} results on {len(datasets):,} datasets, of {', '.join(systems)}.",
            "`results/` holds each as a record, SYSTEM/DATASET.json, with the ranking it was computed from beside it:",
            "`lotte board verify results` scores all again.",
            "",
            "```python",
            "from datasets import load_dataset",
            "",
            f'records = load_dataset("{repo}", "records", split="train")      # a row a record',
            f'values = load_dataset("{repo}", "per_query", split="train")     # a row a query and measure',
            "```",
            "",
            f"`sha256sum -c {publication.SUMS}` checks the files.",
        ]
    )


def pages(results: Path, out: Path, say: Callable[[str], None], *, data: Path) -> Path:
    """Write the board's site as GitHub Pages and other hosts of static files take it. Returns its first page.

    Raises  as `site.build`
    """
    from leaderboard.board import site

    first = site.build(results, out, say, data=data)
    (out / ".nojekyll").touch()  # else files that begin with an underscore are left out
    return first
