"""An index of one of the lexical systems over a few documents, and what happens to it."""

import json

from retrievers import index_meta

KINDS = ["bm25", "overlap", "rank_bm25"]
DOCS = ["salt melts the ice", "the tide follows the moon", "ice floats", "a moon of ice", ""]


def rewrite(index, change):
    """Change meta.json as its maker could have: with a digest that fits."""
    meta = json.loads((index / "meta.json").read_text())
    change(meta)
    index_meta.write(index, meta)
