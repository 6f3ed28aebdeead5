"""Formulas pass through Markdown untouched, where a site has them."""

import pytest

from lotte.builder import formulas
from lotte.builder.html import text_of_value
from lotte.builder.markdown import rendered
from lotte.builder.xml_rows import encode


def text(markdown: str, day: str, formula: str) -> str:
    return text_of_value(encode(rendered(markdown, day, formula=formula)))


@pytest.mark.parametrize("day", ["2015-01-01", "2021-01-01"])
@pytest.mark.parametrize(
    ("markdown", "formula", "read"),
    [
        (r"let $\{ *a*_1 < b \}$ *be*", "$", r"let $\{ *a*_1 < b \}$ be"),
        (r"let $\{ *a* \}$ be", "", "let ${ a }$ be"),
        ("$$\n*a*\n= b\n$$ *c*", "$", "$$ *a* = b $$ c"),
        ("costs $5 *here*\n\nand $6", "$", "costs $5 here and $6"),
        (r"\begin{align*} a \\ *b* \end{align*} *c*", "$", r"\begin{align*} a \\ *b* \end{align*} c"),
        (r"\$*a*\$ and $*a*$", r"\$", r"\$*a*\$ and $a$"),
        ("`$*a*` and *b*$", "$", "$*a* and b$"),
        ("${ $ *a* }$ *b*", "$", "${ $ *a* }$ b"),
        ("@@0@@ and $*a*$", "$", "@@0@@ and $*a*$"),
    ],
)
def test_what_is_read_of_a_text_with_formulas(markdown, formula, read, day):
    assert text(markdown, day, formula) == read


def test_a_site_has_formulas_by_any_of_its_names():
    assert formulas.delimiter(("new.example.com", "math.stackexchange.com")) == "$"
    assert formulas.delimiter(("electronics.stackexchange.com",)) == "\\$"
    assert formulas.delimiter(("beer.stackexchange.com",)) == formulas.delimiter(()) == ""
