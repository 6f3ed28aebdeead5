"""A grid of options against quality and cost: each cell is a record with its run, computed once.

Decisions:

- `key=1,2,4` are the values of an option; `candidates=probe*4096` is 4,096 times what `probe` has in the same cell.
  Semicolons separate values that contain commas: `weights=0.1,1;0.3,1`.
- Several systems share a grid: each uses the options that it has, and no two cells are the same.
- Cells with identical indexes share one, and those that differ in bits, centroids or pooling share the documents'
  vectors: documents are encoded once. Indexes, vectors and records stay in the sweep's folder.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotte import Dataset, artifact, key_value, picture
from lotte.errors import LotteError, UnknownNameError, did_you_mean, shown
from lotte.paths import why_not

if TYPE_CHECKING:
    from leaderboard.evaluate import Order
    from leaderboard.record.schema import Record
    from retrievers import Retriever

_TIMES = re.compile(r"([a-z_]\w*)\*([0-9]+)")
RECORDS, INDEXES, VECTORS = "records", "index", "vectors"  # in the folder of a sweep
_LINES = "bits"  # what a line of the picture is, if it is swept


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is swept: systems, the options that all have, and those that take several values."""

    title: str
    retrievers: tuple[str, ...]
    options: tuple[str, ...] = ()  # key=value
    over: tuple[str, ...] = ()  # key=value,value,...
    needs: str = ""  # an option that has to be said, and what it is to be

    def changed(self, retrievers: Sequence[str], options: Sequence[str], over: Sequence[str]) -> "Study":
        """Return the study with other systems, and with options that override its own."""
        said = {_key(pair) for pair in (*options, *over)}
        return replace(
            self,
            retrievers=tuple(retrievers) or self.retrievers,
            options=(*(pair for pair in self.options if _key(pair) not in said), *options),
            over=(*(pair for pair in self.over if _key(pair) not in said), *over),
        )


STUDIES: Mapping[str, Study] = {
    "colbertv2-figure-3": Study(
        title="Figure 3 of ColBERTv2: latency against quality",
        retrievers=("colbertv2",),
        options=("search=paper",),
        over=("bits=1,2", "probe=1,2,4", "candidates=probe*4096,probe*16384"),
    ),
    "colbertv2-appendix-b": Study(
        title="Appendix B of ColBERTv2: what compression costs; colbert keeps its vectors as they are",
        retrievers=("colbertv2", "colbert"),
        options=("doc_maxlen=300", "mask_punctuation=true", "similarity=cosine"),
        over=("bits=1,2,4",),
        needs="checkpoint",
    ),
    "colbert-table-4": Study(
        title="Table 4 of ColBERT: dimensions by bytes",
        retrievers=("colbert",),
        options=("first=bm25", "similarity=cosine"),
        over=("bytes=4,2",),
        needs="checkpoint",
    ),
    "tct-colbert-table-3": Study(
        title="Table 3 of TCT-ColBERT: no distillation, of triplets, of the whole batch",
        retrievers=("tct_colbert",),
        needs="checkpoint",
    ),
}
_WANTED = {
    "colbertv2-appendix-b": "checkpoint=MODEL, one for both systems, as in -o checkpoint=shipped",
    "colbert-table-4": "checkpoint=, models of other dimensions, as in --over checkpoint=dim128,dim48,dim24",
    "tct-colbert-table-3": "checkpoint=, what -o distil=none, triplet and batch trained, as in --over checkpoint=A,B,C",
}


@dataclass(frozen=True)
class Cell:
    """A system with one choice of options."""

    retriever: str
    swept: Mapping[str, str]  # the options that were varied, as they were written
    system: "Retriever"

    @property
    def name(self) -> str:
        """Return a name for its folder: the options, or a hash of them where they cannot name a folder."""
        text = ",".join(f"{key}={value}" for key, value in self.swept.items()) or "as-it-is"
        return text if "/" not in text and not why_not(text) and len(text) <= 120 else artifact.digest(text)[:16]


@dataclass(frozen=True)
class SweptCell:
    """A cell on a dataset, with its record."""

    cell: Cell
    record: "Record"
    path: Path

    def row(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return what is printed: the options of the grid, then quality and cost."""
        record, cost = self.record, self.record.cost
        low, high = record.measures.aggregate[record.official].ci95 or (None, None)
        return {
            "dataset": record.dataset.name,
            "retriever": self.cell.retriever,
            **{key: self.cell.swept.get(key) for key in keys},
            "measure": record.official,
            "value": record.value,
            "low": low,
            "high": high,
            "ms_a_query": cost.latency_ms.p50,
            "index_bytes": None if cost.index_bytes is None else round(cost.index_bytes),
            "index_seconds": cost.index_seconds,
            "record": str(self.path),
        }


def study(name: str) -> Study:
    """Return a study of a paper; "" is one of nothing yet. Raises UnknownNameError if there is none of that name."""
    if not name:
        return Study(title="Latency against quality", retrievers=())
    if name not in STUDIES:
        raise UnknownNameError(
            f"no study is named {shown(name)}; {did_you_mean(name, STUDIES)}there are {', '.join(STUDIES)}"
        )
    return STUDIES[name]


def require_all(name: str, chosen: Study) -> None:
    """Raise LotteError for a study that lacks what only the user can say."""
    if chosen.needs and chosen.needs not in map(_key, (*chosen.options, *chosen.over)):
        raise LotteError(f"{name} needs {_WANTED[name]}")


def keys(chosen: Study) -> list[str]:
    """Return the options that are varied, in order."""
    return list(dict.fromkeys(map(_key, chosen.over)))


def cells(chosen: Study, folder: Path, load: Callable[[str, list[str]], "Retriever"]) -> list[Cell]:
    """Return every cell, with its system: an invalid option is reported before anything is run.

    folder  of the sweep, where documents' vectors are kept
    load    returns a retriever by name and options

    Raises  LotteError for an option without values, or one that no system has
    """
    from retrievers import registry

    if not chosen.retrievers:
        raise LotteError("`lotte board sweep` needs --retriever NAME; `lotte list retrievers` shows the names")
    grid = {_key(pair): _values(pair) for pair in chosen.over}
    for key in dict.fromkeys([*grid, *map(_key, chosen.options)]):
        if not any(registry.takes(name, key) for name in chosen.retrievers):
            registry.read_options(chosen.retrievers[0], [f"{key}="])  # which says what it takes
    made: dict[tuple[str, str], Cell] = {}
    for name in chosen.retrievers:
        own = [key for key in grid if registry.takes(name, key)]
        common = [pair for pair in chosen.options if registry.takes(name, _key(pair))]
        if registry.takes(name, VECTORS) and VECTORS not in map(_key, common):
            common.append(f"{VECTORS}={folder / VECTORS}")
        for values in product(*(grid[key] for key in own)):
            swept = _settled(dict(zip(own, values, strict=True)))
            cell = Cell(name, swept, load(name, [*common, *(f"{key}={value}" for key, value in swept.items())]))
            made.setdefault((name, cell.name), cell)
    return list(made.values())


def run(chosen: Sequence[Cell], datasets: Sequence[Dataset], order: "Order", folder: Path) -> Iterator[SweptCell]:
    """Evaluate every cell on every dataset. Yields those that are there already, and the others when they are done.

    Raises  as `evaluate`
    """
    from leaderboard import suite
    from leaderboard.evaluate import evaluate
    from leaderboard.record.place import folder_of, stem
    from retrievers.pipeline import SystemStage

    corpora: dict[object, str] = {}
    for number, cell in enumerate(chosen, start=1):
        index = folder / INDEXES / folder_of(SystemStage(cell.system).part if is_dataclass(cell.system) else cell.name)
        own = replace(order, out=folder / RECORDS / cell.name, index=index)
        done, left = suite.divide(cell.retriever, cell.system, datasets, own, corpora)
        if left:
            order.say(f"cell {number} of {len(chosen)}: {cell.retriever} {cell.name}")
        for record in (*done, *evaluate(cell.retriever, cell.system, left, own)):
            dataset = next(one for one in datasets if one.name == record.dataset.name)
            target = stem(own.out, cell.retriever, dataset)
            yield SweptCell(cell, record, target.with_name(f"{target.name}.json"))


def plot(swept: Sequence[SweptCell], chosen: Study, path: Path) -> None:
    """Draw latency against quality into a .png, .svg or .pdf: one panel per dataset, a line for each number of bits."""
    names = list(dict.fromkeys(one.record.dataset.name for one in swept))
    figure = picture.figure(path, 1 + 5.5 * len(names), 4.6)
    figure.suptitle(chosen.title)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        points = [one for one in swept if one.record.dataset.name == name and one.record.cost.latency_ms.p50]
        for label, line in _lines(points, chosen).items():
            ordered = sorted(line, key=lambda one: one.record.cost.latency_ms.p50 or 0)
            times = [one.record.cost.latency_ms.p50 for one in ordered]
            axes.plot(times, [one.record.value for one in ordered], marker="o", linewidth=0.8, label=label)
            for one, time in zip(ordered, times, strict=True):
                axes.annotate(
                    _rest(one, chosen), (time, one.record.value), fontsize=6, xytext=(3, 3), textcoords="offset points"
                )
        axes.margins(x=0.2, y=0.1)  # room for what stands beside a point
        axes.set(title=name, xlabel="milliseconds a query", ylabel=points[0].record.official if points else "")
        if points:
            axes.legend(fontsize=7, frameon=False)
    picture.save(figure, path)


def _line_key(chosen: Study) -> str:
    """Return the option whose values are the lines of a picture."""
    swept = keys(chosen)
    return _LINES if _LINES in swept or not swept else swept[0]


def _lines(points: Sequence[SweptCell], chosen: Study) -> dict[str, list[SweptCell]]:
    """Return the lines of a picture by what they are called."""
    key, lines = _line_key(chosen), dict[str, list[SweptCell]]()
    for one in points:
        said = [f"{key}={one.cell.swept[key]}"] if key in one.cell.swept else []
        if len(chosen.retrievers) > 1 or not said:
            said.insert(0, one.cell.retriever)
        lines.setdefault(" ".join(said), []).append(one)
    return lines


def _rest(one: SweptCell, chosen: Study) -> str:
    """Return what else than its line tells a point apart."""
    return ", ".join(f"{key} {value}" for key, value in one.cell.swept.items() if key != _line_key(chosen))


def _key(pair: str) -> str:
    return key_value.cut(pair)[0]


def _values(pair: str) -> list[str]:
    """Return the values of key=value,value,... Raises LotteError if there is none."""
    key, text = key_value.cut(pair)
    values = [value.strip() for value in (text or "").split(";" if ";" in (text or "") else ",")]
    if not key or not all(values):
        raise LotteError(f"--over takes an option and its values, as in bits=1,2,4, not {shown(pair)}")
    return list(dict.fromkeys(values))


def _settled(swept: Mapping[str, str]) -> dict[str, str]:
    """Return a cell's options, products computed. Raises LotteError for a product of what is not a whole number."""
    settled = dict(swept)
    for key, value in swept.items():
        if (found := _TIMES.fullmatch(value)) and found[1] in swept:
            if not swept[found[1]].isdecimal():
                what = f"{found[1]} is {shown(swept[found[1]])}"
                raise LotteError(f"--over {key}={value}: {what}, which is not a whole number")
            settled[key] = str(int(swept[found[1]]) * int(found[2]))
    return settled
