"""`lotte board` as a person types it, but in this process, for every test of its commands."""

import os
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from places import HOUSE
from typer.testing import CliRunner

from leaderboard.cli.board import app
from lotte.errors import LotteError


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def board(*words: object, cwd: Path = HOUSE, home: Path | None = None) -> Done:
    """Run a command; an error of ours is one line and exit 1, as in `cli.main`."""
    with chdir(cwd), patch.dict(os.environ, {"LOTTE_HOME": str(home or "nowhere"), "COLUMNS": "100"}):
        result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, LotteError):
        return Done(1, result.stdout, f"{result.stderr}error: {result.exception}\n")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)
