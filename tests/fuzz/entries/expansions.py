"""Readers of what documents are expanded with: a file of our own that goes on, and somebody else's."""

import json
from pathlib import Path

from reader import Reader

from lotte import Doc, Docs
from retrievers import load
from retrievers.expansions import OwnExpansions

DOCS = Docs(tuple(Doc(str(row), f"text {row}") for row in range(20)))
OF = {"model": "x", "seed": 0}


def _ours(folder: Path) -> None:
    own = OwnExpansions(folder / "ours.jsonl", OF, DOCS.doc_ids)
    assert sum(own.make(DOCS, lambda texts: [[f"what is {text}", "é"] for text in texts])) == len(DOCS)


def _go_on(folder: Path) -> None:
    own = OwnExpansions(folder / "ours.jsonl", OF, DOCS.doc_ids)
    list(own.make(DOCS, lambda texts: [["again"] for _ in texts]))
    assert len(list(own)) == len(DOCS)


def _theirs(folder: Path) -> None:
    rows = [json.dumps({"id": str(row), "predicted_queries": [f"what {row}", "why é"]}) for row in range(0, 20, 3)]
    (folder / "theirs.jsonl").write_text("".join(f"{row}\n" for row in rows))


def _index(folder: Path) -> None:
    index = load("doc2query", [f"expansions={folder / 'theirs.jsonl'}"]).index(DOCS, folder / "index")
    assert len(index.search({"q": "text what"}, k=30).hits["q"]) == len(DOCS)


READERS = [
    Reader("expansions-ours", "ours.jsonl", _ours, _go_on),
    Reader("expansions-theirs", "theirs.jsonl", _theirs, _index),
]
