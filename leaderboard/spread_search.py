"""A dataset's questions asked by the workers of the command, some questions at a time.

A worker opens the index once. Its answers are in a file, whole or not at all, so a command that was stopped asks only
what was not asked; the files go when the record is there.
"""

import json
import shutil
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter

from leaderboard.cost import BATCH
from lotte import Hit, Queries, Run, artifact, executor
from lotte.dataset import queries_sha256
from lotte.progress import Progress
from retrievers import Index, Retriever
from retrievers.options import options_of

FOLDER = ".asked"


def timed_search(
    system: Retriever, index: Path, made_from: str, queries: Queries, *, k: int, title: str, folder: Path
) -> tuple[Run, float]:
    """Ask everything. Returns the run and the seconds that the workers took, all together.

    made_from  the hash of the index's collection
    folder     for the answers, on a disk that all workers see
    """
    asked = [type(system).__name__, options_of(system), str(index.resolve()), made_from, queries_sha256(queries), k]
    place = folder / FOLDER / artifact.digest(asked)[:16]
    place.mkdir(parents=True, exist_ok=True)
    query_ids, steps, files = list(queries), [], []
    for begin in range(0, len(query_ids), BATCH):
        some = {query_id: queries[query_id] for query_id in query_ids[begin : begin + BATCH]}
        files.append(file := place / f"{begin:09}.json")
        if not file.is_file():
            steps.append(executor.WorkStep(f"{title} {begin}", len(some), partial(_ask, system, index, some, k, file)))
    with Progress(len(queries), "questions", title) as progress:
        progress.advance(len(queries) - sum(step.weight for step in steps))
        executor.current().run(steps, advance=progress.advance)
    hits: dict[str, tuple[Hit, ...]] = {}
    seconds = 0.0
    for file in files:
        answer = json.loads(file.read_bytes())
        seconds += answer["seconds"]
        hits |= {query_id: tuple(Hit(*hit) for hit in found) for query_id, found in answer["hits"].items()}
    shutil.rmtree(folder / FOLDER)
    return Run({query_id: hits[query_id] for query_id in query_ids}), seconds


def _ask(
    system: Retriever, index: Path, queries: Mapping[str, str], k: int, file: Path, advance: executor.Advance
) -> None:
    """Ask some questions, in a worker."""
    opened = _opened(_Same(system), index)
    start = perf_counter()
    run = opened.search(queries, k=k)
    hits = {query_id: [list(hit) for hit in run.hits[query_id]] for query_id in queries}
    artifact.write_whole(file, artifact.json_line({"seconds": perf_counter() - start, "hits": hits}))
    advance(len(queries))


class _Same:
    """A system, which is that of another step if their options are."""

    def __init__(self, system: Retriever) -> None:
        self.system = system
        self._key = artifact.canonical([type(system).__module__, type(system).__name__, options_of(system)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(1)
def _opened(system: _Same, index: Path) -> Index:
    return system.system.open(index)
