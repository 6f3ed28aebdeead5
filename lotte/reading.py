"""A folder instead of a name: what is in it decides how it is read.

  collection.tsv, qas.<search|forum>.jsonl     LoTTE, one topic and split
  collection.tsv, qrels.<split>.tsv            ColBERT's layout; test is preferred to dev, and dev to train
  corpus.jsonl, queries.jsonl, qrels/test.tsv  BEIR
  <topic>/<split>/collection.tsv               a LoTTE, whole: every question set in it

FOLDER/forum or FOLDER/train is one of several. Every file may be a .gz.
"""

from pathlib import Path
from typing import NoReturn

from lotte.benchmarks import beir, lotte
from lotte.collection import Collection
from lotte.dataset import Corpus, Dataset
from lotte.errors import CorruptFileError, UnavailableError
from lotte.lines import lines, plain_or_gz

SPLITS = ("test", "dev", "train")  # of ColBERT's layout, the best to measure on first


def is_readable(path: Path) -> bool:
    """Whether this is a folder, or one of several sets in a folder: FOLDER/forum, FOLDER/train."""
    return path.is_dir() or path.name in (*lotte.kinds(path.parent), *_splits(path.parent))


def read(path: Path) -> list[Dataset]:
    """Return the question sets in a folder. Those that ask the same collection share it.

    Raises  UnavailableError if the folder has none, CorruptFileError if a file of it is wrong
    """
    folder, wanted = (path, "") if path.is_dir() else (path.parent, path.name)
    kinds = [kind for kind in lotte.kinds(folder) if wanted in ("", kind)]
    splits = [split for split in _splits(folder) if wanted in ("", split)]
    if kinds:
        corpus = Collection(plain_or_gz(folder / "collection.tsv"))
        return [lotte.read(folder, kind, corpus) for kind in kinds]
    if splits:
        return [_read_colbert(folder, splits[0])]
    if plain_or_gz(path / "corpus.jsonl").is_file():
        return [beir.read(path, _beir_name(path.resolve()))]
    topics = sorted({file.parent for file in path.glob("*/*/collection.tsv*")})
    return [dataset for topic in topics for dataset in read(topic)] or _nothing(path)


def read_corpus(path: Path) -> Corpus:
    """Return the documents of a folder or a file, whether there are questions about them or not."""
    if path.is_dir():
        files = [plain_or_gz(path / name) for name in ("collection.tsv", "corpus.jsonl")]
        path = next((file for file in files if file.is_file()), files[0])
    return beir.BeirCorpus(path) if ".jsonl" in path.suffixes else Collection(path)


def _nothing(path: Path) -> NoReturn:
    raise UnavailableError(
        f"{path} holds no questions: expected collection.tsv with qas.<search|forum>.jsonl or "
        "qrels.<split>.tsv, or corpus.jsonl with queries.jsonl and qrels/test.tsv, or <topic>/<split>/ "
        "with LoTTE's files"
    )


def _splits(folder: Path) -> list[str]:
    """Return the splits of ColBERT's layout that are there."""
    if not plain_or_gz(folder / "collection.tsv").is_file():
        return []
    names = {file.name.split(".")[1] for file in folder.glob("qrels.*.tsv*")}
    return [split for split in SPLITS if split in names] + sorted(names - set(SPLITS))


def _beir_name(folder: Path) -> str:
    parts = folder.parts[-2:] if folder.parent.name == "cqadupstack" else folder.parts[-1:]
    return "/".join(("beir", *parts))


def _read_colbert(folder: Path, split: str) -> Dataset:
    """Read collection.tsv, queries.<split>.tsv (qid text) and qrels.<split>.tsv (qid 0 pid relevance)."""
    corpus = Collection(plain_or_gz(folder / "collection.tsv"))
    questions = plain_or_gz(folder / f"queries.{split}.tsv")
    judgments = plain_or_gz(folder / f"qrels.{split}.tsv")
    queries = lotte.read_queries(questions)
    known = corpus.doc_ids
    qrels: dict[str, dict[str, int]] = {}
    for number, line in lines(judgments):
        where = f"{judgments}:{number}"
        try:
            query_id, _, doc_id, text = line.split()
            relevance = max(0, int(text))  # below 0 is junk: no more relevant than 0
        except ValueError:
            raise CorruptFileError(
                f"{where}: expected query, 0, passage and a whole number, found {line[:80]!r}"
            ) from None
        if query_id not in queries:
            raise CorruptFileError(f"{where}: query {query_id} has no line in {questions.name}")
        if doc_id not in known:
            raise CorruptFileError(
                f"{where}: query {query_id} is answered by passage {doc_id}, but the collection ends at "
                f"{len(known) - 1}"
            )
        qrels.setdefault(query_id, {})[doc_id] = relevance
    return Dataset(
        name=f"{folder.resolve().name}/{split}",
        corpus=corpus,
        queries=queries,
        qrels=qrels,
        measure="nDCG@10",
        source="local",
        facts={"text": "title + ' ' + text", "split": split},
    )
