"""A folder instead of a name: what is in it decides how it is read.

  collection.tsv, qas.<search|forum>.jsonl     LoTTE, one topic and split
  collection.tsv, qrels.<split>.tsv            ColBERT's layout; test is preferred to dev, and dev to train
  corpus.jsonl, queries.jsonl, qrels/<split>.tsv  BEIR; test is preferred to dev, and dev to train
  psgs_w100.tsv, *.qa.csv                      Open-QA on DPR's passages, every list in it
  collection.tsv, queries.dev.small.tsv        MS MARCO; and beside it, in a folder of their own,
  msmarco-test<year>-queries.tsv               TREC Deep Learning
  paragraphs.tsv, *.hierarchical.qrels         TREC CAR
  papers.jsonl, qa.jsonl                       PeerQA
  <topic>/<split>/collection.tsv               a LoTTE, whole: every question set in it

FOLDER/forum or FOLDER/train is one of several. FOLDER/dev.answers asks a split
of ColBERT's layout as Open-QA, by the `answers` in its qas.dev.jsonl. Every
file may be a .gz. Of a folder in ColBERT's layout, SOURCE.json may say
{"licence": ...}: it goes into records and the cards of checkpoints.
"""

from pathlib import Path
from typing import Any, NoReturn

from lotte import beir_folder
from lotte.benchmarks import beir, lotte, msmarco, openqa, peerqa, treccar, trecdl
from lotte.collection import Collection, OwnIds
from lotte.dataset import Corpus, Dataset
from lotte.errors import CorruptFileError, UnavailableError
from lotte.lines import plain_or_gz
from lotte.parsing import json_object

SPLITS = ("test", "dev", "train")  # of ColBERT's layout, the best to measure on first
ANSWERS = ".answers"
SOURCE = "SOURCE.json"


def is_readable(path: Path) -> bool:
    """Whether this is a folder, or one of several sets in a folder: FOLDER/forum, FOLDER/train."""
    folder = path.parent
    sets = (*lotte.kinds(folder), *_splits(folder), *_with_answers(folder), *beir_folder.splits(folder))
    return path.is_dir() or path.name in sets


def read(path: Path | str) -> list[Dataset]:
    """Return the question sets in a folder. Those that ask the same collection share it.

    Raises  UnavailableError if the folder has none, CorruptFileError if a file of it is wrong
    """
    path = Path(path)
    folder, kind_or_split = (path, "") if path.is_dir() else (path.parent, path.name)
    if kind_or_split in _with_answers(folder):
        return [openqa.read_local(folder, kind_or_split.removesuffix(ANSWERS))]
    if not kind_or_split and (published := _published(folder)):
        return published
    kinds = [kind for kind in lotte.kinds(folder) if kind_or_split in ("", kind)]
    splits = [split for split in _splits(folder) if kind_or_split in ("", split)]
    if kinds:
        corpus = Collection(plain_or_gz(folder / "collection.tsv"))
        return [lotte.read(folder, kind, corpus) for kind in kinds]
    if splits:
        return [_read_colbert(folder, splits[0])]
    if beir_folder.is_in(folder):
        split = kind_or_split or next(iter(beir_folder.splits(folder)), beir_folder.TEST)
        return [beir.read(folder, _beir_name(folder.resolve()), split)]
    topics = sorted({file.parent for file in path.glob("*/*/collection.tsv*")})
    return [dataset for topic in topics for dataset in read(topic)] or _nothing(path)


def _published(folder: Path) -> list[Dataset]:
    """Return the sets of a folder whose files have the names that their authors gave them."""

    def there(*names: str) -> bool:
        return all(plain_or_gz(folder / name).is_file() for name in names)

    def of(module: Any) -> list[str]:
        """The names whose own files are in this folder; a collection may lie in another."""
        needs = {name: module.release(name).needs[module.FOLDER] for name in module.NAMES}
        return [name for name, files in needs.items() if there(*files)]

    if names := of(openqa):
        passages = openqa.Passages(plain_or_gz(folder / openqa.PASSAGES))
        return [openqa.read(folder, name, passages) for name in names]
    if names := of(msmarco):
        collection = Collection(plain_or_gz(folder / "collection.tsv"))
        return [msmarco.read(folder, name, collection) for name in names]
    if names := of(trecdl):
        beside = folder.resolve().parent / msmarco.FOLDER
        collection = Collection(plain_or_gz(beside / "collection.tsv"))
        return [trecdl.read(folder, beside, name, collection) for name in names]
    if of(treccar):
        return [treccar.read(folder)]
    return [peerqa.read(folder)] if of(peerqa) else []


def has_questions(folder: Path) -> bool:
    """Whether a folder has a collection with questions that `read` would read, whole or damaged."""
    try:
        return bool(read(folder))
    except UnavailableError:
        return False
    except CorruptFileError:
        return True


def read_corpus(path: Path) -> Corpus:
    """Return the documents of a folder or a file, whether there are questions about them or not."""
    if path.is_dir():
        names = ("collection.tsv", "corpus.jsonl", openqa.PASSAGES, treccar.PARAGRAPHS)
        files = [plain_or_gz(path / name) for name in names]
        path = next((file for file in files if file.is_file()), files[0])
    if ".jsonl" in path.suffixes:
        return beir_folder.BeirCorpus(path)
    if path.name.startswith(openqa.PASSAGES):
        return openqa.Passages(path)
    return OwnIds(path) if path.name.startswith(treccar.PARAGRAPHS) else Collection(path)


def read_queries(path: Path) -> dict[str, str]:
    """Return the questions of a file: BEIR's where it is a .jsonl, else `query_id TAB text` a line, plain or .gz.

    Raises  CorruptFileError for another line, an id that occurs twice, or a file without a question
    """
    queries = beir_folder.read_queries(path) if ".jsonl" in path.suffixes else lotte.read_queries(path)
    if not queries:
        raise CorruptFileError(f"{path} holds no question: expected one id and text per line, with a tab between")
    return queries


def _nothing(path: Path) -> NoReturn:
    raise UnavailableError(
        f"{path} holds no questions: expected collection.tsv with qas.<search|forum>.jsonl or "
        "qrels.<split>.tsv, or corpus.jsonl with queries.jsonl and qrels/<split>.tsv, or <topic>/<split>/ "
        "with LoTTE's files"
    )


def _splits(folder: Path) -> list[str]:
    """Return the splits of ColBERT's layout that are there."""
    if not plain_or_gz(folder / "collection.tsv").is_file():
        return []
    names = {file.name.split(".")[1] for file in folder.glob("qrels.*.tsv*")}
    return [split for split in SPLITS if split in names] + sorted(names - set(SPLITS))


def _with_answers(folder: Path) -> list[str]:
    """Return the splits of ColBERT's layout whose questions come with answers, as "dev.answers"."""
    files = [file for file in folder.glob("qas.*.jsonl*") if file.name.split(".")[1] not in lotte.KINDS]
    if not files or not plain_or_gz(folder / "collection.tsv").is_file():
        return []
    return sorted({f"{file.name.split('.')[1]}{ANSWERS}" for file in files})


def _beir_name(folder: Path) -> str:
    of_two = folder.parent.name == "cqadupstack" or f"{folder.parent.name}/{folder.name}" in beir.NAMES
    parts = folder.parts[-2:] if of_two else folder.parts[-1:]
    return "/".join(("beir", *parts))


def _read_colbert(folder: Path, split: str) -> Dataset:
    """Read collection.tsv, queries.<split>.tsv (qid text) and qrels.<split>.tsv (qid 0 pid relevance)."""
    corpus = Collection(plain_or_gz(folder / "collection.tsv"))
    questions = plain_or_gz(folder / f"queries.{split}.tsv")
    judgments = plain_or_gz(folder / f"qrels.{split}.tsv")
    queries = lotte.read_queries(questions)
    judged = msmarco.read_judgments(judgments, queries, corpus.doc_ids, questions=questions.name)
    return Dataset(
        name=f"{folder.resolve().name}/{split}",
        corpus=corpus,
        queries=queries,
        qrels=judged,
        measure="nDCG@10",
        source="local",
        licence=_licence(folder / SOURCE),
        notes=judged.notes(),
        facts={"text": "title + ' ' + text", "split": split},
    )


def _licence(path: Path) -> str:
    try:
        text = " ".join(str(json_object(path).get("licence", "unknown")).split())
        return text.encode("utf-8", "backslashreplace").decode()  # JSON can spell an unpaired surrogate, no record can
    except FileNotFoundError:
        return "unknown"
    except CorruptFileError:
        raise CorruptFileError(f'{path}: expected a JSON object such as {{"licence": "CC BY 4.0"}}') from None
