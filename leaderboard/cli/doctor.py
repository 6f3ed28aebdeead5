"""`lotte doctor`: the command that says what another one needs and this machine lacks."""

from pathlib import Path
from typing import Annotated

import typer

from leaderboard.cli.options import AsJson, Data, RetrieverName
from leaderboard.cli.output import print_row
from lotte.errors import LotteError

Words = Annotated[
    list[str] | None, typer.Argument(help="A command, build or train, and indexes that are to be opened.")
]


def doctor(words: Words = None, retriever: RetrieverName = "", data: Data = None, as_json: AsJson = False) -> None:
    """Say what a command needs: one line each, fine, missing or a note, with the command that gets what is missing.

    lotte doctor
    lotte doctor index --retriever colbertv2
    lotte doctor search index/science
    """
    from leaderboard import doctor as checks

    command, folders = "", list(words or ())
    if folders and (folders[0] in checks.COMMANDS or not Path(folders[0]).is_dir()):
        command = folders.pop(0)
    missing = 0
    for finding in checks.look(command, retriever=retriever, folders=list(map(Path, folders)), data=data):
        missing += finding.state == "missing"
        print_row(finding.row(), as_json)
    if missing:
        whose = f"`lotte {command}`" if command else "what was asked for"
        raise LotteError(f"{missing} of the lines above are missing for {whose}; what to do stands in each")
