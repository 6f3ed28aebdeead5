"""Adding a record to the board: it is checked against its dataset, scored again, and stored with its run.

A record's own verification section is never trusted: the board writes it anew.
The levels are

  self-run    unverified; as `lotte eval` writes it
  rescored    the board computed every value from the run
  reproduced  somebody else repeated it with the same result, within a tolerance
  imported    another tool's run or score; the level never changes, and the record is not ranked

The log has an entry for each time: who, when, with which commit, and for a
repetition the difference. The repetition is kept beside the record,
compressed, for inspection.
"""

import gzip
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from leaderboard import machine
from leaderboard.record.loaded_dataset import LoadedDataset
from leaderboard.record.read import parsed, read
from leaderboard.record.schema import Record
from leaderboard.record.sections import IMPORTED, REPRODUCED, RESCORED
from leaderboard.record.store import settings, stem_of, store
from leaderboard.record.verify import inspect, rescore
from lotte import artifact, lock
from lotte.errors import LotteError, MismatchError, shown, writing

AGREES = 0.005  # the largest difference of the official measure at which a repetition is one


class RefusedError(MismatchError):
    """A record that the board does not take, with every reason."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__(f"{path} is refused: {problems[0] if len(problems) == 1 else f'{len(problems)} problems'}")
        self.problems = problems


class _Submitted(NamedTuple):
    """A record that was checked and scored again, and who brings it."""

    path: Path
    record: Record
    by: str


def add(path: Path, folder: Path, loaded: LoadedDataset, *, by: str, replacing: bool = False) -> Path:
    """Score a record again and store it, with its run, in the folder of records. Returns where it stands.

    loaded     its dataset, as it is on this disk
    by         who asks, for the log
    replacing  also where a record of the same system with the same settings stands

    Raises  RefusedError if anything of it does not match; LotteError if its place is taken
    """
    submitted = _Submitted(path, _checked(path, loaded), by)
    target = folder / stem_of(submitted.record)
    with lock.held(target.parent):  # whether its place is free, and taking it
        return _stored(submitted, target, replacing=replacing)


def reproduce(
    path: Path, original: Path, loaded: LoadedDataset, *, by: str, tolerance: float = AGREES
) -> tuple[dict[str, Any], bool]:
    """Log a record as a repetition of another one that is on the board. Returns the entry, and whether it agrees.

    If the official measure differs by at most `tolerance`, the other's level becomes "reproduced".

    Raises  RefusedError if anything of either does not match; MismatchError if it is not a repetition
    """
    submitted, first = _Submitted(path, _checked(path, loaded), by), _checked(original, loaded)
    with lock.held(original.parent):  # its log is read, and written with one entry more
        if (now := read(original)).id != first.id:
            raise MismatchError(f"{original} was changed while {path} was scored; run the command again")
        _require_repetition(submitted, original, now)
        return _logged(submitted, original, now, tolerance)


def _checked(path: Path, loaded: LoadedDataset) -> Record:
    record = parsed(path)
    if not isinstance(record, Record):
        raise RefusedError(path, record)
    problems = list(inspect(path, record))
    if not problems and record.dataset.name != loaded.dataset.name:
        problems = [f"dataset.name: wanted {loaded.dataset.name}, found {record.dataset.name}"]
    if not problems and record.run.file is None:
        problems = ["run.file: a record without a run cannot be scored again"]
    if problems := problems or list(rescore(path, record, loaded)):
        raise RefusedError(path, problems)
    return record


def _stored(submitted: _Submitted, target: Path, *, replacing: bool) -> Path:
    record, others = submitted.record, _records_at(target)
    for other_path, other in others.items():
        if record.id in (other.id, *_submitted_ids(other)):
            if other.verification.level in (RESCORED, REPRODUCED) and other.verification.log:
                return other_path
            target = other_path.with_suffix("")
            break
        if settings(other) == settings(record):
            if not replacing:
                raise MismatchError(
                    f"{other_path} has the same system and settings ({other.value:.4f}, this one "
                    f"{record.value:.4f}); --replace takes its place, --reproduces {other_path} makes this a repetition"
                )
            target = other_path.with_suffix("")
            break
    else:
        if others:
            target = target.with_name(f"{target.name}@{artifact.digest(settings(record))[:8]}")
    level = IMPORTED if record.verification.level == IMPORTED else RESCORED
    entry = {"what": RESCORED, "record": record.id, **_stamp(submitted.by)}
    return store(record.changed(verification={"level": level, "log": [entry]}), submitted.path.parent, target)


def _require_repetition(submitted: _Submitted, original: Path, first: Record) -> None:
    """Raise MismatchError if a record is not a repetition, by somebody else, of the first one."""
    path, record, by = submitted
    if first.verification.level == IMPORTED:
        raise MismatchError(f"{original} was imported, and an imported record stays one; add this one by itself")
    if _as_run(record) == _as_run(first) or record.id in _submitted_ids(first):
        raise MismatchError(f"{path} is {original} itself, and no repetition; run it again with `lotte eval`")
    repeated, wanted = _what_ran(record), _what_ran(first)
    if odd := sorted(key for key in wanted if repeated[key] != wanted[key]):
        was, now = shown(wanted[odd[0]]), shown(repeated[odd[0]])
        raise MismatchError(f"{path} is not a repetition of {original}: {odd[0]} was {was}, and is {now}")
    if by in (adders := {str(entry.get("by")) for entry in first.verification.log if entry.get("what") == RESCORED}):
        raise MismatchError(
            f"{original} was added by {by}, and a repetition must be by somebody else: name them with --by; "
            f"its log names {', '.join(sorted(adders))}"
        )


def _logged(submitted: _Submitted, original: Path, first: Record, tolerance: float) -> tuple[dict[str, Any], bool]:
    """Write the first record with one entry more on its log, and the repetition beside it."""
    record = submitted.record
    shared = [name for name in first.measures.aggregate if name in record.measures.aggregate]
    difference = {name: record.mean(name) - first.mean(name) for name in shared}
    agrees = abs(difference[first.official]) <= tolerance
    entry = {
        "what": REPRODUCED if agrees else "repeated, and differs",
        **_stamp(submitted.by),
        "record": record.id,
        "difference": difference,
        "same_values": _same_values(record, first),
        "tolerance": tolerance,
        "platform": {key: record.content["platform"].get(key) for key in ("cpu", "gpu")},
        "their_commit": record.implementation.commit,
    }
    entry |= _evidence(submitted, original)
    said = first.content["verification"]
    level = REPRODUCED if agrees else first.verification.level
    first.changed(verification={**said, "level": level, "log": [*first.verification.log, entry]}).write(original)
    return entry, agrees


def _evidence(submitted: _Submitted, original: Path) -> dict[str, str]:
    """Keep a repetition and its run beside the record that it repeats. Returns their names and hashes."""
    path, record, _ = submitted
    stem = f"{original.stem}.repeat-{record.id[:8]}"
    run = path.parent / str(record.run.file)
    kept: dict[str, str] = {}
    for key, name, content in (
        ("evidence", f"{stem}.json.gz", path.read_bytes()),
        ("run", f"{stem}.trec.gz", gzip.decompress(run.read_bytes()) if run.suffix == ".gz" else run.read_bytes()),
    ):
        with writing(original.parent):
            artifact.write_whole(original.parent / name, _packed(content))
        kept |= {key: name, f"{key}_sha256": artifact.sha256(original.parent / name)}
    return kept


def _as_run(record: Record) -> dict[str, Any]:
    """Return what a record says but for its verification, and what its run is called."""
    content = {key: value for key, value in record.content.items() if key not in ("id", "verification")}
    return {**content, "run": {**content["run"], "file": None}}


def _what_ran(record: Record) -> dict[str, Any]:
    return {**settings(record), **record.dataset.hashes, "official": record.official}


def _records_at(target: Path) -> dict[Path, Record]:
    """Return the records of this system and dataset that are on the board, whatever their settings."""
    paths = [target.with_name(f"{target.name}.json"), *sorted(target.parent.glob(f"{target.name}@*.json"))]
    try:
        return {path: read(path) for path in paths if path.is_file()}
    except LotteError as error:
        raise MismatchError(f"its place is taken by a file that is not a record: {error}") from None


def _submitted_ids(record: Record) -> list[Any]:
    """Return the ids that the records had which this one was made from."""
    return [entry.get("record") for entry in record.verification.log]


def _stamp(by: str) -> dict[str, Any]:
    return {"by": by, "date": datetime.now(UTC).isoformat(timespec="seconds"), **machine.code()}


def _same_values(record: Record, first: Record) -> float:
    """Return the share of queries that both have the same value of the official measure for."""
    values, others = (each.measures.per_query[first.official] for each in (record, first))
    return sum(values[query_id] == others[query_id] for query_id in values) / len(values)


def _packed(content: bytes) -> bytes:
    """Return a .gz of this content, the same bytes for the same content."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        file.write(content)
    return buffer.getvalue()
