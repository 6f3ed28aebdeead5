"""Readers of a record's file and of the records of a folder."""

from collections.abc import Callable
from pathlib import Path

from leaderboard.record.schema import SCHEMA, Record, parse, summary
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError, absent, shown
from lotte.parsing import json_of

LARGEST = 1 << 28  # bytes of a record: the values of 80,000 questions take 15 MB


def read(path: Path) -> Record:
    """Return the record of a file. It is held to its form and its id, and to nothing else.

    Raises  as `parsed`; CorruptFileError if it is not a record
    """
    record = parsed(path)
    if isinstance(record, Record):
        return record
    raise CorruptFileError(f"{path}: {summary(record)}; run `lotte eval` again")


def parsed(path: Path) -> Record | list[str]:
    """Return the record of a file, or every problem of its form.

    Raises  UnavailableError if there is no such file, CorruptFileError if it is not JSON, MismatchError if another
            version of us wrote it
    """
    try:
        if path.stat().st_size > LARGEST:
            raise CorruptFileError(f"{path} is larger than {LARGEST >> 20} MB, too large for a record")
        content = json_of(path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise absent(path, "; `lotte eval` makes it, a record: SYSTEM/DATASET.json") from None
    except CorruptFileError as error:
        raise CorruptFileError(f"{error}; run `lotte eval` again") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise MismatchError(
            f"{path} has schema {shown(schema)}, this is {SCHEMA!r}. Run `lotte eval` again, "
            "or read it with the commit it names."
        )
    return parse(content)


def readable(folder: Path, say: Callable[[str], None]) -> list[tuple[Path, Record]]:
    """Return every record below a folder, with its path; one that cannot be read is reported and left out.

    A folder that is not there has no record yet.
    """
    records = []
    for path in record_files(folder) if folder.is_dir() else []:
        try:
            records.append((path, read(path)))
        except LotteError as error:
            say(f"left out: {error}")
    return records


def is_record(path: Path) -> bool:
    """Whether a file is a record, damaged or of another version too, or is empty: nobody's work is lost with it.

    One that says nothing of it any more is known by the run beside it.
    """
    text = path.read_bytes()
    runs = (path.with_suffix(ending) for ending in (".trec", ".trec.gz"))
    return not text or SCHEMA.partition("/")[0].encode() in text or any(run.is_file() for run in runs)


def record_files(folder: Path) -> list[Path]:
    """Return every record below a folder, in order of path; files and folders that begin with a dot are none.

    Raises  UnavailableError if it is not a folder
    """
    if not folder.is_dir():
        raise UnavailableError(f"{folder} is not a folder of records; `lotte eval` and `lotte board add` make one")
    names = (path.relative_to(folder) for path in folder.rglob("*.json"))
    return [folder / name for name in sorted(names) if not any(part.startswith(".") for part in name.parts)]
