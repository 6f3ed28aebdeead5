"""What other tools write, taken in; what they read, written.

An ir_metadata header goes into the run itself, as comment lines in front of
it: `# ir_metadata.start`, YAML, `# ir_metadata.end`. Taken in, a run is read
from the line after it: elsewhere a `#` is the first letter of an id.
The YAML we write is JSON on one line per section, which every YAML reader
takes. The values by query are `run TAB query TAB measure TAB value`, the mean
under the query `all`, as TIRA and trec_eval have them.

Source  ir-metadata.org, schema 0.1 (Breuer et al., SIGIR 2022); repro_eval's MetadataHandler;
        trec_eval -q; mteb: see mteb.py
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from leaderboard import admission, mteb
from leaderboard.result import Result
from leaderboard.shelf import find, records
from leaderboard.verify import IMPORTED, beside, is_name, is_number, place, read, require_form
from lotte import artifact, extras, lock
from lotte.dataset import Dataset
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError, absent, writing
from lotte.lines import lines, opened

START, END = "ir_metadata.start", "ir_metadata.end"
_HEADER = 10_000  # lines at most; a header that does not end is none
_LARGEST = 1 << 20  # characters of one
_HUGE = 1e300  # a number that is larger stays text


def export(paths: Iterable[Path], form: str, out: Path) -> Iterator[Path]:
    """Write records for another tool. Yields what was written.

    paths  records, and folders of them
    form   "mteb", "ir_metadata" or "tira"

    Raises  MismatchError for a record that the other tool has no place for
    """
    found = [(path, read(path)) for one in paths for path in (records(one) if one.is_dir() else [one])]
    with writing(out):
        if form == "mteb":
            yield from mteb.write(found, out)
            return
        for path, result in found:
            target = out / place(result)
            yield _with_header(path, result, target) if form == "ir_metadata" else _by_query(path, result, target)


def take_in(
    file: Path, folder: Path, data: Path, *, dataset: str = "", system: str = "", by: str = ""
) -> Iterator[Path]:
    """Store another tool's run, scored by us, or its scores, as imported records. Yields where they stand.

    dataset, system  of a run; a score names its own

    Raises  MismatchError if a place is taken; what reading and scoring the file raises
    """
    if not file.is_file():
        raise absent(file, "; name a run, or a result of MTEB")
    if _is_json(file):
        if dataset or system:
            raise LotteError(
                f"{file} is a result of MTEB, which names its dataset and its model; leave the options out"
            )
        for result in mteb.read(file):
            yield _stored(_stamped(result, by), file.parent, folder)
        return
    if not dataset:
        raise LotteError(f"{file} is a run, and a run does not say of what: name it with --dataset")
    yield _take_in_run(file, folder, _dataset(dataset, data), system, by)


def header(file: Path) -> tuple[dict[str, Any], int]:
    """Return what the ir_metadata header of a run says, {} if it has none, and how many lines it takes.

    Raises  CorruptFileError if it is no YAML, or has no end; UnavailableError if PyYAML is needed and not installed
    """
    text = _header(file)
    return ({}, 0) if text is None else (_yaml(text, file), len(text) + 2)


def _header(file: Path) -> list[str] | None:
    """Return the lines between the first and the last of a run's header; None if it has none."""
    text: list[str] = []
    number = 0
    for number, line in lines(file):
        bare = line.removeprefix("#").strip()
        if number == 1 and bare != START:
            return None
        if bare == END:
            return text
        if number > 1:
            text.append(line.removeprefix("#").removeprefix(" "))
        if number > _HEADER:
            break
    if number == 0:
        return None
    raise CorruptFileError(f"{file}: its header begins with {START} and has no {END}")


def metadata(result: Result) -> dict[str, Any]:
    """Return a record as ir_metadata has it: PRIMAD, with what is not known left out."""
    machine, made = result.platform, result.implementation
    libraries = machine.get("libraries") or {}
    log = result.verification.get("log")
    actor = next((entry.get("by") for entry in log if isinstance(entry, Mapping)), None) if log else None
    memory: Any = machine.get("memory_bytes")
    found = {
        "schema-version": 0.1,
        "run-version": 1.0,
        "tag": str(result.retriever["name"]),
        "platform": {
            "hardware": {
                "cpu": {"model": machine.get("cpu"), "number of cores": machine.get("cores")},
                "gpu": {"model": ", ".join(map(str, machine.get("gpu") or [])) or None},
                "ram": f"{memory / 2**30:.0f} GB" if is_number(memory) else None,
            },
            "operating system": {"distribution": machine.get("os")},
            "software": {
                "libraries": {"python": [f"{name}=={version}" for name, version in sorted(libraries.items())]}
            },
        },
        "research goal": {"evaluation": {"reported measures": sorted(result.measures["aggregate"])}},
        "implementation": {
            "executable": {"cmd": made.get("command") or None},
            "source": {"lang": ["python"], "commit": made.get("commit")},
        },
        "method": {
            "automatic": True,
            "score ties": result.run.get("ties"),
            "retrieval": [
                {
                    "name": result.retriever["name"],
                    "method": result.retriever.get("family"),
                    "params": result.retriever.get("options"),
                    "model": result.retriever.get("model"),
                }
            ],
        },
        "actor": {"name": actor, "role": "experimenter"},
        "data": {
            "test collection": {
                "name": result.dataset["name"],
                "source": result.dataset["source"],
                **{key: result.dataset.get(key) for key in ("corpus_sha256", "queries_sha256", "qrels_sha256")},
            },
            "training data": [{"name": name} for name in result.retriever.get("training_data") or []],
        },
    }
    known = _known(found)
    assert isinstance(known, dict)
    return known


def _with_header(path: Path, result: Result, target: Path) -> Path:
    """Write the run of a record with the record in front of it."""
    run = _run(path, result)
    sections = (
        f"# {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in metadata(result).items()
    )
    target = target.with_name(f"{target.name}.trec")
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened(run) as source, artifact.Writer(target) as file:
        file.write("".join((f"# {START}\n", *sections, f"# {END}\n")).encode())
        while block := source.read(1 << 20):
            file.write(block)
    return target


def _by_query(path: Path, result: Result, target: Path) -> Path:
    per_query = result.measures["per_query"]
    if not per_query:
        raise MismatchError(f"{path} has no values by query; it was imported without a run")
    run = str(result.retriever["name"])
    rows = [
        f"{run}\t{query_id}\t{measure}\t{value:.6f}\n"
        for measure, values in per_query.items()
        for query_id, value in (*values.items(), ("all", result.mean(measure)))
    ]
    return artifact.write_whole(target.with_name(f"{target.name}.tsv"), "".join(rows))


def _take_in_run(file: Path, folder: Path, dataset: Dataset, system: str, by: str) -> Path:
    from leaderboard.evaluate import Order, name_of, rescore
    from leaderboard.evaluate import place as in_folder

    said, above = header(file)
    tag = said.get("tag")
    name = system or (str(tag) if isinstance(tag, str | int | float) else name_of(file))
    if not is_name(name.replace(":", ".").replace("/", "__")):
        raise CorruptFileError(
            f"{file} says it is of {name[:60]!r}, which cannot be a name here; give one with --system"
        )
    name = name.replace("/", "__")
    with TemporaryDirectory(prefix="lotte-") as scratch:
        order = Order(out=Path(scratch), command=f"lotte board import {file.name}")
        result = rescore(file, name, dataset, order, header=above)
        log = [{"what": IMPORTED, "tool": "run", "file": file.name, "sha256": artifact.sha256(file)}]
        if said:
            log[0]["ir_metadata"] = artifact.digest(said)
        result = replace(
            result,
            retriever={**result.retriever, **_retriever(said)},
            platform={},  # what scored it did not make it
            verification={"level": IMPORTED, "log": log},
        )
        written = in_folder(order.out, name, dataset)
        return _stored(_stamped(result, by), written.parent, folder)


def _retriever(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a header says of the system: its last stage's method and options."""
    method = said.get("method")
    stages = method.get("retrieval") if isinstance(method, Mapping) else None
    last = stages[-1] if isinstance(stages, list) and stages and isinstance(stages[-1], Mapping) else {}
    params = last.get("params")
    options = params if isinstance(params, Mapping) else {k: v for k, v in last.items() if k not in ("name", "method")}
    found = {"options": dict(options)}
    return {**found, "family": str(last["method"])} if last.get("method") else found if last else {}


def _dataset(name: str, data: Path) -> Dataset:
    from leaderboard import catalogue

    if Path(name).exists():
        found, _ = catalogue.match([name], data)
        if len(found) != 1:
            raise LotteError(f"{name} holds {len(found)} datasets, and a run is of one; name it: {name}/KIND")
        return found[0]
    try:
        return find(name, data)
    except UnavailableError:
        found, _ = catalogue.match([name], data)  # says what is near, or how to get it
        return found[0]


def _stored(result: Result, source: Path, folder: Path) -> Path:
    require_form(result, source)
    try:
        result.record()
    except ValueError:  # NaN, or half of a character
        raise CorruptFileError(f"{source}: a value in it is no number and no text, and cannot be kept") from None
    target = folder / place(result)
    with lock.held(target.parent):  # whether its place is free, and taking it
        if (taken := target.with_name(f"{target.name}.json")).exists():
            raise MismatchError(f"{taken} is there already; remove it, or name the system otherwise with --system")
        return admission.store(result, source, target)


def _stamped(result: Result, by: str) -> Result:
    stamp = {"by": by, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    log = [{**stamp, **entry} for entry in result.verification["log"]]
    return replace(result, verification={**result.verification, "log": log})


def _run(path: Path, result: Result) -> Path:
    if result.run.get("file") is None:
        raise MismatchError(f"{path} has no run; it was imported without one")
    if (run := beside(path, result.run["file"])) is None or not run.is_file():
        raise UnavailableError(f"{path} names the run {result.run['file']!r:.60}, which is not beside it")
    if artifact.sha256(run) != result.run.get("sha256"):
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
            return {_plain(str(json.loads(key))): _plain(json.loads(value)) for key, _, value in pairs}
        except ValueError:
            found = _plain(_loaded("\n".join(text), file))
    # PyYAML lets through what its constructors raise: `!!timestamp x` is an AttributeError, `!!bool x` a KeyError
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CorruptFileError(f"{file}: its header is no YAML ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(found, dict):
        raise CorruptFileError(f"{file}: its header is {type(found).__name__}, and should be sections with names")
    return found


def _loaded(text: str, file: Path) -> Any:
    """Return what YAML says; ValueError for what is none, or refers back: a few lines can name a billion values."""
    yaml = extras.package("yaml", f"{file}: its header")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it has an alias, which is not read here: write the value out")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _plain(value: Any) -> Any:
    """Return a value as JSON can have it: what it has no word for, a date or NaN, becomes text."""
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    if value is None or (isinstance(value, int | float) and isfinite(value) and abs(value) < _HUGE):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()  # half a character is no text


def _known(value: Any) -> Any:
    """Return a tree without what is None or empty."""
    if isinstance(value, Mapping):
        kept = {key: _known(one) for key, one in value.items()}
        return {key: one for key, one in kept.items() if one not in (None, {}, [])}
    if isinstance(value, list):
        return [_known(one) for one in value]
    return value
