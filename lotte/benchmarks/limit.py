"""LIMIT: simple questions whose answers are every pair of a few documents, which vectors of one size cannot all rank.

`limit` has 50,000 documents, `limit/small` only the 46 that answer a question.
Measured by the share of the two relevant documents among the first two.

Source  Weller et al. 2025, arXiv:2508.21038; github.com/google-deepmind/limit;
        revisions: mteb 2.26.24, tasks/retrieval/eng/limit_retrieval.py; counts: its descriptive_stats
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lotte import beir_folder
from lotte.beir_folder import FILES
from lotte.benchmarks.beir import hub_tables
from lotte.dataset import Dataset
from lotte.release import Hub, Release, ReleaseCounts, checked

NAMES = ("", "small")
FOLDER = "limit"
_SETS = {  # repository, revision, documents
    "": ("orionweller/LIMIT", "48142cc741b04d0b4af370ade7e8b42430382670", 50_000),
    "small": ("orionweller/LIMIT-small", "ff4a8f2476ae77476c1912f1f3cb5bb5f2d766d4", 46),
}


def release(name: str) -> Release:
    """Return what is published of a set in NAMES. Opens nothing."""
    repo, revision, documents = _SETS[name]
    folder = _folder(name)
    return Release(
        name=folder,
        measure="R@2",
        also=("R@10", "R@100") if documents > 100 else ("R@10",),
        counts=ReleaseCounts(documents=documents, queries=1_000, judgments=2_000, relevant=2_000),
        licence="CC BY 4.0",
        homepage="https://github.com/google-deepmind/limit",
        hub=Hub(repo=repo, revision=revision, configs=hub_tables()),
        needs={folder: FILES},
    )


def _folder(name: str) -> str:
    return f"{FOLDER}/{name}" if name else FOLDER


def load(name: str, data: Path) -> Dataset:
    """Read a set from a data folder. Raises UnavailableError, saying how to get it, if it is not there."""
    known = release(name)
    known.require(data)
    folder = data / _folder(name)
    return checked(beir_folder.read(folder, known.name, measure=known.measure), known, {folder: FILES})


def write(folder: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]], name: str) -> None:
    """Write the authors' tables in BEIR's layout. Raises as `beir_folder.write` does."""
    beir_folder.write(folder, tables)
