"""The text of a post: what a reader sees of its HTML, on one line.

Tags, comments, scripts and styles go; the text of code, links, lists, quotes
and table cells stays; images leave nothing; an element that starts a new line
in a browser becomes a blank, an inline one nothing. Entities are decoded once,
after the tags are gone, and every run of white space and control characters
is one blank (spec B.4, decisions 7 to 9).

`text_of_reference` says it with BeautifulSoup. `text_of` is the same and ten to
twenty times faster: posts are clean HTML made from Markdown, so one regular
expression splits nearly all of them. It takes no part in deciding what odd
HTML means: whatever it does not know to the letter goes to the reference.
"""

import re
import warnings
from collections.abc import Callable
from html import unescape
from html.entities import name2codepoint

# One blank for each run. `str.split` knows all of these but the control characters
_CONTROL = {code: " " for code in (*range(0x20), 0x85, 0x2028, 0x2029)}
_HAS_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b]").search

INLINE = frozenset(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark q s samp small span "
    "strike strong sub sup time tt u var wbr".split()
)
BLOCK = frozenset(
    "address article aside blockquote br caption center col colgroup dd details dir div dl dt fieldset "
    "figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr legend li main menu nav ol optgroup option p "
    "pre section summary table tbody td tfoot th thead tr ul".split()
)

# The tags that Markdown makes, as it spells them: lower case, quoted attributes, nothing else
_ATTRIBUTES = r'(?: [a-z-]+="[^"<>]*")*'
_VOID = re.compile(rf"<(br|hr|img){_ATTRIBUTES} ?/?>")
_TAG = re.compile(rf"<(/[a-z][a-z0-9]*(?=>)|[a-z][a-z0-9]*){_ATTRIBUTES}>")
_COMMON = re.compile(r"&(?:amp|lt|gt|quot|nbsp|#39);")
# Those of HTML 4, and numbers that are a character of their own in every reading of the standard
_NUMBER = "3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6]|1[6-9][0-9]|[2-9][0-9]{2}|[1-9][0-9]{3}|[1-4][0-9]{4}"
_ENTITY = re.compile(f"&(?:{'|'.join(sorted(name2codepoint))}|#(?:{_NUMBER}));")
_KNOWN = (INLINE | BLOCK) - {"br", "hr", "col", "wbr", "option", "optgroup"}
_BLANK = {slash + name: " " if name in BLOCK else "" for name in _KNOWN for slash in ("", "/")}
_OPENED_BY = {"/" + name: name for name in _KNOWN}


def text_of(html: str) -> str:
    """Return the text of a post's body on one line; "" if there is none."""
    rest = _VOID.sub(_blank_of_void, html) if "<br" in html or "<hr" in html or "<img" in html else html
    ampersands = rest.count("&")
    rare = ampersands and len(_COMMON.findall(rest)) != ampersands
    if rare and len(_ENTITY.findall(rest)) != ampersands:
        return text_of_reference(html)
    parts = _TAG.split(rest)
    tags = parts[1::2]
    open_tags: list[str] = []
    opened, closed, opener = open_tags.append, open_tags.pop, _OPENED_BY.get
    for tag in tags:
        # an element left open, or closed out of turn, ends where only a parser can say
        if (name := opener(tag)) is None:
            opened(tag)
        elif not open_tags or closed() != name:
            return text_of_reference(html)
    if open_tags:
        return text_of_reference(html)
    try:
        parts[1::2] = map(_BLANK.__getitem__, tags)
    except KeyError:
        return text_of_reference(html)
    text = "".join(parts)
    if "<" in text:
        return text_of_reference(html)
    if rare:
        text = unescape(text)
    elif ampersands:
        text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&nbsp;", " ")
        text = text.replace("&#39;", "'").replace("&amp;", "&")
    return one_line(text)


def one_line(text: str) -> str:
    """Return a text with every run of white space and control characters as one blank, ends stripped.

    >>> one_line(" a\\r\\n\\tb\\x00c\\u2028d\\xa0 ")
    'a b c d'
    """
    if _HAS_CONTROL(text):
        text = text.translate(_CONTROL)
    return " ".join(text.split())


def text_of_reference(html: str) -> str:
    """Return the same as `text_of`, by way of a tree. Slow, obvious, and the judge of it."""
    from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning
    from bs4.element import NavigableString, RubyParenthesisString, RubyTextString, Tag

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)  # "a.txt" is a text like any other
        soup = BeautifulSoup(html, "html.parser")
    shown = (NavigableString, RubyTextString, RubyParenthesisString)  # not comments, scripts, styles
    parts: list[str] = []
    todo: list[object] = [soup]  # a stack and not recursion: tags can be nested deeper than Python calls
    while todo:
        node = todo.pop()
        if isinstance(node, Tag):
            boundary = [" "] if node.name in BLOCK else []
            todo += [*boundary, *reversed(node.contents), *boundary]
        elif type(node) is str or type(node) in shown:
            parts.append(str(node))
    return one_line("".join(parts))


def _blank_of_void(tag: "re.Match[str]") -> str:
    return "" if tag[1] == "img" else " "


Stripper = Callable[[str], str]
STRIPPERS: dict[str, Stripper] = {"fast": text_of, "reference": text_of_reference}
