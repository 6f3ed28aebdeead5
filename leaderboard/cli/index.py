"""`lotte index`: the command that makes an index, and changes one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaderboard.cli.options import (
    Data,
    DeviceName,
    EncoderCount,
    Executor,
    Options,
    RayAddress,
    RetrieverName,
    StepTimeout,
    data_folder,
    workers_of,
)
from leaderboard.cli.retriever import find_modules, load
from lotte.errors import LotteError, UnavailableError
from lotte.terminal import put

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lotte import Corpus
    from retrievers import Retriever

Added = Annotated[
    Path | None, typer.Option(help="Add the documents of this .tsv, an id and a text a line, to the index.")
]
Indexed = Annotated[
    str | None, typer.Argument(help="A dataset, a topic and split, or a folder; none to change an index.")
]
Made = Annotated[
    str, typer.Option("--collection", help="What another program's index was made of: a dataset, a folder or a .tsv.")
]


def index_(
    out: Annotated[Path, typer.Option(help="Where the index is to stand, or stands.")],
    dataset: Indexed = None,
    retriever: RetrieverName = "",
    option: Options = None,
    data: Data = None,
    device: DeviceName = None,
    collection: Made = "",
    add: Added = None,
    delete: Annotated[list[str] | None, typer.Option(help="Delete the document of this id; repeatable.")] = None,
    workers: EncoderCount = 0,
    executor: Executor = "local",
    ray_address: RayAddress = "",
    step_timeout: StepTimeout = 0.0,
    shard: Annotated[str, typer.Option(metavar="i/n", help="Index only this part of the collection.")] = "",
    shards: Annotated[int, typer.Option(min=0, help="Make the index in so many parts; 0: one whole.")] = 0,
) -> None:
    """Make an index that `lotte search` and `lotte eval --index` open.

    lotte index --retriever bm25 lotte/science/test --out index/science
    lotte index --out index/science --delete 17 --add more.tsv
    lotte index --retriever colbertv2 experiments/default/indexes/mine --out index/mine    another program's
    """
    from lotte.collection import OwnIds
    from lotte.executor import Place, at_work
    from retrievers.retriever import Changeable

    place = Place(executor, ray_address, step_timeout)
    _require_sense(dataset, retriever, collection, bool(add or delete))
    system = load(retriever, option, device) if dataset else _maker(out, retriever, option)
    changes = {} if isinstance(system, Changeable) else {"--add": add, "--delete": delete}
    _require_none({**changes, "--shard": shard}, retriever)
    added = OwnIds(add) if add else None  # a file that is wrong is told before anything is made
    if dataset:
        with at_work(workers_of(workers, place, out.resolve().parent, ())):
            _make(system, dataset, data_folder(data), out, collection, shards)
    if isinstance(system, Changeable) and (add or delete):
        system.change(out, delete=delete or (), add=added)
    put(out)


def _require_sense(dataset: str | None, retriever: str, collection: str, changes: bool) -> None:
    """Raise LotteError for options that do not go together."""
    if collection and not dataset:
        raise LotteError("--collection goes with an index of another program, to be taken over")
    if not dataset and not changes:
        raise LotteError("`lotte index` needs a dataset to index, or --add and --delete to change the index at --out")
    if dataset and not retriever:
        raise LotteError("`lotte index` needs --retriever NAME; `lotte list retrievers` shows the names")


def _require_none(asked: "Mapping[str, object]", retriever: str) -> None:
    """Raise UnavailableError for an option that this kind of index does not know."""
    if flag := next((flag for flag, value in asked.items() if value), ""):
        raise UnavailableError(
            f"{flag}: an index of {retriever or 'this kind'} is built whole; index the changed collection again"
        )


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
        raise LotteError(f"--collection goes with an index of another program, and {dataset} is none that is read here")
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
