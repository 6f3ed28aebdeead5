"""Ranks and groups: which systems of a board differ significantly, and which share a rank.

Decisions:

- A system's rank is 1 + the number of systems that are significantly better
  than it: a higher mean, and p_holm at most alpha. So systems without
  a significant difference share a rank, and only a better system lowers a rank.
- Two systems share a letter exactly if they cannot be told apart (a compact
  letter display: Piepho 2004). Letters are needed beside ranks because "cannot
  be told apart" is not transitive: a may equal b, b equal c, and a beat c.

The least number of letters is a hard problem (Gramm et al. 2007), so groups
are grown greedily, best system first: few, not always fewest, always the same.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from leaderboard.compare import ALPHA, Comparison


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A system's rank, and the others that do not differ from it significantly: those that share a letter with it."""

    system: str
    mean: float
    rank: int  # from 1; shared
    letters: tuple[str, ...]  # the groups it is in, at least one


def standings(
    means: Mapping[str, float], comparisons: Iterable[Comparison], *, alpha: float = ALPHA
) -> tuple[Standing, ...]:
    """Return the systems by rank, those of one rank by mean, those of one mean by name.

    means        of all systems; one alone has rank 1
    comparisons  of all pairs of them

    Raises  ValueError if a pair is missing
    """
    told_apart, better = set(), Counter[str]()
    compared = set()
    for pair in comparisons:
        compared.add(frozenset((pair.a, pair.b)))
        if pair.p_holm <= alpha and pair.difference:
            told_apart.add(frozenset((pair.a, pair.b)))
            better[pair.b if pair.difference > 0 else pair.a] += 1
    if missing := [pair for pair in combinations(sorted(means), 2) if frozenset(pair) not in compared]:
        raise ValueError(f"{len(missing)} pairs were not compared, the first is {missing[0]}")
    systems = sorted(means, key=lambda system: (better[system], -means[system], system))
    letters: dict[str, list[str]] = {system: [] for system in systems}
    for number, group in enumerate(groups(systems, told_apart)):
        for system in group:
            letters[system].append(letter(number))
    return tuple(
        Standing(system=system, mean=means[system], rank=1 + better[system], letters=tuple(letters[system]))
        for system in systems
    )


def groups(systems: Sequence[str], told_apart: Collection[frozenset[str]]) -> list[tuple[str, ...]]:
    """Return groups of systems without significant differences; two such systems share at least one group.

    systems     in the order of the board, which members and groups keep
    told_apart  pairs
    """
    order = {system: number for number, system in enumerate(systems)}
    grouped: list[tuple[str, ...]] = []
    shared = Counter[tuple[str, str]]()
    for pair in [(system, system) for system in systems] + list(combinations(systems, 2)):
        if shared[pair] or frozenset(pair) in told_apart:
            continue
        group = list(dict.fromkeys(pair))
        for system in systems:
            if system not in group and all(frozenset((system, member)) not in told_apart for member in group):
                group.append(system)
        grouped.append(tuple(sorted(group, key=order.__getitem__)))
        shared.update(_pairs(grouped[-1]))
    # a later group may have made an earlier one superfluous, and the reverse
    for members in reversed(grouped.copy()):
        if all(shared[pair] > 1 for pair in _pairs(members)):
            grouped.remove(members)
            shared.subtract(_pairs(members))
    return sorted(grouped, key=lambda group: [order[system] for system in group])


def letter(number: int) -> str:
    """Return the name of a group: a to z, then aa.

    >>> [letter(number) for number in (0, 25, 26, 701, 702)]
    ['a', 'z', 'aa', 'zz', 'aaa']
    """
    name = ""
    while number >= 0:
        name = chr(ord("a") + number % 26) + name
        number = number // 26 - 1
    return name


def _pairs(group: Sequence[str]) -> list[tuple[str, str]]:
    """Return its pairs, and each member with itself."""
    return [(system, system) for system in group] + list(combinations(group, 2))
