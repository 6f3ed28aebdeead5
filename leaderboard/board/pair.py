"""A page for two systems of one dataset: how sure the difference is, and on which questions they differ."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leaderboard.board import texts
from leaderboard.board.contest import Contest
from leaderboard.board.pages import page
from leaderboard.board.record import Record
from leaderboard.board.texts import Texts, Tops
from leaderboard.compare import ALPHA, Comparison, Tally, tally
from lotte import Dataset
from lotte.progress import Progress
from lotte.query_groups import query_groups

SHOWN = 30  # questions of each side; the first five of both take some 5 kB
BARS = 21  # of the drawing of differences, from -1 to 1


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A question on which one of the two did better."""

    query_id: str
    of_a: float
    of_b: float


def page_of(a: Record, b: Record) -> str:
    """Return where the page of two records stands, in whichever order they are given."""
    first, second = sorted((a.id[:12], b.id[:12]))
    return f"pair/{first}-{second}.html"


def write(
    contests: Sequence[Contest], titles: Mapping[str, str], folder: Path, data: Path, say: Callable[[str], None]
) -> None:
    """Write the pages of all pairs that have one, with texts of the datasets in `data`."""
    pairs = [(contest, contest.paired()) for contest in contests]
    (folder / "pair").mkdir()
    with Progress(sum(len(found) for _, found in pairs), "pairs", "writing") as progress:
        for contest, found in pairs:
            if not found:
                continue
            shown = sorted({label for pair in found for label in pair})
            best = {label: texts.tops(contest.entries[label]) for label in shown}
            dataset = texts.dataset(contest, data, say)
            known = _texts(contest, found, {label: tops for label, (tops, _) in best.items()}, dataset)
            groups = query_groups(dataset) if dataset else {}
            for a, b in found:
                elsewhere = _elsewhere(contests, contest, a, b)
                tallies = by_group(contest, a, b, groups)
                content = _page(contest, a, b, best[a], best[b], known, tallies, elsewhere, titles)
                (folder / page_of(contest.entries[a], contest.entries[b])).write_bytes(content.encode())
                progress.advance()


def flips(contest: Contest, a: str, b: str) -> tuple[list[Flip], list[Flip]]:
    """Return the questions that a does better on, and those that b does, the largest difference first."""
    one, other = contest.entries[a], contest.entries[b]
    scored = zip(one.query_ids, one.values.tolist(), other.values.tolist(), strict=True)
    found = [Flip(query_id=query_id, of_a=of_a, of_b=of_b) for query_id, of_a, of_b in scored if of_a != of_b]
    found.sort(key=lambda flip: (-abs(flip.of_a - flip.of_b), flip.query_id))
    return [flip for flip in found if flip.of_a > flip.of_b], [flip for flip in found if flip.of_a < flip.of_b]


def bars(contest: Contest, a: str, b: str) -> list[int]:
    """Return how many questions have which difference, a minus b, from -1 to 1; equal ones are left out."""
    counts = [0] * BARS
    for found in flips(contest, a, b):
        for flip in found:
            place = round((max(-1.0, min(1.0, flip.of_a - flip.of_b)) + 1) / 2 * (BARS - 1))
            counts[place] += 1
    return counts


def by_group(contest: Contest, a: str, b: str, groups: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Tally]]:
    """Return grouping -> group -> wins, ties and losses of a; groups as in `lotte.query_groups`."""
    one, other = (dict(zip(entry.query_ids, entry.values.tolist(), strict=True))
                  for entry in (contest.entries[a], contest.entries[b]))  # fmt: skip
    return {grouping: tally(one, other, of) for grouping, of in groups.items()}


def verdict(found: Comparison) -> str:
    """Return in words what may be said of two systems."""
    if found.p_holm > ALPHA or not found.difference:
        return f"Nothing here tells {found.a} and {found.b} apart."
    better, worse = (found.a, found.b) if found.difference > 0 else (found.b, found.a)
    return f"{better} is better than {worse}."


def _texts(
    contest: Contest,
    pairs: Iterable[tuple[str, str]],
    best: Mapping[str, Tops],
    dataset: Dataset | None,
) -> Texts:
    """Return the texts that the pages of these pairs show."""
    if dataset is None:
        return Texts()
    query_ids: set[str] = set()
    doc_ids: set[str] = set()
    for a, b in pairs:
        for side in flips(contest, a, b):
            for flip in side[:SHOWN]:
                query_ids.add(flip.query_id)
                for label in (a, b):
                    doc_ids.update(best[label].get(flip.query_id, ()))
    return texts.of(dataset, sorted(query_ids), doc_ids)


def _page(
    contest: Contest,
    a: str,
    b: str,
    best_a: tuple[Tops, str],
    best_b: tuple[Tops, str],
    known: Texts,
    tallies: Mapping[str, Mapping[str, Tally]],
    elsewhere: Sequence[tuple[Contest, Comparison]],
    titles: Mapping[str, str],
) -> str:
    found = contest.comparison(a, b)
    assert found is not None
    wins, losses = flips(contest, a, b)
    return page(
        "pair",
        "../",
        contest=contest,
        title=titles[contest.slug],
        titles=titles,
        a=a,
        b=b,
        record_a=contest.entries[a],
        record_b=contest.entries[b],
        found=found,
        verdict=verdict(found),
        sides=((a, wins[:SHOWN], len(wins)), (b, losses[:SHOWN], len(losses))),
        bars=bars(contest, a, b),
        best_a=best_a[0],
        best_b=best_b[0],
        no_tops=dict.fromkeys(why for why in (best_a[1], best_b[1]) if why),
        texts=known,
        tallies=tallies,
        elsewhere=elsewhere,
        page_of_pair=page_of,
        alpha=ALPHA,
    )


def _elsewhere(contests: Iterable[Contest], here: Contest, a: str, b: str) -> list[tuple[Contest, Comparison]]:
    """Return the same two systems on the other datasets."""
    return [
        (contest, found)
        for contest in contests
        if contest is not here and a in contest.entries and b in contest.entries
        if (found := contest.comparison(a, b))
    ]
