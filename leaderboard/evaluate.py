"""A system, or an existing ranking file, and datasets -> records.

A corpus is indexed once, however many query sets use it. A record and
its run are written as soon as a dataset is done, so that finished
results stay when the next one fails.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from leaderboard import cost, machine, spread_search
from leaderboard.interval import METHOD, interval
from leaderboard.measure import TOOL, Measure, mean, parse, scores
from leaderboard.record.loaded_dataset import corpus_key
from leaderboard.record.place import folder_of, require_replaceable, require_run_of, run_files, stem
from leaderboard.record.schema import Record
from leaderboard.record.sections import RESCORED, SELF_RUN
from lotte import Dataset, Run, artifact, executor, lock, ranking
from lotte.dataset import Doc, corpus_sha256, identity
from lotte.errors import LotteError, MismatchError, shown
from lotte.paths import inside, require_writable
from retrievers import Index, Retriever, index_folder, index_meta, pipeline
from retrievers.contamination.check import verdict
from retrievers.options import recorded_options
from retrievers.retriever import Card, Fits, Tells

_INDEX = {"type": "unknown", "bits": None, "centroids": None, "seed": None, "bytes": None, "sha256": None}
NO_COST: dict[str, Any] = dict.fromkeys(
    ("encode_seconds", "index_seconds", "index_reused", "search_seconds", "queries_per_second", "latency_ms",
     "index_bytes", "bytes_per_document", "peak_memory_bytes")
)  # fmt: skip
RECORDED = ("Success@5", "nDCG@10", "MRR@10", "R@100")  # in every record, so that records can be compared


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the command line asks for."""

    out: Path
    k: int = 1000
    measures: tuple[Measure, ...] = ()  # beside each dataset's own
    rankings: Path | None = None  # where to leave LoTTE's layout too
    index: Path | None = None  # where indexes are kept; None: nowhere
    stages: Path | None = None  # where the rankings of a pipeline's stages are kept; None: nowhere
    gzip: bool = False  # runs are written as .trec.gz
    command: str = ""
    say: Callable[[str], None] = lambda line: None


@dataclass(frozen=True, kw_only=True)
class _Maker:
    """Who made a run, as far as that is known."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    card: Card = field(default_factory=Card)
    index: Mapping[str, Any] = field(default_factory=dict)  # bytes and sha256
    cost: Mapping[str, Any] = field(default_factory=lambda: NO_COST)
    search: Mapping[str, Any] = field(default_factory=dict)  # the settings in force, and their recall
    level: str  # how the score came about: self-run, rescored


@dataclass(frozen=True)
class _Opened:
    """An index, and what is known of how it came about."""

    index: Index
    path: Path
    corpus_sha256: str
    seconds: float | None
    reused: bool


def evaluate(name: str, system: Retriever, datasets: Iterable[Dataset], order: Order) -> Iterator[Record]:
    """Index, search, score. Yields a record when it is written.

    name  of the system, in paths and records
    """
    groups = by_corpus(datasets)
    for dataset in chain.from_iterable(groups):
        _require_possible(name, dataset, order)
    for group in groups:
        shared = order.out if executor.current().several else None  # all workers see that folder
        with TemporaryDirectory(prefix=".lotte-", dir=shared) as scratch:
            opened = _open(name, system, group, order, Path(scratch))
            for dataset in group:
                yield _ask(name, system, dataset, opened, order)


def rescore(path: Path, name: str, dataset: Dataset, order: Order) -> Record:
    """Score a ranking that somebody else made. A query it leaves out is a miss, and is reported."""
    _require_possible(name, dataset, order)
    ranked = ranking.read(path, dataset.queries, dataset.corpus.doc_ids)
    if missing := ranked.missing(dataset.queries):
        order.say(
            f"{path} leaves out {len(missing):,} of the {len(dataset.queries):,} queries of {dataset.name}; "
            f"they count as misses. The first is {missing[0]!r}."
        )
    sha256 = _read_corpus([dataset], order)
    run = dataset.scored_part(ranked := ranked.filled(dataset.queries))
    _tell(dataset, ranked, order)
    facts = {"origin": {"file": path.name, "sha256": artifact.sha256(path)}, "missing": missing}
    maker = _Maker(name=name, level=RESCORED)
    return _recorded(maker, dataset, sha256, run, facts, order)


def _require_possible(name: str, dataset: Dataset, order: Order) -> None:
    """Raise, before hours of work, what would end it: no judgments, a name no run can have, no place to write."""
    if not dataset.qrels:
        raise MismatchError(f"{dataset.name} has no judgments, so there is nothing to score; look at its qrels")
    if name.split() != [name]:
        raise MismatchError(
            f"the system is called {name!r}, and a name is one word: it is a column of the run. Give another one "
            "with --retriever"
        )
    target = stem(order.out, name, dataset)
    kept = order.stages and inside(order.stages, dataset.name, "the dataset") / "stage"
    for path in filter(None, (target, _lotte_path(dataset, order), kept)):
        require_writable(path.parent)
    require_replaceable(target, name)


def by_corpus(datasets: Iterable[Dataset]) -> list[list[Dataset]]:
    """Return datasets in groups that ask the same collection."""
    groups: dict[object, list[Dataset]] = {}
    for dataset in datasets:
        groups.setdefault(corpus_key(dataset.corpus), []).append(dataset)
    return list(groups.values())


def _read_corpus(group: list[Dataset], order: Order) -> str:
    """Return the sha256 of the corpus that these ask, and say how many answers it lacks, which nobody can find.

    Raises  MismatchError if it lacks all of them: those are ids of something else
    """
    lacking = {
        doc_id: dataset
        for dataset in group
        for judged in dataset.qrels.values()
        for doc_id, grade in judged.items()
        if grade > 0
    }
    total = len(lacking)

    def passing() -> Iterator[Doc]:
        for doc in group[0].corpus:
            lacking.pop(doc.doc_id, None)
            yield doc

    sha256 = corpus_sha256(passing())
    if lacking:
        doc_id, dataset = next(iter(lacking.items()))
        said = f"{len(lacking):,} of the {total:,} relevant documents of {dataset.name} are not in its collection"
        if len(lacking) == total:
            raise MismatchError(
                f"{said}; the first is {shown(doc_id)}, and the first document {_first(dataset)}. "
                "Judgments and documents must have the same ids."
            )
        order.say(f"{said}, so no query can find them; the first is {shown(doc_id)}")
    return sha256


def _tell_depth(dataset: Dataset, depth: int, order: Order) -> None:
    """Say which measures reach below the rankings: R@1000 of 10 documents is R@10, and is not what others call so."""
    measures = dict.fromkeys((parse(dataset.measure), *order.measures))
    below = [str(measure) for measure in measures if (measure.k or 0) > depth]
    if below and depth < len(dataset.corpus):
        order.say(f"{dataset.name}: rankings are {depth:,} deep, so {', '.join(below)} cannot count more than that")


def _first(dataset: Dataset) -> str:
    return shown(dataset.corpus[0].doc_id) if len(dataset.corpus) else "is not there: the collection is empty"


def _tell(dataset: Dataset, ranked: Run, order: Order) -> None:
    """Say what a user should know of the judgments, and of documents that are the query itself by their id."""
    for note in dataset.notes:
        order.say(f"{dataset.name}: {note}")
    if not (own := ranked.own(dataset.qrels) if dataset.ignore_own or dataset.name.startswith("beir/") else set()):
        return
    if dataset.ignore_own:
        done = "was left out, as BEIR does"
    else:
        done = "was kept: BEIR's code leaves it out, which is right where queries are documents too"
    order.say(f"{dataset.name}: in {len(own):,} rankings the document with its query's own id {done}")


def _open(name: str, system: Retriever, group: list[Dataset], order: Order, scratch: Path) -> _Opened:
    """Open the index of this corpus that is kept, or make it."""
    dataset, sha256 = group[0], _read_corpus(group, order)
    path = _index_path(name, dataset, sha256, order.index) if order.index else scratch / "index"
    if index_folder.is_index(path):
        meta, index = index_meta.read(path), system.open(path)
        made_from = meta["corpus"]["sha256"]
        if made_from is None and meta["corpus"]["documents"] == len(dataset.corpus):
            order.say(f"{path} does not say what it was built from; it has as many documents as {dataset.name}")
        elif made_from != sha256:
            raise MismatchError(
                f"{path} was built from corpus {str(made_from)[:8]}, and {dataset.name} has corpus {sha256[:8]}. "
                "Remove the index, or name another --index."
            )
        order.say(f"{path}: reusing this index")
        return _Opened(index, path, sha256, meta.get("seconds"), reused=True)
    start = perf_counter()
    index = system.index(dataset.corpus, path)
    return _Opened(index, path, sha256, perf_counter() - start, reused=False)


def _index_path(name: str, dataset: Dataset, sha256: str, root: Path) -> Path:
    """Return the place of a corpus among the kept indexes; `root` itself if that is an index.

    Datasets of different names may ask one corpus (MS MARCO's passages): it stands under the first of them.
    """
    if index_folder.is_index(root):
        return root
    corpus = dataset.name.rpartition("/")[0] if dataset.name.startswith("lotte/") else dataset.name
    path = inside(inside(root, folder_of(name), "the system"), corpus, "the dataset")
    if not index_folder.is_index(path):
        for meta in sorted((root / folder_of(name)).rglob(artifact.META)):
            with suppress(LotteError):  # what is not an index, or a damaged one, is none of this corpus
                if index_meta.read(meta.parent)["corpus"]["sha256"] == sha256:
                    return meta.parent
    return path


def _ask(name: str, system: Retriever, dataset: Dataset, opened: _Opened, order: Order) -> Record:
    depth = dataset.deep_enough(order.k)
    index = opened.index
    if isinstance(system, Fits) and (fitted := system.fitted(dataset.facts)) != system:
        system, index = fitted, fitted.open(opened.path)
    with pipeline.keeping_stages() if order.stages else nullcontext() as kept:
        ranked, seconds = _search(system, index, opened, dataset, depth, order)
    run = dataset.scored_part(ranked).cut(order.k)
    _tell(dataset, ranked, order)
    _tell_depth(dataset, order.k, order)
    size = cost.size_of(opened.path)
    spent = {
        "encode_seconds": None,  # of systems whose indexing has an encoding of its own
        "index_seconds": opened.seconds,
        "index_reused": opened.reused,
        "search_seconds": seconds,
        "queries_per_second": len(dataset.queries) / seconds if seconds else None,
        "latency_ms": cost.latency(index, dataset.queries, k=depth),
        "index_bytes": size,
        "bytes_per_document": size / len(dataset.corpus) if len(dataset.corpus) else None,
        "peak_memory_bytes": {"host": machine.peak_memory(), "gpu": None},
    }
    maker = _Maker(
        name=name,
        options=recorded_options(system),
        card=getattr(system, "card", Card()),
        index={"bytes": size, "sha256": cost.sha256_of(opened.path)},
        cost=spent,
        search=index.search_facts(dataset.queries, k=depth) if isinstance(index, Tells) else {},
        level=SELF_RUN,
    )
    record = _recorded(maker, dataset, opened.corpus_sha256, run, {"origin": None, "missing": []}, order)
    if order.stages and kept:
        _keep(kept, order.stages, dataset, order)
    return record


def _search(
    system: Retriever, index: Index, opened: _Opened, dataset: Dataset, depth: int, order: Order
) -> tuple[Run, float]:
    """Ask the questions of a dataset, here, or by the workers of the command; stages that are kept are seen here."""
    how: dict[str, Any] = {"k": depth, "title": dataset.name}
    if order.stages or not executor.current().several:
        return cost.timed_search(index, dataset.queries, **how)
    made_from = opened.corpus_sha256
    return spread_search.timed_search(system, opened.path, made_from, dataset.queries, folder=order.out, **how)


def _keep(kept: pipeline.KeptStages, folder: Path, dataset: Dataset, order: Order) -> None:
    """Write the ranking of each stage where a stage can be named by it: FOLDER/DATASET/SYSTEM.trec."""
    folder = inside(folder, dataset.name, "the dataset")
    if not (runs := kept.runs()):
        order.say(f"{dataset.name}: there is no stage to keep: the system has none, or its stages are ranking files")
        return
    with lock.held(folder):
        for spelled, run in runs.items():
            path = folder / pipeline.file_of(spelled)
            require_run_of(path, path.stem, "--keep-stages")
            ranking.write_trec(path, run.filled(dataset.queries), tag=path.stem)
            order.say(f"{path}: the ranking of {spelled}")


def _recorded(
    maker: _Maker, dataset: Dataset, corpus_sha256: str, run: Run, facts: Mapping[str, Any], order: Order
) -> Record:
    """Score the run, and write it and its record. `facts` are further ones about the run."""
    measures = _measured(dataset, run, order.measures)  # first: what cannot be scored is not written
    target = stem(order.out, maker.name, dataset)
    plain, packed = run_files(target)
    file, other = (packed, plain) if order.gzip else (plain, packed)
    sections = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "retriever": _retriever(maker, order.k),
        "dataset": _dataset_facts(dataset, corpus_sha256),
        "measures": measures,
        "cost": dict(maker.cost),
        "platform": dict(machine.machine()),
        "implementation": {"command": order.command, **machine.code(), "seeds": []},
        "contamination": [_contamination(dataset, card) for card in maker.card.parts or [maker.card]],
        "verification": {"level": maker.level},
    }
    if path := _lotte_path(dataset, order):
        with lock.held(path.parent):
            ranking.write_lotte(path, run)
    with lock.held(target.parent):
        part = file.with_name(f".{file.name}")  # under its own name only together with its record
        try:
            sha256 = ranking.write_trec(part, run, tag=folder_of(maker.name))
            said = {"file": file.name, "depth": run.depth, "ties": run.ties, **facts, "sha256": sha256}
            record = Record.of(where=f"the record of {dataset.name}", run=said, **sections)
            record.write(target.with_name(f"{target.name}.json"), part)
            other.unlink(missing_ok=True)  # of an older record, which this one replaced
        finally:
            part.unlink(missing_ok=True)
    return record


def _retriever(maker: _Maker, k: int) -> dict[str, Any]:
    """Return the section `retriever`."""
    card = maker.card
    return {
        "name": maker.name,
        "family": card.family,
        "options": dict(maker.options),
        "model": card.model and dict(card.model),
        "index": {**_INDEX, **card.index, **maker.index},
        "search": {"k": k, "exact": None, **card.search, **maker.search},
        "training_data": None if card.training_data is None else list(card.training_data),
    }


def _measured(dataset: Dataset, run: Run, further: Iterable[Measure]) -> dict[str, Any]:
    """Return the section `measures`."""
    measures = dict.fromkeys([parse(dataset.measure), *further, *map(parse, RECORDED)])
    level = int(dataset.facts.get("relevance_level", "1"))  # TREC's deep learning track counts from grade 2 on
    values = scores(run, dataset.judge(run), measures, level=level, parts=dataset.nuggets)
    return {
        "official": dataset.measure,
        "tool": TOOL,
        "version": machine.machine()["libraries"][TOOL],
        "relevance_level": level,
        "queries": "all that are judged; one without an answer is worth 0",
        "aggregate": {
            str(measure): {
                "value": mean(values[measure]),
                "ci95": list(interval(list(values[measure].values()))),
                **METHOD,
            }
            for measure in measures
        },
        "per_query": {str(measure): values[measure] for measure in measures},
    }


def _dataset_facts(dataset: Dataset, corpus_sha256: str) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "source": dataset.source,
        **identity(dataset, corpus_sha256),
        "licence": dataset.licence,
        "facts": dict(dataset.facts),
    }


def _contamination(dataset: Dataset, card: Card) -> dict[str, Any]:
    """Return what is known of the training data against this dataset, from their texts where a checkpoint has them."""
    if card.checkpoint and (found := verdict(card.checkpoint, dataset)):
        return {"dataset": dataset.name, **found}
    if card.training_data is None:
        level, evidence = "unknown", "the system does not say what it was trained on"
    elif not card.training_data:
        level, evidence = "none", "the system is not trained"
    else:
        level, evidence = "unknown", f"trained on {', '.join(card.training_data)}; overlap was not looked for"
    return {"dataset": dataset.name, "level": level, "evidence": evidence}


def _lotte_path(dataset: Dataset, order: Order) -> Path | None:
    """Return where LoTTE's own scoring script looks for this ranking; None if it was not requested."""
    if order.rankings is None:
        return None
    match dataset.name.split("/"):
        case ["lotte", topic, split, kind]:
            return order.rankings / split / f"{topic}.{kind}.ranking.tsv"
    raise LotteError(f"--rankings writes LoTTE's layout, but {dataset.name} is not part of LoTTE")
