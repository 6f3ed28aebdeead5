"""Markdown of a revision -> its HTML, by the rules that the sites had on a day.

Until June 2020 the sites rendered posts with a Markdown of their own, which
grew out of Gruber's Markdown.pl: it rewrites the text step by step, and the
order of the steps is the grammar. `_Older` takes the same steps. From the
switch on it is CommonMark, by a library. Every rule that they differ in, with
its source:

  1 `1)` begins no list, `1.` does; nor does a list begin without a blank line above            [MS]
  2 a heading needs no blank: `##Title`                                                         [MS]
  3 a blank may stand in `[text] [1]`, and in `![text] (url)` but not in `[text] (url)`         [MS, MSO]
  4 `[1]: url` is a definition on any line, in the middle of a paragraph too                    [MS]
  5 no `_` inside a word is emphasis, and no `*` beside a digit                                 [MS, BLOG]
  6 a bare address is a link; an address of mail in `<>` is not, and is lost as an unknown tag  [MS, PD]
  7 `\\` escapes ``\\`*_{}[]()>#+-.!/:`` and nothing else                                          [MS]
  8 a fence of ``` is code from 2019 on, in front of that it is a code span                     [FENCE]
  9 in both: `>!` is a quotation whose exclamation mark is not shown; `[tag:x]` shows x         [HELP]
 10 in both: of HTML a short list of tags is kept, every other tag goes and its content stays   [HTML]
 11 in both: a bare link to a question of the site shows the question's title                   [SEEN]
 12 in both: a formula is no Markdown, on sites that have formulas (formulas.py)

  MS     github.com/StackExchange/MarkdownSharp, the sites' renderer, with AutoHyperlink, StrictBoldItalic and
         AsteriskIntraWordEmphasis on and LinkEmails off
  PD     PageDown, the sites' editor: links of mail are switched off
  MSO    meta.stackoverflow.com/q/378452: a blank between the two pairs of brackets
  BLOG   stackoverflow.blog/2009/10/15/markdown-one-year-later
  FENCE  meta.stackexchange.com/q/125148, "Code fences work now", January 2019
  HELP   stackoverflow.com/editing-help
  HTML   meta.stackexchange.com/q/1777, "What HTML tags are allowed"
  SEEN   every such link in the dumps at hand
  switch meta.stackexchange.com/q/348746: "As of June 20, 2020, all sites are on CommonMark now"; from 1 June on

Nobody reads the address of a link here, so links are written without one.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from lotte.builder import formulas

COMMONMARK_SINCE = "2020-06-01"
FENCES_SINCE = "2019-01-01"

Titles = Callable[[str], str | None]  # what a bare link shows: the title of the question it leads to

_KEPT = "b|blockquote|code|dd|del|dl|dt|em|h[1-6]|i|kbd|li|ol|p|pre|s|strike|strong|sub|sup|ul"
_TAG = re.compile(r"<[^>]*(?:>|\Z)")
_IS_KEPT = re.compile(rf"</?(?:{_KEPT})>|<(?:br|hr) ?/?>|<ol start=\"[0-9]+\">").fullmatch
_SITES_TAG = re.compile(r"\[(?:meta-)?tag:([^\[\]\s<>]+)\]")
_CODE = re.compile(r"(<code>.*?</code>)", re.S)


def rendered(markdown: str, day: str, titles: Titles = lambda url: None, formula: str = "") -> str:
    """Return the HTML of a text as the sites rendered it on a day, without what nobody reads.

    titles   what a bare link shows, None for its address
    formula  what begins a formula on the site, "" if there are none

    >>> rendered("##Two\\n1) *ways*", "2016-09-01"), rendered("##Two\\n1) *ways*", "2020-09-01")
    ('<h2>Two</h2>\\n\\n<p>1) <em>ways</em></p>\\n', '<p>##Two</p>\\n<ol>\\n<li><em>ways</em></li>\\n</ol>\\n')
    """
    markdown, taken = formulas.taken_out(markdown, formula) if formula else (markdown, [])
    if day >= COMMONMARK_SINCE:
        html = _commonmark(markdown, titles)
    else:
        html = _Older(titles, fences=day >= FENCES_SINCE).html(markdown)
    if "tag:" in html:
        parts = _CODE.split(html)
        parts[::2] = (_SITES_TAG.sub(r"\1", part) for part in parts[::2])
        html = "".join(parts)
    html = _TAG.sub(lambda tag: tag[0] if _IS_KEPT(tag[0]) else "", html)
    return formulas.put_back(html, taken) if taken else html


@cache
def _library() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": True})


_SPOILER = re.compile(r"^( {0,3}>) ?!(?!\[)", re.M)
_BARE = re.compile(r"(?<![\w(<\"'=/\[])https?://[^\s<>]+[^\s<>.,;:?!\"')\]]")


def _commonmark(markdown: str, titles: Titles) -> str:
    tokens = _library().parse(_SPOILER.sub(r"\1 ", markdown) if ">!" in markdown.replace(" ", "") else markdown)
    for block in tokens:
        block.info = ""  # the language of a fence, which would stand in the tag
        inside = False  # of a link
        for before, token in zip([None, *(block.children or [])], block.children or [], strict=False):
            if token.type == "text" and "://" in token.content:
                if not inside:
                    token.content = _BARE.sub(lambda url: titles(url[0]) or url[0], token.content)
                elif before.type == "link_open" and before.attrs.get("href") == token.content:
                    token.content = titles(token.content) or token.content
            inside = token.type == "link_open" or (inside and token.type != "link_close")
    html: str = _library().renderer.render(tokens, _library().options, {})
    return html


# The older dialect. Three kinds of marks stand for what later steps must not touch; no text has the character
_MARK = "\x1a"
_BLOCK = re.compile(f"{_MARK}H([0-9]+)H")
_ESCAPED = re.compile(f"{_MARK}E([0-9]+)E")
_TITLE = re.compile(f"{_MARK}T([0-9]+)T")
_NO_LINK = f"{_MARK}P"  # "://" where no link may begin

_DEEPEST = 50  # blocks within blocks, so that no text nests deeper than Python calls
_BULLET, _NUMBER = "[*+-]", r"\d+[.]"
_MARKER = f"(?:{_BULLET}|{_NUMBER})"
_LIST = rf"([ ]{{0,3}}({_MARKER})[ ]+(?s:.+?)(?:\Z|\n{{2,}}(?=\S)(?![ ]*{_MARKER}[ ]+)))"
_TOP_LIST = re.compile(rf"(?:(?<=\n\n)|\A\n?){_LIST}", re.M)
_INNER_LIST = re.compile(f"^{_LIST}", re.M)
_ITEMS = {
    marker: re.compile(rf"(^[ ]*){marker}[ ]+((?s:.+?)\n+)(?=\Z|\1{marker}[ ]+)", re.M) for marker in (_BULLET, _NUMBER)
}
_UNDERLINED = re.compile(r"^(.+?)[ ]*\n(=+|-+)[ ]*\n+", re.M)
_HEADING = re.compile(r"^(#{1,6})[ ]*(.+?)[ ]*#*\n+", re.M)
_RULE = re.compile(r"^[ ]{0,3}([-*_])(?>[ ]{0,2}\1){2,}[ ]*$", re.M)
_INDENTED = re.compile(r"(?:\n\n|\A\n?)((?:[ ]{4}.*\n+)+)(?=^[ ]{0,4}[^ \t\n]|\n?\Z)", re.M)
_FENCE = re.compile(
    r"^([ ]{0,3})(`{3,}|~{3,})(?:(?<=~)[^\n]*|(?<=`)[^`\n]*)\n(.*?)(?:^[ ]{0,3}\2[`~]*[ ]*$|\Z)", re.M | re.S
)
_QUOTED = re.compile(r"(?:^[ ]*>[ ]?.+\n(?:.+\n)*\n*)+", re.M)
_DEFINITION = re.compile(
    r"^[ ]{0,3}\[([^\[\]]+)\]:[ ]*\n?[ ]*<?(\S+?)>?[ ]*\n?[ ]*(?:(?<=\s)[\"(].+?[\")][ ]*)?(?:\n+|\Z)", re.M
)

_ATTRIBUTES = r"(?:\s(?>[^>\"/]+|/+(?!>)|\"[^\"]*\")*)?"
_COMMENT = "<!--(?:|(?:[^>-]|-[^>])(?:[^-]|-[^-])*)-->"
_ALWAYS = "p|div|h[1-6]|blockquote|pre|table|dl|ol|ul|address|script|noscript|form|fieldset|iframe|math"
_HTML = re.compile(
    rf"(?:(?<=\n)|\A\n?)(?:<(?P<tag>{_ALWAYS}){_ATTRIBUTES}>|<(?P<own_line>ins|del){_ATTRIBUTES}>[ ]*\n"
    rf"|(?P<alone>[ ]{{0,3}}(?:<hr{_ATTRIBUTES}/?>|{_COMMENT}|<\?(?s:.*?)\?>|<%(?s:.*?)%>)[ ]*(?=\n{{2,}}|\n?\Z)))"
)
_END_OF_LINE = re.compile(r"[ ]*(?=\n|\Z)")

_CODE_SPAN = re.compile(r"(?<![\\`])(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
_ANY_TAG = re.compile(rf"{_COMMENT}|<\?.*?\?>|<[A-Za-z/!$][^<>]*>", re.S)
_BACKSLASH = re.compile(r"\\([\\`*_{}\[\]()>#+\-.!/:])")
_CODE_CHARACTERS = re.compile(r"[\\*_{}\[\]]")
_BRACKETS = r"(?>[^\[\]]+|\[" * 6 + r"\])*" * 6
_PARENTHESES = r"(?>[^()\s]+|\(" * 6 + r"\))*" * 6
_TARGET = rf"\([ ]*({_PARENTHESES})[ ]*(?:(['\"]).*?\3[ ]*)?\)"
_IMAGE_BY_NAME = re.compile(r"!\[(.*?)\][ ]?(?:\n[ ]*)?\[(.*?)\]")
_IMAGE = re.compile(rf"!\[(.*?)\]\s?{_TARGET}")
_LINK_BY_NAME = re.compile(rf"\[({_BRACKETS})\][ ]?(?:\n[ ]*)?\[(.*?)\]")
_LINK = re.compile(rf"\[({_BRACKETS})\]{_TARGET}")
_LINK_SHORT = re.compile(r"\[([^\[\]]+)\]")
_ADDRESS = re.compile(
    rf"(<|=\")?\b((?:https?|ftp)://[-A-Z0-9+&@#/%?=~_|\[\]()!:,.;{_MARK}]*[-A-Z0-9+&@#/%=~_|\[\])])(?=\Z|\W)", re.I
)
_IN_ANGLES = re.compile(r"<((?:https?|ftp):[^'\">\s]+)>")
_AMPERSAND = re.compile(r"&(?!#[0-9]+;|#[xX][a-fA-F0-9]+;|[a-zA-Z][a-zA-Z0-9]*;)")
_ANGLE = re.compile(r"<(?![A-Za-z/?$!])")
# in front of an opening `*`: no word, or a word of letters on both sides; behind a closing one likewise
_STRONG = re.compile(
    r"(?:(?:\A|(?<=\W))__(?!__)|(?:\A|(?<=[^\w*])|(?<=_)|(?<=\w)(?=\*\*\w))\*\*(?!\*\*))(?=\S)"
    r"(?:(?<=__)(.+?)(?<=\S)(?<!__)__(?!\w)"
    r"|(?<=\*\*)(.+?)(?<!\*\*)(?:(?<=\w)|(?<=\S)(?=\*\*(?:\W|_|\Z)))\*\*(?!\*))",
    re.S,
)
_EMPHASIS = re.compile(
    r"(?:(?:\A|(?<=\W))_(?!___)|(?:\A|(?<=[^\w*])|(?<=_)|(?<=[^\W\d])(?=\*[^\W\d]))\*(?!\*\*\*))(?=\S)"
    r"(?:(?<=_)([^_]*?[^\s_])_(?!\w)"
    r"|(?<=\*)([^*]*?(?:[^\W\d](?=\*\D)|[^\s*](?=\*(?:[\W_]|\Z))))\*(?!\*))",
    re.S,
)


class _Older:
    """One text, step by step. Blocks that are done, and characters that mean nothing any more, are put aside."""

    def __init__(self, titles: Titles, fences: bool) -> None:
        self._titles, self._has_fences = titles, fences
        self._blocks: list[str] = []
        self._shown: list[str] = []
        self._names: dict[str, str] = {}
        self._depth = 0  # of lists
        self._nested = 0  # blocks within blocks

    def html(self, text: str) -> str:
        lines = re.split(r"\r\n?|\n", text.replace(_MARK, ""))
        lines = [line.expandtabs(4) if "\t" in line else line for line in lines]
        text = "\n".join(line if line.strip(" ") else "" for line in lines) + "\n\n\n"
        text = self._definitions(self._html_blocks(self._fenced(text)))
        text = self._block(text)
        text = _ESCAPED.sub(lambda mark: chr(int(mark[1])), text)
        return _TITLE.sub(lambda mark: self._shown[int(mark[1])], text) + "\n"

    def _block(self, text: str, paragraphs: bool = True, whole: bool = True) -> str:
        if self._nested == _DEEPEST:
            return self._paragraphs(text, paragraphs, whole)
        self._nested += 1
        text = _UNDERLINED.sub(lambda line: self._heading(1 if line[2][0] == "=" else 2, line[1]), text)
        text = _HEADING.sub(lambda line: self._heading(len(line[1]), line[2]), text)
        text = _RULE.sub("<hr />\n", text)
        text = (_INNER_LIST if self._depth else _TOP_LIST).sub(self._list, text)
        text = _INDENTED.sub(self._code, text)
        text = _QUOTED.sub(self._quotation, text)
        self._nested -= 1
        return self._paragraphs(self._html_blocks(text), paragraphs, whole)

    def _heading(self, level: int, text: str) -> str:
        return f"<h{level}>{self._span(text)}</h{level}>\n\n"

    def _list(self, match: "re.Match[str]") -> str:
        marker = _NUMBER if match[2][0].isdigit() else _BULLET
        name = "ol" if marker is _NUMBER else "ul"
        loose = False  # whether a blank line stood in front of the item

        def item(match: "re.Match[str]") -> str:
            nonlocal loose
            ends_loose = match[2].endswith("\n\n")
            text = self._block(_outdented(match[2]) + "\n", paragraphs=loose or "\n\n" in match[2], whole=False)
            loose = ends_loose
            return f"<li>{text}</li>\n"

        self._depth += 1
        items = _ITEMS[marker].sub(item, re.sub(r"\n{2,}\Z", "\n", match[1]))
        self._depth -= 1
        return f"<{name}>\n{items}</{name}>\n"

    def _code(self, match: "re.Match[str]") -> str:
        return f"\n\n<pre><code>{_as_code(_outdented(match[1])).strip(chr(10))}\n</code></pre>\n\n"

    def _fenced(self, text: str) -> str:
        if not self._has_fences or ("```" not in text and "~~~" not in text):
            return text
        return _FENCE.sub(lambda fence: self._aside(f"<pre><code>{_as_code(fence[3])}</code></pre>"), text)

    def _quotation(self, match: "re.Match[str]") -> str:
        text = re.sub(r"^[ ]*>[ ]?", "", match[0], flags=re.M)
        text = re.sub(r"^[ ]+$", "", text, flags=re.M)
        if all(part.startswith("!") and not part.startswith("![") for part in re.split(r"\n{2,}", text.strip("\n"))):
            text = re.sub(r"^!", "", text, flags=re.M)
        return self._aside(f"<blockquote>\n{self._block(self._fenced(text))}\n</blockquote>")

    def _paragraphs(self, text: str, paragraphs: bool, whole: bool) -> str:
        parts = re.split(r"\n{2,}", text.strip("\n"))
        for at, part in enumerate(parts):
            if f"{_MARK}H" not in part:
                line = self._span(part).lstrip(" ")
                parts[at] = f"<p>{line}</p>" if paragraphs else line
            else:
                while whole and f"{_MARK}H" in part:
                    part = _BLOCK.sub(lambda mark: self._blocks[int(mark[1])], part)
                parts[at] = part
        return "\n\n".join(parts)

    def _aside(self, html: str) -> str:
        self._blocks.append(html)
        return f"\n\n{_MARK}H{len(self._blocks) - 1}H\n\n"

    def _html_blocks(self, text: str) -> str:
        """Put aside each element of HTML that begins a line and ends one, with all that is in it."""
        if "<" not in text:
            return text
        done, at = [], 0
        while match := _HTML.search(text, at):
            end = match.end() if match["alone"] is not None else self._end_of(match, text)
            start = match.start() + (text[match.start()] == "\n")
            if end:
                done += [text[at:start], self._aside(text[start:end])]
            else:
                end = start + 1
                done.append(text[at:end])
            at = end
        return "".join([*done, text[at:]])

    @staticmethod
    def _end_of(start: "re.Match[str]", text: str) -> int:
        """Return where the element ends that begins here, 0 if nowhere or within a line."""
        depth = 1
        for tag in _same_tag(start["tag"] or start["own_line"]).finditer(text, start.end()):
            depth += -1 if tag[0][1] == "/" else not tag[0].endswith("/>")
            if not depth:
                end = _END_OF_LINE.match(text, tag.end())
                return end.end() if end else 0
        return 0

    def _definitions(self, text: str) -> str:
        def define(match: "re.Match[str]") -> str:
            self._names[match[1].lower()] = match[2]
            return ""

        return _DEFINITION.sub(define, text) if "]:" in text else text

    def _span(self, text: str) -> str:
        if "`" in text:
            text = _CODE_SPAN.sub(
                lambda code: f"<code>{_as_code(code[2].strip(' ')).replace('://', _NO_LINK)}</code>", text
            )
        if "<" in text:
            text = _ANY_TAG.sub(_plain_tag, text)
        if "\\" in text:
            text = _BACKSLASH.sub(lambda match: _mark(match[1]), text)
        if "[" in text:
            text = self._links(text)
        if ":" in text:
            text = _ADDRESS.sub(self._address, text) if "://" in text else text
            text = _IN_ANGLES.sub(lambda match: self._bare(match[1]), text)
        text = text.replace(_NO_LINK, "://")
        text = _ANGLE.sub("&lt;", _AMPERSAND.sub("&amp;", text))
        if "*" in text or "_" in text:
            text = _STRONG.sub(lambda match: f"<strong>{match[1] or match[2]}</strong>", text)
            text = _EMPHASIS.sub(lambda match: f"<em>{match[1] or match[2]}</em>", text)
        return re.sub(r" {2,}\n", "<br />\n", text)

    def _links(self, text: str) -> str:
        if "![" in text and "]" in text:
            text = _IMAGE_BY_NAME.sub(
                lambda match: "<img>" if (match[2] or match[1]).lower() in self._names else match[0], text
            )
            text = _IMAGE.sub("<img>", text)
        if self._names:
            text = _LINK_BY_NAME.sub(self._named_link, text)
        text = _LINK.sub(lambda match: self._link(match[1], match[2]), text)
        if self._names:
            text = _LINK_SHORT.sub(self._named_link, text)
        return text

    def _named_link(self, match: "re.Match[str]") -> str:
        is_short = match.re is _LINK_SHORT
        name = re.sub(r"[ ]*\n[ ]*", " ", match[1]) if is_short else match[2] or match[1]
        url = self._names.get(name.lower())
        return match[0] if url is None else self._link(match[1], url)

    def _link(self, text: str, url: str) -> str:
        shown = self._titles(text) if text == url.strip("<>") else None
        return f"<a>{self._show(shown) if shown else text.replace('://', _NO_LINK)}</a>"

    def _address(self, match: "re.Match[str]") -> str:
        if match[1]:  # part of a tag, or in angles already
            return match[0]
        url, tail = match[2], ""
        while url.endswith(")") and url.count(")") > url.count("("):
            url, tail = url[:-1], ")" + tail
        if tail and not re.match(r"[-A-Z0-9+&@#/%=~_|\[\])]", url[-1], re.I):
            url, tail = url[:-1], url[-1] + tail
        return self._bare(url) + tail

    def _bare(self, url: str) -> str:
        title = self._titles(_ESCAPED.sub(lambda mark: chr(int(mark[1])), url))
        return f"<a>{self._show(title) if title else url}</a>"

    def _show(self, title: str) -> str:
        self._shown.append(title.replace("&", "&amp;").replace("<", "&lt;"))
        return f"{_MARK}T{len(self._shown) - 1}T"


@cache
def _same_tag(name: str) -> "re.Pattern[str]":
    return re.compile(rf"</{name}\s*>|<{name}{_ATTRIBUTES}/?>")


def _outdented(text: str) -> str:
    return re.sub(r"^[ ]{1,4}", "", text, flags=re.M)


def _mark(character: str) -> str:
    return f"{_MARK}E{ord(character)}E"


def _as_code(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _CODE_CHARACTERS.sub(lambda match: _mark(match[0]), text)


def _plain_tag(tag: "re.Match[str]") -> str:
    """Return a tag whose attributes hold nothing that a later step could take for Markdown."""
    text = tag[0].replace("\\", _mark("\\")).replace("*", _mark("*")).replace("_", _mark("_"))
    return text.replace("/", _mark("/")) if text.startswith("<!") else text
