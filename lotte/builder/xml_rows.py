"""Rows of a dump's table: `<row Id="1" ... />`, from bytes that arrive in blocks.

A dump spells a row one way, so one split at the quotes reads it: `row_of`. A
row spelled otherwise goes to expat, `row_of_reference`, which is the reference
for both. Neither ever sees a document type: a table that declares one is refused,
so no entity but XML's own five can be expanded, and no file is fetched.

What is not a character of XML, but a character of a post (control characters, as
references or as themselves), is white space: a post is not lost for one. A
zero byte is damage, not text. Comments and processing instructions may
stand between rows and around the table, as in any XML.

A bad row is counted, named with its line, and skipped. Above a share of all
rows, or when the file ends before its last tag, it is the file that is bad.
"""

import re
import sys
from collections.abc import Generator, Iterable, Iterator
from typing import TypeAlias
from xml.parsers import expat

import numpy as np

from lotte.builder.bad_rows import BadRows
from lotte.errors import CorruptFileError, shown

# A row's attributes as they stand in the file: b' Score=' -> b'7', entities not yet decoded
XmlRow: TypeAlias = dict[bytes, bytes]

_LONGEST = 64 << 20  # bytes of one row; the longest posts are 30,000 characters
_LIMIT = 1 << 62  # of a number
_OPENING = 1 << 13  # bytes in front of the first row, without comments; a dump has 60
_CONTROL = bytes(32 if 0 < code < 32 and code not in (9, 10, 13) else code for code in range(256))
_NOT_CHARACTERS = re.compile(rb"\xef\xbf[\xbe\xbf]")  # U+FFFE and U+FFFF
_NUMBER = re.compile(rb"&#(?:([0-9]{1,20})|x([0-9A-Fa-f]{1,20}));")
_BOM = b"\xef\xbb\xbf"
_NAME = re.compile(rb" [A-Za-z_][A-Za-z0-9_.-]*=").fullmatch
_SPELLED = {b" Id=", b" Score=", b" Body="}  # names seen and found to be spelled as dumps do; grows
_END = frozenset({b" />\n  ", b" />\r\n  ", b" />\n", b" />\r\n", b" />", b"/>"})


def row_of(piece: bytes) -> XmlRow | None:
    """Return the attributes of what follows `<row`, or None if it is not a row in the dumps' spelling.

    piece  bytes after `<row`, up to the next one, with no control characters

    Whatever this returns, `row_of_reference` returns too once values are decoded.

    >>> row_of(b' Id="1" Title="a &amp; b" />')
    {b' Id=': b'1', b' Title=': b'a &amp; b'}
    """
    parts = piece.split(b'"')
    end = parts.pop()
    names = parts[::2]
    if end not in _END and end.strip() != b"/>":
        return None
    if not _SPELLED.issuperset(names):
        if len(_SPELLED) > 1000 or not all(map(_NAME, names)):
            return None
        _SPELLED.update(names)
    row = dict(zip(names, parts[1::2]))  # noqa: B905 saying strict=False takes a sixth of all this
    return row if 2 * len(row) == len(parts) and b"<" not in piece else None


def row_of_reference(piece: bytes) -> dict[str, str] | None:
    """Return the attributes of what follows `<row` as expat reads them, or None if they are not XML.

    A reference to what is not a character of XML is a blank to us, and to expat an error.
    """

    def blank(match: "re.Match[bytes]") -> bytes:
        code = int(match[1]) if match[1] else int(match[2], 16)
        return match[0] if _is_character(code) or code > sys.maxunicode else b" "

    piece = _NUMBER.sub(blank, piece)
    elements: list[dict[str, str]] = []
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = lambda name, attributes: elements.append(attributes)
    try:
        parser.Parse(b"<row" + piece, True)
    except expat.ExpatError:
        return None
    return elements[0] if len(elements) == 1 else None


# What `decode` undoes one by one, "&amp;" last so that "&amp;lt;" stays "&lt;"
_REFERENCES = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", '"'),
    ("&#xA;", "\n"),
    ("&#xD;", "\r"),
    ("&#x9;", "\t"),
]
_ALL = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,20})|#x([0-9A-Fa-f]{1,20}));")
_NO_REFERENCE = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#xA|#xD|#x9);)").search
_FIVE = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def decode(value: bytes) -> str:
    """Return the text of an attribute, control characters as blanks. Raises ValueError if it is not UTF-8 or not XML.

    >>> decode(b"&lt;b&gt; &amp;lt; &#233;")
    '<b> &lt; é'
    """
    text = value.decode()
    if "&" in text:
        plain = text.count("&amp;")
        for reference, character in _REFERENCES:
            if reference in text:
                text = text.replace(reference, character)
        text = text.replace("&amp;", "&") if text.count("&") == plain else _decoded(value.decode())
    has_blanks = b"\t" in value or b"\n" in value or b"\r" in value
    return _normalised(value) if has_blanks else text


def encode(text: str) -> bytes:
    """Return a text as an attribute spells it, so that `decode` gives it back.

    >>> encode('<b> "é" &lt;')
    b'&lt;b&gt; &quot;\\xc3\\xa9&quot; &amp;lt;'
    """
    for reference, character in (("&amp;", "&"), *_REFERENCES):
        text = text.replace(character, reference)
    return text.encode()


def check(value: bytes) -> None:
    """Raise ValueError if `decode` would: if an attribute is not UTF-8 or not XML."""
    if not value.isascii():
        value.decode()
    if b"&" in value and _NO_REFERENCE(value):
        decode(value)


def whole(value: bytes) -> int:
    """Return the number that an attribute spells. Raises ValueError for what is none, though Python reads it: 1_0."""
    if value.isdigit() and len(value) < 19:  # nearly all; the rest costs twice as much
        return int(value)
    number = int(value)
    if not -_LIMIT < number < _LIMIT or b"_" in value:
        raise ValueError(f"{value[:20]!r} is no number of a dump")
    return number


def _normalised(value: bytes) -> str:
    """XML makes a blank of a line break or tab that stands in an attribute as itself."""
    return decode(re.sub(rb"\r\n|[\t\n\r]", b" ", value))


def _decoded(text: str) -> str:
    if len(_ALL.findall(text)) != text.count("&"):
        raise ValueError("an ampersand that begins no entity of XML")

    def character(match: "re.Match[str]") -> str:
        name, decimal, hexadecimal = match.groups()
        if name:
            return _FIVE[name]
        code = int(decimal) if decimal else int(hexadecimal, 16)
        if code > sys.maxunicode:
            raise ValueError(f"{match[0][:20]} is no character of XML")
        return chr(code) if _is_character(code) else " "

    return _ALL.sub(character, text)


def _is_character(code: int) -> bool:
    """Whether it is a character of XML: no control character, and no half of a surrogate pair."""
    return code in (9, 10, 13) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0x10000 <= code < 0x110000


class XmlRows:
    """The rows of one table, and how many of them were bad.

    blocks  the bytes of the file, in order
    path    what messages call the file
    root    the name of its element: "posts", "users", "votes", "posthistory"

    Raises  CorruptFileError, while rows are drawn, if the file declares a
            document type, is not UTF-8, has another root, or ends too early
    """

    def __init__(self, blocks: Iterable[bytes], *, path: str, root: str) -> None:
        self.path, self.root = path, root
        self.count = 0
        self.bad = BadRows(path)
        self._blocks = blocks
        self._line = 1  # where the pieces in hand begin
        self._pieces: list[bytes] = []
        self._at = 0  # the piece that was handed out last

    def __iter__(self) -> Iterator[XmlRow]:
        begun, clean, rest = False, True, b""
        for block in self._blocks:
            clean_block, lines = _looked_through(block)
            # `rest` stands after a "<row" (or is the opening of the file); a tag may be cut in the middle
            # of it, so it is split again together with what follows
            lines += rest.count(b"\n")
            pieces = (rest + block).split(b"<row")
            is_split, rest = len(pieces) > 1, pieces.pop()
            if pieces and not begun and b"<!--" in pieces[0]:  # it may hold a row
                whole, is_open = _without_comments(b"<row".join(pieces), self.root)
                if is_open:
                    rest, pieces = b"<row".join([*pieces, rest]), []
                else:
                    pieces = whole.split(b"<row")
            if pieces and not begun:
                self._check_opening(pieces[0])
                opening = pieces.pop(0).count(b"\n")
                self._line, lines, begun = self._line + opening, lines - opening, True
            left = yield from self._rows(pieces, clean=clean and clean_block)
            if left:
                rest = left + b"<row" + rest
            self._line += lines - rest.count(b"\n") if begun else 0
            clean = clean_block and (clean or (is_split and not left))
            if len(rest) > _LONGEST:
                raise CorruptFileError(
                    f"{self.path}:{self._line}: a row of more than {_LONGEST >> 20} MB; "
                    "this is not a table of a Stack Exchange dump"
                )
        yield from self._last(rest, begun, clean)

    def refuse(self, reason: str) -> None:
        """Count the row that was handed out last as bad."""
        self.bad.refuse(self._line_of(self._at), reason)

    def _rows(self, pieces: list[bytes], *, clean: bool) -> Generator[XmlRow, None, bytes]:
        """Give rows. Returns what is to be read again with the next block: all from a comment on that has not ended."""
        self._pieces = pieces
        for self._at, piece in enumerate(pieces):
            if not clean or not (piece.isascii() or not _not_characters(piece)):
                piece = pieces[self._at] = _NOT_CHARACTERS.sub(b" ", piece.translate(_CONTROL))
            row = row_of(piece) if clean or b"\0" not in piece else None
            if row is None and b"<!--" in piece:
                left = b"<row".join(pieces[self._at :])
                whole, is_open = _without_comments(b"<row" + left, self.root)
                if is_open:
                    del pieces[self._at :]
                    self.count += len(pieces)
                    return left
                pieces[self._at :] = whole.split(b"<row")[1:]
                piece = pieces[self._at]
                row = row_of(piece) if b"\0" not in piece else None
            if row is None:
                read = row_of_reference(piece)
                if read is None:
                    if end := self._end_in(piece):
                        raise CorruptFileError(
                            f"{self.path}:{self._line_of(self._at)}: rows after </{self.root}>, where the table "
                            f"ends, after {shown(piece[end:].strip(), 40)}. Fetch the dump again."
                        )
                    self.refuse("not a row in XML")
                    continue
                row = {b" %b=" % name.encode(): encode(value) for name, value in read.items()}
            yield row
        self.count += len(pieces)
        return b""

    def _end_in(self, text: bytes) -> int:
        """Return where the last tag ends, 0 if it is not there."""
        end_tag = re.search(rb"</%b\s*>" % self.root.encode(), text)
        return end_tag.end() if end_tag else 0

    def _last(self, rest: bytes, begun: bool, clean: bool) -> Iterator[XmlRow]:
        """What stands after the last `<row`: a row and the end of the file."""
        head = b"<row" if begun else b""
        rest, is_open = _without_comments(head + rest, self.root)
        rest = rest.removeprefix(head)
        if is_open:
            raise CorruptFileError(
                f"{self.path}:{self._line}: a comment begins here or below and never ends. Fetch it again."
            )
        end = self._end_in(rest)
        if not end:
            if not begun:
                self._check_opening(rest)
                if rest.rstrip().endswith(b"/>"):  # <posts />
                    return
            where = "before its last tag" if b"/>" in rest or not begun else "in the middle of a row"
            raise CorruptFileError(
                f"{self.path}:{self._line + rest.count(10)}: the file ends {where}, </{self.root}> is missing: "
                "it was cut. Fetch it again."
            )
        behind = rest[end:].strip()
        while behind.startswith(b"<?") and b"?>" in behind:
            behind = behind.partition(b"?>")[2].lstrip()
        if behind:
            line = self._line + rest.count(10, 0, end)
            raise CorruptFileError(
                f"{self.path}:{line}: found {shown(behind, 40)} after </{self.root}>, where the table ends. "
                "Fetch the dump again, or remove it."
            )
        rest = rest[: rest.rindex(b"</", 0, end)]
        if begun:
            yield from self._rows(rest.split(b"<row"), clean=clean)
        else:
            self._check_opening(rest)

    def _check_opening(self, opening: bytes) -> None:
        """Refuse a file that is not a table of a dump before a row of it is believed."""
        if opening[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise CorruptFileError(f"{self.path}: UTF-16; a dump's tables are UTF-8. Convert it, then try again.")
        opening = _without_comments(opening.removeprefix(_BOM), self.root)[0].strip()[:_OPENING]
        opening = re.sub(rb"<\?(?!xml[\s?]).*?\?>", b"", opening, flags=re.DOTALL).strip()
        if b"<!" in opening:
            raise CorruptFileError(
                f"{self.path}: declares a document type or entities. No dump does, and an entity can grow without "
                "end or read another file, so it is refused. Fetch the dump from a place you trust."
            )
        encoding = re.search(rb"""<\?xml[^>]*encoding=["']([^"']*)["']""", opening)
        if encoding and encoding[1].lower() not in (b"utf-8", b"utf8", b"us-ascii"):
            raise CorruptFileError(f"{self.path}: declares {encoding[1][:40]!r}; a dump's tables are UTF-8")
        if not re.fullmatch(rb"(<\?xml[^>]*\?>)?\s*<%b\s*/?>" % self.root.encode(), opening):
            raise CorruptFileError(
                f"{self.path}: expected <{self.root}> and rows, found {opening[:60]!r}; this is not that table of a "
                "Stack Exchange dump"
            )

    def _line_of(self, at: int) -> int:
        return self._line + sum(piece.count(b"\n") for piece in self._pieces[:at])


def _looked_through(block: bytes) -> tuple[bool, int]:
    """Whether no control character is in a block but those of XML, and how many lines end in it."""
    codes = np.frombuffer(block, dtype=np.uint8)
    low = codes[codes < 0x20]
    lines = int(np.count_nonzero(low == 10))
    return lines + int(np.count_nonzero((low == 13) | (low == 9))) == len(low), lines


def _without_comments(text: bytes, root: str) -> tuple[bytes, bool]:
    """Return a table, or a part of one from a row on, without comments, and whether one of them has not ended.

    Their line ends stay, for the numbers of lines. Where a row has not ended, or is none, "<!--" begins no comment.
    """
    kept, at = b"", 0
    while (begin := text.find(b"<!--", at)) >= 0:
        kept += text[at:begin]
        _, row, head = kept.rpartition(b"<row")
        head = re.split(rb"</%b\s*>" % root.encode(), head, maxsplit=1)[0]
        if row and row_of(head) is None and row_of_reference(head) is None:
            kept, at = kept + b"<!--", begin + 4
            continue
        if (end := text.find(b"-->", begin + 4)) < 0:
            return text, True
        kept, at = kept + b"\n" * text.count(b"\n", begin, end), end + 3
    return kept + text[at:], False


def _not_characters(piece: bytes) -> bool:
    """Whether U+FFFE or U+FFFF is in it, which are not characters of XML."""
    return b"\xef\xbf" in piece and (b"\xef\xbf\xbe" in piece or b"\xef\xbf\xbf" in piece)
