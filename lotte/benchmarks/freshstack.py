"""FreshStack: questions of Stack Overflow on five fast-moving topics, answered by chunks of repositories at GitHub.

Each topic has a collection of its own. A question's answer was divided into
nuggets, and documents judged for each: a document's relevance is the number of
nuggets it supports. Its authors print three measures: alpha-nDCG@10, which
counts a nugget less each time it comes again, Coverage@20, the share of the
nuggets that are found, and R@50.

Names of files are ids there; a blank in one is written `%20`. No revision of
its two repositories is published: `lotte fetch` takes the newest, compares it
with the published counts, and records which it was.

Source  Thakur et al. 2025, arXiv:2504.13128, table 1; freshstack 0.0.6, datasets/data_loader.py
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lotte import beir_folder, ids
from lotte.beir_folder import FILES
from lotte.dataset import Dataset
from lotte.errors import CorruptFileError, shown
from lotte.release import Hub, Release, ReleaseCounts, checked

FOLDER = "freshstack"
QUERIES, CORPUS = "freshstack/queries-oct-2024", "freshstack/corpus-oct-2024"
NUGGETS = "nuggets/test.tsv"
_SETS = {  # documents, queries
    "angular": (117_288, 129),
    "godot": (25_482, 99),
    "langchain": (49_514, 203),
    "laravel": (52_351, 184),
    "yolo": (27_207, 57),
}
NAMES = tuple(_SETS)


def release(name: str) -> Release:
    """Return what is published of a set in NAMES. Opens nothing."""
    documents, queries = _SETS[name]
    folder = f"{FOLDER}/{name}"
    return Release(
        name=folder,
        measure="alpha-nDCG@10",
        also=("Coverage@20", "R@50"),
        counts=ReleaseCounts(documents=documents, queries=queries),
        licence="CC BY-SA 4.0",
        homepage="https://fresh-stack.github.io",
        hub=Hub(
            repo=QUERIES,
            revision="",
            configs={"questions": (name, "test"), "corpus": (name, "train")},
            others={"corpus": CORPUS},
        ),
        needs={folder: (*FILES, NUGGETS)},
    )


def load(name: str, data: Path) -> Dataset:
    """Read a set from a data folder. Raises UnavailableError, saying how to get it, if it is not there."""
    known = release(name)
    known.require(data)
    folder = data / FOLDER / name
    dataset = beir_folder.read(folder, known.name, measure=known.measure)
    return checked(dataset, known, {folder: known.needs[known.name]})


def write(folder: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]], name: str) -> None:
    """Write the authors' tables, questions and corpus, in BEIR's layout, and the nuggets beside it.

    Raises  CorruptFileError for a row that lacks what it should have
    """
    questions = list(tables["questions"])
    nuggets = [nugget for row in questions for nugget in _nuggets(row)]
    grades: dict[tuple[str, str], int] = {}
    for nugget in nuggets:
        pair = (nugget["query-id"], nugget["corpus-id"])
        grades[pair] = grades.get(pair, 0) + nugget["score"]
    beir_folder.write(
        folder,
        {
            "corpus": ({**row, "_id": ids.word(str(row.get("_id", "")))} for row in tables["corpus"]),
            "queries": ({"_id": _query_id(row), "text": _text(row)} for row in questions),
            "qrels": (
                {"query-id": query_id, "corpus-id": doc_id, "score": grade}
                for (query_id, doc_id), grade in grades.items()
            ),
            "nuggets": nuggets,
        },
    )


def _query_id(row: Mapping[str, Any]) -> str:
    return ids.checked(str(row.get("query_id", "")), "question", "questions: a row")


def _text(row: Mapping[str, Any]) -> str:
    return f"{row.get('query_title') or ''} {row.get('query_text') or ''}"


def _nuggets(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each judgment of a question: which nugget, which document, and whether it supports it."""
    listed = row.get("nuggets")
    if not isinstance(listed, list) or not all(isinstance(nugget, Mapping) for nugget in listed):
        raise CorruptFileError(f"questions: nuggets must be a list of objects, found {shown(listed)}")
    for nugget in listed:
        judged: dict[str, int] = {}
        for key, score in (
            ("relevant_corpus_ids", 1),
            ("non_relevant_corpus_ids", 0),
        ):  # the later one counts, as there
            judged |= {ids.word(str(doc_id)): score for doc_id in nugget.get(key) or ()}
        for doc_id, score in judged.items():
            nugget_id = ids.word(str(nugget.get("_id", "")))
            yield {"query-id": _query_id(row), "nugget-id": nugget_id, "corpus-id": doc_id, "score": score}
