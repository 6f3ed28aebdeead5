"""The commands that build a collection or inspect one: demo, fetch, build, check, describe."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leaderboard.cli import drift
from leaderboard.cli.options import (
    AsJson,
    EstimateOnly,
    Executor,
    MadeBy,
    RayAddress,
    StepTimeout,
    WorkerCount,
    data_folder,
)
from leaderboard.cli.output import print_estimate, print_rows, print_value
from leaderboard.cli.retriever import find_modules
from lotte.errors import LotteError, UnavailableError
from lotte.terminal import put, say

if TYPE_CHECKING:
    from lotte.builder.build import BuildRequest
    from lotte.builder.spec import Spec


Gooaq = Annotated[
    Path | None, typer.Option(help="gooaq.jsonl, plain or .gz; without it, only forum questions are built.")
]
SpecFile = Annotated[Path | None, typer.Option(help="Topics, communities and options as TOML; default: LoTTE's own.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Build without the communities that have no dump.")]
AsOf = Annotated[
    str, typer.Option(metavar="DATE", help="Posts, scores and accepted answers as of this day, such as 2021-09-30.")
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Only what was asked and answered from --since on, without near-duplicates.")
]
Since = Annotated[str, typer.Option(metavar="DATE", help="The first day of a fresh build, 2024-01-01.")]
Against = Annotated[
    Path | None, typer.Option(help="Questions that a fresh build is not to ask again: a .tsv, a .jsonl, or a folder.")
]


def demo(
    out: Annotated[Path, typer.Option(help="The folder for everything that the demo makes.")] = Path("lotte-demo"),
    as_json: AsJson = False,
) -> None:
    """Run every step on the bundled sample: build, index, search, score.

    lotte demo
    """
    from leaderboard import demo as sample

    rows = [
        {
            "dataset": score.dataset,
            "queries": score.queries,
            "measure": score.measure,
            **{name: round(value, 4) for name, value in score.values.items()},
        }
        for score in sample.run(out, say)
    ]
    if sys.stdout.isatty() and not as_json:
        sample.draw(rows)
    else:
        print_rows(rows, as_json, number=str)
    say(f"the collection, its indexes and a record of each score are in {out}; try a search:")
    say(f'  lotte search {out}/index/bm25/lotte/pooled/test "deleted a big log file but the disk is still full"')


def fetch(
    name: Annotated[str, typer.Argument(help="A dataset's name from `lotte list datasets`, such as beir/scifact.")],
    data: Annotated[Path | None, typer.Option(help="The folder to store it in; default: $LOTTE_HOME.")] = None,
) -> None:
    """Download a dataset from its authors or a mirror, check it, and store it where the other commands look.

    lotte fetch beir/scifact
    """
    from lotte.download import fetch as fetch_dataset

    put(fetch_dataset(name, data_folder(data), say=say))


def build(
    dumps: Annotated[Path, typer.Option(help="Folder with <site>.7z or <site>/Posts.xml for each community.")],
    out: Annotated[Path, typer.Option(help="The folder to write: new, or an unfinished build to resume.")],
    gooaq: Gooaq = None,
    spec: SpecFile = None,
    topic: Annotated[list[str] | None, typer.Option(help="Only this topic; repeatable.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only dev, or only test.")] = None,
    as_of: AsOf = "",
    fresh: Fresh = False,
    since: Since = "",
    against: Against = None,
    seed: Annotated[int | None, typer.Option(help="Random seed for choosing among several GooAQ questions.")] = None,
    workers: WorkerCount = 0,
    executor: Executor = "local",
    ray_address: RayAddress = "",
    step_timeout: StepTimeout = 0.0,
    shard: Annotated[str, typer.Option(metavar="i/n", help="Build only this part of the communities.")] = "",
    allow_missing: AllowMissing = False,
    estimate: EstimateOnly = False,
    as_json: AsJson = False,
) -> None:
    """Build LoTTE from Stack Exchange dumps and GooAQ.

    lotte build --dumps ~/dumps --gooaq gooaq.jsonl --out lotte
    lotte build --dumps ~/dumps --fresh --since 2024-01-01 --against lotte --out lotte-fresh
    """
    from lotte.executor import Place, parse_shard, prepare

    place = Place(executor, ray_address, step_timeout)
    if (count := place.count(workers)) > 1 and executor == "local":
        prepare(["lotte.builder.community", "lotte.builder.topics"])
    from lotte.builder.build import BuildRequest

    chosen = _spec(spec, as_of=as_of, since=since, seed=seed).narrowed(topic or [], split or [])
    _require_fresh(fresh, since, against, chosen)
    part = parse_shard(shard) if shard else None
    request = BuildRequest(chosen, dumps, out, gooaq, count, part, allow_missing, against, place)
    (_estimate if estimate else _build)(request, as_json)


def _estimate(request: "BuildRequest", as_json: bool) -> None:
    """Print what a build takes."""
    from lotte.builder.estimate import estimate

    print_estimate(estimate(request), request.out, as_json)


def _spec(path: Path | None, **asked: Any) -> "Spec":
    """Return LoTTE's spec, or that of a file, with the given days and seed."""
    from lotte.builder import spec

    return spec.read(
        path or spec.LOTTE_SPEC, **{name: value for name, value in asked.items() if value not in ("", None)}
    )


def _require_fresh(fresh: bool, since: str, against: Path | None, spec: "Spec") -> None:
    """Raise LotteError for options of a fresh build that do not go together."""
    if since and not fresh:
        raise LotteError("--since is the first day of a fresh build: say --fresh too")
    if fresh and not spec.options.since:
        raise LotteError("--fresh needs --since DATE, the first day of what is taken")
    if against and not spec.options.since:
        raise LotteError("--against goes with --fresh --since DATE: a plain build asks what LoTTE asks")


def _build(request: "BuildRequest", as_json: bool) -> None:
    """Build, and print where: with its id and counts as JSON, which are null if only a part of it was built."""
    from lotte.builder.build import build as build_all
    from lotte.builder.manifest import build_id
    from lotte.progress import Progress

    manifest = build_all(request, lambda total, title: Progress(total, "bytes", title), say)
    if as_json:
        counts = manifest["counts"]["parts"] if manifest else None
        made = build_id(request.out) if manifest else None
        put({"out": str(request.out), "id": made, "parts": counts}, as_json=True)
    else:
        put(request.out)


def check(
    folder: Annotated[Path, typer.Argument(help="A build, an index, a checkpoint, a record, or a folder of records.")],
    other: Annotated[Path | None, typer.Argument(help="Another build, or a release, to compare it with.")] = None,
    retriever: MadeBy = "",
    against: drift.Against = None,
    dumps: drift.LaterDumps = None,
    score: drift.Scored = None,
    page: drift.Page = None,
    as_json: AsJson = False,
) -> None:
    """Check a build, an index, a checkpoint or records against their stored hashes; or compare two builds.

    lotte check lotte                 one line for each file that is not as the manifest says
    lotte check index/science         one line for each part that is not what was written
    lotte check checkpoint            the same, of what `lotte train` wrote
    lotte check results               the same, of records and the runs beside them; `lotte board verify` does more
    lotte check lotte-2021 lotte      passages, questions and answers lost, added, changed, by community
    lotte check lotte-2021 --against lotte --dumps ~/dumps --score bm25     the same one by one, and why; and the scores
    """
    if against is not None:
        if other is not None:
            raise LotteError(f"{other} and --against {against} are two builds to hold beside {folder}; leave out one")
        drift.print_drift(folder, against, dumps, score or (), page, as_json)
    elif dumps or score or page:
        raise LotteError("--dumps, --score and --page belong to --against, which names the build to hold beside it")
    elif other is not None:
        from lotte.builder import diff

        print_rows([row._asdict() for row in diff.compare(folder, other)], as_json, number=str)
    else:
        find_modules(retriever)
        _check_one(folder, retriever, as_json)


def _check_one(folder: Path, retriever: str, as_json: bool) -> None:
    """Print what is not as it was written."""
    from leaderboard import whole

    checked, count = whole.look(folder, retriever, say), 0
    for line in checked.differences:
        count += 1
        print_value("difference", line, as_json)
    if count:
        raise LotteError(f"{folder} is not what was written: {count:,} differences, listed above. {checked.again}")
    say(checked.whole())


def describe(
    folder: Annotated[
        Path, typer.Argument(help="A build, a release, one <topic>/<split> of it, or an index of colbertv2.")
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Draw Figures 4 to 6 of the paper (index: Figure 2) to a .png, .svg or .pdf.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="For an index: the number of example clusters.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Print statistics of a collection: Tables 1 and 9 of the paper, and the lengths of Figures 4 to 6.

    lotte describe lotte --plot lengths.png
    lotte describe index/science --plot clusters.png     what its clusters hold: Figure 2 and Table 6 of the paper
    """
    from lotte import picture
    from retrievers import index_folder

    if not folder.is_dir():
        raise UnavailableError(
            f"{folder} is not a folder; `lotte describe` takes a build, a <topic>/<split> of one, or an index"
        )
    if plot:
        picture.require_ending(plot)
    if index_folder.is_index(folder):
        _describe_index(folder, plot, examples, as_json)
    else:
        _describe_collections(folder, plot, as_json)


def _describe_collections(folder: Path, plot: Path | None, as_json: bool) -> None:
    from lotte import summary
    from lotte.builder.diff import parts
    from lotte.progress import Progress

    names = parts(folder)
    with Progress(len(names), "collections", "reading") as progress:
        summaries = []
        for name in names:
            title = "/".join(folder.resolve().parts[-2:]) if name == "." else name
            summaries.append(summary.summarise(folder / name, title))
            progress.advance(1)
    for table in ("topics", "sites", "lengths"):
        print_rows([row for one in summaries for row in getattr(one, table)()], as_json, number=str)
        if not as_json and table != "lengths":
            put("")
    if plot:
        summary.plot(summaries, plot)
        say(f"{plot}: Figures 4, 5 and 6")


def _describe_index(folder: Path, plot: Path | None, examples: int, as_json: bool) -> None:
    """Print what the clusters of an index hold; its documents are read again."""
    from retrievers import index_folder, registry
    from retrievers.colbert import clusters
    from retrievers.colbert.late_index import LateIndex
    from retrievers.texts import IndexTexts

    opened = registry.open_index(found := index_folder.described(folder))
    if not isinstance(opened, LateIndex):
        parts = f"; it has indexes in {', '.join(found.meta['parts'])}" if found.meta.get("parts") else ""
        raise UnavailableError(
            f"{folder} is an index of {found.meta['recipe']['retriever']}, which has no clusters{parts}"
        )
    texts = IndexTexts(index_folder.read(folder), lambda line: None)
    if texts.is_gone:
        raise UnavailableError(
            f"{folder}: its collection is missing or has changed, but the tokens of a cluster are read from "
            "the documents; put the collection back, or build the index again"
        )
    study = clusters.study(opened, texts, examples=examples)
    rows: list[list[Mapping[str, Any]]] = [[study.counts], [*study.index.rows(), *study.random.rows()]]
    rows.append([one.row(as_json=as_json) for one in study.examples])
    for number, table in enumerate(filter(None, rows)):
        if number and not as_json:
            put("")
        print_rows(table, as_json, number=str)
    if plot:
        clusters.plot(study, plot)
        say(f"{plot}: Figure 2")
