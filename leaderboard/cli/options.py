"""The options that several commands have, each written once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Data = Annotated[Path | None, typer.Option(help="The folder of datasets; default: $LOTTE_HOME.")]
Depth = Annotated[int, typer.Option(min=1, help="The number of documents in each ranking.")]
EstimateOnly = Annotated[
    bool, typer.Option("--estimate", help="Only estimate time, memory and disk, from a quick measurement.")
]
Executor = Annotated[str, typer.Option(help="Where steps run: local or ray.")]
MadeBy = Annotated[str, typer.Option(help="The index's retriever, if it is module:function: code that you trust.")]
MadeIndex = Annotated[Path, typer.Argument(help="A folder that `lotte index` wrote.")]
Options = Annotated[list[str] | None, typer.Option("--option", "-o", help="A retriever's option, key=value.")]
Results = Annotated[Path, typer.Option(help="The folder of records.")]
RetrieverName = Annotated[str, typer.Option(help="A name from `lotte list retrievers`, or module:function.")]
RESULTS = Path("results")


class Device(StrEnum):
    """What a retriever may run on."""

    cpu = "cpu"
    cuda = "cuda"


DeviceName = Annotated[Device | None, typer.Option(help="The device, for retrievers that have the option.")]


def data_folder(data: Path | None) -> Path:
    """Return where the datasets lie: what `--data` says, else the folder of the user."""
    from lotte.home import home

    return data or home()
