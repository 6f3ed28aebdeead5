"""What a collection holds: the paper's Tables 1 and 9, and Figures 4 to 6, for any folder.

Source  Santhanam et al. 2022, arXiv:2112.01488: Table 1 (topics), Table 9
        (communities), Figures 4 (words a passage), 5 (words a query), 6 (answers a query)
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lotte import parquet, picture
from lotte.collection import Collection
from lotte.errors import CorruptFileError
from lotte.jsonl import objects, rows

KINDS = ("search", "forum")
Ints = npt.NDArray[np.int64]
QUANTILES = (0, 5, 25, 50, 75, 95, 100)


@dataclass(frozen=True)
class Questions:
    """The questions of one kind, each of them a number in an array."""

    words: Ints  # of each question
    answers: Ints  # of each question
    by_site: dict[str, int]


@dataclass(frozen=True)
class Summary:
    """One corpus and its query sets."""

    name: str
    words: Ints  # of each passage
    by_site: dict[str, int]  # passages of each community, in collection order; empty if nothing says
    questions: dict[str, Questions] = field(default_factory=dict)  # "search" and "forum"

    def sites(self) -> list[dict[str, Any]]:
        """Return the rows of Table 9."""
        return [
            {
                "collection": self.name,
                "community": site,
                "passages": count,
                **{kind: questions.by_site.get(site, 0) for kind, questions in self.questions.items()},
            }
            for site, count in self.by_site.items()
        ]

    def topics(self) -> list[dict[str, Any]]:
        """Return the rows of Table 1."""
        return [
            {
                "collection": self.name,
                "questions": kind,
                "num_questions": len(questions.words),
                "num_passages": len(self.words),
                "subtopics": len(self.by_site) or "?",
                "answers": int(questions.answers.sum()),
            }
            for kind, questions in self.questions.items()
        ]

    def lengths(self) -> list[dict[str, Any]]:
        """Return what the figures show, in numbers: the least, some quantiles, the most, and the mean."""
        rows: list[tuple[str, Ints]] = [("words per passage", self.words)]
        for kind, questions in self.questions.items():
            rows.append((f"words per {kind} query", questions.words))
            rows.append((f"answers per {kind} query", questions.answers))
        return [
            {
                "collection": self.name,
                "what": what,
                **{f"p{q}": int(v) for q, v in zip(QUANTILES, np.percentile(values, QUANTILES), strict=True)},
                "mean": round(float(values.mean()), 2),
            }
            for what, values in rows
            if len(values)
        ]


def summarise(folder: Path, name: str) -> Summary:
    """Read one folder in LoTTE's layout: collection.tsv and any of qas.search.jsonl, qas.forum.jsonl.

    Communities are known if attribution.parquet is beside them, as in our own builds.
    """
    collection = Collection(folder / "collection.tsv")
    words = np.fromiter((len(doc.text.split()) for doc in collection), dtype=np.int64, count=len(collection))
    site_of = _sites(folder / "attribution.parquet")
    if site_of and len(site_of) != len(collection):
        raise CorruptFileError(f"{folder}: {len(collection)} passages, {len(site_of)} attributions; build it again")
    questions = {}
    for kind in KINDS:
        path = folder / f"qas.{kind}.jsonl"
        if path.is_file():
            lines = [(line.get("query"), rows(line, "answer_pids", len(collection))) for _, line in objects(path)]
            asked = [(query, pids) for query, pids in lines if isinstance(query, str) and pids]
            if len(asked) < len(lines):
                raise CorruptFileError(
                    f"{path}: a line lacks query or answer_pids, or names a passage that does not exist"
                )
            questions[kind] = Questions(
                np.array([len(query.split()) for query, _ in asked], dtype=np.int64),
                np.array([len(pids) for _, pids in asked], dtype=np.int64),
                dict(Counter(site_of[pids[0]] for _, pids in asked)) if site_of else {},
            )
    return Summary(name, words, dict(Counter(site_of)), questions)


def plot(summaries: Sequence[Summary], path: Path) -> None:
    """Draw Figures 4, 5 and 6 into a file; its ending says the format: .png, .svg or .pdf."""
    figure = picture.figure(path, 15, 4.6)
    series: list[tuple[str, str, list[tuple[str, Ints]]]] = [
        ("Figure 4: words per passage", "passages", [(each.name, each.words) for each in summaries]),
        ("Figure 5: words per query", "queries", _of_questions(summaries, "words")),
        ("Figure 6: answers per query", "queries", _of_questions(summaries, "answers")),
    ]
    for axes, (title, unit, lines) in zip(figure.subplots(1, 3), series, strict=True):
        lines = [(label, values) for label, values in lines if len(values)]
        top = max((float(np.percentile(values, 99)) for _, values in lines), default=1)
        bins = np.linspace(0, max(top, 1), 41) if top > 40 else np.arange(-0.5, max(top, 1) + 1.5)
        for label, values in lines:
            share, edges = np.histogram(values, bins=bins)
            axes.stairs(100 * share / len(values), edges, label=label)
        axes.set(
            title=title,
            xlabel=title.partition(": ")[2] + " (up to the 99th percentile)",
            ylabel=f"% of {unit}",
        )
        axes.set_xlim(0, bins[-1])
        if 0 < len(lines) <= 12:
            axes.legend(fontsize=7, frameon=False)
    picture.save(figure, path)


def _of_questions(summaries: Sequence[Summary], what: str) -> list[tuple[str, Ints]]:
    return [
        (f"{each.name} {kind}", getattr(questions, what))
        for each in summaries
        for kind, questions in each.questions.items()
    ]


def _sites(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return parquet.columns(path, {"site": str})["site"]
