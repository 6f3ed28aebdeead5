"""`lotte index`: the command that builds an index, or changes one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaderboard.cli.options import (
    AsJson,
    Data,
    DeviceName,
    EncoderCount,
    EstimateOnly,
    Executor,
    Options,
    RayAddress,
    RetrieverName,
    StepTimeout,
    data_folder,
    workers_of,
)
from leaderboard.cli.output import print_estimate, print_value
from leaderboard.cli.retriever import find_modules, load
from lotte.errors import LotteError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lotte import Corpus
    from retrievers import Retriever

Added = Annotated[
    Path | None, typer.Option(help="Add the documents of this .tsv (one id and text per line) to the index.")
]
Deleted = Annotated[list[str] | None, typer.Option(help="Delete the document with this id; repeatable.")]
Shard = Annotated[str, typer.Option(metavar="i/n", help="Index only this part of the collection.")]
Indexed = Annotated[
    str | None, typer.Argument(help="A dataset, a topic and split, or a folder; none to change an index.")
]
Made = Annotated[
    str, typer.Option("--collection", help="The collection of another program's index: a dataset, a folder or a .tsv.")
]


def index_(
    out: Annotated[Path, typer.Option(help="The index folder, to write or to change.")],
    dataset: Indexed = None,
    retriever: RetrieverName = "",
    option: Options = None,
    data: Data = None,
    device: DeviceName = None,
    collection: Made = "",
    add: Added = None,
    delete: Deleted = None,
    workers: EncoderCount = 0,
    executor: Executor = "local",
    ray_address: RayAddress = "",
    step_timeout: StepTimeout = 0.0,
    shard: Shard = "",
    shards: Annotated[int, typer.Option(min=0, help="Write the index in this many parts; 0: one whole.")] = 0,
    estimate: EstimateOnly = False,
    as_json: AsJson = False,
) -> None:
    """Build an index for `lotte search` and `lotte eval --index`.

    lotte index --retriever bm25 lotte/science/test --out index/science
    lotte index --out index/science --delete 17 --add more.tsv
    lotte index --retriever colbertv2 experiments/default/indexes/mine --out index/mine    another program's
    """
    from lotte.executor import Place, at_work
    from retrievers.retriever import Changeable

    _require_sense(dataset, retriever, collection, bool(add or delete), estimate)
    system = load(retriever, option, device) if dataset else _maker(out, retriever, option)
    _require_changeable(system, retriever, {"--add": add, "--delete": delete, "--shard": shard})
    if dataset and estimate:
        return _estimate(system, dataset, data_folder(data), out, as_json)
    added = _of_tsv(add) if add else None  # an invalid file is reported before anything is written
    if dataset:
        with at_work(workers_of(workers, Place(executor, ray_address, step_timeout), out.resolve().parent, ())):
            _make(system, dataset, data_folder(data), out, collection, shards)
    if isinstance(system, Changeable) and (add or delete):
        system.change(out, delete=delete or (), add=added)
    print_value("out", out, as_json)


def _of_tsv(path: Path) -> "Corpus":
    from lotte.collection import OwnIds

    return OwnIds(path)


def _require_changeable(system: "Retriever", name: str, changes: Mapping[str, object]) -> None:
    """Raise UnavailableError for an option that asks for what indexes of this kind cannot do."""
    from retrievers.retriever import Changeable

    asked = [flag for flag, value in changes.items() if value]
    if flags := [flag for flag in asked if flag == "--shard" or not isinstance(system, Changeable)]:
        raise UnavailableError(
            f"{flags[0]}: an index of {name or 'this kind'} cannot be changed; index the changed collection again"
        )


def _estimate(system: "Retriever", dataset: str, data: Path, out: Path, as_json: bool) -> None:
    """Print what an index takes."""
    from leaderboard import catalogue
    from retrievers import estimate

    print_estimate([estimate.index(system, catalogue.corpus(dataset, data))], out, as_json)


def _require_sense(dataset: str | None, retriever: str, collection: str, changes: bool, estimate: bool) -> None:
    """Raise LotteError for options that do not go together."""
    if estimate and (changes or collection or not dataset):
        raise LotteError("--estimate is about indexing a dataset; leave out --add, --delete and --collection")
    if collection and not dataset:
        raise LotteError("--collection needs an index of another program, to be taken over")
    if not dataset and not changes:
        raise LotteError("`lotte index` needs a dataset to index, or --add and --delete to change the index at --out")
    if dataset and not retriever:
        raise LotteError("`lotte index` needs --retriever NAME; `lotte list retrievers` shows the names")


def _maker(index: Path, retriever: str, options: list[str] | None) -> "Retriever":
    """Return the retriever that made an index, with further options."""
    from retrievers import index_folder, registry

    find_modules(retriever)
    return registry.maker(index_folder.described(index), retriever, options or ())


def _make(system: "Retriever", dataset: str, data: Path, out: Path, collection: str, shards: int) -> None:
    """Index a dataset, or take over the index that another program made and that is named in its place."""
    from leaderboard import catalogue
    from retrievers.retriever import Adopts, Shards

    if shards and not isinstance(system, Shards):
        raise UnavailableError("--shards: an index of this retriever is one whole; bm25 and colbertv2 can be in parts")
    if isinstance(system, Adopts) and system.adopts(Path(dataset)):
        system.adopt(Path(dataset), out, _collection(collection, data) if collection else None)
    elif collection:
        raise LotteError(f"--collection needs an index of another program, and {dataset} is not one that can be read")
    elif shards and isinstance(system, Shards):
        system.index_sharded(catalogue.corpus(dataset, data), out, shards)
    else:
        system.index(catalogue.corpus(dataset, data), out)


def _collection(name: str, data: Path) -> "Corpus":
    """Return the documents of a dataset, a folder or a .tsv, whose ids may be its own."""
    from leaderboard import catalogue
    from lotte.collection import of_tsv

    path = Path(name)
    return of_tsv(path) if path.is_file() and ".tsv" in path.suffixes else catalogue.corpus(name, data)
