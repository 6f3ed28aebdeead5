"""Which words of a document matched which words of the query, on a terminal or as rows.

The stronger an answer, the brighter its background. The special tokens of the
query that repeat what a word before them said are left out on a terminal.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from leaderboard.cli.output import print_row
from lotte.terminal import visible

if TYPE_CHECKING:
    from rich.text import Text

    from retrievers.retriever import Answer

COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#9c755f", "#edc948", "#ff9da7", "#bab0ac")
SPECIAL = ("[CLS]", "[SEP]", "[MASK]", "[Q]", "[unused0]")


def print_answers(answers: Sequence["Answer"], as_json: bool) -> None:
    """Print matches: one object per line, coloured words on a terminal, else one row per token after a tab."""
    if as_json:
        for answer in answers:
            print_row(answer._asdict(), True)
    elif sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False, soft_wrap=True).print(coloured(answers))
    else:
        for answer in answers:
            print_row({"": "", **answer._asdict()}, False)


def coloured(answers: Sequence["Answer"]) -> "Text":
    """Return the words of the query, each beside its matching word, with one colour per document word."""
    from rich.text import Text

    colours: dict[int, str] = {}
    text = Text()
    for answer in answers:
        if answer.query_token in SPECIAL:
            continue
        colour = colours.setdefault(answer.position, COLOURS[len(colours) % len(COLOURS)])
        bars = "#" * max(1, round(answer.score * 10))
        text.append(f"    {visible(answer.query_token):>16} ")
        text.append(f" {visible(answer.doc_token)} ", style=f"bold white on {colour}")
        text.append(f" {answer.score:.2f} {bars}\n", style=colour)
    return text
