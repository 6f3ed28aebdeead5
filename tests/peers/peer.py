"""What a peer is, and what it answers. Imports nothing of the peers and nothing of this project."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

OURS = "LOTTE_PYTHON"  # the variable that names the Python with this project


class Answer(NamedTuple):
    """What a comparison found."""

    figure: str
    agrees: bool
    why: str = ""  # what explains it, where it does not agree


@dataclass(frozen=True)
class Task:
    """One comparison, which is one row of the table."""

    name: str
    compared: str
    run: Callable[[Path], Answer]  # given the folder of what the peer is given


@dataclass(frozen=True)
class Peer:
    """Another package, what it is installed from, and what is compared.

    part    what it is given; see ours.py
    shares  whether it takes torch and the like from the Python that runs this: its own versions come before
    """

    name: str
    packages: tuple[str, ...]  # pip's words, its own first
    part: str
    tasks: tuple[Task, ...]
    shares: bool = False

    @property
    def version(self) -> str:
        return self.packages[0].partition("==")[2]


def difference(ours: Mapping[Any, float], theirs: Mapping[Any, float], limit: float, why: str = "") -> Answer:
    """Return the largest difference between values of the same name; they agree up to the limit."""
    if ours.keys() != theirs.keys():
        return Answer(f"{len(ours.keys() ^ theirs.keys())} of one side only", False, why)
    most = max((abs(ours[key] - theirs[key]) for key in ours), default=0.0)
    return Answer(f"{len(ours):,} values, at most {most:.1g} apart", most <= limit, "" if most <= limit else why)


def shared(ours: Mapping[str, list[str]], theirs: Mapping[str, list[str]], least: float, why: str = "") -> Answer:
    """Return the share of our documents, over all queries, that the peer has too."""
    both = sum(len({*ours[key]} & {*theirs[key]}) for key in ours)
    every = sum(map(len, ours.values()))
    share = both / every
    return Answer(f"{both} of {every} documents in common", share >= least, "" if share == 1 else why)


def found_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def trec(path: Path) -> dict[str, dict[str, float]]:
    """Return the scores of a run, by query and document."""
    scores: dict[str, dict[str, float]] = {}
    for line in path.read_text().splitlines():
        query_id, _, doc_id, _, score, _ = line.split()
        scores.setdefault(query_id, {})[doc_id] = float(score)
    return scores


def offline() -> None:
    """Keep the peers from looking for anything at a hub."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
