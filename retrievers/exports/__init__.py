"""Indexes written as programs that serve read them. Settled here: which engines there are, and what each takes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lotte.errors import LotteError, UnavailableError, shown, unknown
from retrievers.exports import fast_plaid, lance, parquet, qdrant, vespa
from retrievers.exports.source import LateSource, open_source
from retrievers.exports.target import ExportRequest

__all__ = ["ENGINES", "ExportRequest", "export"]
NAME = "[a-z][a-z0-9_]*"


@dataclass(frozen=True)
class _Engine:
    write: Callable[[Any, ExportRequest], None]
    numbers: tuple[str, ...] = ()  # that vectors can be written as, the default first; none: it has codes
    takes_dense: bool = False  # whether an index of one vector a document is written too
    has_server: bool = False


ENGINES = {
    "vespa": _Engine(vespa.write, tuple(vespa.KINDS)),
    "qdrant": _Engine(qdrant.write, ("float32",), has_server=True),
    "lancedb": _Engine(lance.write, lance.KINDS),
    "parquet": _Engine(parquet.write, parquet.KINDS, takes_dense=True),
    "fast-plaid": _Engine(fast_plaid.write),
}


def export(to: str, wanted: ExportRequest) -> None:
    """Write an index as another program reads it, whole or not at all.

    to  a name of ENGINES

    Raises  LotteError for what does not go together, UnavailableError where a package, room or vectors are missing,
            MismatchError if something stands there that is no export
    """
    if to not in ENGINES:
        raise unknown("engine", to, ENGINES)
    engine = ENGINES[to]
    _require_sense(to, engine, wanted)
    source = open_source(wanted.index, wanted.say)
    if not isinstance(source, LateSource) and not engine.takes_dense:
        raise UnavailableError(
            f"{wanted.index} is an index of one vector a passage, which is exported to parquet alone; {to} takes "
            "indexes of late interaction (colbertv2)"
        )
    engine.write(source, wanted)


def _require_sense(to: str, engine: _Engine, wanted: ExportRequest) -> None:
    if (wanted.out is None) == (not wanted.url):
        raise LotteError("an export goes into a folder, --out DIR, or to a server that runs, --url; name one of them")
    if wanted.url and not engine.has_server:
        raise LotteError(f"--url is for qdrant; an export to {to} goes into a folder, --out DIR")
    if wanted.numbers and wanted.numbers not in engine.numbers:
        what = f"takes {' or '.join(engine.numbers)}" if engine.numbers else "keeps the codes of the index"
        raise LotteError(f"--numbers {shown(wanted.numbers)}: {to} {what}")
    if not re.fullmatch(NAME, wanted.name):
        raise LotteError(f"--collection {shown(wanted.name)}: small letters, digits and _ are taken, a letter first")
