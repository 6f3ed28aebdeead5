"""Formulas of a post: on sites with MathJax they are no Markdown, whatever stands in them.

The sites' editor and server took them out before a text was rendered and put
them back afterwards. Source: MathJax's editor of the sites, by D. Cervone
(`mathjax-editing.js`, 2016); posts of Mathematics Educators, whose formulas
keep `\\\\{` and `_`, where Markdown would make `{` and emphasis of them.
"""

import re
from collections.abc import Iterable

# Which sites have it, and what begins a formula within a line. Source: meta.stackexchange.com/q/216607; of those that
# it names only communities of LoTTE, and others of mathematics and the sciences
_DOLLAR = (
    "ai astronomy bioinformatics biology chemistry cs cstheory datascience dsp earthscience economics engineering math "
    "matheducators mathematica physics quant scicomp stats"
)
_ESCAPED = "codereview electronics rpg"  # where a dollar is a price, or the name of a variable
_DELIMITERS = {f"{name}.stackexchange.com": "$" for name in _DOLLAR.split()}
_DELIMITERS |= {f"{name}.stackexchange.com": "\\$" for name in _ESCAPED.split()} | {"mathoverflow.net": "$"}

_TOKEN = re.compile(r"(\$\$?|\\(?:begin|end)\{[a-z]*\*?\}|\\[\\{}$]|[{}]|(?:\n\s*)+|@@[0-9]+@@|`+)", re.I)
_MARK = re.compile("@@([0-9]+)@@")


def delimiter(names: Iterable[str]) -> str:
    """Return what begins a formula on a site that has one of these names, "" if it has no formulas."""
    return next((_DELIMITERS[name] for name in names if name in _DELIMITERS), "")


def taken_out(text: str, inline: str) -> tuple[str, list[str]]:
    """Return the text with a mark for each formula, and the formulas.

    A formula ends where the same delimiter stands again and braces are balanced, within its paragraph.

    >>> taken_out("so $a_1 + a_2$, `$x$`", "$")
    ('so @@0@@, `$x$`', ['$a_1 + a_2$'])
    """
    tokens, formulas = re.split(_TOKEN, text), []
    begin = last = None
    end, depth = "", 0

    def take(first: int, behind: int) -> None:
        formulas.append("".join(tokens[first : behind + 1]))
        tokens[first : behind + 1] = [f"@@{len(formulas) - 1}@@", *[""] * (behind - first)]

    at = 1
    while at < len(tokens):
        token = tokens[at]
        if token.startswith("@@"):  # it looks like a mark, so it becomes one
            take(at, at)
        elif begin is None:
            if token in (inline, "$$") or token[1:6].lower() == "begin" or token.startswith("`"):
                begin, end = at, "\\end" + token[6:] if token[1:6].lower() == "begin" else token
                last, depth = (at, -1) if token.startswith("`") else (None, 0)  # code: braces mean nothing
        elif token == end:
            if depth > 0:
                last = at
            else:
                if not depth:
                    take(begin, at)
                begin = last = None
        elif token.count("\n") > 1 or at + 2 >= len(tokens):
            if last is not None:
                at = last
                if depth >= 0:
                    take(begin, at)
            begin = last = None
        elif depth >= 0:
            depth += (token == "{") - (token == "}" and depth > 0)
        at += 2
    if begin is not None and last is not None and depth >= 0:
        take(begin, last)
    return "".join(tokens), formulas


def put_back(html: str, formulas: list[str]) -> str:
    """Return the HTML with the formulas in the places of their marks."""

    def formula(mark: "re.Match[str]") -> str:
        text = formulas[int(mark[1])] if int(mark[1]) < len(formulas) else mark[0]
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    return _MARK.sub(formula, html)
