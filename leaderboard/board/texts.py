"""The texts of queries and documents that a page may show, and the first results of each system.

Texts are shown only if the records' dataset is on this disk: its name is
looked up, and the hashes of its queries and documents must be the records'.
Otherwise a page shows ids. The first five of a system are read from the run
beside its record, if that has the hash that the record names.

All of these texts are untrusted. They are truncated, and escaped when pages are
written; nothing here is markup.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from leaderboard.board.dataset_page import DatasetPage
from leaderboard.board.entry import Entry
from leaderboard.record.loaded_dataset import find
from leaderboard.record.store import beside
from lotte import Dataset, artifact, parquet
from lotte.dataset import corpus_sha256, queries_sha256
from lotte.errors import CorruptFileError, LotteError, UnavailableError, reason

TOP = 5
_CREDITS: dict[str, type] = {"pid": int, "url": str, "author": str, "licence": str}
LONGEST = 400  # characters of a document; questions are shown to twice as many
Tops: TypeAlias = Mapping[str, tuple[str, ...]]  # query_id -> doc_ids, best first


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Where a document came from, as its licence asks for: CC BY-SA names author and place."""

    url: str
    author: str
    licence: str


@dataclass(frozen=True, kw_only=True)
class DatasetTexts:
    """The texts that the pages of a dataset need."""

    queries: Mapping[str, str] = field(default_factory=dict)
    docs: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, Attribution] = field(default_factory=dict)
    relevant: Mapping[str, frozenset[str]] = field(default_factory=dict)  # query_id -> doc_ids


def dataset_of(page: DatasetPage, data: Path, say: Callable[[str], None]) -> Dataset | None:
    """Return the dataset that the records of a page were made from; None if it is not in the data folder."""
    try:
        dataset = find(page.name, data)
        same_queries = queries_sha256(dataset.queries) == page.facts.queries_sha256
        if same_queries and corpus_sha256(dataset.corpus) == page.facts.corpus_sha256:
            return dataset
    except UnavailableError:
        return None
    except LotteError as error:
        say(f"{page.name}: {error}; its pages show ids and no texts")
        return None
    say(f"{page.name} is in {data}, but is not the one of the records; its pages show ids and no texts")
    return None


def of(dataset: Dataset, query_ids: Iterable[str], doc_ids: set[str]) -> DatasetTexts:
    """Return the texts of these questions and documents."""
    questions = {query_id: dataset.queries[query_id] for query_id in query_ids if query_id in dataset.queries}
    rows = [row for row, doc_id in enumerate(dataset.corpus.doc_ids) if doc_id in doc_ids] if doc_ids else []
    return DatasetTexts(
        queries={query_id: _cut(text, 2 * LONGEST) for query_id, text in questions.items()},
        docs={doc.doc_id: _cut(doc.text, LONGEST) for doc in (dataset.corpus[row] for row in rows)},
        sources=_sources(getattr(dataset.corpus, "path", None), doc_ids),
        relevant={
            query_id: frozenset(doc_id for doc_id, grade in dataset.qrels.get(query_id, {}).items() if grade > 0)
            for query_id in questions
        },
    )


def tops(entry: Entry) -> tuple[Tops, str]:
    """Return the first five of each question, and why there are none, if so."""
    name = entry.record.run.file
    if name is None or (file := beside(entry.file, name)) is None:  # a name that leads elsewhere is not accepted
        return {}, "the record names no run"
    if not file.is_file():
        return {}, f"the run {name} is not beside the record"
    if artifact.sha256(file) != entry.record.run.sha256:
        return {}, f"the run {name} is not the one that was scored: it has another sha256"
    return _first(file, name)


def _first(file: Path, name: str) -> tuple[Tops, str]:
    """Read the first five of each question from a run of ours, which is in order."""
    import pyarrow.compute
    import pyarrow.csv

    columns = ["query_id", "zero", "doc_id", "rank", "score", "tag"]
    types = {name: pyarrow.int64() if name == "rank" else pyarrow.string() for name in columns}
    first: dict[str, list[str]] = {}
    try:
        reader = pyarrow.csv.open_csv(
            str(file),
            pyarrow.csv.ReadOptions(column_names=columns, use_threads=False),
            pyarrow.csv.ParseOptions(delimiter=" ", quote_char=False, ignore_empty_lines=True),
            pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=["query_id", "doc_id", "rank"], strings_can_be_null=False
            ),
        )
        for batch in reader:
            best = batch.filter(pyarrow.compute.less_equal(batch["rank"], TOP))
            for query_id, doc_id in zip(best["query_id"].to_pylist(), best["doc_id"].to_pylist(), strict=True):
                first.setdefault(query_id, []).append(doc_id)
    except (pyarrow.ArrowInvalid, OSError) as error:
        return {}, f"the run {name} cannot be read: {reason(error)}"
    return {query_id: tuple(doc_ids) for query_id, doc_ids in first.items()}, ""


def _sources(corpus: Path | None, doc_ids: set[str]) -> dict[str, Attribution]:
    """Return what attribution.parquet beside a collection of ours says of these documents."""
    file = corpus.parent / "attribution.parquet" if corpus else None
    if not (file and file.is_file() and doc_ids):
        return {}
    sources: dict[str, Attribution] = {}
    try:
        for batch in parquet.batches(file, _CREDITS, nulls=True):
            for row in batch.to_pylist():
                if (doc_id := str(row["pid"])) in doc_ids:
                    sources[doc_id] = _source(row)
    except CorruptFileError:  # a page can do without
        return {}
    return sources


def _source(row: Mapping[str, Any]) -> Attribution:
    url = str(row["url"] or "")
    return Attribution(
        url=url if url.startswith("https://") else "",
        author=_cut(str(row["author"] or ""), 80),
        licence=_cut(str(row["licence"] or ""), 40),
    )


def _cut(text: str, longest: int) -> str:
    """Return text of at most so many characters, on one line, without a word cut in two."""
    plain = " ".join(text[: 4 * longest].split())
    if len(plain) <= longest:
        return plain
    return plain[:longest].rpartition(" ")[0] + " …"
