"""An MTEB task result, `<org__model>/<revision>/<Task>.json`, written and read.

Only published datasets have a task there: a record of another build is refused.
A task's measure is ours under another name (Success@5 is `hit_rate_at_5`), and
MTEB's further measures are left out. An imported result is a score without a
run and without hashes: level `imported`. Results from before MTEB
1.11, which have the splits at their top, are read too, and CQADupStack as the
one score that a leaderboard has. MTEB's BRIGHT and FreshStack are different data.

Source  mteb 2.26.24, mteb/results/task_result.py, mteb/models/model_meta.py and mteb/tasks/retrieval/eng
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from leaderboard.record.read import LARGEST
from leaderboard.record.schema import Record, is_number
from leaderboard.record.sections import HASHES, IMPORTED, ModelFacts
from leaderboard.record.verify import unpublished_counts
from lotte import artifact
from lotte.errors import CorruptFileError, LotteError, MismatchError, absent
from lotte.parsing import json_object

LOTTE_REVISION = "a887e9f8e3d24427fdff98c8bba3198a6853a929"
_BEIR = {
    "arguana": "ArguAna", "climate-fever": "ClimateFEVER", "dbpedia-entity": "DBPedia", "fever": "FEVER",
    "fiqa": "FiQA2018", "hotpotqa": "HotpotQA", "nfcorpus": "NFCorpus", "nq": "NQ", "quora": "QuoraRetrieval",
    "scidocs": "SCIDOCS", "scifact": "SciFact", "trec-covid": "TRECCOVID", "webis-touche2020": "Touche2020",
    "webis-touche2020/v3": "Touche2020Retrieval.v3", "cqadupstack": "CQADupstackRetrieval",
    "arguana/decontaminated": "ArguAnaDecontaminated", "fiqa/decontaminated": "FiQADecontaminated",
    "nfcorpus/decontaminated": "NFCorpusDecontaminated", "quora/decontaminated": "QuoraRetrievalDecontaminated",
    "scidocs/decontaminated": "SciDocsDecontaminated", "scifact/decontaminated": "SciFactDecontaminated",
    "trec-covid/decontaminated": "TrecCOVIDDecontaminated",
    "webis-touche2020/decontaminated": "Touche2020Decontaminated",
}  # fmt: skip
_CQADUPSTACK = "beir/cqadupstack"  # the mean of twelve, which is a result there and no dataset here
_NANO = {  # the copies that MTEB pins of the authors' files
    "arguana": ("NanoArguAnaRetrieval", "63ac9f026e8f6b85dc0622f3d630ed7a1758e9ec"),
    "climate-fever": ("NanoClimateFeverRetrieval", "ccb5552bc17e87afe0f9479fb4346898213a71db"),
    "dbpedia-entity": ("NanoDBPediaRetrieval", "2d088f80d7a640eac0be5c66408d68c3f782baa1"),
    "fever": ("NanoFEVERRetrieval", "a6490dfeed0f13c2a052e39c6ddaeb6086afd4a8"),
    "fiqa": ("NanoFiQA2018Retrieval", "ede84da4793cd2d4e61bba0dd08fc58de90f3681"),
    "hotpotqa": ("NanoHotpotQARetrieval", "a38a2615f29adba8b47a42905031aa9c137d8fae"),
    "msmarco": ("NanoMSMARCORetrieval", "5a5aa0c3df65d6883d85c8f5cdc88e679633595e"),
    "nfcorpus": ("NanoNFCorpusRetrieval", "2eec9d63140fb9af7c75ad0fdbf6350aaf20e94e"),
    "nq": ("NanoNQRetrieval", "e3973b405feb9e94d07fd971d690d24d7f45264a"),
    "quora": ("NanoQuoraRetrieval", "3ee153e5710da83a7f35df0cb1db4a0ad036072a"),
    "scidocs": ("NanoSCIDOCSRetrieval", "cf39b8741a6f2e984d0b8f4796b2dd5bb65390f9"),
    "scifact": ("NanoSciFactRetrieval", "8c5f7bbe90bb865f46c67710221afa7d9096251b"),
    "webis-touche2020": ("NanoTouche2020Retrieval", "ff81c0caff8b6febe1495eae9f2ca3eddad074b8"),
}
# Our families, by MTEB's words for a model, which are these six and no other; a family that is not here is left out
_TYPES = {
    "lexical": "sparse", "learned-sparse": "sparse", "dense": "dense", "late-interaction": "late-interaction",
    "cross-encoder": "cross-encoder", "interaction": "cross-encoder", "hybrid": "hybrid",
}  # fmt: skip
_LATEST = 1 << 40  # seconds: a date in 36,812
_NAMES = {"Success": "hit_rate", "nDCG": "ndcg", "MRR": "mrr", "R": "recall", "P": "precision", "AP": "map"}


class MtebTask(NamedTuple):
    """Where a dataset of ours is at MTEB."""

    name: str
    subset: str
    split: str
    revision: str
    main: str  # of its measures


def task_of(dataset: str) -> MtebTask | None:
    """Return the task that a dataset is at MTEB, by the name of the dataset; None if it is none there.

    >>> task_of("lotte/science/test/forum")[:3]
    ('LoTTE', 'science_forum', 'test')
    """
    from leaderboard import catalogue

    match dataset.split("/"):
        case ["lotte", topic, split, kind] if topic != "pooled" and catalogue.release(dataset):
            return MtebTask("LoTTE", f"{topic}_{kind}", split, LOTTE_REVISION, "hit_rate_at_5")
        case ["beir", "cqadupstack", forum]:
            name = f"CQADupstack{forum.capitalize()}Retrieval"
            return MtebTask(name, "default", "test", _revision(dataset), "ndcg_at_10")
        case ["beir", "msmarco", "dev"]:
            return MtebTask("MSMARCO", "default", "dev", _revision(dataset), "ndcg_at_10")
        case ["beir", *parts] if (name := "/".join(parts)) in _BEIR:
            return MtebTask(_BEIR[name], "default", "test", _revision(dataset), "ndcg_at_10")
        case ["nanobeir", name] if name in _NANO:
            return MtebTask(_NANO[name][0], "default", "train", _NANO[name][1], "ndcg_at_10")
        case ["limit", *size] if catalogue.release(dataset):
            return MtebTask("LIMITSmallRetrieval" if size else "LIMITRetrieval", "default", "test",
                            _revision(dataset), "recall_at_2")  # fmt: skip
    return None


def write(records: Iterable[tuple[Path, Record]], out: Path) -> Iterator[Path]:
    """Write the results of each system and task, all its subsets in one file, and what is known of the model.

    Raises  MismatchError for a record that is of no task, or of other data than the task's
    """
    tasks: dict[Path, list[tuple[MtebTask, Record]]] = {}
    for path, record in records:
        name = record.dataset.name
        if record.verification.level == IMPORTED:
            raise MismatchError(f"{path} was imported, so it cannot be exported as a result of this board")
        if (task := task_of(name)) is None:
            raise MismatchError(f"{path} has dataset {name}, which is not a task of MTEB")
        if differences := unpublished_counts(record.dataset, "documents", "queries"):
            shown = "; ".join(f"{key}: {stated}, published {wanted:,}" for key, wanted, stated in differences)
            raise MismatchError(f"{path} has other data than MTEB's {task.name}: {shown}")
        model, revision = _model(record)
        folder = out / _part(model.replace("/", "__")) / _part(revision)
        tasks.setdefault(folder / f"{task.name}.json", []).append((task, record))
    for file, members in sorted(tasks.items()):
        keys = [(task.split, task.subset) for task, _ in members]
        if len(set(keys)) < len(keys):
            raise MismatchError(f"two records are of the same model and task, {file.stem}; export one of them")
        meta = file.with_name("model_meta.json")
        artifact.write_whole(meta, _laid_out(_meta(members[0][1])))
        yield artifact.write_whole(file, _laid_out(_task_result(members)))


def _laid_out(value: Mapping[str, Any]) -> str:
    """Return JSON as MTEB lays it out: its order of the keys, two blanks deep."""
    return artifact.readable(value, indent=2, sort=False)


def read(path: Path) -> list[Record]:
    """Return a record, without a run, for each split and subset of a task that is a dataset of ours.

    Raises  CorruptFileError if it is not a task's result; MismatchError if none of it is of a dataset of ours
    """
    result = _object(path)
    result = _of_before(result) if "mteb_dataset_name" in result else result
    scores = result.get("scores")
    if not isinstance(scores, Mapping) or not isinstance(result.get("task_name"), str):
        raise CorruptFileError(
            f"{path}: not an MTEB result: expected task_name and scores, found {_names(result)}; if it is a run, name "
            "its dataset with --dataset"
        )
    meta_path = path.with_name("model_meta.json")
    meta = _object(meta_path) if meta_path.is_file() else {}
    model = str(meta.get("name") or _model_by_place(path))
    records: list[Record] = []
    for split, entries in scores.items():
        for entry in entries if isinstance(entries, list) else [None]:
            if not isinstance(entry, Mapping):
                raise CorruptFileError(f"{path}: scores.{split[:60]} is not a list of objects")
            dataset = _dataset_of(result["task_name"], str(entry.get("hf_subset", "default")), split)
            if any(record.dataset.name == dataset for record in records):
                raise CorruptFileError(
                    f"{path}: scores.{split[:60]} has two scores of {dataset}; leave one of them out"
                )
            if dataset is not None:
                records.append(_record(path, result, meta, model, dataset, entry))
    if not records:
        raise MismatchError(
            f"{path}: task {result['task_name'][:60]} is not a dataset known here; `lotte list datasets` shows them"
        )
    return records


def is_result(path: Path) -> bool:
    """Whether a file is a result of a task: an object with the task's name and no query with that name."""
    try:
        result = json_object(path)
    except (LotteError, OSError):
        return False
    return isinstance(result.get("task_name", result.get("mteb_dataset_name")), str)


def _of_before(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result from before MTEB 1.11, which has its splits at the top, as those of today are."""
    splits = {key: value for key, value in result.items() if isinstance(value, Mapping)}
    scores: dict[str, list[Any]] = {}
    for split, entry in splits.items():
        subsets = {key: value for key, value in entry.items() if isinstance(value, Mapping)}
        scores[split] = [{**value, "hf_subset": key} for key, value in subsets.items()] or [entry]
    kept = {key: result.get(key) for key in ("dataset_revision", "mteb_version")}
    return {**kept, "task_name": result["mteb_dataset_name"], "scores": scores}


def _model_by_place(path: Path) -> str:
    """Return the model whose folder a result lies in: `<org__model>/<revision>/`, or `<org__model>/` before."""
    near, above = path.resolve().parent.name, path.resolve().parent.parent.name
    return (near if "__" in near and "__" not in above else above).replace("__", "/")


def _record(
    path: Path, result: Mapping[str, Any], meta: Mapping[str, Any], model: str, dataset: str, entry: Mapping[str, Any]
) -> Record:
    from leaderboard import catalogue

    known = catalogue.release(dataset)
    official = known.measure if known else "nDCG@10"
    aggregate = _aggregate(path, dataset, official, entry)
    return Record.of(
        where=path,
        created=_date(result.get("date")),
        retriever=_retriever(model, meta),
        dataset={
            "name": dataset,
            "source": f"mteb {result['task_name']}@{result.get('dataset_revision')}",
            **dict.fromkeys(HASHES),
            "counts": {},
            "licence": known.licence if known else "unknown",
            "facts": {},
        },
        measures={
            "official": official,
            "tool": "mteb",
            "version": entry.get("mteb_version") or result.get("mteb_version"),
            "relevance_level": 1,
            "queries": "as the tool takes them",
            "aggregate": aggregate,
            "per_query": {},
        },
        run={"file": None, "sha256": None, "depth": None, "ties": None, "missing": []},
        cost={},
        platform={},
        implementation={"command": None, "commit": None, "dirty": None, "seeds": []},
        contamination=[{"dataset": dataset, "level": "unknown", "evidence": "an imported score"}],
        verification={
            "level": IMPORTED,
            "log": [{"what": IMPORTED, "tool": "mteb", "file": path.name, "sha256": artifact.sha256(path)}],
        },
    )


def _retriever(model: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what model_meta.json says of a model."""
    return {
        "name": model,
        "family": None,
        "options": {},
        "model": {"id": model, "revision": meta.get("revision"), "parameters": meta.get("n_parameters")},
        "index": {"type": "unknown", "bytes": None},
        "search": {"k": None, "exact": None},
        "training_data": meta.get("training_datasets"),
    }


def _aggregate(path: Path, dataset: str, official: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the means of a subset under our names of their measures, the official one among them."""
    aggregate: dict[str, Any] = {}
    for key, value in entry.items():
        name = _measure(key)
        if name is None:
            continue
        if type(value) not in (int, float) or not 0 <= value <= 1:  # false of NaN
            raise CorruptFileError(f"{path}: {key[:60]} of {dataset} is {value!r:.40}, and a measure is a share")
        aggregate[name] = {"value": float(value), "ci95": None}
    if official not in aggregate:
        raise CorruptFileError(f"{path}: {dataset} is measured by {official}, and the file has {_names(aggregate)}")
    return aggregate


def _task_result(members: Sequence[tuple[MtebTask, Record]]) -> dict[str, Any]:
    scores: dict[str, list[dict[str, Any]]] = {}
    for task, record in sorted(members, key=lambda pair: pair[0][:3]):
        entry: dict[str, Any] = {}
        for name in record.measures.aggregate:
            if key := _key(name):
                entry[key] = round(record.mean(name), 6)
        if task.main not in entry:
            raise MismatchError(f"{record.dataset.name}: MTEB's {task.name} needs {task.main}, but the record has none")
        entry |= {"main_score": entry[task.main], "hf_subset": task.subset, "languages": ["eng-Latn"]}
        scores.setdefault(task.split, []).append(entry)
    costs = [record.cost for _, record in members]
    seconds = [value for cost in costs for value in (cost.index_seconds, cost.search_seconds) if value]
    return {
        "dataset_revision": members[0][0].revision,
        "task_name": members[0][0].name,
        "mteb_version": None,  # it did not make this
        "scores": scores,
        "evaluation_time": sum(seconds) if seconds else None,
        "kg_co2_emissions": None,
        "date": max(_timestamp(record) for _, record in members),
        "evaluation_phases": None,
    }


def _timestamp(record: Record) -> float:
    try:
        return datetime.fromisoformat(record.created).timestamp()
    except (ValueError, OverflowError):
        said = f"{record.dataset.name} by {record.retriever.name}"
        raise CorruptFileError(f"{said}: created: expected a time, found {record.created!r:.60}") from None


def _meta(record: Record) -> dict[str, Any]:
    """Return what MTEB's model_meta.json has, and null for what a record does not know."""
    name, revision = _model(record)
    model = record.retriever.model or ModelFacts()
    fields = (
        "release_date", "n_active_parameters_override", "n_embedding_parameters", "memory_usage_mb", "license",
        "open_weights", "public_training_code", "public_training_data", "reference", "similarity_fn_name",
        "use_instructions", "adapted_from", "superseded_by", "citation", "contacts",
    )  # fmt: skip
    return {
        **dict.fromkeys(fields),
        "name": name,
        "revision": revision,
        "languages": ["eng-Latn"],
        "n_parameters": None if model.parameters is None else int(model.parameters),
        "max_tokens": model.doc_maxlen,
        "embed_dim": model.dim,
        "framework": [],
        "training_datasets": record.retriever.training_data,
        "modalities": ["text"],
        "loader": None,
        **({"model_type": [kind]} if (kind := _TYPES.get(str(record.retriever.family))) else {}),
    }


def _model(record: Record) -> tuple[str, str]:
    model = record.retriever.model or ModelFacts()
    name = model.id or record.retriever.name
    version = record.platform.libraries.get("lotte-bench")
    return name if "/" in name else f"lotte-bench/{name}", str(model.revision or version or "unknown")


def _names(names: Iterable[str]) -> str:
    """Return some names of a stranger's, for a line."""
    return " ".join(", ".join(names)[:200].split())


def _part(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]", "_", text).lstrip(".") or "unknown"


def _dataset_of(task: str, subset: str, split: str) -> str | None:
    from leaderboard import catalogue

    if (task, subset, split) == (_BEIR["cqadupstack"], "default", "test"):
        return _CQADUPSTACK
    names = [*catalogue.published(), "beir/msmarco/dev"]
    wanted = (task, subset, split)
    return next((name for name in names if (known := task_of(name)) and known[:3] == wanted), None)


def _revision(dataset: str) -> str:
    from leaderboard import catalogue

    known = catalogue.release(dataset)
    return known.hub.revision if known and known.hub else "unknown"


def _key(measure: str) -> str | None:
    name, _, k = measure.partition("@")
    return f"{_NAMES[name]}_at_{k}" if name in _NAMES and k else None


def _measure(key: str) -> str | None:
    """Return our name of a measure of theirs, None for what we do not have (nauc, and means of another kind)."""
    name, _, k = key.rpartition("_at_")
    ours = {theirs: name for name, theirs in _NAMES.items()}.get(name)
    return f"{ours}@{k}" if ours and k.isascii() and k.isdigit() else None


def _date(value: Any) -> str:
    if is_number(value) and 0 <= value < _LATEST:
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    return value if isinstance(value, str) else "unknown"


def _object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise CorruptFileError(f"{path} is larger than {LARGEST >> 20} MB, too large for the result of a task")
        return json_object(path, plain=True)
    except OSError:
        raise absent(path, "; name a result of MTEB") from None
