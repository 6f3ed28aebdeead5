"""Templates become pages. Everything that comes from a record or a dataset is escaped, here and nowhere else.

There are three defences: the templates escape whatever they
print, data for scripts stands in JSON without a single "<", and each page
forbids the browser to run, style or fetch anything that is not in the site.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaderboard.board import table
from lotte.errors import UnavailableError

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
STATIC = ("board.css", "board.js", "picture.js")
_LONGEST = 300  # characters of a name; more is not a name


def page(template: str, root: str, **context: Any) -> str:
    """Return a page.

    template  in templates/, without its ending
    root      from the page's folder to the site's: "" or "../"

    Raises  UnavailableError without jinja2
    """
    return _environment().get_template(f"{template}.html").render(root=root, here=template, **context)


def script_json(value: Any) -> str:
    """Return JSON that may stand inside <script>: without "<", ">" and "&", whatever the texts say.

    >>> print(script_json("</script>]]>"))
    "\\u003c/script\\u003e]]\\u003e"
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _environment() -> "Environment":
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise UnavailableError("the board's pages need jinja2: pip install jinja2") from None
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": table.size,
        "amount": table.amount,
        "milliseconds": table.milliseconds,
        "share": lambda value: table.share(value).text,
        "signed": lambda value: f"{value:+.4f}".replace("-", "\N{MINUS SIGN}"),
        "p": p_value,
        "count": lambda value: table.NONE if value is None else f"{value:,.0f}",
        "name": lambda value: str(value) if len(str(value)) <= _LONGEST else f"{str(value)[:_LONGEST]}…",
        "plain": plain,
        "date": lambda value: str(value)[:16].replace("T", " "),
        "script_json": lambda value: Markup(script_json(value)),  # no character of markup is left
        "css": Markup,  # of our own, in a page that is one file
    }
    environment.globals |= {"seen": table.SEEN, "page_of": table.page_of}
    return environment


def p_value(p: float) -> str:
    """Return p as papers print it.

    >>> p_value(0.0312), p_value(0.00001)
    ('p = .031', 'p < .001')
    """
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")


def plain(value: Any) -> str:
    """Return a value of a record in words."""
    if value is None:
        return table.NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else str(value)[:40]
    if isinstance(value, str):
        return value if len(value) <= 4000 else f"{value[:4000]}…"
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {plain(part)}" for key, part in value.items() if part is not None) or table.NONE
    return ", ".join(plain(part) for part in value) or "none"
