"""`lotte export`: what was made here, written as other packages read it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from leaderboard.cli.options import RESULTS, MadeIndex, Results
from lotte.terminal import put, say

if TYPE_CHECKING:
    from retrievers.colbert.model.convert import UsedLengths


class Exports(TyperGroup):
    """`lotte export INDEX --to ENGINE` is `lotte export index INDEX --to ENGINE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        to = any(word == "--to" or word.startswith("--to=") for word in args)
        return super().parse_args(ctx, ["index", *args] if to and args[0] not in self.commands else args)


app = typer.Typer(
    cls=Exports,
    help="Write what was made here as other packages read it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def export() -> None:
    """Write what was made here as other packages read it."""


@app.command()
def checkpoint(
    name: Annotated[str, typer.Argument(help="A checkpoint: a folder, a name on the Hugging Face hub, or shipped.")],
    out: Annotated[Path, typer.Option(help="The folder to write; new, or an older export, which is replaced.")],
    revision: Annotated[str, typer.Option(help="Of the hub: a branch, tag or commit.")] = "",
    trust: Annotated[bool, typer.Option("--trust", help="Open a pickle, which can run any code.")] = False,
    onnx: Annotated[
        bool | None, typer.Option("--onnx/--no-onnx", help="Write model.onnx too; default: where onnx is installed.")
    ] = None,
    results: Results = RESULTS,
) -> None:
    """Write a checkpoint in float32, as PyLate, sentence-transformers and colbert-ai open it, with a card and lengths.

    lotte export checkpoint shipped --out checkpoint
    """
    from retrievers.colbert.model import checkpoint as checkpoints
    from retrievers.colbert.model.convert import Wanted, convert
    from retrievers.colbert.retriever import SHIPPED, WEIGHTS, LateInteraction

    shipped = name == SHIPPED
    found = checkpoints.find(WEIGHTS if shipped else name, revision=revision or None, trust=trust)
    wanted = Wanted(
        name="the checkpoint that ships with lotte-bench" if shipped else "",
        used=_used(results, found.sha256),
        default_doc_maxlen=LateInteraction.doc_maxlen,
        onnx=onnx,
    )
    put(convert(found, out, wanted, say))


@app.command("index")
def index_(
    to: Annotated[str, typer.Option(help="vespa, qdrant, lancedb, parquet or fast-plaid.")],
    index: MadeIndex = Path("index"),
    out: Annotated[Path | None, typer.Option(help="The folder to write; new, or an older export, replaced.")] = None,
    url: Annotated[str, typer.Option(help="Of a Qdrant that runs, to put it there: http://localhost:6333.")] = "",
    collection: Annotated[str, typer.Option(help="Name of the collection, table or schema; default: passages.")] = "",
    numbers: Annotated[
        str, typer.Option(help="Of the vectors: float32, float16, bfloat16, int8; default: by engine.")
    ] = "",
) -> None:
    """Write an index as an engine that serves reads it: vectors, ids and, where the collection is there, texts.

    lotte export index index/science --to qdrant --out qdrant
    lotte export index/science --to vespa --out vespa     the same command, its name left out
    """
    from retrievers import exports

    exports.export(to, exports.ExportRequest(index, out, say, numbers=numbers, collection=collection, url=url))
    put(url or out)


def _used(results: Path, sha256: str) -> "list[UsedLengths]":
    """Return the lengths that records of these weights used, the most usual first."""
    from collections import Counter

    from leaderboard.record.read import readable
    from retrievers.colbert.model.convert import UsedLengths

    counts: Counter[tuple[int, int]] = Counter()
    for _, record in readable(results, say):
        model = record.content["retriever"].get("model") or {}
        query, doc = model.get("query_maxlen"), model.get("doc_maxlen")
        if model.get("sha256") == sha256 and type(query) is int and type(doc) is int:
            counts[query, doc] += 1
    return [UsedLengths(*lengths, datasets) for lengths, datasets in counts.most_common()]
