"""The options that several commands have, each written once."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lotte.executor import Place, Workers

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Data = Annotated[Path | None, typer.Option(help="Where the datasets lie, in place of $LOTTE_HOME.")]
Depth = Annotated[int, typer.Option(min=1, help="How deep each ranking goes.")]
Executor = Annotated[str, typer.Option(help="Where steps run: local, or ray.")]
RayAddress = Annotated[str, typer.Option(help="A Ray cluster that runs: HOST:PORT, auto; none: one is started here.")]
StepTimeout = Annotated[float, typer.Option(help="Seconds after which a step goes to another worker; 0: never.")]
WorkerCount = Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 for one per core.")]
EncoderCount = Annotated[
    int, typer.Option("--workers", min=0, help="Processes that encode; 0: one with all cores, or all of a cluster.")
]
Options = Annotated[list[str] | None, typer.Option("--option", "-o", help="key=value, for the retriever.")]
Results = Annotated[Path, typer.Option(help="The folder of records.")]
RetrieverName = Annotated[str, typer.Option(help="A name from `lotte list retrievers`, or module:function.")]
RESULTS = Path("results")


class Device(StrEnum):
    """What a retriever may run on."""

    cpu = "cpu"
    cuda = "cuda"


DeviceName = Annotated[Device | None, typer.Option(help="For retrievers that can choose.")]


def workers_of(count: int, place: "Place", folder: Path, reads: "Iterable[Path]") -> "Workers":
    """Return the workers that encode; several processes of this machine share its cores.

    folder  that they write into
    reads   what they read
    """
    from functools import partial

    from lotte.executor import Workers
    from lotte.processors import num_processors, share

    count = count or (1 if place.executor == "local" else 0)
    if count != 1:
        folder.mkdir(parents=True, exist_ok=True)
    return Workers(count, partial(share, num_processors() // (count or 1)), place, folder, reads)


def data_folder(data: Path | None) -> Path:
    """Return where the datasets lie: what `--data` says, else the folder of the user."""
    from lotte.home import home

    return data or home()
