"""LoTTE as released with ColBERTv2: five topics and their pool, two splits, two kinds of question.

Success@5 is its authors' measure (Santhanam et al. 2022, section 4). The pool
is a collection of its own and not the union of the others' results. Builds of
`lotte build` have the same layout, and may have any topics. A fresh build says
so in the names of its datasets, "lotte/science/test-since-2024-01-01/forum",
and in their facts: the day, and the dataset that it is the fresh twin of.

The authors host one archive, and the same files at Hugging Face, which is much
faster. There they are labelled Apache-2.0; the paper says
CC BY-SA 4.0, and so do the posts.

Source  counts: ir_datasets/etc/metadata.json, equal to the paper's tables 1 and 9; size and md5: its downloads.json
"""

import html
import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any
from unicodedata import normalize

from lotte import ids
from lotte.builder import manifest
from lotte.collection import Collection
from lotte.dataset import Corpus, Dataset
from lotte.errors import CorruptFileError, UnavailableError, named, shown
from lotte.jsonl import integer, objects, string
from lotte.judgments import Judgments
from lotte.lines import lines, plain_or_gz
from lotte.parsing import json_object
from lotte.release import File, Release, ReleaseCounts, checked

TOPICS = ("writing", "recreation", "science", "technology", "lifestyle", "pooled")
SPLITS = ("dev", "test")
KINDS = ("search", "forum")
NAMES = tuple("/".join(parts) for parts in product(TOPICS, SPLITS, KINDS))
LICENCE = "CC BY-SA 4.0"
HUB = "https://huggingface.co/datasets/colbertv2/lotte_passages/resolve/3be7f857585299f1268d29d3591202d731ea84a1"
_COUNTS = {  # topic/split -> documents, then questions and judgments of search and of forum
    "writing/dev": (277_072, (497, 1_287), (2_003, 15_098)),
    "recreation/dev": (263_025, (563, 1_754), (2_002, 12_752)),
    "science/dev": (343_642, (538, 1_480), (2_013, 12_271)),
    "technology/dev": (1_276_222, (916, 2_676), (2_003, 15_741)),
    "lifestyle/dev": (268_893, (417, 1_376), (2_076, 12_823)),
    "pooled/dev": (2_428_854, (2_931, 8_573), (10_097, 68_685)),
    "writing/test": (199_994, (1_071, 3_546), (2_000, 12_906)),
    "recreation/test": (166_975, (924, 1_991), (2_002, 6_947)),
    "science/test": (1_694_164, (617, 1_738), (2_017, 15_515)),
    "technology/test": (638_509, (596, 2_045), (2_004, 15_890)),
    "lifestyle/test": (119_461, (661, 1_804), (2_002, 10_278)),
    "pooled/test": (2_819_103, (3_869, 11_124), (10_025, 61_536)),
}
SINCE = "-since-"  # between the split and the day in the names of a fresh build
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_FILES = ("collection.tsv", *(file for kind in KINDS for file in (f"questions.{kind}.tsv", f"qas.{kind}.jsonl")))
ARCHIVE = File(
    urls=("https://downloads.cs.stanford.edu/nlp/data/colbert/colbertv2/lotte.tar.gz",),
    holds=dict.fromkeys(_COUNTS, _FILES),
    unpack="tar",
    strip=1,
    size=3_576_167_599,
    md5="3b2e88b1d66933627462950b4c3f5d0f",
)


def release(name: str) -> Release:
    """Return what is published of a question set in NAMES. Opens nothing."""
    folder, _, kind = name.rpartition("/")
    documents, *questions = _COUNTS[folder]
    queries, judgments = questions[KINDS.index(kind)]
    return Release(
        name=f"lotte/{name}",
        measure="Success@5",
        counts=ReleaseCounts(documents=documents, queries=queries, judgments=judgments),
        licence=LICENCE,
        homepage="https://github.com/stanford-futuredata/ColBERT/blob/main/LoTTE.md",
        files=(
            tuple(File(urls=(f"{HUB}/{folder}/{file}",), holds={folder: (file,)}, into=folder) for file in _FILES),
            (ARCHIVE,),
        ),
        needs={folder: ("collection.tsv", f"questions.{kind}.tsv", f"qas.{kind}.jsonl")},
    )


def names_in(data: Path) -> list[str]:
    """Return the names of the question sets in a folder of topics."""
    topics = sorted({path.parent for path in data.glob("*/*/collection.tsv*")})
    named = {topic: kinds(topic) for topic in topics}
    mark = _mark(_manifest(data)) if any(named.values()) else ""
    return [f"{topic.parent.name}/{topic.name}{mark}/{kind}" for topic in topics for kind in named[topic]]


def load(name: str, data: Path) -> Dataset:
    """Read a question set from a data folder. Raises as `read`; UnavailableError for a fresh one under another name."""
    folder, _, kind = name.rpartition("/")
    plain, _, day = folder.partition(SINCE)
    mark = _mark(_manifest(data))
    if mark and not day and (data / folder).is_dir():
        raise UnavailableError(f"{data} is a fresh build: there, lotte/{name} is lotte/{folder}{mark}/{kind}")
    return read(data / (plain if day and mark == f"{SINCE}{day}" else folder), kind)


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
            CorruptFileError if an answer names a passage the collection lacks, questions and answers
            are not about the same queries, or the folder claims to be the release and is not
    Source  ColBERT/LoTTE.md
    """
    topic, split = folder.resolve().parts[-2:]
    build, mark = _build(folder.resolve().parent.parent)
    twin = {"since": mark.removeprefix(SINCE), "fresh_twin_of": f"lotte/{topic}/{split}/{kind}"} if mark else {}
    short = f"{topic}/{split}{mark}/{kind}"
    corpus = corpus or Collection(plain_or_gz(folder / "collection.tsv"))
    questions = plain_or_gz(folder / f"questions.{kind}.tsv")
    answers = plain_or_gz(folder / f"qas.{kind}.jsonl")
    queries = read_queries(questions)
    judgments, others = _judgments(answers, queries, questions.name, len(corpus))
    if silent := [query_id for query_id in queries if query_id not in judgments]:
        line = list(queries).index(silent[0]) + 1
        raise CorruptFileError(f"{questions}:{line}: query {named(silent[0])} has no line in {answers.name}")
    dataset = Dataset(
        name=f"lotte/{short}",
        corpus=corpus,
        queries=queries,
        qrels=judgments,
        measure="Success@5",
        notes=(*judgments.notes(), *_note(others)),
        facts=twin,
        **build,
    )
    if short not in NAMES:
        return dataset
    return checked(dataset, release(short), {folder: ("collection.tsv", questions.name, answers.name)})


def _note(others: list[str]) -> list[str]:
    """Return a note on questions that another file words otherwise: the first, and how many there are."""
    more = f"; {len(others):,} queries differ so: are both files of one build?" if len(others) > 1 else ""
    return [f"{others[0]}{more}"] if others else []


def _same(text: str, other: str) -> bool:
    """Whether two texts have the same letters and digits in the same order: blanks, case and signs may differ."""
    return text == other or _letters(text) == _letters(other)


def _letters(text: str) -> list[str]:
    return [letter for letter in normalize("NFKC", html.unescape(text)).casefold() if letter.isalnum()]


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
            raise CorruptFileError(f"{path}:{number}: query {named(query_id)} occurs a second time")
        queries[ids.checked(query_id, "query", f"{path}:{number}")] = texts[0]
    return queries


def _judgments(path: Path, queries: dict[str, str], questions: str, num_passages: int) -> tuple[Judgments, list[str]]:
    """Read the answers to these queries. Returns with them a line for each query that is worded otherwise here.

    questions  the name of the queries' file, for messages
    """
    judgments, others = Judgments(), list[str]()
    for number, answer in objects(path):
        where = f"{path}:{number}"
        query_id = str(integer(answer.get("qid"), "qid", where))
        if query_id not in queries:
            raise CorruptFileError(f"{where}: query {named(query_id)} has no line in {questions}")
        if query_id in judgments:
            raise CorruptFileError(f"{where}: query {named(query_id)} occurs a second time")
        if "query" in answer and not _same(string(answer, "query", where), queries[query_id]):
            others.append(
                f"{where}: query {named(query_id)} is {shown(answer['query'])} here, and {shown(queries[query_id])} in "
                f"{questions}, which is asked"
            )
        judgments[query_id] = {}
        for doc_id in _relevant(answer, query_id, num_passages, where):
            judgments.add(query_id, doc_id, 1, where)
    return judgments, others


def _relevant(answer: dict[str, Any], query_id: str, num_passages: int, where: str) -> list[str]:
    pids = answer.get("answer_pids")
    if not isinstance(pids, list):
        raise CorruptFileError(f"{where}: answer_pids must be a list of integers, found {shown(pids)}")
    for pid in pids:
        if not 0 <= integer(pid, "each of answer_pids", where) < num_passages:
            raise CorruptFileError(
                f"{where}: query {named(query_id)} is answered by passage {named(str(pid))}, but collection.tsv ends "
                f"at {num_passages - 1}. Build or fetch the topic again."
            )
    return [str(pid) for pid in pids]


def _manifest(root: Path) -> dict[str, Any] | None:
    """Return the manifest of a build; None if a folder has none."""
    path = root / manifest.NAME
    try:
        return json_object(path)
    except OSError:
        return None
    except (CorruptFileError, ValueError, RecursionError):
        raise CorruptFileError(f"{path}:1: not a JSON object; build it again") from None


def _mark(record: Mapping[str, Any] | None) -> str:
    """Return what a fresh build adds to the split in names, "-since-2024-01-01"; "" for another build."""
    told = record.get("fresh") if record else None
    since = str(told.get("since", "")) if isinstance(told, dict) else ""
    return f"{SINCE}{since}" if _DAY(since) else ""


def _build(root: Path) -> tuple[dict[str, Any], str]:
    """Return source and licence of the build that a topic lies in, if it lies in one, and what it adds to names."""
    if (record := _manifest(root)) is None:
        if (root / ".work").is_dir():
            raise UnavailableError(f"{root} is an unfinished build; `lotte build` goes on with it")
        return {"source": "local"}, ""
    try:
        build_id = manifest.id_of(root, record)
    except (ValueError, RecursionError):
        raise CorruptFileError(f"{root / manifest.NAME}:1: not a JSON object; build it again") from None
    return {"source": f"build:{build_id[:16]}", "licence": str(record.get("licence", "unknown"))}, _mark(record)
