"""Tables of a dataset at Hugging Face, through its package `datasets`, at a revision that is named.

The package is optional. Files that somebody has downloaded already, Parquet
or JSON lines, are read without it.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lotte import extras, parquet
from lotte.errors import LotteError, UnavailableError, reason
from lotte.jsonl import objects
from lotte.lines import plain_or_gz
from lotte.release import Hub

Row = Mapping[str, Any]


def is_installed() -> bool:
    """Whether the package `datasets` is there."""
    return find_spec("datasets") is not None


def tables(hub: Hub) -> dict[str, Iterable[Row]]:
    """Return the tables of a set, each to be read once. Nothing in the repository is run.

    Raises  UnavailableError if the package is missing, or the set cannot be had
    """
    datasets = extras.package("datasets", hub.repo)
    loaded: dict[str, Iterable[Row]] = {}
    for table, (config, split) in hub.configs.items():
        try:
            loaded[table] = datasets.load_dataset(hub.repo, config, split=split, revision=hub.revision)
        except LotteError:
            raise
        except Exception as error:  # its own errors have no common base
            raise UnavailableError(
                f"{hub.repo} at {hub.revision[:12]}: {config}/{split} could not be loaded ({reason(error)})"
            ) from error
    return loaded


def rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a table that is here: a .parquet, a folder of them, or .jsonl, plain or .gz.

    Raises  UnavailableError if there is nothing, CorruptFileError if a file is damaged
    """
    if path.is_dir():
        parts = sorted(path.glob("*.parquet"))
        if not parts:
            raise UnavailableError(f"{path} holds no .parquet")
        for part in parts:
            yield from rows(part)
    elif path.suffix == ".parquet":
        yield from _parquet(path)
    else:
        yield from (row for _, row in objects(plain_or_gz(path)))


def _parquet(path: Path) -> Iterator[Row]:
    for batch in parquet.batches(path, {}):
        yield from batch.to_pylist()
