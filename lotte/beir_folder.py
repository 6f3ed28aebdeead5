"""BEIR's folder layout, in which many benchmarks are published: reader and writer.

  corpus.jsonl         _id, title (or none), text
  queries.jsonl        _id, text
  qrels/<split>.tsv    query-id, corpus-id, score; or .jsonl with these keys
  excluded/<split>.tsv query-id, corpus-id: documents that its authors leave out of the ranking of a query, if any
  nuggets/<split>.tsv  query-id, nugget-id, corpus-id, score: what supports each part of an answer, if known

`qrels.tsv` or `qrels.jsonl` beside the corpus are the split "test". Each file
may be a .gz. Only judged queries are used, as in BEIR's own code.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lotte import ids
from lotte.artifact import Writer, digest, json_line
from lotte.dataset import Dataset, Doc
from lotte.errors import CorruptFileError, UnavailableError, shown
from lotte.jsonl import objects, parsed, string
from lotte.judgments import Judgments, grade
from lotte.line_index import LineIndex
from lotte.lines import lines, plain_or_gz

CORPUS, QUERIES, TEST = "corpus.jsonl", "queries.jsonl", "test"
FILES = (CORPUS, QUERIES, "qrels/test.tsv")
SPLITS = (TEST, "dev", "train")  # the best to measure on first
_QRELS = (".tsv", ".jsonl", ".tsv.gz", ".jsonl.gz")
_PAIR = ("query-id", "corpus-id")
_FURTHER: dict[str, tuple[str, ...]] = {"excluded": _PAIR, "nuggets": ("query-id", "nugget-id", "corpus-id", "score")}


def files(split: str = TEST) -> tuple[str, ...]:
    """Return the names of the files that a split is read from."""
    return (CORPUS, QUERIES, f"qrels/{split}.tsv")


def is_in(folder: Path) -> bool:
    """Whether a folder has a collection in this layout."""
    return plain_or_gz(folder / CORPUS).is_file()


def splits(folder: Path) -> list[str]:
    """Return the splits with judgments in a folder: test, dev and train, then others by name."""
    if not is_in(folder):
        return []
    endings = {file.name for file in folder.glob("qrels/*")}
    found = {name.removesuffix(end) for name in endings for end in _QRELS if name.endswith(end)}
    if _judgments_file(folder, TEST) is not None:
        found.add(TEST)
    return [split for split in SPLITS if split in found] + sorted(found - set(SPLITS))


def _judgments_file(folder: Path, split: str) -> Path | None:
    places = [folder / "qrels" / f"{split}{ending}" for ending in _QRELS]
    if split == TEST:
        places += [folder / f"qrels{ending}" for ending in _QRELS]
    return next((place for place in places if place.is_file()), None)


def read(folder: Path, name: str, split: str = TEST, *, measure: str = "nDCG@10", ignore_own: bool = False) -> Dataset:
    """Read a split of a folder.

    name        of the dataset
    ignore_own  whether queries are documents too, so that a document with its query's own id is left out

    A judgment of a document that the corpus lacks is kept: the published
    numbers count it as one that nobody finds.

    Raises  UnavailableError if a file is not there, CorruptFileError for a line that is wrong
    """
    queries = plain_or_gz(folder / QUERIES)
    texts = read_queries(queries)
    path = _judgments_file(folder, split)
    if path is None:
        there = f"it has the splits {', '.join(found)}" if (found := splits(folder)) else "it has no judgments"
        raise UnavailableError(f"{folder / 'qrels' / split}.tsv is not there; {there}")
    judged = _judgments(path, texts, queries.name)
    excluded = _excluded(plain_or_gz(folder / "excluded" / f"{split}.tsv"), judged)
    facts = {"text": "(title + ' ' + text).strip()", "queries": "those with a judgment"}
    if excluded:
        facts["excluded"] = f"{sum(map(len, excluded.values())):,} pairs are left out of rankings, as its authors do"
    nuggets = _nuggets(plain_or_gz(folder / "nuggets" / f"{split}.tsv"), judged)
    if nuggets:
        listed = {query_id: {key: sorted(ids) for key, ids in of.items()} for query_id, of in nuggets.items()}
        facts["nuggets_sha256"] = digest(listed)
    return Dataset(
        name=name,
        corpus=BeirCorpus(plain_or_gz(folder / CORPUS)),
        queries={query_id: text for query_id, text in texts.items() if query_id in judged},
        qrels=judged,
        measure=measure,
        source="local",
        ignore_own=ignore_own,
        excluded=excluded,
        nuggets=nuggets,
        notes=judged.notes(),
        facts=facts if split == TEST else {**facts, "split": split},
    )


def read_queries(path: Path) -> dict[str, str]:
    """Read lines of `{"_id": ..., "text": ...}`. Raises CorruptFileError for another line, or an id twice."""
    texts: dict[str, str] = {}
    for number, query in objects(path):
        where = f"{path}:{number}"
        if (query_id := ids.of_json(query, "_id", "query", where)) in texts:
            raise CorruptFileError(f"{where}: query {shown(query_id)} occurs a second time")
        texts[query_id] = string(query, "text", where)
    return texts


def _judgments(path: Path, texts: Mapping[str, str], queries: str) -> Judgments:
    """Read the judgments of these queries. `queries` is the name of their file, for the message."""
    judged = Judgments()
    for where, (query_id, doc_id, text) in _json_rows(path) if ".jsonl" in path.suffixes else _rows(path, texts):
        if query_id not in texts:
            raise CorruptFileError(f"{where}: query {shown(query_id)} has no line in {queries}")
        judged.add(query_id, ids.checked(doc_id, "document", where), grade(text, where), where)
    return judged


def _json_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    for number, row in objects(path):
        where = f"{path}:{number}"
        pair = [ids.of_json(row, key, what, where) for key, what in zip(_PAIR, ("query", "document"), strict=True)]
        yield where, [*pair, str(row.get("score"))]


def _rows(
    path: Path, texts: Mapping[str, Any], wanted: str = "query, document and a whole number", count: int = 3
) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of a table, each with where it stands; without its head."""
    for number, line in lines(path):
        where = f"{path}:{number}"
        if len(fields := line.split("\t")) != count:
            raise CorruptFileError(f"{where}: expected {wanted} with tabs between, found {shown(line)}")
        if number > 1 or fields[0] != "query-id" or "query-id" in texts:
            yield where, fields


def _excluded(path: Path, judged: Judgments) -> dict[str, frozenset[str]]:
    """Read which documents are left out of the rankings of judged queries; {} if there is no such file."""
    if not path.is_file():
        return {}
    excluded: dict[str, set[str]] = {}
    for where, (query_id, doc_id) in _rows(path, judged, "query and document", 2):
        if judged.get(query_id, {}).get(doc_id, 0) > 0:
            raise CorruptFileError(
                f"{where}: document {shown(doc_id)} is left out for query {shown(query_id)}, and is relevant to it"
            )
        if query_id in judged:
            excluded.setdefault(query_id, set()).add(doc_id)
    return {query_id: frozenset(doc_ids) for query_id, doc_ids in excluded.items()}


def _nuggets(path: Path, judged: Judgments) -> dict[str, dict[str, frozenset[str]]]:
    """Read which documents support each nugget of judged queries; {} if there is no such file."""
    if not path.is_file():
        return {}
    nuggets: dict[str, dict[str, set[str]]] = {}
    for where, (query_id, nugget_id, doc_id, text) in _rows(path, judged, "query, nugget, document and number", 4):
        if query_id not in judged:
            raise CorruptFileError(f"{where}: query {shown(query_id)} has no judgment")
        supporting = nuggets.setdefault(query_id, {}).setdefault(nugget_id, set())
        if grade(text, where) > 0:
            supporting.add(doc_id)
    return {
        query_id: {nugget_id: frozenset(doc_ids) for nugget_id, doc_ids in of_query.items()}
        for query_id, of_query in nuggets.items()
    }


def write(folder: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]], split: str = TEST) -> None:
    """Write rows as they come from Hugging Face.

    tables  corpus: _id, title, text; queries: _id, text; qrels: query-id, corpus-id, score, which is 1 where the
            table has no scores; excluded and nuggets, if there are any

    Raises  CorruptFileError for a row that lacks one of them
    """
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, file, keys in (("corpus", CORPUS, ("_id", "title", "text")), ("queries", QUERIES, ("_id", "text"))):
        with Writer(folder / file) as target:
            for row in tables[name]:
                target.write(_line(row, keys, name))
    with Writer(folder / "qrels" / f"{split}.tsv") as target:
        target.write(b"query-id\tcorpus-id\tscore\n")
        for row in tables["qrels"]:
            relevance = grade(str(row.get("score", 1)), "qrels: a row")
            target.write(_fields({**row, "score": relevance}, (*_PAIR, "score"), "qrels"))
    for name, columns in _FURTHER.items():
        if name in tables:
            (folder / name).mkdir(exist_ok=True)
            with Writer(folder / name / f"{split}.tsv") as target:
                target.write("\t".join(columns).encode() + b"\n")
                for row in tables[name]:
                    target.write(_fields(row, columns, name))


def _line(row: Mapping[str, Any], keys: tuple[str, ...], what: str) -> bytes:
    value = {key: row.get(key, row.get(key.removeprefix("_"))) for key in keys}
    if lacking := [key for key in keys if value[key] is None and key != "title"]:
        raise CorruptFileError(f"{what}: a row has no {lacking[0]!r}; it has {', '.join(map(repr, row))}")
    value["_id"] = ids.checked(str(value["_id"]), what, f"{what}: a row")  # some copies have numbers
    return json_line(value, ascii=False).encode()


def _fields(row: Mapping[str, Any], keys: tuple[str, ...], what: str) -> bytes:
    if lacking := [key for key in keys if row.get(key) is None]:
        raise CorruptFileError(f"{what}: a row has no {lacking[0]!r}; it has {', '.join(map(repr, row))}")
    return ("\t".join(str(row[key]) for key in keys) + "\n").encode()


class BeirCorpus:
    """A `corpus.jsonl`, read where it lies: `_id`, `title`, `text` a line.

    Raises  CorruptFileError, when a row is read, for a line that is no such object,
            and, when the ids are asked for, for an id that occurs twice
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = LineIndex(path)

    @cached_property
    def doc_ids(self) -> Sequence[str]:
        """The ids, in the order of the file. Reads all of it, once."""
        rows: dict[str, int] = {}
        for row, doc in enumerate(self):
            if rows.setdefault(doc.doc_id, row) != row:
                raise CorruptFileError(f"{self.path}:{row + 1}: _id {shown(doc.doc_id)} occurs a second time")
        return list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Doc:
        row = range(len(self))[row]
        where = f"{self.path}:{row + 1}"
        fields = parsed(self._rows[row], where)
        title = string(fields, "title", where) if fields.get("title") is not None else ""
        return Doc(ids.of_json(fields, "_id", "document", where), f"{title} {string(fields, 'text', where)}".strip())

    def __iter__(self) -> Iterator[Doc]:
        return (self[row] for row in range(len(self)))
