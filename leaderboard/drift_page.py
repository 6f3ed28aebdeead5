"""Drift as a page: one file with its pictures and its style in it, which loads nothing and runs nothing."""

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leaderboard.board.pages import HERE, page
from leaderboard.drift_scores import DriftScore
from lotte.builder import changes
from lotte.builder.changes import ADDED, EDITED, JUDGMENTS, LOST, PASSAGES, Change
from lotte.builder.drift import Drift
from lotte.errors import writing

SITES = 60  # communities that are drawn: those that changed most
SHOWN = 40  # changes of a kind whose texts are shown
TURNED = 60  # questions of a system and dataset
BINS = 20  # of the similarities
_CLIP = 700  # characters of a passage
_AROUND = 8  # words that stay beside those that change

KINDS = (("passages", (PASSAGES,)), ("questions", ("search questions", "forum questions")), ("judgments", (JUDGMENTS,)))
CHANGES = ("same", EDITED, LOST, ADDED)


@dataclass(frozen=True)
class Share:
    """Of one community and kind: how many things are the same, edited, lost, added."""

    site: str
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """How many there are in either build."""
        return sum(self.counts.values())

    def widths(self, width: float) -> list[tuple[str, float, float]]:
        """Return (change, x, width) of the pieces of a bar of this width."""
        pieces, at = [], 0.0
        for change in CHANGES:
            size = width * self.counts[change] / (self.total or 1)
            pieces.append((change, round(at, 2), round(size, 2)))
            at += size
        return pieces


@dataclass(frozen=True)
class ShownChange:
    """A change whose texts are shown."""

    part: str
    change: Change
    pieces: Sequence[tuple[str, str]]
    similarity: float | None

    @property
    def url(self) -> str:
        """Where the post stands, "" if nobody knows it."""
        letter = "a" if self.change.what == PASSAGES else "q"
        known = self.change.post is not None and "." in self.change.site
        return f"https://{self.change.site}/{letter}/{self.change.post}" if known else ""


def write(drift: Drift, scores: Sequence[DriftScore], path: Path) -> None:
    """Write the page into one file."""
    rows = list(changes.rows(drift.parts))
    style = "\n".join((HERE / "static" / name).read_text(encoding="utf-8") for name in ("board.css", "drift.css"))
    content = page(
        "drift",
        "",
        drift=drift,
        style=style,
        style_hash=b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        rows=[row for row in rows if row["change"] != "same"],
        totals=[(kind, _share("", rows, names)) for kind, names in KINDS],
        pictures=[(kind, _shares(rows, names)) for kind, names in KINDS],
        causes=[(kind, _causes(rows, names)) for kind, names in KINDS],
        similarities=_similarities(drift),
        shown=_shown(drift),
        scores=scores,
        reach=_reach(scores),
        systems=list(dict.fromkeys(one.system for one in scores)),
        most_turned=TURNED,
        changes=CHANGES,
    )
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "replace"))


def _share(site: str, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Share:
    counts = Counter({change: 0 for change in CHANGES})
    for row in rows:
        if row["what"] in names and (not site or row["site"] == site):
            counts[row["change"]] += row["count"]
    return Share(site, dict(counts))


def _shares(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[Share]:
    """Return the communities, those that changed most first."""
    by_site: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["what"] in names:
            by_site.setdefault(row["site"], []).append(row)
    shares = [_share(site, of_site, names) for site, of_site in by_site.items()]
    shares.sort(key=lambda share: (share.counts["same"] - share.total, share.site))
    return shares[:SITES]


def _causes(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return (change, cause, count), the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row["what"] in names and row["change"] != "same":
            counts[row["change"], row["cause"]] += row["count"]
    return [(change, cause, count) for (change, cause), count in counts.most_common()]


def _similarities(drift: Drift) -> list[int]:
    """Return how many edited passages have which similarity, from 0 to 1."""
    counts = [0] * BINS
    for part in drift.parts:
        for change in part.changes:
            if change.what == PASSAGES and change.change == EDITED:
                counts[min(BINS - 1, int(changes.similarity(change.before, change.after) * BINS))] += 1
    return counts


def _shown(drift: Drift) -> list[tuple[str, str, int, list[ShownChange]]]:
    """Return what, change, how many there are, and the first of them: of edited ones those that changed most."""
    groups = []
    for what in (PASSAGES, "search questions", "forum questions"):
        for kind in (EDITED, LOST, ADDED):
            found = [
                (part.part, change)
                for part in drift.parts
                for change in part.changes
                if (change.what, change.change) == (what, kind)
            ]
            if kind == EDITED:
                found.sort(key=lambda pair: changes.similarity(pair[1].before, pair[1].after))
            if found:
                groups.append((what, kind, len(found), [_with_pieces(*pair) for pair in found[:SHOWN]]))
    return groups


def _with_pieces(part: str, change: Change) -> ShownChange:
    if change.change == EDITED:
        pieces = [(sign, _shortened(words) if sign == "=" else _clipped(words)) for sign, words in
                  changes.changed_words(change.before, change.after)]  # fmt: skip
        return ShownChange(part, change, pieces, changes.similarity(change.before, change.after))
    return ShownChange(part, change, [("=", _clipped(change.before or change.after))], None)


def _shortened(words: str) -> str:
    """Return words that stay, without those in the middle of many."""
    parts = words.split()
    if len(parts) <= 3 * _AROUND:
        return words
    return f"{' '.join(parts[:_AROUND])} … {' '.join(parts[-_AROUND:])}"


def _clipped(text: str) -> str:
    return text if len(text) <= _CLIP else f"{text[:_CLIP]}…"


def _reach(scores: Sequence[DriftScore]) -> float:
    """Return how far from 0 the picture of the differences goes."""
    return max((abs(end) for one in scores for end in one.paired.ci95), default=0.0) * 1.1 or 0.01
