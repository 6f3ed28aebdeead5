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
_OTHERWISE = {"default": ("qrels",)}  # where MTEB's copies have their judgments if not there


def is_installed() -> bool:
    """Whether the package `datasets` is there."""
    return find_spec("datasets") is not None


def tables(hub: Hub) -> tuple[dict[str, Iterable[Row]], str]:
    """Return the tables of a set, each to be read once, and where they come from. Nothing in the repository is run.

    Raises  UnavailableError if the package is missing, or the set cannot be had
    """
    datasets = extras.package("datasets", hub.repo)
    loaded: dict[str, Iterable[Row]] = {}
    revisions: dict[str, str] = {}
    for table, (config, split) in hub.configs.items():
        repo = hub.others.get(table, hub.repo)
        revision = revisions.setdefault(repo, hub.revision or _newest(repo))
        loaded[table] = _loaded(datasets, repo, revision, config, split)
    return loaded, " ".join(f"huggingface:{repo}@{revision}" for repo, revision in revisions.items())


def _newest(repo: str) -> str:
    """Return the newest revision of a repository."""
    hub = extras.package("huggingface_hub", repo)
    try:
        return str(hub.HfApi().dataset_info(repo).sha)
    except Exception as error:  # of a dozen kinds: no network, no such repository, not allowed
        raise UnavailableError(f"{repo}: its revision could not be looked up ({reason(error)})") from error


def _loaded(datasets: Any, repo: str, revision: str, config: str, split: str) -> Iterable[Row]:
    """Return a table; one whose configuration or only split has the other of two usual names is found too."""
    first: Exception | None = None
    for name in (config, *_OTHERWISE.get(config, ())):
        try:
            there = list(datasets.get_dataset_split_names(repo, name, revision=revision))
            chosen = there[0] if split not in there and len(there) == 1 else split
            rows: Iterable[Row] = datasets.load_dataset(repo, name, split=chosen, revision=revision)
            return rows
        except LotteError:
            raise
        except Exception as error:  # its own errors have no common base
            first = first or error
    raise UnavailableError(
        f"{repo} at {revision[:12]}: {config}/{split} could not be loaded ({reason(first or ValueError())})"
    ) from first


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
