"""The options that several commands have, each written once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Data = Annotated[Path | None, typer.Option(help="Where the datasets lie, in place of $LOTTE_HOME.")]
Depth = Annotated[int, typer.Option(min=1, help="How deep each ranking goes.")]
EstimateOnly = Annotated[
    bool, typer.Option("--estimate", help="Only say how long it takes, how much memory and disk, from a sample.")
]
Executor = Annotated[str, typer.Option(help="Where steps run: local, or ray.")]
MadeIndex = Annotated[Path, typer.Argument(help="A folder that `lotte index` made.")]
Options = Annotated[list[str] | None, typer.Option("--option", "-o", help="key=value, for the retriever.")]
Results = Annotated[Path, typer.Option(help="The folder of records.")]
RetrieverName = Annotated[str, typer.Option(help="A name from `lotte list retrievers`, or module:function.")]
RESULTS = Path("results")


class Device(StrEnum):
    """What a retriever may run on."""

    cpu = "cpu"
    cuda = "cuda"


DeviceName = Annotated[Device | None, typer.Option(help="For retrievers that can choose.")]


def data_folder(data: Path | None) -> Path:
    """Return where the datasets lie: what `--data` says, else the folder of the user."""
    from lotte.home import home

    return data or home()
