"""`lotte` as a person types it, for every test of a command."""

import os
import signal
import subprocess
import sys

from places import HOUSE


def lotte(*words: object, stdin: str | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "COLUMNS": "100", **variables}
    command = [sys.executable, "-m", "leaderboard.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=HOUSE, env=env, input=stdin, timeout=300)


def error(*words: object, **variables: str) -> str:
    """Return the one line that a command fails with; it must be one, and exit 1."""
    done = lotte(*words, **variables)
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: "), done.stderr
    return last.removeprefix("error: ")


def hears_ctrl_c() -> None:
    """For a new process: undo what a shell does to those in its background, which never hear of Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
