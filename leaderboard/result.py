"""A result: what a system scored on a dataset, and what it takes to believe it.

One file, one result, the same bytes for the same result: a git diff of a
folder of them is the board's history. `id` is the sha256 of all the rest, so
a number that was changed by hand is noticed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

from lotte import artifact
from lotte.errors import CorruptFileError, MismatchError, absent, shown, writing
from lotte.parsing import json_of

LARGEST = 1 << 28  # bytes of a record: the values of 80,000 questions take 15 MB
SCHEMA = "lotte-result/1"  # raise the number when a field changes meaning; never reuse one

Section: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Result:
    created: str  # UTC
    retriever: Section  # name, family, options, model, index, search, training_data
    dataset: Section  # name, source, sha256 of corpus, queries and qrels, counts, licence
    measures: Section  # official, tool, version, aggregate, per_query
    run: Section  # file, sha256, depth, ties, missing
    cost: Section  # seconds, latency, bytes
    platform: Section
    implementation: Section  # command, commit, dirty, seeds
    contamination: Sequence[Section]  # dataset, level, evidence
    verification: Section  # level: self-run, rescored, reproduced

    @property
    def value(self) -> float:
        """The mean of the measure that the dataset's authors report."""
        return self.mean(self.measures["official"])

    def mean(self, measure: str) -> float:
        value: float = self.measures["aggregate"][measure]["value"]
        return value

    def record(self) -> dict[str, Any]:
        record = {"schema": SCHEMA, **asdict(self)}
        return {**record, "id": artifact.digest(record)}

    def text(self) -> str:
        """Return what the file of the record holds. Raises ValueError if a number of it is not finite."""
        return json.dumps(self.record(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, path: Path, run: Path | None = None) -> Path:
        """Write the record, whole or not at all.

        run  a whole file in the same folder, which takes the name that the record gives its run. Both are written
             by then, and the older record goes before the run does: a record never stands beside a run that is not
             its own, and a full disk leaves the older pair

        Raises  ValueError if a number of it is not finite, which JSON has no word for
        """
        text = self.text()
        with writing(path.parent):
            if run is None:
                return artifact.write_whole(path, text)
            whole = path.with_name(f".{path.name}")
            try:
                with artifact.Writer(whole) as file:
                    file.write(text.encode())
                path.unlink(missing_ok=True)
                run.replace(path.with_name(self.run["file"]))
                return whole.replace(path)
            finally:
                whole.unlink(missing_ok=True)


def read(path: Path) -> Result:
    """Raises  UnavailableError if there is no such file, MismatchError if another version of us wrote it,
    CorruptFileError if it is not what was written
    """
    try:
        if path.stat().st_size > LARGEST:
            raise CorruptFileError(f"{path} is larger than {LARGEST >> 20} MB, which no record is")
        record = json_of(path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise absent(path, "; `lotte eval` makes it, a record: SYSTEM/DATASET.json") from None
    except CorruptFileError as error:
        raise CorruptFileError(f"{error}; run `lotte eval` again") from None
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise MismatchError(
            f"{path} has schema {shown(schema)}, this is {SCHEMA!r}. Run `lotte eval` again, "
            "or read it with the commit it names."
        )
    names = {field.name for field in fields(Result)}
    if odd := record.keys() ^ {"schema", "id", *names}:
        raise CorruptFileError(f"{path}: {shown(', '.join(sorted(odd)), 160)}: missing, or not of {SCHEMA}")
    result = Result(**{name: record[name] for name in names})
    try:
        expected = result.record()["id"]
    except UnicodeEncodeError:
        raise CorruptFileError(f"{path}: a text in it has half of a character; run `lotte eval` again") from None
    except ValueError:  # NaN is no JSON, but Python reads it
        raise CorruptFileError(f"{path}: a number in it is not finite; run `lotte eval` again") from None
    except RecursionError:
        raise CorruptFileError(f"{path}: nested too deeply to be a record") from None
    if record["id"] != expected:
        raise CorruptFileError(
            f"{path} was changed after it was written: it says id {shown(record['id'])}, its content has {expected!r}"
        )
    return result
