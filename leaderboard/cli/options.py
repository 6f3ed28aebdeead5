"""The options that several commands have, each written once."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lotte.executor import Place, Workers

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Data = Annotated[Path | None, typer.Option(help="The folder of datasets; default: $LOTTE_HOME.")]
Depth = Annotated[int, typer.Option(min=1, help="The number of documents in each ranking.")]
EstimateOnly = Annotated[
    bool, typer.Option("--estimate", help="Only estimate time, memory and disk, from a quick measurement.")
]
Executor = Annotated[str, typer.Option(help="Where steps run: local or ray.")]
MadeBy = Annotated[str, typer.Option(help="The index's retriever, if it is module:function: code that you trust.")]
MadeIndex = Annotated[Path, typer.Argument(help="A folder that `lotte index` wrote.")]
RayAddress = Annotated[str, typer.Option(help="A running Ray cluster: HOST:PORT or auto; none: start one here.")]
StepTimeout = Annotated[float, typer.Option(help="Seconds after which a step goes to another worker; 0: never.")]
WorkerCount = Annotated[int, typer.Option("--workers", min=0, help="Number of processes; 0: one per core.")]
EncoderCount = Annotated[
    int, typer.Option("--workers", min=0, help="Processes that encode; 0: one with all cores, or all of a cluster.")
]
Options = Annotated[list[str] | None, typer.Option("--option", "-o", help="A retriever's option, key=value.")]
Results = Annotated[Path, typer.Option(help="The folder of records.")]
RetrieverName = Annotated[str, typer.Option(help="A name from `lotte list retrievers`, or module:function.")]
RESULTS = Path("results")


class Device(StrEnum):
    """What a retriever may run on."""

    cpu = "cpu"
    cuda = "cuda"


DeviceName = Annotated[Device | None, typer.Option(help="The device, for retrievers that have the option.")]


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
