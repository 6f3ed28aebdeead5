"""The commands: `lotte`, a file for each kind. A command parses, calls one function, and prints.

Data goes to stdout and talk goes to stderr. Exit is 0, or 1 with one line that
begins `error:`, or 2 for a command line that could not be read.
"""

from leaderboard.cli.main import app, main

__all__ = ["app", "main"]
