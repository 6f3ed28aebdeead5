"""The app that has every command, and `main`, which makes an error of ours one line and an exit code."""

import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from leaderboard.cli import board, build, doctor, drift, evaluate, export, index, publish, search, train
from leaderboard.cli.options import AsJson, Data, data_folder
from leaderboard.cli.output import print_row
from lotte import extras
from lotte.errors import LotteError
from lotte.terminal import put, say

DISTRIBUTION = "lotte-bench"
COMPILED = "TORCHINDUCTOR_CACHE_DIR"  # which torch sets, and makes, when an optimiser is built
INTERRUPTED = 130  # what typer exits with after Ctrl-C, as shells do
MORE_MEMORY = "free some, raise the limit (ulimit -v), or take a larger machine"
TERMINATED = 143  # what shells say of a process that SIGTERM ended

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

for command in (build.demo, build.fetch, build.build, build.check, drift.date, build.describe, train.train):
    app.command()(command)
app.command("eval")(evaluate.eval_)
app.command("index")(index.index_)
app.command("search")(search.search_)
app.command()(publish.publish)
app.command()(doctor.doctor)
app.add_typer(board.app, name="board")
app.add_typer(export.app, name="export")


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        put(version(DISTRIBUTION))
        raise typer.Exit


@app.callback()
def lotte(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Build LoTTE, run retrievers on it, keep the score."""


class Kind(StrEnum):
    """What `lotte list` lists."""

    retrievers = "retrievers"
    datasets = "datasets"
    measures = "measures"
    communities = "communities"


@app.command("list")
def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")], data: Data = None, as_json: AsJson = False
) -> None:
    """List the names that other commands accept; retrievers with a one-line description."""
    from leaderboard import catalogue
    from leaderboard.measure import MEASURES
    from lotte.builder import spec
    from retrievers import registry

    names: dict[Kind, Callable[[], list[str]]] = {
        Kind.retrievers: registry.names,
        Kind.datasets: lambda: catalogue.names(data_folder(data)),
        Kind.measures: lambda: list(MEASURES),
        Kind.communities: lambda: spec.read().sites(),
    }
    for name in names[kind]():
        told = {"what": registry.summary(name)} if kind is Kind.retrievers else {}
        print_row({"name": name, **told}, as_json)


def main() -> None:
    """Run the command line of this process. Exit 1 with one line for an error of ours, 2 for a line not understood."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # data is UTF-8, whatever the terminal is
    ended: list[int] = []

    def end(number: int, frame: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second signal stops at once
        ended.append(number)
        raise KeyboardInterrupt  # in order, as after Ctrl-C: temporary folders and workers go

    signal.signal(signal.SIGTERM, end)
    compiled = os.environ.get(COMPILED)
    try:
        app()
    except LotteError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if (package := extras.of(error)) is None:
            raise
        _fail(str(extras.lacking(package, "this command")))
    except MemoryError as error:
        _fail(f"there is too little memory here ({str(error) or 'none is left'}); {MORE_MEMORY}")
    except ImportError as error:
        if not re.search("failed to map segment|[Cc]annot allocate memory", str(error)):
            raise
        _fail(f"there is too little memory here to load a library ({error}); {MORE_MEMORY}")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except SystemExit as done:
        if done.code == INTERRUPTED:
            say("interrupted; what was finished by then is kept")
        raise SystemExit(TERMINATED if ended else done.code) from None
    finally:
        if not compiled and COMPILED in os.environ:
            with suppress(OSError):  # where something was compiled, it stays
                os.rmdir(os.environ[COMPILED])


def _fail(message: str) -> NoReturn:
    say(f"error: {message}")
    raise SystemExit(1) from None
