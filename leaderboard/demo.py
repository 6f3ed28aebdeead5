"""All steps on the bundled sample: build, index, search, score.

It uses the same code as a user, so it is also the first test: if it works from
a wheel, the wheel is complete.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lotte
from leaderboard.evaluate import Order, evaluate
from lotte import reading
from lotte.builder import build, spec
from lotte.errors import UnavailableError
from lotte.progress import Progress
from retrievers import Retriever, load

SAMPLE = Path(lotte.__file__).parent / "sample"
# the lower bound, the baseline in two versions, and late interaction with the bundled checkpoint
SYSTEMS = {"overlap": (), "rank_bm25": (), "bm25": (), "colbertv2": ("checkpoint=shipped",)}


class Score(NamedTuple):
    """What the systems have on one dataset."""

    dataset: str
    measure: str
    queries: int
    values: dict[str, float]  # system -> mean over the queries


def run(out: Path, say: Callable[[str], None]) -> Iterator[Score]:
    """Build the sample at OUT/lotte and score the systems on it. Yields a row for each dataset."""
    collection = out / "lotte"
    order = build.BuildRequest(spec.read(SAMPLE / "spec.toml"), SAMPLE / "dumps", collection, SAMPLE / "gooaq.jsonl")
    build.build(order, lambda total, title: Progress(total, "bytes", title), say)
    datasets = reading.read(collection)
    scores: dict[str, dict[str, float]] = {dataset.name: {} for dataset in datasets}
    systems = dict(_systems(say))
    with Progress(len(systems) * len(datasets), "rankings", "scoring") as progress:
        for name, system in systems.items():
            asked = Order(out=out / "results", index=out / "index", command="lotte demo")
            for record in evaluate(name, system, datasets, asked):
                scores[record.dataset.name][name] = record.value
                progress.advance(1)
    for dataset in datasets:
        yield Score(dataset.name, dataset.measure, len(dataset.queries), scores[dataset.name])


def _systems(say: Callable[[str], None]) -> Iterator[tuple[str, Retriever]]:
    for name, options in SYSTEMS.items():
        try:
            system = load(name, options)
            getattr(system, "card", None)  # of a model: what is not there is noticed here, and not half-way through
        except UnavailableError as error:
            say(f"{name} is left out: {error}")
        else:
            yield name, system


def draw(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table for people, the best system of each in bold."""
    from rich.console import Console
    from rich.table import Table

    systems = [name for name in SYSTEMS if name in rows[0]]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in rows[0]:
        table.add_column(name, justify="left" if name in ("dataset", "measure") else "right")
    for row in rows:
        best = max(row[name] for name in systems)
        cells = [f"{value:.4f}" if name in systems else str(value) for name, value in row.items()]
        marked = [name in systems and row[name] == best for name in row]
        table.add_row(*(f"[bold]{cell}[/bold]" if bold else cell for cell, bold in zip(cells, marked, strict=True)))
    Console().print(table)
