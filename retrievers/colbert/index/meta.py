"""What `meta.json` says of an index of late interaction, as types, with one parser and one writer.

`retrievers.index_meta` has checked every value of a file before this parser. A key that an older index does not have
is None, and is left out when the index is written again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from lotte import artifact
from lotte.errors import CorruptFileError, MismatchError, shown
from retrievers import index_meta
from retrievers.index_meta import AGAIN, META

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SegmentMeta:
    """What meta.json says of one segment."""

    number: int  # in the names of its files
    documents: int
    tokens: int
    distance: float  # of its tokens from their centroids, on average
    doc_ids: str  # name of the file with its documents' ids
    paths: tuple[str, ...]  # where the texts were

    @classmethod
    def parse(cls, segment: Mapping[str, Any]) -> "SegmentMeta":
        return cls(**{key.name: segment[key.name] for key in fields(cls)} | {"paths": tuple(segment["paths"])})

    def json(self) -> Json:
        return _json(self) | {"paths": list(self.paths)}


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much an index has of what."""

    documents: int  # when it was built
    tokens: int
    centroids: int
    dim: int
    bits: int
    distance: float  # of the first documents' tokens from their centroids, on average
    deleted: int | None = None  # documents that are still in the files; None if none ever was
    maker: str | None = None  # who made the index, if another program did

    @classmethod
    def parse(cls, counts: Mapping[str, Any], where: Path) -> "Counts":
        for key in fields(cls):
            value, kinds = counts.get(key.name), {"distance": (int, float), "maker": (str,)}.get(key.name, (int,))
            if type(value) not in kinds and not (value is None and key.default is None):
                raise CorruptFileError(f"{where}: counts.{key.name} cannot be {shown(value, 60)}; {AGAIN}")
        values: Json = {key.name: counts.get(key.name) for key in fields(cls)}
        return cls(**values)

    def json(self) -> Json:
        return _json(self)


@dataclass(frozen=True, kw_only=True)
class IndexMeta:
    """What meta.json says of an index. A change makes another one, and the file is replaced as a whole."""

    recipe: Mapping[str, Any]  # retriever, options
    corpus: Mapping[str, Any]  # sha256, path, documents: of the first collection
    counts: Counts
    segments: tuple[SegmentMeta, ...]
    deleted: str | None = None  # name of the file that has a 0 for each document that is gone
    model: Mapping[str, Any] | None = None  # that made the vectors
    sources: tuple[Mapping[str, Any], ...] | None = None  # files with the texts
    seconds: float | None = None
    bytes: int | None = None
    changed: str | None = None  # hash of the last requested change
    files: Mapping[str, str] | None = None  # sha256 of each
    sizes: Mapping[str, int] | None = None  # bytes of each
    sums: Mapping[str, int] | None = None  # CRC-32 of those that are small

    @classmethod
    def parse(cls, content: Mapping[str, Any], where: Path = Path(META)) -> "IndexMeta":
        """Return what a meta.json says. Raises CorruptFileError if it is not of late interaction."""
        if not content.get("segments"):
            raise CorruptFileError(f"{where}: no segments, so it is not a late-interaction index; {AGAIN}")
        numbers = [part["number"] for part in content["segments"]]
        if len(set(numbers)) < len(numbers):
            raise CorruptFileError(f"{where}: segments have the numbers {shown(numbers)}; {AGAIN}")
        values: Json = {key.name: content.get(key.name) for key in fields(cls)}
        values["counts"] = Counts.parse(content["counts"], where)
        values["segments"] = tuple(map(SegmentMeta.parse, content["segments"]))
        values["sources"] = None if content.get("sources") is None else tuple(content["sources"])
        return cls(**values)

    @classmethod
    def read(cls, folder: Path) -> "IndexMeta":
        """Return what the meta.json of a folder says. Raises as `index_meta.read` does."""
        return cls.parse(index_meta.read(folder), folder / META)

    def json(self) -> Json:
        made = _json(self) | {
            "format": index_meta.FORMAT,
            "counts": self.counts.json(),
            "segments": [segment.json() for segment in self.segments],
        }
        if self.counts.deleted is not None:
            made["deleted"] = self.deleted
        if self.sources is not None:
            made["sources"] = list(self.sources)
        return made

    @property
    def documents(self) -> int:
        """Return how many documents the files have, those among them that are deleted."""
        return sum(segment.documents for segment in self.segments)

    @property
    def next_number(self) -> int:
        return 1 + max(segment.number for segment in self.segments)

    def of_changed_corpus(self, what: str, which: Any) -> "IndexMeta":
        """Return the meta with another hash of the corpus: of what it was, and of the change."""
        sha256 = artifact.digest([self.corpus["sha256"], what, which])
        return replace(self, corpus={**self.corpus, "sha256": sha256})

    def check_model(self, model: Mapping[str, Any], checkpoint: str) -> None:
        """Do `require_model` for this index."""
        require_model(self.model, model, checkpoint)


def require_model(made_with: Mapping[str, Any] | None, model: Mapping[str, Any], checkpoint: str) -> None:
    """Raise MismatchError if an index was made with other weights than a checkpoint has now."""
    weights = (made_with or {}).get("sha256")
    if weights not in (None, model["sha256"]):
        raise MismatchError(
            f"the index was built with weights {str(weights)[:8]}, and {checkpoint} has "
            f"{str(model['sha256'])[:8]} now; build the index again, or name the revision it was built with"
        )


class Built(NamedTuple):
    """What the first segment of an index makes of it."""

    counts: Counts
    segment: SegmentMeta


def _json(record: Any) -> Json:
    """Return the fields that have a value."""
    values = {key.name: getattr(record, key.name) for key in fields(record)}
    return {name: value for name, value in values.items() if value is not None}
