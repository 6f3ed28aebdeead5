"""PeerQA: questions that reviewers asked about a scientific paper, answered by paragraphs of that paper.

A question concerns its own paper only: the authors rank the paragraphs of one
paper, about a hundred. Here all papers are one corpus, and `within` removes
the other papers from a ranking, as a query's own document is removed in BEIR;
so rankings must be deep. Measured by MRR, with R@10 beside it.

The folder `peerqa` has the published `qa.jsonl`, `papers.jsonl` and
`qrels-paragraphs.jsonl`. A paragraph's id is `paper_id/number`.

Source  Baumgaertner et al. 2025, arXiv:2502.13668; huggingface.co/datasets/UKPLab/PeerQA
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lotte import ids
from lotte.dataset import Dataset, Doc, Docs
from lotte.errors import CorruptFileError, shown
from lotte.jsonl import integer, objects, string
from lotte.judgments import Judgments
from lotte.lines import plain_or_gz
from lotte.release import Release, ReleaseCounts, checked
from lotte.run import Run

NAMES = ("",)
FOLDER = "peerqa"
_FILES = ("qa.jsonl", "papers.jsonl", "qrels-paragraphs.jsonl")


def release(name: str = "") -> Release:
    """Return what is published of a set in NAMES. Opens nothing."""
    return Release(
        name="peerqa",
        measure="MRR",
        also=("R@10",),
        counts=ReleaseCounts(),  # 579 questions of 208 papers in all; how many have a judged paragraph is not printed
        licence="CC BY-NC-SA 4.0",
        homepage="https://huggingface.co/datasets/UKPLab/PeerQA",
        needs={FOLDER: _FILES},
        by_hand=(
            "Part of its papers may not be passed on: load huggingface.co/datasets/UKPLab/PeerQA, configurations qa, "
            f"papers-all and qrels-paragraphs-all, and put them there as {', '.join(_FILES)}"
        ),
        facts={"candidates": "the paragraphs of the question's own paper"},
    )


def load(name: str, data: Path) -> Dataset:
    """Read a set from a data folder. Raises UnavailableError, saying how to get it, if it is not there."""
    release().require(data)
    return read(data / FOLDER)


def read(folder: Path) -> Dataset:
    """Read the questions that have a judged paragraph, and every paragraph of every paper.

    Raises  UnavailableError if a file is not there, CorruptFileError for a line that is wrong
    """
    questions, papers, judgments = (plain_or_gz(folder / name) for name in _FILES)
    texts = _questions(questions)
    sentences: dict[str, list[str]] = {}
    for number, row in objects(papers):
        where = f"{papers}:{number}"
        paragraph = integer(row.get("pidx"), "pidx", where)
        doc_id = ids.checked(f"{string(row, 'paper_id', where)}/{paragraph}", "paragraph", where)
        sentences.setdefault(doc_id, []).append(string(row, "content", where))
    judged = Judgments()
    for number, row in objects(judgments):
        where = f"{judgments}:{number}"
        query_id = _query_id(row, where)
        if query_id not in texts:
            raise CorruptFileError(f"{where}: question {shown(query_id)} has no line in {questions.name}")
        doc_id = string(row, "idx", where)
        if not doc_id.startswith(string(row, "paper_id", where)):
            doc_id = f"{row['paper_id']}/{doc_id}"
        if doc_id not in sentences:
            raise CorruptFileError(f"{where}: paragraph {shown(doc_id)} has no line in {papers.name}")
        judged.add(query_id, doc_id, 1, where)
    dataset = PeerQA(
        name="peerqa",
        corpus=Docs(tuple(Doc(doc_id, " ".join(parts)) for doc_id, parts in sentences.items())),
        queries={query_id: text for query_id, text in texts.items() if query_id in judged},
        qrels=judged,
        measure="MRR",
        source="local",
        notes=judged.notes(),
        facts={"text": "sentences of the paragraph, joined by a blank", "queries": "those with a judgment"},
    )
    return checked(dataset, release(), {folder: _FILES})


def _questions(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, row in objects(path):
        where = f"{path}:{number}"
        query_id = _query_id(row, where)
        if query_id in texts:
            raise CorruptFileError(f"{where}: question {shown(query_id)} occurs a second time")
        texts[query_id] = string(row, "question", where)
    return texts


class PeerQA(Dataset):
    """A dataset whose candidates are the paragraphs of the question's own paper."""

    def scored_part(self, run: Run) -> Run:
        """Return the run without paragraphs of other papers."""
        return within(run)


def within(run: Run) -> Run:
    """Return the run without paragraphs of other papers than the question's own.

    >>> from lotte.run import Run
    >>> within(Run.of({"a/1#q": {"a/1/0": 1.0, "b/1/0": 2.0}}, depth=5)).doc_ids("a/1#q")
    ['a/1/0']
    """
    return replace(
        run,
        hits={
            query_id: tuple(hit for hit in hits if hit.doc_id.rpartition("/")[0] == query_id.rpartition("#")[0])
            for query_id, hits in run.hits.items()
        },
    )


def _query_id(row: dict[str, Any], where: str) -> str:
    """Return `paper_id#question_id`: a question's own id is a hash of its words, which two papers may share."""
    return ids.checked(f"{string(row, 'paper_id', where)}#{string(row, 'question_id', where)}", "question", where)
