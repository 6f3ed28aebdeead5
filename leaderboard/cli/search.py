"""`lotte search`: the command that searches an index, for one query or for a file of queries."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaderboard.cli.explain import print_answers
from leaderboard.cli.options import AsJson, MadeBy, MadeIndex, Options
from leaderboard.cli.output import print_row
from leaderboard.cli.retriever import find_modules
from lotte.errors import LotteError, MismatchError, UnavailableError
from lotte.terminal import put, say

if TYPE_CHECKING:
    from lotte import Queries, Run
    from retrievers import Index
    from retrievers.texts import IndexTexts

PROMPT = "query> "
DEPTH, RUN_DEPTH = 10, 1000


def search_(
    index: MadeIndex,
    query: Annotated[
        str, typer.Argument(help="The query; -: read queries from stdin, one per line; none: open a prompt.")
    ] = "",
    k: Annotated[int, typer.Option("-k", min=0, help="The number of results; 0: 10, or 1,000 for a run.")] = 0,
    among: Annotated[Path | None, typer.Option(help="Search only the documents whose ids are in this file.")] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Queries to write a run for: one id TAB text per line, or BEIR's .jsonl.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the run of --queries to this file, in TREC format.")] = None,
    retriever: MadeBy = "",
    option: Options = None,
    explain: Annotated[bool, typer.Option(help="Show which document words matched which query words.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search an index: print rank, score, doc_id, text. Or search for all queries of a file, and write a run.

    lotte search index/science "why is the sky blue"
    lotte search index/science --queries questions.tsv --out run.trec
    """
    from retrievers import index_folder, registry
    from retrievers.retriever import Explains
    from retrievers.texts import IndexTexts

    _require_sense(query, queries, out, explain, as_json)
    find_modules(retriever)
    described = index_folder.described(index)
    opened = registry.open_index(described, retriever, option or ())
    maker = described.meta["recipe"]["retriever"]
    if explain and not isinstance(opened, Explains):
        raise UnavailableError(f"--explain: an index of {maker} does not match single words")
    asked = _Asked(opened, maker, among)
    if queries and out:
        _write_run(asked, queries, out, k or RUN_DEPTH)
        return
    _answer(asked, opened if explain else None, IndexTexts(described, say), _each(query), k or DEPTH, as_json)


def _answer(
    asked: "_Asked", explains: "Index | None", texts: "IndexTexts", each: Iterable[str], k: int, as_json: bool
) -> None:
    """Print the results of queries and, if an index that `explains` is given, which words matched which."""
    from retrievers.retriever import Explains

    for query in each:
        for rank, hit in enumerate(asked.run({"": query}, k).hits[""], start=1):
            row = {"rank": rank, "score": hit.score, "doc_id": hit.doc_id, "text": texts[hit.doc_id]}
            print_row({"question": query, **row} if as_json else row, as_json)
            if isinstance(explains, Explains) and row["text"]:
                print_answers(explains.explain(query, hit.doc_id, texts[hit.doc_id]), as_json)


def _require_sense(query: str, queries: Path | None, out: Path | None, explain: bool, as_json: bool) -> None:
    """Raise LotteError for options that do not go together, or if there is no query."""
    if (queries is None) != (out is None):
        raise LotteError("--queries FILE and --out RUN go together: the queries, and the run to write")
    if queries and (query or explain or as_json):
        raise LotteError("--queries writes a run, so leave out the query, --explain and --json")
    if not query and not queries and not (sys.stdin and sys.stdin.isatty()):
        raise LotteError(
            "`lotte search` needs a query; - reads queries from standard input, --queries FILE --out RUN from a file"
        )


class _Asked:
    """An index, and which of its documents may be found.

    Raises  UnavailableError for an index that cannot be searched within some documents
    """

    def __init__(self, index: "Index", maker: str, among: Path | None) -> None:
        from retrievers.retriever import SearchesAmong

        self.maker, self._index, self._among = maker, index, among
        self._lines = _ids(among) if among else {}
        if among and not isinstance(index, SearchesAmong):
            raise UnavailableError(f"--among: an index of {maker} cannot be searched within some of its documents")

    def run(self, queries: "Queries", k: int) -> "Run":
        """Search for queries. Raises MismatchError, with its line, for an id that is not in the index."""
        from retrievers.index_folder import AbsentDocumentError
        from retrievers.retriever import SearchesAmong

        if not (self._among and isinstance(self._index, SearchesAmong)):
            return self._index.search(queries, k=k)
        try:
            return self._index.search_among(queries, list(self._lines), k=k)
        except AbsentDocumentError as error:
            raise MismatchError(f"{self._among}:{self._lines[error.doc_id]}: {error}") from None


def _ids(path: Path) -> dict[str, int]:
    """Return the ids of a file, one per line, each with its line number; empty lines are skipped."""
    from lotte.ids import checked
    from lotte.lines import lines

    found = {checked(line, "document", f"{path}:{number}"): number for number, line in lines(path) if line}
    if not found:
        raise LotteError(f"--among: {path} has no ids; write one per line, or leave the option out")
    return found


def _write_run(asked: _Asked, path: Path, out: Path, k: int) -> None:
    """Search for the queries of a file, and write the run."""
    from leaderboard.record.place import require_run_of
    from lotte import ranking
    from lotte.reading import read_queries

    queries = read_queries(path)
    tag = asked.maker
    require_run_of(out, tag, "--out")
    ranking.write_trec(out, asked.run(queries, k), tag=tag)
    put(out)


def _each(query: str) -> Iterable[str]:
    """Return the query; for "-" those of stdin, one per line as it comes; for "" those that are typed."""
    if query == "-":
        return (line.rstrip("\r\n") for line in sys.stdin or ())
    return [query] if query else _typed()


def _typed() -> Iterator[str]:
    """Read queries from a prompt until Ctrl-D."""
    from contextlib import suppress

    with suppress(ImportError):
        import readline  # noqa: F401  # lets a line be edited and an earlier one be recalled
    say("one query per line; Ctrl-D ends")
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            put("")
            return
        if line.strip():
            yield line
