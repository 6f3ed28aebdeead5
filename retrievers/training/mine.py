"""Hard negatives: the results of BM25, and of the model itself in an index of the training passages.

A dataset's negatives come from its own passages. The output is a file with one
line per question, `[qid, pid, pid, ...]`, best first; it is written dataset by
dataset, so that stopped work resumes with the next dataset.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lotte import artifact
from lotte.collection import Selection
from lotte.errors import CorruptFileError
from lotte.lines import lines
from lotte.parsing import json_of
from retrievers.retriever import Retriever
from retrievers.training.example import no_line, whole
from retrievers.training.examples import Pairs, Part

Mined = dict[int, list[int]]


def mine(pairs: Pairs, folder: Path, recipe: Retriever, *, k: int, say: Callable[[str], None]) -> Mined:
    """Index every set and ask all its questions; what is there already is not done again.

    Returns the passages that were found for every question
    """
    mined: Mined = {}
    for number, part in enumerate(pairs.parts):
        path = folder / f"{number}.jsonl"
        if not path.exists():
            say(f"mining {part.name}: {len(part.qids):,} questions, {len(part.pids):,} passages")
            _write(path, _mined(pairs, part, folder / f"{number}.index", recipe, k))
        mined |= read(path)
    return mined


def _mined(pairs: Pairs, part: Part, index: Path, recipe: Retriever, k: int) -> Mined:
    if artifact.meta(index) is None:
        recipe.index(Selection(pairs.corpus, part.pids), index)
    queries = {str(qid): pairs.questions[qid] for qid in part.qids}
    run = recipe.open(index).search(queries, k=k)
    return {int(qid): _distinct(pairs, int(qid), map(int, run.doc_ids(qid))) for qid in queries}


def scores(pairs: Pairs, folder: Path, recipe: Retriever, *, k: int) -> dict[int, dict[int, float]]:
    """Return question -> passage -> score, best first, from the indexes that `mine` left in a folder."""
    found: dict[int, dict[int, float]] = {}
    for number, part in enumerate(pairs.parts):
        queries = {str(qid): pairs.questions[qid] for qid in part.qids}
        run = recipe.open(folder / f"{number}.index").search(queries, k=k)
        found |= {int(qid): {int(hit.doc_id): hit.score for hit in run.hits[qid]} for qid in queries}
    return found


def _distinct(pairs: Pairs, qid: int, pids: Iterable[int]) -> list[int]:
    """Return passages without those that are word for word a right answer, or were there before."""
    right = pairs.positives.get(qid, ())
    seen = {pairs.passage(pid): pid for pid in right}
    kept = []
    for pid in pids:
        if seen.setdefault(pairs.passage(pid), pid) == pid:
            kept.append(pid)
    return kept


def _write(path: Path, mined: Mapping[int, Sequence[int]]) -> None:
    with artifact.Writer(path) as file:
        for qid, pids in mined.items():
            file.write(artifact.json_line([qid, *pids]).encode())


def read(path: Path) -> Mined:
    """Return what was mined, by question. Raises CorruptFileError for a line that is not a list of numbers."""
    mined: Mined = {}
    for number, line in lines(path):
        try:
            qid, *pids = map(whole, json_of(line, path))
        except (CorruptFileError, ValueError, TypeError) as error:
            raise no_line(f"{path}:{number}", "[qid, pid, ...]", line, error) from None
        mined[qid] = pids
    return mined
