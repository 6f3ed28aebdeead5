"""What is an id, of a query or of a document, in whatever file it stands: a word.

An id is text without white space, control characters and byte order marks.
Rankings and judgments are columns that end at white space, to us and to
trec_eval, so an id with a blank could be read but never written; and one with
a mark or a control character is not what somebody sees and types. So it is
refused where it is read, before any work is done.

White space is all that `str.split` takes for it: U+00A0 too.
"""

import re
from typing import Any
from urllib.parse import quote

from lotte.errors import CorruptFileError, shown

# beside white space: control characters, the byte order mark, an unpaired surrogate (which JSON can spell)
_ODD = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")


def checked(text: str, what: str, where: str) -> str:
    """Return an id that is one. Raises CorruptFileError that says what is wrong with another.

    what   "document", "query"
    where  file and line

    >>> checked("MED-10", "document", "corpus.jsonl:1")
    'MED-10'
    """
    if text.isalnum() or (text and not _ODD.search(text)):
        return text
    odd = f"{_ODD.search(text)[0]!r} in it" if text else "no character"  # type: ignore[index]
    raise CorruptFileError(
        f"{where}: the {what} id {shown(text)} has {odd}; an id is one word, as columns of rankings end at white space"
    )


def word(text: str) -> str:
    """Return an id of somebody else's as one word: what no id may have, as blanks in names of files, is %-encoded.

    >>> word("docs/my notes.md"), word("a/b%20c")
    ('docs/my%20notes.md', 'a/b%20c')
    """
    return _ODD.sub(lambda match: quote(match[0], errors="surrogatepass"), text)


def of_json(value: dict[str, Any], key: str, what: str, where: str) -> str:
    """Return the id under a key of a JSON object: a string, or an integer, which is taken as it is written."""
    raw_id = value.get(key)
    if type(raw_id) is int:
        return str(raw_id)
    if not isinstance(raw_id, str):
        raise CorruptFileError(f"{where}: {key!r} must be a string or an integer, found {shown(raw_id)}")
    return checked(raw_id, what, where)
