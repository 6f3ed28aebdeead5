"""Readers of indexes: every file of one of each retriever, opened, searched and checked.

What stands in an index that has hashes of its small files is found by these.
So the hashes are left out here, as an index has none that was made before
there were any; and a `meta.json` of a liar has the digest of what it says.
"""

import json
import math
import tempfile
from functools import cache
from pathlib import Path

import tiny_checkpoint
from reader import Reader, once

from lotte import reading
from retrievers import index_meta, load, registry
from retrievers.retriever import Checkable

TEXTS = "".join(f"d-{row}\twater the plant number {row} in the garden\n" for row in range(12))
LEXICAL = ("places.npy", "words.npy", "word_starts.npy", "doc_ids.txt")
POSTINGS = ("posting_starts.npy", "posting_rows.npy", "posting_weights.npy")
SEGMENT = ("cells", "residuals", "lengths", "starts", "lists", "list_starts")
FILES = {
    "bm25": [*LEXICAL, *POSTINGS],
    "overlap": [*LEXICAL, *POSTINGS],
    "rank_bm25": [*LEXICAL, *POSTINGS],
    "colbertv2": ["centroids.npy", "codec.json", "chunks.0000.jsonl", "doc_ids.0001.txt", "kept.0001.npy",
                  *(f"{name}.0000.npy" for name in SEGMENT)],
}  # fmt: skip


@cache
def checkpoint() -> Path:
    """Return a checkpoint that stands as long as the process does."""
    place = tempfile.TemporaryDirectory(prefix="fuzz-")
    _kept.append(place)
    return tiny_checkpoint.write(Path(place.name) / "checkpoint", dim=16)


_kept: list["tempfile.TemporaryDirectory[str]"] = []


def make(name: str, out: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        path = Path(place) / "own.tsv"
        path.write_text(TEXTS)
        (Path(place) / "more.tsv").write_text("more\tclean the kitchen\n")
        if name != "colbertv2":
            load(name).index(reading.OwnIds(path), out / "index")
            return
        system = load(name, [f"checkpoint={checkpoint()}", "threads=1", "device=cpu"])
        system.index(reading.OwnIds(path), out / "index")
        system.change(out / "index", delete=["d-3"], add=reading.OwnIds(Path(place) / "more.tsv"))


def old(name: str, out: Path) -> None:
    """Make an index as it was before it knew the bytes of its files."""
    make(name, out)
    path = out / "index" / index_meta.META
    meta = json.loads(path.read_text())
    for key in ("digest", "files", "sizes"):
        del meta[key]
    path.write_text(json.dumps(meta))


def mended(content: bytes) -> bytes:
    """Give a meta.json the digest of what it says."""
    try:
        meta = json.loads(content)
        with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
            index_meta.write(Path(place), meta)
            return (Path(place) / index_meta.META).read_bytes()
    except (ValueError, TypeError, RecursionError):
        return content


def use(out: Path) -> None:
    """Do what `lotte check` and `lotte search` do."""
    path = out / "index"
    meta = index_meta.read(path)
    system = registry.recorded(meta["recipe"], path / index_meta.META)
    assert all(isinstance(line, str) for line in (system.damaged(path) if isinstance(system, Checkable) else ()))
    index = system.open(path)
    run = index.search({"q1": "how to water the garden", "q2": "zzz", "q3": "\ud800"}, k=5)
    assert all(math.isfinite(hit.score) for hits in run.hits.values() for hit in hits), "a score is not finite"


def readers(name: str) -> list[Reader]:
    new, before = once(lambda out: make(name, out)), once(lambda out: old(name, out))
    return [
        Reader(f"{name}-meta", "index/meta.json", new, use),
        Reader(f"{name}-meta-of-a-liar", "index/meta.json", new, use, mended),
        Reader(f"{name}-old-meta", "index/meta.json", before, use),
        *(Reader(f"{name}-{Path(file).stem}", f"index/{file}", before, use) for file in FILES[name]),
    ]


READERS = [reader for name in FILES for reader in readers(name)]
