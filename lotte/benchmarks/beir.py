"""BEIR: many small retrieval tasks in one layout, judged with grades, measured by nDCG@10.

As its authors' code does, only judged queries are asked, and a document with
its query's own id is left out of the ranking: in ArguAna and Quora the
queries are documents too.

Source  Thakur et al. 2021, arXiv:2104.08663; beir/datasets/data_loader.py, beir/retrieval/evaluation.py
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from lotte.dataset import Dataset, Doc
from lotte.errors import CorruptFileError
from lotte.jsonl import objects, parsed, string
from lotte.lines import lines, plain_or_gz
from lotte.rows import Rows

FORUMS = (
    "android", "english", "gaming", "gis", "mathematica", "physics", "programmers", "stats", "tex", "unix",
    "webmasters", "wordpress",
)  # fmt: skip
NAMES = (
    "arguana", "bioasq", "climate-fever", "dbpedia-entity", "fever", "fiqa", "hotpotqa", "nfcorpus", "nq",
    "quora", "robust04", "scidocs", "scifact", "signal1m", "trec-covid", "trec-news", "webis-touche2020",
    *(f"cqadupstack/{forum}" for forum in FORUMS),
)  # fmt: skip


def found(data: Path) -> list[str]:
    """Return the names of the sets in a data folder."""
    root = data / "beir"
    folders = {path.parent for depth in ("*", "*/*") for path in root.glob(f"{depth}/corpus.jsonl*")}
    return sorted(folder.relative_to(root).as_posix() for folder in folders)


def load(name: str, data: Path) -> Dataset:
    return read(data / "beir" / name, f"beir/{name}")


def read(folder: Path, name: str) -> Dataset:
    """Read corpus.jsonl, queries.jsonl and qrels/test.tsv, each of them plain or .gz.

    A judgment of a document that the corpus lacks is kept: the published
    numbers count it as one that nobody finds.

    Raises  UnavailableError if a file is not there, CorruptFileError for a line that is wrong
    """
    source = plain_or_gz(folder / "queries.jsonl")
    judgments = plain_or_gz(folder / "qrels" / "test.tsv")
    texts: dict[str, str] = {}
    for number, query in objects(source):
        where = f"{source}:{number}"
        if (query_id := string(query, "_id", where)) in texts:
            raise CorruptFileError(f"{where}: query {query_id!r} is there a second time")
        texts[query_id] = string(query, "text", where)
    qrels: dict[str, dict[str, int]] = {}
    for number, line in lines(judgments):
        if number == 1 and line.startswith("query-id"):
            continue
        query_id, doc_id, relevance = _judgment(line, f"{judgments}:{number}")
        if query_id not in texts:
            raise CorruptFileError(f"{judgments}:{number}: query {query_id!r} has no line in {source.name}")
        qrels.setdefault(query_id, {})[doc_id] = relevance
    return Dataset(
        name=name,
        corpus=BeirCorpus(plain_or_gz(folder / "corpus.jsonl")),
        queries={query_id: text for query_id, text in texts.items() if query_id in qrels},
        qrels=qrels,
        measure="nDCG@10",
        source="local",
        ignore_own=True,
        facts={"text": "(title + ' ' + text).strip()", "queries": "those with a judgment"},
    )


def _judgment(line: str, where: str) -> tuple[str, str, int]:
    try:
        query_id, doc_id, relevance = line.split("\t")
        return query_id, doc_id, max(0, int(relevance))  # below 0 is junk: no more relevant than 0
    except ValueError:
        raise CorruptFileError(
            f"{where}: expected query, document and a whole number with tabs between, found {line[:80]!r}"
        ) from None


class BeirCorpus:
    """A `corpus.jsonl`, read where it lies: `_id`, `title`, `text` a line.

    Raises  CorruptFileError, when a row is read, for a line that is no such object,
            and, when the ids are asked for, for an id that is there twice
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = Rows(path)

    @cached_property
    def doc_ids(self) -> Sequence[str]:
        rows: dict[str, int] = {}
        for row, doc in enumerate(self):
            if rows.setdefault(doc.doc_id, row) != row:
                raise CorruptFileError(f"{self.path}:{row + 1}: _id {doc.doc_id!r} is there a second time")
        return list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Doc:
        row = range(len(self))[row]
        where = f"{self.path}:{row + 1}"
        found = parsed(self._rows[row], where)
        title = string(found, "title", where) if found.get("title") else ""
        return Doc(string(found, "_id", where), f"{title} {string(found, 'text', where)}".strip())

    def __iter__(self) -> Iterator[Doc]:
        return (self[row] for row in range(len(self)))
