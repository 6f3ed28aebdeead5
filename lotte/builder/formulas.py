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
    search = _Search(_TOKEN.split(text), inline)
    search.run()
    return "".join(search.tokens), search.formulas


class _Search:
    """Every other token is a delimiter, a brace, a line break, or what looks like a mark."""

    def __init__(self, tokens: list[str], inline: str) -> None:
        self.tokens, self.formulas, self._inline = tokens, list[str](), inline
        self._begin = 0  # the token where a formula or code begins, 0 outside
        self._last = 0  # where it may end, should its braces never balance
        self._end, self._depth = "", 0

    def run(self) -> None:
        at = 1
        while at < len(self.tokens):
            token = self.tokens[at]
            if token.startswith("@@"):
                self._take(at, at)
            elif not self._begin:
                self._open(at, token)
            elif token == self._end and self._depth > 0:
                self._last = at
            elif token == self._end:
                if not self._depth:
                    self._take(self._begin, at)
                self._begin = self._last = 0
            elif token.count("\n") > 1 or at + 2 >= len(self.tokens):
                at = self._give_up(at)
            elif self._depth >= 0:
                self._depth += (token == "{") - (token == "}" and self._depth > 0)
            at += 2
        self._give_up(at)

    def _open(self, at: int, token: str) -> None:
        is_code, is_block = token.startswith("`"), token[1:6].lower() == "begin"
        if is_code or is_block or token in (self._inline, "$$"):
            self._begin, self._end = at, "\\end" + token[6:] if is_block else token
            self._last, self._depth = (at, -1) if is_code else (0, 0)  # in code braces mean nothing

    def _give_up(self, at: int) -> int:
        """End without an end. Returns the token behind which the search goes on."""
        if self._begin and self._last:
            at = self._last
            if self._depth >= 0:
                self._take(self._begin, at)
        self._begin = self._last = 0
        return at

    def _take(self, first: int, last: int) -> None:
        self.formulas.append("".join(self.tokens[first : last + 1]))
        self.tokens[first : last + 1] = [f"@@{len(self.formulas) - 1}@@", *[""] * (last - first)]


def put_back(html: str, formulas: list[str]) -> str:
    """Return the HTML with the formulas in the places of their marks."""

    def formula(mark: "re.Match[str]") -> str:
        text = formulas[int(mark[1])] if int(mark[1]) < len(formulas) else mark[0]
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    return _MARK.sub(formula, html)
