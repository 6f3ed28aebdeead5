"""The page of a dataset: its records, their pairwise comparison, and its significance.

Decisions:

- Records are on one page if they have the same dataset name, the same
  hashes of corpus, questions and judgments, the same level of relevance, the
  same measure and the same questions. Any other record is on another page.
- Of several records of one system the newest counts; the others are shown as
  repeats of it.
- Imported records are shown without a rank.
- Comparing all pairs grows with the square of their number, so the COMPARED
  best are compared and the PAIRED best have a page for each pair. The rest
  have no rank, and the page says so.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from leaderboard.board.entry import Entry
from leaderboard.compare import Comparison, compare_values, detectable, method, smallest_difference
from leaderboard.letter_display import Standing, standings
from leaderboard.record.sections import IMPORTED, DatasetFacts
from lotte import artifact
from lotte.errors import LotteError

COMPARED, PAIRED = 50, 12


@dataclass(frozen=True, kw_only=True)
class DatasetPage:
    """The records of one dataset that may be compared, and how the best of them compare."""

    name: str  # of the dataset
    version: str  # of its hashes, 8 digits; shown where one name has several
    slug: str  # of its page
    measure: str
    facts: DatasetFacts
    entries: Mapping[str, Entry]  # label -> record, the best first
    repeats: Mapping[str, tuple[Entry, ...]]  # label -> older ones
    comparisons: Mapping[tuple[str, str], Comparison] = field(default_factory=dict)  # (better mean, other)
    standings: Mapping[str, Standing] = field(default_factory=dict)
    smallest: float | None = None  # difference that it shows, for one pair alone
    smallest_of_all: float | None = None  # the same when all pairs of those compared are claimed together

    @property
    def query_ids(self) -> tuple[str, ...]:
        """The questions, in order: those of every entry."""
        return next(iter(self.entries.values())).query_ids

    @property
    def all_entries(self) -> list[Entry]:
        """Those that count, then the older ones of the same systems."""
        return [*self.entries.values(), *(entry for older in self.repeats.values() for entry in older)]

    @property
    def source(self) -> str:
        return self.facts.source or "unknown"

    @property
    def method(self) -> dict[str, Any]:
        """How its systems are compared."""
        return method(len(self.comparisons))

    def comparison(self, a: str, b: str) -> Comparison | None:
        """Return the comparison of two systems as seen from a."""
        if (a, b) in self.comparisons:
            return self.comparisons[a, b]
        seen_from_b = self.comparisons.get((b, a))
        return seen_from_b.swapped if seen_from_b else None

    def paired(self) -> list[tuple[str, str]]:
        """Return the pairs that have a page, the one with the higher mean first."""
        best = [label for label in self.entries if label in self.standings][:PAIRED]
        return [pair for pair in combinations(best, 2) if pair in self.comparisons]


def dataset_pages(entries: Iterable[Entry]) -> list[DatasetPage]:
    """Return the pages of these records, in the order of their datasets' names. Nothing is compared yet."""
    grouped: dict[tuple[str, str], list[Entry]] = {}
    digests: dict[tuple[str, ...], str] = {}  # a digest of thousands of ids is made once
    for entry in entries:
        if entry.query_ids not in digests:
            digests[entry.query_ids] = artifact.digest(list(entry.query_ids))
        dataset, measures = entry.record.dataset, entry.record.measures
        hashes = [sha256 or "" for sha256 in dataset.hashes.values()]
        level = None if measures.relevance_level is None else float(measures.relevance_level)
        key = artifact.digest([dataset.name, *hashes, level, measures.official, digests[entry.query_ids]])
        grouped.setdefault((dataset.name, key), []).append(entry)
    return [_dataset_page(key, group) for (_, key), group in sorted(grouped.items())]


def compared(page: DatasetPage) -> tuple[DatasetPage, str]:
    """Return the page with its comparisons, and why there are none, if so."""
    ranked = [label for label, entry in page.entries.items() if entry.query_ids and entry.level != IMPORTED][:COMPARED]
    if not ranked:
        return page, "no record of ours has the values of each query, so nothing can be compared"
    table = {label: page.entries[label].by_query for label in ranked}
    try:
        pairs = compare_values(table)
        smallest = smallest_difference(table)
    except LotteError as error:
        return page, str(error)
    means = {label: page.entries[label].value for label in ranked}
    by_label = {standing.system: standing for standing in standings(means, pairs)}
    order = [*by_label, *(label for label in page.entries if label not in by_label)]
    number = {label: number for number, label in enumerate(order)}
    oriented = [pair if number[pair.a] < number[pair.b] else pair.swapped for pair in pairs]
    return replace(
        page,
        entries={label: page.entries[label] for label in order},
        comparisons={(pair.a, pair.b): pair for pair in oriented},
        standings=by_label,
        smallest=smallest,
        smallest_of_all=_corrected(smallest, len(pairs)),
    ), ""


def slug(name: str, key: str) -> str:
    """Return a file's name for any name there may be: its letters and digits, and 8 digits that tell it apart.

    >>> slug("lotte/science/test/forum", "0a1b2c3d4e")
    'lotte-science-test-forum-0a1b2c3d'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
    return f"{plain}-{key[:8]}" if plain else key[:8]


def _dataset_page(key: str, entries: Sequence[Entry]) -> DatasetPage:
    by_label: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.record.created, entry.id)):
        by_label.setdefault(entry.label, []).append(entry)
    newest = {label: namesakes[-1] for label, namesakes in by_label.items()}
    order = sorted(newest, key=lambda label: (-newest[label].value, label))
    first = entries[0].record
    return DatasetPage(
        name=first.dataset.name,
        version=key[:8],
        slug=slug(first.dataset.name, key),
        measure=first.official,
        facts=first.dataset,
        entries={label: newest[label] for label in order},
        repeats={label: tuple(older[:-1][::-1]) for label, older in by_label.items() if len(older) > 1},
    )


def _corrected(smallest: float | None, pairs: int) -> float | None:
    """Return the smallest difference again, tested at alpha over the number of pairs."""
    return smallest * (detectable(1, 1, alpha=0.05 / pairs) / detectable(1, 1)) if smallest and pairs else None
