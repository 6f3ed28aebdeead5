"""Open-QA: questions with answer strings, over DPR's passages of 100 words from Wikipedia.

A passage is relevant if it contains an answer, title included, by the rules
of `lotte/answer_match.py`; so judgments are made for each run, and Success@5 is the
share of all questions with an answer among the first five passages. A passage
is `title | text`, as ColBERT's authors give it to their model and match it.

`nq`, `tq` and `squad` are the development sets that ColBERTv2's paper reports;
`/test` are DPR's test lists. The file of squad's development set is DPR's
training file for it. Questions have no ids: the line number is used, from 0.
Files are in the folder `openqa` under their published names.

Source  Karpukhin et al. 2020, arXiv:2004.04906, table 1; Santhanam et al. 2022, appendix F
"""

import ast
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from lotte import answer_match, ids
from lotte.artifact import digest
from lotte.collection import Collection, RowIds, number_of
from lotte.dataset import Corpus, Dataset, Doc, Qrels
from lotte.errors import CorruptFileError, named, shown
from lotte.jsonl import objects
from lotte.line_index import LineIndex
from lotte.lines import lines, opened, plain_or_gz, whole_gz
from lotte.parsing import json_of
from lotte.progress import Progress
from lotte.release import File, Release, ReleaseCounts, checked
from lotte.run import Run

FOLDER = "openqa"
PASSAGES = "psgs_w100.tsv"
COUNT = 21_015_324
_HOME = "https://dl.fbaipublicfiles.com/dpr"
_LISTS = {  # name -> file, questions, licence
    "nq": ("nq-dev.qa.csv", 8_757, "CC BY-SA 3.0"),
    "tq": ("trivia-dev.qa.csv", 8_837, "not stated"),
    "squad": ("biencoder-squad1-dev.json", 8_886, "CC BY-SA 4.0"),
    "nq/test": ("nq-test.qa.csv", 3_610, "CC BY-SA 3.0"),
    "tq/test": ("trivia-test.qa.csv", 11_313, "not stated"),
    "squad/test": ("squad1-test.qa.csv", 10_570, "CC BY-SA 4.0"),
    "webq/test": ("webquestions-test.qa.csv", 2_032, "CC BY 4.0"),
    "curatedtrec/test": ("curatedtrec-test.qa.csv", 694, "not stated"),
}
NAMES = tuple(_LISTS)
ALIASES = {"triviaqa": "tq", "natural-questions": "nq", "triviaqa/test": "tq/test", "natural-questions/test": "nq/test"}
PATTERNS = ("curatedtrec/test",)  # whose answers are patterns
_GZ = ("trivia-dev.qa.csv", "trivia-test.qa.csv", "biencoder-squad1-dev.json")  # published as .gz


@dataclass(frozen=True, kw_only=True)
class OpenQA(Dataset):
    """A dataset without judgments of its own: what a run finds is looked into for an answer."""

    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # query_id -> answers, or patterns
    patterns: bool = False

    def judge(self, run: Run) -> Qrels:
        """Return 1 for each retrieved passage that holds an answer, for every question. Reads them from the corpus.

        A question that the run leaves out has no relevant passage.
        """
        row_of = _rows(self.corpus)
        make = answer_match.holds_pattern if self.patterns else answer_match.holds
        qrels: dict[str, dict[str, int]] = {}
        with Progress(len(self.queries), "questions", "looking for answers") as progress:
            for query_id in self.queries:
                test = make(self.answers.get(query_id, ()))
                hits = run.hits.get(query_id, ())
                qrels[query_id] = {hit.doc_id: 1 for hit in hits if test(self.corpus[row_of(hit.doc_id)].text)}
                progress.advance()
        return qrels


def _rows(corpus: Corpus) -> Callable[[str], int]:
    ids = corpus.doc_ids
    if isinstance(ids, PassageIds):
        return lambda doc_id: int(doc_id) - 1
    if isinstance(ids, RowIds):
        return int
    return {doc_id: row for row, doc_id in enumerate(ids)}.__getitem__


class PassageIds(RowIds):
    """The ids "1", "2", ... of DPR's passages. A kind of RowIds so that readers of runs need no set of 21 million."""

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        rows = range(1, len(self) + 1)[row]
        return str(rows) if isinstance(rows, int) else [str(number) for number in rows]

    def __contains__(self, doc_id: object) -> bool:
        return 1 <= number_of(doc_id) <= len(self)


class Passages:
    """DPR's `psgs_w100.tsv`, read where it lies: a header, then `id TAB text TAB title`.

    Ids count from 1; fields are quoted as CSV has it.

    Raises  UnavailableError if there is no such file, CorruptFileError, when a row is read, for one that is none
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = LineIndex(path)

    @property
    def doc_ids(self) -> Sequence[str]:
        """The ids "1", "2", ... without a list of them."""
        return PassageIds(len(self))

    def __len__(self) -> int:
        if not len(self._rows) or not self._rows[0].startswith(b"id\t"):
            raise CorruptFileError(f"{self.path}:1: expected the header id, text, title, as DPR publishes it")
        return len(self._rows) - 1

    def __getitem__(self, row: int) -> Doc:
        number = range(len(self))[row] + 1
        where = f"{self.path}:{number + 1}"
        try:
            fields = self._rows[number].decode().split("\t")
        except UnicodeDecodeError as error:
            raise CorruptFileError(f"{where}: not UTF-8 at byte {error.start} of the line") from None
        if len(fields) != 3 or fields[0] != str(number):
            raise CorruptFileError(
                f"{where}: expected passage {number}, its text and its title with tabs between, found "
                f"{len(fields)} fields and {fields[0][:40]!r}"
            )
        return Doc(fields[0], f"{_unquoted(fields[2])} | {_unquoted(fields[1])}")

    def __iter__(self) -> Iterator[Doc]:
        return (self[row] for row in range(len(self)))


def _unquoted(text: str) -> str:
    """Undo the quotes of CSV.

    >>> _unquoted('"a ""b"" c"'), _unquoted("plain")
    ('a "b" c', 'plain')
    """
    return text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text


def release(name: str) -> Release:
    """Return what is published of a set in NAMES. Opens nothing."""
    file, count, licence = _LISTS[name]
    packed = file in _GZ
    passages = File(
        urls=(f"{_HOME}/wikipedia_split/{PASSAGES}.gz",), holds={FOLDER: (PASSAGES,)}, into=FOLDER, unpack="gz"
    )
    questions = File(
        urls=(f"{_HOME}/data/retriever/{file}{'.gz' if packed else ''}",),
        holds={FOLDER: (file,)},
        into=FOLDER,
        unpack="gz" if packed else "",
    )
    return Release(
        name=f"openqa/{name}",
        measure="Success@5",
        also=("Success@20", "Success@100"),
        counts=ReleaseCounts(documents=COUNT, queries=count),
        licence=f"questions {licence}, lists CC BY-NC 4.0, passages CC BY-SA 3.0",
        homepage="https://github.com/facebookresearch/DPR",
        files=((passages, questions),),
        needs={FOLDER: (PASSAGES, file)},
    )


def load(name: str, data: Path) -> Dataset:
    """Read a set from a data folder. Raises UnavailableError, saying how to get it, if it is not there."""
    release(name).require(data)
    return read(data / FOLDER, name)


def read(folder: Path, name: str, corpus: Corpus | None = None) -> OpenQA:
    """Read DPR's passages and one of its lists of questions.

    Raises  UnavailableError if a file is not there, CorruptFileError for a line that is wrong, or if the
            folder claims to be the release and is not
    """
    file = _LISTS[name][0]
    corpus = corpus or Passages(plain_or_gz(folder / PASSAGES))
    asked = read_questions(plain_or_gz(folder / file))
    dataset = _dataset(f"openqa/{name}", corpus, asked, name in PATTERNS, "title + ' | ' + text")
    return checked(dataset, release(name), {folder: (PASSAGES, file)})


def read_local(folder: Path, split: str) -> OpenQA:
    """Read collection.tsv and `answers` in qas.<split>.jsonl: Open-QA over a collection of one's own."""
    corpus = Collection(plain_or_gz(folder / "collection.tsv"))
    source = plain_or_gz(folder / f"qas.{split}.jsonl")
    asked: dict[str, tuple[str, tuple[str, ...]]] = {}
    for number, row in objects(source):
        where = f"{source}:{number}"
        query_id = ids.of_json(row, "qid", "query", where)
        if query_id in asked:
            raise CorruptFileError(f"{where}: query {named(query_id)} occurs a second time")
        asked[query_id] = _question(row.get("query"), row.get("answers"), where)
    return _dataset(f"{folder.resolve().name}/{split}.answers", corpus, asked, False, "title + ' ' + text")


def _dataset(
    name: str, corpus: Corpus, asked: Mapping[str, tuple[str, tuple[str, ...]]], patterns: bool, text: str
) -> OpenQA:
    answers = {query_id: strings for query_id, (_, strings) in asked.items()}
    useless = answer_match.compile_pattern if patterns else answer_match.tokens
    dropped = sum(not useless(answer) for strings in answers.values() for answer in strings)
    return OpenQA(
        name=name,
        corpus=corpus,
        queries={query_id: text for query_id, (text, _) in asked.items()},
        qrels={query_id: {} for query_id in asked},  # every question counts; `judge` decides what is relevant
        measure="Success@5",
        source="local",
        facts={
            "text": text,
            "relevant": f"passages with an answer, by DPR's {'patterns' if patterns else 'tokens'}",
            "answers_sha256": digest({query_id: list(strings) for query_id, strings in answers.items()}),
            "answers_dropped": str(dropped),  # those that match nothing, as DPR's would match everything
        },
        answers=answers,
        patterns=patterns,
    )


def read_questions(path: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return query_id -> (question, answers) of one of DPR's lists; the id is the number of the question, from 0.

    Three forms are known: `question TAB ['a', "b"]` with CSV's quotes, one JSON
    object a line with `question` and `answer`, and a JSON list of objects with
    `question` and `answers`.

    Raises  CorruptFileError for a line of no such form
    """
    with whole_gz(path), opened(path) as file:
        first = file.read(4).removeprefix(b"\xef\xbb\xbf")[:1]
    rows = _listed(path) if first == b"[" else _lines(path) if first == b"{" else _tsv(path)
    return {str(number): row for number, row in enumerate(rows)}


def _tsv(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    for number, line in lines(path):
        where = f"{path}:{number}"
        try:
            (fields,) = csv.reader([line], delimiter="\t")
            question, text = fields
            answers = ast.literal_eval(text)  # a list as Python writes it; nothing in it is ever run
        except (ValueError, SyntaxError, csv.Error, RecursionError, MemoryError):
            raise CorruptFileError(
                f"{where}: expected a question and a list of answers with a tab between, found {shown(line)}"
            ) from None
        yield _question(question, answers, where)


def _lines(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    for number, row in objects(path):
        yield _question(row.get("question"), row.get("answer", row.get("answers")), f"{path}:{number}")


def _listed(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    with whole_gz(path), opened(path) as file:
        rows = json_of(file.read(), path)
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise CorruptFileError(f"{path}: question {number} is not an object")
        yield _question(row.get("question"), row.get("answers"), f"{path}: question {number}")


def _question(question: Any, answers: Any, where: str) -> tuple[str, tuple[str, ...]]:
    if not isinstance(question, str) or not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
        raise CorruptFileError(
            f"{where}: expected a question and a list of answer strings, found {shown(str(answers))}"
        )
    try:
        "".join((question, *answers)).encode()
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair; no file can hold it
        raise CorruptFileError(f"{where}: an unpaired surrogate in the question or an answer") from None
    return question, tuple(answers)
