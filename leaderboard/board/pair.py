"""The page for two systems on one dataset: the significance of the difference, and the queries on which they differ."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leaderboard.board import texts
from leaderboard.board.dataset_page import DatasetPage
from leaderboard.board.entry import Entry
from leaderboard.board.pages import page
from leaderboard.board.texts import DatasetTexts, Tops
from leaderboard.compare import ALPHA, Comparison, tally
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


def page_of(a: Entry, b: Entry) -> str:
    """Return where the page of two records stands, in whichever order they are given."""
    first, second = sorted((a.id[:12], b.id[:12]))
    return f"pair/{first}-{second}.html"


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """What the pages of a dataset's pairs show beside the values."""

    tops: Mapping[str, tuple[Tops, str]]  # label -> its first five of each question, and why there are none, if so
    texts: DatasetTexts
    groups: Mapping[str, Mapping[str, str]]  # grouping -> query_id -> group


def write(
    datasets: Sequence[DatasetPage], titles: Mapping[str, str], folder: Path, data: Path, say: Callable[[str], None]
) -> None:
    """Write the pages of all pairs that have one, with texts of the datasets in `data`.

    titles  slug of a dataset -> what it is called
    folder  of the site
    say     is called with the reason if there are no texts, one line
    """
    pairs = [(dataset, dataset.paired()) for dataset in datasets]
    (folder / "pair").mkdir()
    with Progress(sum(len(of_dataset) for _, of_dataset in pairs), "pairs", "writing") as progress:
        for dataset, of_dataset in pairs:
            if not of_dataset:
                continue
            shown = _shown(dataset, of_dataset, data, say)
            for a, b in of_dataset:
                content = _page(dataset, a, b, shown, _elsewhere(datasets, dataset, a, b), titles)
                (folder / page_of(dataset.entries[a], dataset.entries[b])).write_bytes(content.encode())
                progress.advance()


def flips(dataset: DatasetPage, a: str, b: str) -> tuple[list[Flip], list[Flip]]:
    """Return the questions that a does better on, and those that b does, the largest difference first."""
    of_a, of_b = dataset.entries[a].by_query, dataset.entries[b].by_query
    flipped = [Flip(query_id=i, of_a=of_a[i], of_b=of_b[i]) for i in of_a if of_a[i] != of_b[i]]
    flipped.sort(key=lambda flip: (-abs(flip.of_a - flip.of_b), flip.query_id))
    return [flip for flip in flipped if flip.of_a > flip.of_b], [flip for flip in flipped if flip.of_a < flip.of_b]


def bars(dataset: DatasetPage, a: str, b: str) -> list[int]:
    """Return how many questions have which difference, a minus b, from -1 to 1; equal ones are left out."""
    counts = [0] * BARS
    for side in flips(dataset, a, b):
        for flip in side:
            counts[round((max(-1.0, min(1.0, flip.of_a - flip.of_b)) + 1) / 2 * (BARS - 1))] += 1
    return counts


def verdict(pair: Comparison) -> str:
    """Return in words what may be said of two systems."""
    if pair.p_holm > ALPHA or not pair.difference:
        return f"Nothing here tells {pair.a} and {pair.b} apart."
    better, worse = (pair.a, pair.b) if pair.difference > 0 else (pair.b, pair.a)
    return f"{better} is better than {worse}."


def _shown(page: DatasetPage, pairs: Iterable[tuple[str, str]], data: Path, say: Callable[[str], None]) -> _Shown:
    """Return what the pages of these pairs show: texts only of the questions that they differ most in."""
    tops = {label: texts.tops(page.entries[label]) for label in sorted({label for pair in pairs for label in pair})}
    if (dataset := texts.dataset_of(page, data, say)) is None:
        return _Shown(tops=tops, texts=DatasetTexts(), groups={})
    query_ids: set[str] = set()
    doc_ids: set[str] = set()
    for pair in pairs:
        for flip in (flip for side in flips(page, *pair) for flip in side[:SHOWN]):
            query_ids.add(flip.query_id)
            for label in pair:
                doc_ids.update(tops[label][0].get(flip.query_id, ()))
    return _Shown(tops=tops, texts=texts.of(dataset, sorted(query_ids), doc_ids), groups=query_groups(dataset))


def _page(
    dataset: DatasetPage,
    a: str,
    b: str,
    shown: _Shown,
    elsewhere: Sequence[tuple[DatasetPage, Comparison]],
    titles: Mapping[str, str],
) -> str:
    comparison = dataset.comparison(a, b)
    assert comparison is not None
    wins, losses = flips(dataset, a, b)
    entry_a, entry_b = dataset.entries[a], dataset.entries[b]
    (best_a, why_a), (best_b, why_b) = shown.tops[a], shown.tops[b]
    return page(
        "pair",
        "../",
        dataset=dataset,
        title=titles[dataset.slug],
        titles=titles,
        a=a,
        b=b,
        entry_a=entry_a,
        entry_b=entry_b,
        comparison=comparison,
        verdict=verdict(comparison),
        sides=((a, wins[:SHOWN], len(wins)), (b, losses[:SHOWN], len(losses))),
        bars=bars(dataset, a, b),
        best_a=best_a,
        best_b=best_b,
        no_tops=dict.fromkeys(filter(None, (why_a, why_b))),
        texts=shown.texts,
        tallies={group: tally(entry_a.by_query, entry_b.by_query, of) for group, of in shown.groups.items()},
        elsewhere=elsewhere,
        alpha=ALPHA,
    )


def _elsewhere(
    datasets: Iterable[DatasetPage], shown: DatasetPage, a: str, b: str
) -> list[tuple[DatasetPage, Comparison]]:
    """Return the same two systems on the other datasets."""
    return [
        (dataset, comparison)
        for dataset in datasets
        if dataset is not shown and a in dataset.entries and b in dataset.entries
        if (comparison := dataset.comparison(a, b))
    ]
