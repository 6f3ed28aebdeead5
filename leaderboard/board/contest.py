"""A contest: the records of one dataset, who is better than whom, and how sure that is.

Settled here:

- Records are of one contest if they have the same dataset name, the same
  hashes of corpus, questions and judgments, the same level of relevance, the
  same measure and the same questions. Anything else is another contest.
- Of several records of one system the newest counts; the others are shown as
  repeats of it.
- What was imported is shown, and has no rank.
- Comparing all pairs grows with the square of their number, so the COMPARED
  best are compared and the PAIRED best have a page for each pair. The rest
  have no rank, and the page says so.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from leaderboard.board.record import Record, number, section, text
from leaderboard.compare import Comparison, compare_values, detectable, method, smallest_difference
from leaderboard.groups import Standing, standings
from leaderboard.result import Section
from leaderboard.verify import IMPORTED
from lotte import artifact
from lotte.errors import LotteError

COMPARED, PAIRED = 50, 12
_SAME = ("corpus_sha256", "queries_sha256", "qrels_sha256")


@dataclass(frozen=True, kw_only=True)
class Contest:
    name: str  # of the dataset
    version: str  # of its hashes, 8 digits; shown where one name has several
    slug: str  # of its page
    measure: str
    dataset: Section
    entries: Mapping[str, Record]  # label -> record, the best first
    repeats: Mapping[str, tuple[Record, ...]]  # label -> older ones
    comparisons: Mapping[tuple[str, str], Comparison] = field(default_factory=dict)  # (better mean, other)
    standings: Mapping[str, Standing] = field(default_factory=dict)
    smallest: float | None = None  # difference that it shows, for one pair alone
    smallest_of_all: float | None = None  # the same when all pairs of those compared are claimed together

    @property
    def query_ids(self) -> tuple[str, ...]:
        return next(iter(self.entries.values())).query_ids

    @property
    def source(self) -> str:
        return text(self.dataset.get("source")) or "unknown"

    @property
    def method(self) -> Section:
        return method(len(self.comparisons))

    def count(self, what: str) -> float | None:
        return number(section(self.dataset, "counts").get(what))

    def facts(self, of: str) -> list[tuple[str, Any]]:
        """Return the pairs of a section of what is known of the dataset."""
        return list(section(self.dataset, of).items())

    def comparison(self, a: str, b: str) -> Comparison | None:
        """Return the comparison of two systems as seen from a."""
        if found := self.comparisons.get((a, b)):
            return found
        found = self.comparisons.get((b, a))
        return found.swapped if found else None

    def paired(self) -> list[tuple[str, str]]:
        """Return the pairs that have a page, the one with the higher mean first."""
        best = [label for label in self.entries if label in self.standings][:PAIRED]
        return [pair for pair in combinations(best, 2) if pair in self.comparisons]


def contests(records: Iterable[Record], labels: Mapping[str, str]) -> list[Contest]:
    """Return the contests of these records, in the order of their datasets' names. Nothing is compared yet."""
    grouped: dict[tuple[str, str], list[Record]] = {}
    known: dict[tuple[str, ...], str] = {}  # a digest of thousands of ids is made once
    for one in records:
        asked = known.setdefault(one.query_ids, "") or artifact.digest(list(one.query_ids))
        known[one.query_ids] = asked
        same = [text(one.result.dataset.get(key)) for key in _SAME]
        level = number(one.result.measures.get("relevance_level"))
        key = artifact.digest([one.dataset, *same, level, one.measure, asked])
        grouped.setdefault((one.dataset, key), []).append(one)
    return [_contest(key, group, labels) for (_, key), group in sorted(grouped.items())]


def compared(contest: Contest) -> tuple[Contest, str]:
    """Return the contest with its comparisons, and why there are none, if so."""
    ranked_at_all = {label: one for label, one in contest.entries.items() if one.query_ids and one.level != IMPORTED}
    chosen = list(ranked_at_all)[:COMPARED]
    table = {
        label: dict(zip(one.query_ids, one.values.tolist(), strict=True))
        for label, one in ranked_at_all.items()
        if label in chosen
    }
    if not table:
        return contest, "no record of ours has the values of each query, so nothing can be compared"
    try:
        found = compare_values(table)
        smallest = smallest_difference(table)
    except LotteError as error:
        return contest, str(error)
    means = {label: contest.entries[label].value for label in chosen}
    ranked = {one.system: one for one in standings(means, found)}
    order = [*ranked, *(label for label in contest.entries if label not in ranked)]
    place = {label: number for number, label in enumerate(order)}
    oriented = [one if place[one.a] < place[one.b] else one.swapped for one in found]
    return Contest(
        name=contest.name,
        version=contest.version,
        slug=contest.slug,
        measure=contest.measure,
        dataset=contest.dataset,
        entries={label: contest.entries[label] for label in order},
        repeats=contest.repeats,
        comparisons={(one.a, one.b): one for one in oriented},
        standings=ranked,
        smallest=smallest,
        smallest_of_all=_corrected(smallest, len(found)),
    ), ""


def slug(name: str, key: str) -> str:
    """Return a file's name for any name there may be: its letters and digits, and 8 digits that tell it apart.

    >>> slug("lotte/science/test/forum", "0a1b2c3d4e")
    'lotte-science-test-forum-0a1b2c3d'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
    return f"{plain}-{key[:8]}" if plain else key[:8]


def _contest(key: str, records: Sequence[Record], labels: Mapping[str, str]) -> Contest:
    by_label: dict[str, list[Record]] = {}
    for one in sorted(records, key=lambda one: (str(one.result.created), one.id)):
        by_label.setdefault(labels[one.id], []).append(one)
    newest = {label: found[-1] for label, found in by_label.items()}
    order = sorted(newest, key=lambda label: (-newest[label].value, label))
    first = records[0]
    return Contest(
        name=first.dataset,
        version=key[:8],
        slug=slug(first.dataset, key),
        measure=first.measure,
        dataset=first.result.dataset,
        entries={label: newest[label] for label in order},
        repeats={label: tuple(found[:-1][::-1]) for label, found in by_label.items() if len(found) > 1},
    )


def _corrected(smallest: float | None, pairs: int) -> float | None:
    """Return the smallest difference again, tested at alpha over the number of pairs."""
    return smallest * (detectable(1, 1, alpha=0.05 / pairs) / detectable(1, 1)) if smallest and pairs else None
