"""A published test collection: what it counts, what it permits, where it is to be had, and whether a folder is it.

A folder *claims* to be the release when `lotte fetch` made it: a `source.json`
beside the files names each of them, its size, and where it came from. What
claims to be the release and differs from it is refused. What claims nothing is
read as it is, and its record says whether its counts are those of the release.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from lotte.artifact import write_json
from lotte.dataset import Dataset
from lotte.errors import CorruptFileError, LotteError, UnavailableError, shown
from lotte.lines import plain_or_gz
from lotte.parsing import json_object

MARK = "source.json"
D = TypeVar("D", bound=Dataset)


@dataclass(frozen=True, kw_only=True)
class ReleaseCounts:
    """How many of each; None where nobody published it, which is then not checked."""

    documents: int | None = None
    queries: int | None = None
    judgments: int | None = None  # judged pairs, those of relevance 0 too
    relevant: int | None = None  # pairs above 0

    def differences(self, counts: "ReleaseCounts") -> list[str]:
        """Return what differs, "documents: 4, published 5,183".

        >>> ReleaseCounts(documents=5183, queries=300).differences(ReleaseCounts(documents=4, queries=300, judgments=9))
        ['documents: 4, published 5,183']
        """
        pairs = ((each.name, getattr(counts, each.name), getattr(self, each.name)) for each in fields(self))
        return [
            f"{name}: {counted:,}, published {published:,}"
            for name, counted, published in pairs
            if published is not None and counted is not None and counted != published
        ]


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that can be downloaded, and what is there when it is unpacked."""

    urls: tuple[str, ...]  # its home first, then its mirrors
    holds: Mapping[str, tuple[str, ...]]  # folder below the data folder -> files that readers need
    into: str = ""  # the folder below the data folder where it, or what it holds, goes
    unpack: Literal["", "gz", "tar", "zip"] = ""
    strip: int = 0  # leading folders of the names in an archive that are dropped
    size: int | None = None  # bytes
    md5: str = ""
    sha256: str = ""

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.urls[0].rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A set at Hugging Face, at one revision. `configs`: table -> (configuration, split)."""

    repo: str
    revision: str  # "" if none is published: the newest one is taken, and written down
    configs: Mapping[str, tuple[str, str]]
    others: Mapping[str, str] = field(default_factory=dict)  # table -> its repository, if that is another one


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is known of a published dataset before any of it is here."""

    name: str
    measure: str  # its authors'
    also: tuple[str, ...] = ()  # further measures that they print
    counts: ReleaseCounts = ReleaseCounts()
    licence: str
    homepage: str = ""
    files: tuple[tuple[File, ...], ...] = ()  # ways to have all of it, the first that works is taken
    tables: Mapping[str, File] = field(default_factory=dict)  # Parquet that its benchmark writes in the layout it reads
    hub: Hub | None = None
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # folder -> files, as in File.holds
    by_hand: str = ""  # how to get what cannot be downloaded, as a sentence
    facts: Mapping[str, str] = field(default_factory=dict)  # its rules, for the record

    def require(self, data: Path) -> None:
        """Raise UnavailableError, saying how to get it, unless every file is in the data folder."""
        for folder, names in self.needs.items():
            for name in names:
                if not plain_or_gz(path := data / folder / name).is_file():
                    raise UnavailableError(f"{path} is not there. {self.advice}")

    def is_in(self, data: Path) -> bool:
        """Whether every file is in the data folder, plain or packed."""
        return bool(self.needs) and all(
            plain_or_gz(data / folder / name).is_file() for folder, names in self.needs.items() for name in names
        )

    @property
    def advice(self) -> str:
        """How to get it, as a sentence."""
        if self.by_hand:
            return self.by_hand
        files = self.files[0] if self.files else tuple(self.tables.values())
        total = sum(file.size or 0 for file in files)
        size = f" ({_readable(total)})" if total else ""
        return f"`lotte fetch {self.name}` downloads it{size}, or point --data at a copy"


def mark(folder: Path, names: Iterable[str], origin: Mapping[str, Any]) -> None:
    """Write down that these files of a folder are whole, and where they came from. The last thing of a download."""
    known = _marks(folder) or {}
    for name in names:
        known[name] = {**origin, "bytes": (folder / name).stat().st_size}
    write_json(folder / MARK, {"files": known})


def claim(folder: Path, names: Iterable[str]) -> str:
    """Return "release", or another name of where all of these files came from; "" if the folder claims nothing.

    Raises  CorruptFileError if one of them has another size than it came with
    """
    known = _marks(folder)
    origins: dict[str, None] = {}
    for name in names:
        mark = known.get(name) if known else None
        if not isinstance(mark, dict):
            return ""
        size = path.stat().st_size if (path := folder / name).is_file() else 0
        if size != mark.get("bytes"):
            raise CorruptFileError(
                f"{path} has {size:,} bytes, and {_number(mark.get('bytes'))} when it was fetched; "
                f"remove it and {folder / MARK}, then fetch it again"
            )
        origins[str(mark.get("source", "release"))] = None
    return ", ".join(origins)


def _number(value: object) -> str:
    return f"{value:,}" if type(value) is int else shown(value)


def _marks(folder: Path) -> dict[str, Any] | None:
    try:
        files = json_object(folder / MARK)["files"]
        return dict(files)
    except OSError:
        return None
    except (LotteError, ValueError, TypeError, KeyError):
        raise CorruptFileError(f"{folder / MARK}: does not list the fetched files; remove it and fetch again") from None


def counts_of(dataset: Dataset) -> ReleaseCounts:
    """Return how many documents, queries and judgments there are. ReleaseCounts them all."""
    return ReleaseCounts(
        documents=len(dataset.corpus),
        queries=len(dataset.queries),
        judgments=sum(map(len, dataset.qrels.values())),
        relevant=sum(relevance > 0 for judged in dataset.qrels.values() for relevance in judged.values()),
    )


def checked(dataset: D, release: Release, folders: Mapping[Path, Iterable[str]]) -> D:
    """Return the dataset with its source, its licence, and what its counts say.

    folders  the files it was read from, by folder

    Raises  CorruptFileError if it claims to be the release and differs, with all that differs
    """
    claims = [claim(folder, names) for folder, names in folders.items()]
    source = ", ".join(dict.fromkeys(claims)) if all(claims) else ""
    differences = release.counts.differences(counts_of(dataset))
    if source and differences:
        raise CorruptFileError(
            f"{next(iter(folders))} claims to be {release.name} as published, but differs from it: "
            f"{'; '.join(differences)}. Remove the folder and fetch it again with `lotte fetch {release.name}`"
        )
    same = f"differ from the release ({'; '.join(differences)})" if differences else "those of the release"
    return replace(
        dataset,
        source=source or dataset.source,
        licence=dataset.licence if differences or dataset.licence != "unknown" else release.licence,
        facts={**release.facts, **dataset.facts, "counts": same},
    )


def _readable(size: int) -> str:
    for limit, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= limit:
            return f"{size / limit:.1f} {unit}"
    return f"{size} bytes"
