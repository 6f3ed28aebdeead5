"""What drift does to scores: a system on both builds, paired over the questions that both have.

Each build is searched whole, with its own passages and judgments, as `lotte
eval` does; so a score of all questions is the one that `lotte eval` prints.
The difference is of the questions in both, with the interval and the test of
every comparison here (`compare.py`).
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from leaderboard import cost
from leaderboard.compare import Comparison, compare_macro, compare_values
from leaderboard.demo import SYSTEMS
from leaderboard.measure import mean, parse, scores
from lotte import Dataset
from lotte.benchmarks import lotte
from lotte.builder.changes import PartChanges
from lotte.builder.drift import Drift
from lotte.collection import Collection
from lotte.dataset import corpus_sha256
from lotte.errors import LotteError
from retrievers import Retriever, load

DEPTH = 1000  # of each ranking, as of `lotte eval`: the settings of some searches follow from it
ALL = "all"
_BEFORE, _AFTER = "before", "after"


@dataclass(frozen=True)
class Turned:
    """A question that is a hit in one build and a miss in the other.

    rejudged  whether its judgments changed, and not only what else is there to be found
    """

    query_id: str  # in the first build
    query: str
    before: float
    after: float
    rejudged: bool


@dataclass(frozen=True)
class DriftScore:
    """What a system has on two builds of one question set, or on all of them (the mean of the sets)."""

    system: str
    dataset: str  # "science/test/forum"
    measure: str
    before: float | None  # over all questions of the first build; None of a mean of sets
    after: float | None
    paired: Comparison  # a is the second build: a positive difference is a gain
    turned: Sequence[Turned] = ()


def systems(asked: Sequence[str]) -> dict[str, Retriever]:
    """Return the systems of a command line by what was asked for: "bm25", "bm25 k1=1.2".

    Raises  UnknownNameError, LotteError for a name or an option that is none
    """
    chosen = {}
    for text in asked:
        name, *options = shlex.split(text) or [""]
        chosen[text] = load(name, options or SYSTEMS.get(name, ()))
    return chosen


def score(drift: Drift, chosen: Mapping[str, Retriever], say: Callable[[str], None]) -> Iterator[DriftScore]:
    """Give what each system has on each question set of both builds, and behind them its mean."""
    for name, system in chosen.items():
        tables = {}
        measure = ""
        for part in (part for part in drift.parts if part.pairs):
            for row, values in _of_part(name, system, drift, part, say):
                tables[row.dataset], measure = values, row.measure
                yield row
        if len(tables) > 1:
            (paired,) = compare_macro(tables)
            yield DriftScore(name, ALL, measure, None, None, paired)
        if not tables:
            raise LotteError(f"{drift.before} and {drift.after} have no two questions in common, to compare scores by")


def _of_part(
    name: str, system: Retriever, drift: Drift, part: PartChanges, say: Callable[[str], None]
) -> Iterator[tuple[DriftScore, dict[str, dict[str, float]]]]:
    """Give what a system has on the question sets of a topic and split, with the values of each question in both."""
    kinds = sorted({kind for kind, _, _ in part.pairs})
    with TemporaryDirectory(prefix="lotte-") as scratch:
        sides = [
            _values(system, _datasets(folder / part.part, kinds), Path(scratch))
            for folder in (drift.before, drift.after)
        ]
    for kind in kinds:
        pairs = [(before, after) for of_kind, before, after in part.pairs if of_kind == kind]
        where = f"{part.part}/{kind}" if part.part != "." else kind
        if len(pairs) < 2:
            say(f"{where}: {len(pairs)} question in both builds, and it takes 2 to compare; it is left out")
            continue
        (first, of_first), (_, of_second) = sides[0][kind], sides[1][kind]
        values = {
            _AFTER: {before: of_second[after] for before, after in pairs},
            _BEFORE: {before: of_first[before] for before, _ in pairs},
        }
        (paired,) = compare_values(values)
        turned = [
            Turned(i, first.queries[i], values[_BEFORE][i], values[_AFTER][i], (kind, i) in part.rejudged)
            for i in values[_BEFORE]
            if values[_BEFORE][i] != values[_AFTER][i]
        ]
        yield DriftScore(name, where, first.measure, mean(of_first), mean(of_second), paired, turned), values


def _datasets(folder: Path, kinds: Sequence[str]) -> dict[str, Dataset]:
    corpus = Collection(folder / "collection.tsv")
    return {kind: lotte.read(folder, kind, corpus) for kind in kinds}


def _values(
    system: Retriever, datasets: Mapping[str, Dataset], scratch: Path
) -> dict[str, tuple[Dataset, dict[str, float]]]:
    """Return each question set and the value of each of its questions. An index of the same passages is used again."""
    corpus = next(iter(datasets.values())).corpus
    path = scratch / corpus_sha256(corpus)
    index = system.open(path) if path.exists() else system.index(corpus, path)
    found = {}
    for kind, dataset in datasets.items():
        run, _ = cost.timed_search(index, dataset.queries, k=DEPTH, title=dataset.name)
        measure = parse(dataset.measure)
        found[kind] = dataset, scores(dataset.scored_part(run), dataset.qrels, [measure])[measure]
    return found
