"""A dataset on this disk, found by the name in a record, with what a record must say of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotte.dataset import Corpus, Dataset, corpus_sha256, identity
from lotte.errors import UnavailableError


@dataclass(frozen=True)
class LoadedDataset:
    """A dataset, and the facts of it that records repeat."""

    dataset: Dataset
    facts: Mapping[str, Any]  # the three hashes, and counts

    @classmethod
    def of(cls, dataset: Dataset, corpora: dict[object, str] | None = None) -> "LoadedDataset":
        """Read all of the dataset, once. `corpora` remembers the hashes of collections that several datasets ask."""
        corpora = {} if corpora is None else corpora
        if (key := corpus_key(dataset.corpus)) not in corpora:
            corpora[key] = corpus_sha256(dataset.corpus)
        return cls(dataset, identity(dataset, corpora[key]))


def find(name: str, data: Path) -> Dataset:
    """Return a dataset by the name in a record: from the data folder, or one that stands in it under that name.

    Raises  UnavailableError if it is not there; what else reading it raises
    """
    from leaderboard import catalogue
    from lotte import reading

    if name in catalogue.names(data):
        return catalogue.load(name, data)
    for folder in (data / name, data.parent / name, data):
        if reading.is_readable(folder):
            try:
                datasets = reading.read(folder)
            except UnavailableError:
                continue
            if namesakes := [dataset for dataset in datasets if dataset.name == name]:
                return namesakes[0]
    raise UnavailableError(f"no dataset of that name is in {data}; point --data at the folder that it was scored from")


def corpus_key(corpus: Corpus) -> object:
    """Return what datasets of one collection share: its file, or the collection itself if it has none."""
    path = getattr(corpus, "path", None)
    return path.resolve() if path else id(corpus)
