"""Keep columns and doctests of docstrings: a paragraph of `name  what it is`, or of `>>>`, becomes code on the site."""

import re

from griffe import Extension, Object

ROW = re.compile(r"^\S.*?\s{2,}\S")


def columns_kept(text: str) -> str:
    """Return a docstring in which each paragraph that begins with a row of columns, or is a doctest, is fenced."""
    parts = re.split(r"(\n\s*\n)", text)
    for place, part in enumerate(parts):
        first = part.split("\n", 1)[0]
        if first.startswith(">>>"):
            parts[place] = f"```pycon\n{part}\n```"
        elif place and ROW.match(first):
            parts[place] = f"```text\n{part}\n```"
    return "".join(parts)


class Columns(Extension):
    """What mkdocstrings loads."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Change the docstring of every module, class, function and attribute."""
        if not obj.is_alias and obj.docstring:
            obj.docstring.value = columns_kept(obj.docstring.value)
