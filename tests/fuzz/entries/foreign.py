"""Readers of indexes that other programs made: every file, converted to ours."""

from pathlib import Path

from foreign_index import Made
from reader import Reader, once

from retrievers.colbert.index import foreign


def convert(folder: Path) -> None:
    (folder / "ours").mkdir()
    foreign.convert(folder / "theirs", folder / "ours")


def merged(folder: Path) -> None:
    Made(folder / "theirs", "fast-plaid").merge()


COLBERT = once(lambda folder: Made(folder / "theirs", "colbert"))
LEGACY = once(lambda folder: Made(folder / "theirs", "colbert", legacy=True))
PLAID = once(lambda folder: Made(folder / "theirs", "fast-plaid"))
MERGED = once(merged)
READERS = [
    *(Reader(f"colbert-{file}", f"theirs/{file}", COLBERT, convert)
      for file in ("metadata.json", "0.metadata.json", "doclens.0.json", "centroids.pt", "buckets.pt", "0.codes.pt",
                   "2.residuals.pt")),
    Reader("colbert-old-codes", "theirs/0.codes.pt", LEGACY, convert),
    *(Reader(f"plaid-{file}", f"theirs/{file}", PLAID, convert)
      for file in ("metadata.json", "0.metadata.json", "doclens.0.json", "centroids.npy", "bucket_cutoffs.npy",
                   "bucket_weights.npy", "0.codes.npy", "2.residuals.npy")),
    *(Reader(f"plaid-{file}", f"theirs/{file}", MERGED, convert)
      for file in ("merged_codes.npy", "merged_residuals.npy", "merged_codes.manifest.json")),
]  # fmt: skip
