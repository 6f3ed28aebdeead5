"""How a record comes onto the board: checked against its dataset, scored again, stored with its run, whole.

What a record says of its own verification is never believed: the board writes
that section anew. The levels are

  self-run    somebody says so; as `lotte eval` writes it
  rescored    the board computed every value from the run
  reproduced  somebody else repeated it and came to the same, within a tolerance
  imported    another tool's run or score; it never rises, and is never ranked among the others

The log has an entry for each time: who, when, with which commit, and for a
repetition the difference. What a repetition was is kept beside the record,
packed, so that it can be looked at.
"""

import gzip
import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leaderboard import machine
from leaderboard import result as results
from leaderboard.result import Result
from leaderboard.verify import (
    HASHES,
    IMPORTED,
    REPRODUCED,
    RESCORED,
    Truth,
    beside,
    inspect,
    place,
    read,
    rescore,
)
from lotte import artifact, lock
from lotte.errors import LotteError, MismatchError, shown, writing

AGREES = 0.005  # the largest difference of the official measure at which a repetition is one


class RefusedError(MismatchError):
    """A record that the board does not take, with every reason."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__(f"{path} is refused: {problems[0] if len(problems) == 1 else f'{len(problems)} problems'}")
        self.problems = problems


def add(path: Path, folder: Path, truth: Truth, *, by: str, replacing: bool = False) -> Path:
    """Score a record again and store it, with its run, in the folder of records. Returns where it stands.

    truth      its dataset, as it is on this disk
    by         who asks, for the log
    replacing  also where a record of the same system with the same settings stands

    Raises  RefusedError if anything of it does not match; LotteError if its place is taken
    """
    result = _checked(path, truth)
    target = folder / place(result)
    with lock.held(target.parent):  # whether its place is free, and taking it
        return _stored(path, result, target, by=by, replacing=replacing)


def _stored(path: Path, result: Result, target: Path, *, by: str, replacing: bool) -> Path:
    own = result.record()["id"]
    stored = _there(target)
    for other_path, other in stored.items():
        if own in (other.record()["id"], *_submitted(other)):
            if other.verification["level"] in (RESCORED, REPRODUCED) and _log(other):
                return other_path
            target = other_path.with_suffix("")
            break
        if settings(other) == settings(result):
            if not replacing:
                raise MismatchError(
                    f"{other_path} is of the same system with the same settings ({other.value:.4f}, this one "
                    f"{result.value:.4f}); --replace takes its place, --reproduces {other_path} makes this a repetition"
                )
            target = other_path.with_suffix("")
            break
    else:
        if stored:
            target = target.with_name(f"{target.name}@{artifact.digest(settings(result))[:8]}")
    level = IMPORTED if result.verification["level"] == IMPORTED else RESCORED
    entry = {"what": RESCORED, "record": own, **_stamp(by)}
    return store(replace(result, verification={"level": level, "log": [entry]}), path.parent, target)


def reproduce(
    path: Path, original: Path, truth: Truth, *, by: str, tolerance: float = AGREES
) -> tuple[dict[str, Any], bool]:
    """Log a record as a repetition of another one that is on the board. Returns the entry, and whether it agrees.

    If the official measure differs by at most `tolerance`, the other's level becomes "reproduced".

    Raises  RefusedError if anything of either does not match; MismatchError if it is no repetition
    """
    result, first = _checked(path, truth), _checked(original, truth)
    with lock.held(original.parent):  # its log is read, and written with one entry more
        if (now := read(original)).record()["id"] != first.record()["id"]:
            raise MismatchError(f"{original} was changed while {path} was scored; run the command again")
        return _logged(path, result, original, now, by=by, tolerance=tolerance)


def _logged(
    path: Path, result: Result, original: Path, first: Result, *, by: str, tolerance: float
) -> tuple[dict[str, Any], bool]:
    if first.verification["level"] == IMPORTED:
        raise MismatchError(f"{original} was imported, and an imported record stays one; add this one by itself")
    same = replace(result, verification={}, run={**result.run, "file": first.run["file"]}) == replace(
        first, verification={}
    )
    if same or result.record()["id"] in _submitted(first):
        raise MismatchError(f"{path} is {original} itself, and no repetition; run it again with `lotte eval`")
    mine, wanted = (_what_ran(one) for one in (result, first))
    if odd := sorted(key for key in wanted if mine[key] != wanted[key]):
        raise MismatchError(
            f"{path} is no repetition of {original}: {odd[0]} was {shown(wanted[odd[0]])}, and is {shown(mine[odd[0]])}"
        )
    if by in (named := {str(entry.get("by")) for entry in _log(first) if entry.get("what") == RESCORED}):
        raise MismatchError(
            f"{original} was added by {by}, and repeating it takes somebody else: name them with --by; "
            f"on its log stand {', '.join(sorted(named))}"
        )
    shared = [name for name in first.measures["aggregate"] if name in result.measures["aggregate"]]
    difference = {name: result.mean(name) - first.mean(name) for name in shared}
    official = first.measures["official"]
    agrees = abs(difference[official]) <= tolerance
    entry = {
        "what": REPRODUCED if agrees else "repeated, and differs",
        **_stamp(by),
        "record": result.record()["id"],
        "difference": difference,
        "same_values": _same_values(result, first, official),
        "tolerance": tolerance,
        "platform": {"cpu": result.platform.get("cpu"), "gpu": result.platform.get("gpu")},
        "their_commit": result.implementation.get("commit"),
    }
    stem = f"{original.stem}.repeat-{entry['record'][:8]}"
    run = path.parent / result.run["file"]
    for key, name, content in (
        ("evidence", f"{stem}.json.gz", path.read_bytes()),
        ("run", f"{stem}.trec.gz", gzip.decompress(run.read_bytes()) if run.suffix == ".gz" else run.read_bytes()),
    ):
        with writing(original.parent):
            artifact.write_whole(original.parent / name, _packed(content))
        entry |= {key: name, f"{key}_sha256": artifact.sha256(original.parent / name)}
    level = REPRODUCED if agrees else first.verification["level"]
    log = [*_log(first), entry]
    replace(first, verification={**first.verification, "level": level, "log": log}).write(original)
    return entry, agrees


def store(result: Result, source: Path, target: Path) -> Path:
    """Write a record and a copy of its run at TARGET.json and TARGET.trec. Returns the record's path.

    The run is there before the record that names it, and under another name
    than that of a record it replaces: whoever reads, reads two that belong
    together.

    source  the folder that the run lies in
    """
    record = target.with_name(f"{target.name}.json")
    old = _run_of(record)
    if (name := result.run.get("file")) is not None:
        run = source / name
        ending = ".trec.gz" if run.suffix == ".gz" else ".trec"
        copy = target.with_name(f"{target.name}{ending}")
        if copy.exists() and copy.resolve() != run.resolve() and artifact.sha256(copy) != result.run["sha256"]:
            copy = target.with_name(f"{target.name}.{result.run['sha256'][:8]}{ending}")
        if copy.resolve() != run.resolve():
            with writing(target.parent):
                target.parent.mkdir(parents=True, exist_ok=True)
                if (found := _copy(run, copy)) != result.run["sha256"]:
                    copy.unlink()
                    raise MismatchError(f"{run} has sha256 {found[:8]}, the record says {result.run['sha256'][:8]}")
        result = replace(result, run={**result.run, "file": copy.name})
    result.write(record)
    if old and old.name != result.run.get("file"):
        old.unlink(missing_ok=True)
    return record


def settings(result: Result) -> dict[str, Any]:
    """Return what makes a record one of the same system: its options, its model, how deep it searched."""
    model = result.retriever.get("model")
    return {
        "name": result.retriever["name"],
        "options": result.retriever.get("options"),
        "model": model.get("sha256") if isinstance(model, Mapping) else None,
        "k": (result.retriever.get("search") or {}).get("k"),
    }


def _what_ran(result: Result) -> dict[str, Any]:
    return {**settings(result), **{key: result.dataset[key] for key in HASHES}, "official": result.measures["official"]}


def _checked(path: Path, truth: Truth) -> Result:
    result = results.read(path)
    problems = list(inspect(path, result))
    if not problems and result.dataset["name"] != truth.dataset.name:
        problems = [f"dataset.name: wanted {truth.dataset.name}, found {result.dataset['name']}"]
    if not problems and result.run.get("file") is None:
        problems = ["run.file: a record without a run cannot be scored again"]
    if problems := problems or list(rescore(path, result, truth)):
        raise RefusedError(path, problems)
    return result


def _there(target: Path) -> dict[Path, Result]:
    """Return the records of this system and dataset that are on the board, whatever their settings."""
    paths = [target.with_name(f"{target.name}.json"), *sorted(target.parent.glob(f"{target.name}@*.json"))]
    found: dict[Path, Result] = {}
    for path in paths:
        if path.is_file():
            try:
                found[path] = read(path)
            except LotteError as error:
                raise MismatchError(f"its place is taken by a file that is no record: {error}") from None
    return found


def _run_of(record: Path) -> Path | None:
    try:
        return beside(record, read(record).run.get("file"))
    except (LotteError, AttributeError):
        return None


def _log(result: Result) -> list[Mapping[str, Any]]:
    log = result.verification.get("log")
    return [entry for entry in log if isinstance(entry, Mapping)] if isinstance(log, list) else []


def _submitted(result: Result) -> list[Any]:
    """Return the ids that the records had which this one was made from."""
    return [entry.get("record") for entry in _log(result)]


def _stamp(by: str) -> dict[str, Any]:
    return {"by": by, "date": datetime.now(UTC).isoformat(timespec="seconds"), **machine.code()}


def _same_values(a: Result, b: Result, measure: str) -> float:
    """Return the share of queries that both have the same value for."""
    of_a, of_b = (one.measures["per_query"][measure] for one in (a, b))
    same = sum(bool(of_a[query_id] == of_b[query_id]) for query_id in of_a)
    return same / len(of_a)


def _packed(content: bytes) -> bytes:
    """Return a .gz of this content, the same bytes for the same content."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        file.write(content)
    return buffer.getvalue()


def _copy(source: Path, target: Path) -> str:
    """Copy a file whole or not at all. Returns the sha256 of what was copied."""
    with source.open("rb") as file, artifact.Writer(target) as copy:
        while block := file.read(1 << 20):
            copy.write(block)
    return copy.sha256
