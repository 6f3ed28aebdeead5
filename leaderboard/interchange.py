"""Import from other tools' formats, and export to them.

An ir_metadata header goes into the run itself, as comment lines in front of
it: `# ir_metadata.start`, YAML, `# ir_metadata.end`, and readers of runs
skip it (`lotte.ranking`): elsewhere a `#` is the first letter of an id.
The YAML we write is JSON on one line per section, which every YAML reader
takes. The per-query values are `run TAB query TAB measure TAB value`, the mean
under the query `all`, as TIRA and trec_eval have them.

Source  ir-metadata.org, schema 0.1 (Breuer et al., SIGIR 2022); repro_eval's MetadataHandler;
        trec_eval -q; mteb: see mteb.py
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from leaderboard import mteb
from leaderboard.record.loaded_dataset import find
from leaderboard.record.read import read, record_files
from leaderboard.record.schema import LARGEST_NUMBER, Record
from leaderboard.record.sections import IMPORTED
from leaderboard.record.store import beside, is_name, stem_of, store
from lotte import artifact, extras, lock, ranking
from lotte.dataset import Dataset
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError, absent, writing
from lotte.lines import opened
from lotte.parsing import unique_keys
from lotte.ranking import END, START

_LARGEST = 1 << 20  # characters of one


def export(paths: Iterable[Path], form: str, out: Path) -> Iterator[Path]:
    """Write records for another tool. Yields what was written.

    paths  records, and folders of them
    form   "mteb", "ir_metadata" or "tira"

    Raises  MismatchError for a record that the other tool has no place for
    """
    files = [file for path in paths for file in (record_files(path) if path.is_dir() else [path])]
    records = [(file, read(file)) for file in files]
    with writing(out):
        if form == "mteb":
            yield from mteb.write(records, out)
            return
        for path, record in records:
            target = out / stem_of(record)
            yield _with_header(path, record, target) if form == "ir_metadata" else _by_query(path, record, target)


def take_in(
    file: Path, folder: Path, data: Path, *, dataset: str = "", system: str = "", by: str = ""
) -> Iterator[Path]:
    """Store another tool's run, scored by us, or its scores, as imported records. Yields where they stand.

    dataset, system  of a run; a score names its own

    Raises  MismatchError if a place is taken; what reading and scoring the file raises
    """
    if not file.is_file():
        raise absent(file, "; name a run, or a result of MTEB")
    if _is_json(file) and not dataset:
        if system:
            raise LotteError(f"{file} is JSON: a result of MTEB names its model; for a run, give --dataset too")
        for record in mteb.read(file):
            yield _stored(_stamped(record, by), file.parent, folder)
        return
    if not dataset:
        raise LotteError(f"{file} is a run, which does not name its dataset: give --dataset")
    yield _take_in_run(file, folder, _dataset(dataset, data), system, by)


def header(file: Path) -> dict[str, Any]:
    """Return what the ir_metadata header of a run says, {} if it has none.

    Raises  CorruptFileError if it is not YAML, or has no end; UnavailableError if PyYAML is needed and not installed
    """
    text = None if ranking.is_json(file) else ranking.header(file)
    return {} if text is None else _yaml(text, file)


def metadata(record: Record) -> dict[str, Any]:
    """Return a record as ir_metadata has it: PRIMAD, with what is not known left out."""
    retriever, dataset = record.retriever, record.dataset
    known = _known(
        {
            "schema-version": 0.1,
            "run-version": 1.0,
            "tag": retriever.name,
            "platform": _platform(record),
            "research goal": {"evaluation": {"reported measures": sorted(record.measures.aggregate)}},
            "implementation": {
                "executable": {"cmd": record.implementation.command or None},
                "source": {"lang": ["python"], "commit": record.implementation.commit},
            },
            "method": {
                "automatic": True,
                "score ties": record.run.ties,
                "retrieval": [
                    {
                        "name": retriever.name,
                        "method": retriever.family,
                        "params": retriever.options,
                        "model": record.content["retriever"].get("model"),
                    }
                ],
            },
            "actor": {"name": next((log.get("by") for log in record.verification.log), None), "role": "experimenter"},
            "data": {
                "test collection": {"name": dataset.name, "source": dataset.source, **dataset.hashes},
                "training data": [{"name": name} for name in retriever.training_data or ()],
            },
        }
    )
    assert isinstance(known, dict)
    return known


def _platform(record: Record) -> dict[str, Any]:
    machine, memory = record.platform, record.platform.memory_bytes
    packages = [f"{name}=={version}" for name, version in sorted(machine.libraries.items())]
    return {
        "hardware": {
            "cpu": {"model": machine.cpu, "number of cores": machine.cores},
            "gpu": {"model": ", ".join(machine.gpu) or None},
            "ram": None if memory is None else f"{memory / 2**30:.0f} GB",
        },
        "operating system": {"distribution": machine.os},
        "software": {"libraries": {"python": packages}},
    }


def _with_header(path: Path, record: Record, target: Path) -> Path:
    """Write the run of a record with the record in front of it."""
    run = _run(path, record)
    sections = (
        f"# {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in metadata(record).items()
    )
    target = target.with_name(f"{target.name}.trec")
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened(run) as source, artifact.Writer(target) as file:
        file.write("".join((f"# {START}\n", *sections, f"# {END}\n")).encode())
        shutil.copyfileobj(source, file, 1 << 20)
    return target


def _by_query(path: Path, record: Record, target: Path) -> Path:
    """Write the values of each query of a record, and the means."""
    per_query = record.measures.per_query
    if not per_query:
        raise MismatchError(f"{path} has no values by query; it was imported without a run")
    rows = [
        f"{record.retriever.name}\t{query_id}\t{measure}\t{value:.6f}\n"
        for measure, values in per_query.items()
        for query_id, value in (*values.items(), ("all", record.mean(measure)))
    ]
    return artifact.write_whole(target.with_name(f"{target.name}.tsv"), "".join(rows))


def _take_in_run(file: Path, folder: Path, dataset: Dataset, system: str, by: str) -> Path:
    from leaderboard.evaluate import Order, rescore
    from leaderboard.record.place import name_of, stem

    if ranking.is_json(file) and mteb.is_result(file):
        raise LotteError(f"{file} is a result of MTEB, which names its dataset and its model; leave the options out")
    said = header(file)
    tag = said.get("tag")
    name = system or (str(tag) if isinstance(tag, str | int | float) else name_of(file))
    if not is_name(name.replace(":", ".").replace("/", "__")):
        raise CorruptFileError(
            f"{file} names the system {name[:60]!r}, which cannot be a name here; give one with --system"
        )
    name = name.replace("/", "__")
    with TemporaryDirectory(prefix="lotte-") as scratch:
        order = Order(out=Path(scratch), command=f"lotte board import {file.name}")
        scored = rescore(file, name, dataset, order)
        log = [{"what": IMPORTED, "tool": "run", "file": file.name, "sha256": artifact.sha256(file)}]
        if said:
            log[0]["ir_metadata"] = artifact.digest(said)
        record = scored.changed(
            retriever={**scored.content["retriever"], **_retriever(said)},
            platform={},  # what scored it did not make it
            verification={"level": IMPORTED, "log": log},
        )
        return _stored(_stamped(record, by), stem(order.out, name, dataset).parent, folder)


def _retriever(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a header says of the system: its last stage's method and options."""
    method = said.get("method")
    stages = method.get("retrieval") if isinstance(method, Mapping) else None
    last = stages[-1] if isinstance(stages, list) and stages and isinstance(stages[-1], Mapping) else {}
    params = last.get("params")
    options = params if isinstance(params, Mapping) else {k: v for k, v in last.items() if k not in ("name", "method")}
    if not last:
        return {}
    return {"options": dict(options)} | ({"family": str(last["method"])} if last.get("method") else {})


def _dataset(name: str, data: Path) -> Dataset:
    from leaderboard import catalogue

    if Path(name).exists():
        datasets, _ = catalogue.match([name], data)
        if len(datasets) != 1:
            raise LotteError(f"{name} holds {len(datasets)} datasets, but a run belongs to one; name it: {name}/KIND")
        return datasets[0]
    try:
        return find(name, data)
    except UnavailableError:
        datasets, _ = catalogue.match([name], data)  # says what is near, or how to get it
        return datasets[0]


def _stored(record: Record, source: Path, folder: Path) -> Path:
    target = folder / stem_of(record)
    with lock.held(target.parent):  # whether its place is free, and taking it
        if (taken := target.with_name(f"{target.name}.json")).exists():
            raise MismatchError(f"{taken} already exists; remove it, or give the system another name with --system")
        return store(record, source, target)


def _stamped(record: Record, by: str) -> Record:
    stamp = {"by": by, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    log = [{**stamp, **entry} for entry in record.verification.log]
    return record.changed(verification={**record.content["verification"], "log": log})


def _run(path: Path, record: Record) -> Path:
    if record.run.file is None:
        raise MismatchError(f"{path} has no run; it was imported without one")
    if (run := beside(path, record.run.file)) is None or not run.is_file():
        raise UnavailableError(f"{path} names the run {record.run.file!r:.60}, which is not beside it")
    if artifact.sha256(run) != record.run.sha256:
        raise MismatchError(f"{run} is not the run that {path} was made from; `lotte board verify` shows more")
    return run


def _is_json(file: Path) -> bool:
    with opened(file) as source:
        return source.read(64).lstrip()[:1] in (b"{", b"[")


def _yaml(text: list[str], file: Path) -> dict[str, Any]:
    """Read YAML as plain values. Our own is JSON in its values, and read without a YAML reader."""
    if sum(map(len, text)) > _LARGEST:
        raise CorruptFileError(f"{file}: its header is longer than {_LARGEST:,} characters")
    try:
        try:
            pairs = [line.partition(": ") for line in text]
            return unique_keys([(_plain(str(json.loads(key))), _plain(json.loads(value))) for key, _, value in pairs])
        except ValueError:
            sections = _plain(_loaded("\n".join(text), file))
    # PyYAML lets through what its constructors raise: `!!timestamp x` is an AttributeError, `!!bool x` a KeyError
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CorruptFileError(f"{file}: its header is not YAML ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(sections, dict):
        raise CorruptFileError(f"{file}: its header is {type(sections).__name__}, and should be sections with names")
    return sections


def _loaded(text: str, file: Path) -> Any:
    """Return what YAML says; ValueError for what is none, or refers back: a few lines can name a billion values."""
    yaml = extras.package("yaml", f"{file}: its header")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it has an alias, which is not read here: write the value out")
        _require_unique_keys(yaml.compose(text, yaml.SafeLoader))
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _require_unique_keys(node: Any) -> None:
    """Raise ValueError if a mapping of a YAML document names a key twice, of which PyYAML takes the last."""
    if node is None or node.id == "scalar":
        return
    parts = node.value
    if node.id == "mapping":
        unique_keys([(str(key.value), None) for key, _ in node.value])
        parts = [part for pair in node.value for part in pair]
    for part in parts:
        _require_unique_keys(part)


def _plain(value: Any) -> Any:
    """Return a value as JSON can have it: what it has no word for, a date or NaN, becomes text."""
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(part) for part in value]
    if value is None or (isinstance(value, int | float) and abs(value) < LARGEST_NUMBER):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()  # an unpaired surrogate is not text


def _known(value: Any) -> Any:
    """Return a tree without what is None or empty."""
    if isinstance(value, Mapping):
        kept = {key: _known(part) for key, part in value.items()}
        return {key: part for key, part in kept.items() if part not in (None, {}, [])}
    if isinstance(value, list):
        return [_known(part) for part in value]
    return value
