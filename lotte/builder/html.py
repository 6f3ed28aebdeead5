"""The text of a post: what a reader sees of its HTML, on one line.

Tags, comments, scripts and styles go; the text of code, links, lists, quotes
and table cells stays; images leave nothing; an element that starts a new line
in a browser becomes a blank, an inline one nothing. Entities are decoded once,
after the tags are gone, and every run of white space and control characters
is one blank (spec B.4, decisions 7 to 9).

`text_of_reference` defines this with BeautifulSoup. `text_of_value` is the same and
many times faster: posts are clean HTML made from Markdown, so one regular
expression splits nearly all of them, and it does so in the attribute as it
stands in the file, where "<" is "&lt;". It does not interpret
unusual HTML: whatever it does not recognise exactly goes to the reference.
"""

import re
import warnings
from html import unescape
from html.entities import name2codepoint

from lotte.builder.xml_rows import decode

# One blank for each run. `str.split` knows all of these but the control characters
_CONTROL = {code: " " for code in (*range(0x20), 0x85, 0x2028, 0x2029)}
_HAS_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b]").search
_BLANKS = bytes(0x20 if code < 0x20 else code for code in range(256))

INLINE = frozenset(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark q s samp small span "
    "strike strong sub sup time tt u var wbr".split()
)
BLOCK = frozenset(
    "address article aside blockquote br caption center col colgroup dd details dir div dl dt fieldset "
    "figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr legend li main menu nav ol optgroup option p "
    "pre section summary table tbody td tfoot th thead tr ul".split()
)

# The tags that Markdown makes, as it spells them, as an attribute of XML spells that:
# lower case, quoted values, nothing else. The shapes after a name stand there by how often they occur
_ATTRIBUTE = rb"(?: [a-z-]+=&quot;[^&]*(?:&amp;[^&]*)*&quot;)"
_TAG = re.compile(
    rb"&lt;(/[a-z][a-z0-9]*(?=&gt;)|[a-z][a-z0-9]*)"
    rb"(?:&gt;|%b+&gt;|(?:(?<=&lt;br)|(?<=&lt;hr)|(?<=&lt;img))%b* ?/?&gt;)" % (_ATTRIBUTE, _ATTRIBUTE)
)
# What may be left once the tags are gone: a quotation mark, a bare ">", and the entities that Markdown makes
_LEFT = re.compile(rb"&(?:quot|gt|amp;(?:amp|lt|gt|quot|nbsp|#39));")
_DECODED = {b"&quot;": b'"', b"&gt;": b">", b"&amp;lt;": b"<", b"&amp;gt;": b">", b"&amp;quot;": b'"',
            b"&amp;#39;": b"'", b"&amp;nbsp;": b" "}  # fmt: skip
# Those of HTML 4, and numbers that are a character of their own in every reading of the standard
_NUMBER = "3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6]|1[6-9][0-9]|[2-9][0-9]{2}|[1-9][0-9]{3}|[1-4][0-9]{4}"
_RARE = re.compile(f"&(?:quot|gt|amp;(?:{'|'.join(sorted(name2codepoint))}|#(?:{_NUMBER})));".encode())
_KNOWN = (INLINE | BLOCK) - {"br", "hr", "col", "wbr", "option", "optgroup"}
# What stands in a tag's place. An inline one leaves a mark until the entities are decoded, lest
# "&<b>lt;</b>" becomes one of them; the mark is not a character of XML, so it is nowhere else
_MARK = b"\x01"
_BLANK = {(slash + name).encode(): b" " if name in BLOCK else _MARK for name in _KNOWN for slash in ("", "/")} | {
    b"br": b" ",
    b"hr": b" ",
    b"img": _MARK,
}
# The tag that ends what a tag begins; b"" for those that begin nothing
_END = {name: b"" if name in (b"br", b"hr", b"img") else b"/" + name for name in _BLANK if name[:1] != b"/"}
# White space beyond ASCII, as UTF-8
_WIDE = re.compile(
    b"|".join(chr(code).encode() for code in range(0x80, 0x3001) if chr(code).isspace() or code in _CONTROL)
)


def text_of_value(value: bytes) -> str:
    """Return the text of a post's body on one line, from the attribute as it stands in the dump; "" if none.

    Raises ValueError if the attribute is not UTF-8 or not XML

    >>> text_of_value(b"&lt;p&gt;It isn&amp;#39;t &lt;b&gt;bo&lt;/b&gt;ld.&lt;/p&gt;&#xA;&lt;p&gt;Two&lt;/p&gt;")
    "It isn't bold. Two"
    """
    parts = _TAG.split(value)
    tags = parts[1::2]
    awaited = [b""]
    for tag in tags:
        # an element left open, or closed out of turn, ends where only a parser can say
        if end := _END.get(tag):
            awaited.append(end)
        elif end is None and awaited.pop() != tag:
            return text_of_reference(decode(value))
    if len(awaited) > 1:
        return text_of_reference(decode(value))
    parts[1::2] = map(_BLANK.__getitem__, tags)
    text = _joined(b"".join(parts).split(b"&#xA;"))
    if ampersands := text.count(b"&"):
        left = _LEFT.findall(text)
        if len(left) != ampersands:  # a tag unlike those of Markdown, or a rare entity
            if len(_RARE.findall(text)) != ampersands:
                return text_of_reference(decode(value))
            text = text.replace(b"&gt;", b">").replace(b"&quot;", b'"').replace(b"&amp;", b"&")
            return one_line(unescape(text.replace(_MARK, b"").decode()))
        for entity in set(left) - {b"&amp;amp;"}:
            text = text.replace(entity, _DECODED[entity])
        text = text.replace(b"&amp;amp;", b"&")  # last, so that "&amp;lt;" stays "&lt;"
    if _MARK in text:
        text = text.replace(_MARK, b"")
    if not text.isascii():
        text = _WIDE.sub(b" ", text)
    text = text.translate(_BLANKS)
    if len(parts := text.split(b"  ")) > 1:
        text = _joined(parts)
    return text.strip().decode()


def _joined(parts: list[bytes]) -> bytes:
    return b" ".join(filter(None, map(bytes.strip, parts)))


def one_line(text: str) -> str:
    """Return a text with every run of white space and control characters as one blank, ends stripped.

    >>> one_line(" a\\r\\n\\tb\\x00c\\u2028d\\xa0 ")
    'a b c d'
    """
    if _HAS_CONTROL(text):
        text = text.translate(_CONTROL)
    return " ".join(text.split())


def text_of_reference(html: str) -> str:
    """Return the same from the HTML itself, by way of a tree. Slow and simple: the reference for it."""
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
