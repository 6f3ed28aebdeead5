"""A folder to be handed on: files that others read, a card, and a checksum of each.

The decision here: such a folder is whole or absent, replaces nothing but an older one, and says with SHA256SUMS
what is in it (`sha256sum -c SHA256SUMS`). A card begins with what Hugging Face reads: the tables that
`datasets.load_dataset` knows by name, and their files.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lotte import artifact
from lotte.errors import MismatchError, writing

KIND = "lotte-publication/1"
SUMS, CARD = "SHA256SUMS", "README.md"


class CardTable(NamedTuple):
    """A table that `load_dataset(REPO, config, split=...)` returns."""

    config: str
    files: Mapping[str, str]  # split -> path in the folder


class CardHead(NamedTuple):
    """What a card begins with."""

    title: str
    tables: Sequence[CardTable]
    tags: Sequence[str]
    licence: str = "other"  # as Hugging Face spells it


@contextmanager
def folder(out: Path) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well it stands at `out`, with its checksums.

    Raises  MismatchError if something else stands there
    """
    empty = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not empty and (artifact.meta(out) or {}).get("kind") != KIND:
        raise MismatchError(f"{out} exists and was not written by `lotte publish`; name a new folder")
    with writing(out.parent), artifact.folder(out, {"kind": KIND}) as part:
        yield part
        sums = "".join(f"{artifact.sha256(path)}  {path.relative_to(part).as_posix()}\n" for path in files(part))
        (part / SUMS).write_text(sums, encoding="utf-8")


def files(folder: Path) -> list[Path]:
    """Return all files below a folder, in order of path."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_table(path: Path, batches: Iterable[Any], schema: Any) -> None:
    """Write a table as Parquet, some rows at a time: the same bytes for the same rows."""
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def card(head: CardHead, body: str) -> str:
    """Return a card: what Hugging Face reads, and what people do."""
    lines = ["---", f"license: {head.licence}", "language:", "- en", "tags:"]
    lines += [f"- {tag}" for tag in head.tags]
    lines += [f"pretty_name: {artifact.canonical(head.title)}", "configs:"]
    for table in head.tables:
        lines += [f"- config_name: {artifact.canonical(table.config)}", "  data_files:"]
        for split, path in table.files.items():
            lines += [f"  - split: {split}", f"    path: {artifact.canonical(path)}"]
    return "\n".join([*lines, "---", "", f"# {head.title}", "", body.strip(), ""])
