"""How far one build has drifted from another: what was lost, added and edited, and why.

The second one is the later: "deleted since" is since the first.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lotte.builder import changes, diff, spec
from lotte.builder.causes import BuildFacts, Causes
from lotte.builder.changes import ADDED, LOST, PartChanges
from lotte.errors import MismatchError


@dataclass(frozen=True)
class Drift:
    """Two builds, or a build and a release, and all that differs between them, with causes."""

    before: Path
    after: Path
    parts: Sequence[PartChanges]
    without_dump: Sequence[str]  # communities of which no dump was found

    @property
    def is_none(self) -> bool:
        """Whether nothing differs."""
        return not any(part.changes for part in self.parts)

    def verdict(self) -> str:
        """Return in a line what was compared and how much of it is the same."""
        same = Counter[str]()
        for part in self.parts:
            for (_, what), count in part.same.items():
                same[what.replace("search ", "").replace("forum ", "")] += count
        counts = ", ".join(f"{same[what]:,} {what}" for what in ("passages", "questions", "judgments"))
        differing = sum(len(part.changes) for part in self.parts)
        if not differing:
            return f"{self.before} and {self.after} hold the same: {counts}, in {len(self.parts)} parts; no drift"
        return f"{counts} are the same in {self.before} and {self.after}; {differing:,} differ"


def drift(before: Path, after: Path, dumps: Path | None = None) -> Drift:
    """Return what differs between two builds, topic by topic; pools add nothing and are left out.

    dumps  of the second build's day or later, as a build takes them: for causes that the builds do not tell

    Raises  UnavailableError if one holds no collection; MismatchError if they have no topic and split in common
    """
    names = [_topics(folder) for folder in (before, after)]
    if not set(names[0]) & set(names[1]):
        raise MismatchError(
            f"{before} has {', '.join(names[0])} and {after} has {', '.join(names[1])}: no part is in both; give two "
            "builds, or the same topic and split of both"
        )
    found = []
    for name in sorted({*names[0], *names[1]}):
        old, new = diff.part_in(before / name), diff.part_in(after / name)
        if old and new:
            found.append(changes.compare(name, old, new))
        elif only := old or new:
            found.append(changes.lacking(name, only, LOST if old else ADDED))
    causes = Causes(BuildFacts(before, names[0]), BuildFacts(after, names[1]), dumps)
    causes.explain(found)
    return Drift(before, after, found, sorted(causes.without_dump))


def _topics(folder: Path) -> list[str]:
    names = diff.parts(folder)
    return [name for name in names if name.partition("/")[0] != spec.POOLED] or names
