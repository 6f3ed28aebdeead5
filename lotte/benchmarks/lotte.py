"""LoTTE as released with ColBERTv2: five topics and their pool, two splits, two kinds of question.

Success@5 is its authors' measure (Santhanam et al. 2022, section 4). The pool
is a collection of its own and not the union of the others' results. A build
of ours has the same layout, and may have any topics.
"""

import hashlib
import json
from itertools import product
from pathlib import Path
from typing import Any

from lotte.collection import Collection
from lotte.dataset import Corpus, Dataset
from lotte.errors import CorruptFileError, UnavailableError
from lotte.jsonl import integer, objects
from lotte.lines import lines, plain_or_gz

TOPICS = ("writing", "recreation", "science", "technology", "lifestyle", "pooled")
SPLITS = ("dev", "test")
KINDS = ("search", "forum")
NAMES = tuple("/".join(parts) for parts in product(TOPICS, SPLITS, KINDS))


def found(data: Path) -> list[str]:
    """Return the names of the question sets in a folder of topics."""
    topics = sorted({path.parent for path in data.glob("*/*/collection.tsv*")})
    return [f"{topic.parent.name}/{topic.name}/{kind}" for topic in topics for kind in kinds(topic)]


def load(name: str, data: Path) -> Dataset:
    folder, _, kind = name.rpartition("/")
    return read(data / folder, kind)


def kinds(folder: Path) -> list[str]:
    """Return the kinds of question that this folder of a topic and split has."""
    if not plain_or_gz(folder / "collection.tsv").is_file():
        return []
    return [kind for kind in KINDS if plain_or_gz(folder / f"qas.{kind}.jsonl").is_file()]


def read(folder: Path, kind: str, corpus: Corpus | None = None) -> Dataset:
    """Read one half of a LoTTE topic from the layout its authors publish.

    folder  e.g. lotte/science/test, with collection.tsv, questions.<kind>.tsv
            and qas.<kind>.jsonl in it
    kind    "search" (Google queries, from GooAQ) or "forum" (StackExchange titles)
    corpus  its collection, if it is open already

    Raises  UnavailableError if a file is not there,
            CorruptFileError if an answer names a passage the collection lacks,
            or questions and answers are not about the same queries
    Source  ColBERT/LoTTE.md
    """
    topic, split = folder.resolve().parts[-2:]
    build = _build(folder.resolve().parent.parent)
    corpus = corpus or Collection(plain_or_gz(folder / "collection.tsv"))
    questions = plain_or_gz(folder / f"questions.{kind}.tsv")
    answers = plain_or_gz(folder / f"qas.{kind}.jsonl")
    queries = read_queries(questions)
    qrels: dict[str, dict[str, int]] = {}
    for number, answer in objects(answers):
        where = f"{answers}:{number}"
        query_id = str(integer(answer.get("qid"), "qid", where))
        if query_id not in queries:
            raise CorruptFileError(f"{where}: query {query_id} has no line in {questions.name}")
        if query_id in qrels:
            raise CorruptFileError(f"{where}: query {query_id} is there a second time")
        qrels[query_id] = _relevant(answer, query_id, len(corpus), where)
    if silent := [query_id for query_id in queries if query_id not in qrels]:
        line = list(queries).index(silent[0]) + 1
        raise CorruptFileError(f"{questions}:{line}: query {silent[0]} has no line in {answers.name}")
    return Dataset(
        name=f"lotte/{topic}/{split}/{kind}",
        corpus=corpus,
        queries=queries,
        qrels=qrels,
        measure="Success@5",
        **build,
    )


def read_queries(path: Path) -> dict[str, str]:
    """Read lines of `query_id TAB text`. Raises CorruptFileError for other fields, or an id twice."""
    queries: dict[str, str] = {}
    for number, line in lines(path):
        query_id, *texts = line.split("\t")
        if len(texts) != 1:
            raise CorruptFileError(
                f"{path}:{number}: expected a number and a question with a tab between, found {len(texts) + 1} fields"
            )
        if query_id in queries:
            raise CorruptFileError(f"{path}:{number}: query {query_id} is there a second time")
        queries[query_id] = texts[0]
    return queries


def _relevant(answer: dict[str, Any], query_id: str, num_passages: int, where: str) -> dict[str, int]:
    pids = answer.get("answer_pids")
    if not isinstance(pids, list):
        raise CorruptFileError(f"{where}: answer_pids must be a list of integers, found {pids!r}")
    for pid in pids:
        if not 0 <= integer(pid, "each of answer_pids", where) < num_passages:
            raise CorruptFileError(
                f"{where}: query {query_id} is answered by passage {pid}, but collection.tsv ends at "
                f"{num_passages - 1}. Build or fetch the topic again."
            )
    return {str(pid): 1 for pid in pids}


def _build(root: Path) -> dict[str, Any]:
    """Return source and licence of the build that a topic lies in, if it lies in one."""
    try:
        manifest = (root / "manifest.json").read_bytes()
    except OSError:
        if (root / ".work").is_dir():
            raise UnavailableError(f"{root} is an unfinished build; `lotte build` goes on with it") from None
        return {"source": "local"}
    try:
        licence = str(json.loads(manifest).get("licence", "unknown"))
    except (ValueError, AttributeError):
        raise CorruptFileError(f"{root / 'manifest.json'}:1: no JSON object; build it again") from None
    return {"source": f"build:{hashlib.sha256(manifest).hexdigest()[:16]}", "licence": licence}
