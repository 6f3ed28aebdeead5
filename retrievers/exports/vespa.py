"""An index as Vespa takes it: an application package, and a feed with an operation a line.

A passage has its tokens as a tensor with a mapped dimension, `token`, and the mean of them, over which there is an
HNSW graph. Ranking is in two phases: the mean first, or BM25 where there are texts, then MaxSim over the tokens of the
best. Cells are written in hexadecimal, which Vespa reads much faster than decimals.

Source  docs.vespa.ai, reference/schemas/document-json-format: put, mixed tensors short form, hex dump format
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte.progress import Progress
from retrievers.colbert.kernels.arrays import Floats
from retrievers.exports.source import DocBlock, ExportSource
from retrievers.exports.target import ExportRequest, placed

NAMESPACE = "lotte"
FEED, APPLICATION = "feed.jsonl", "application"
RERANKED = 1000  # passages of a node that are scored by MaxSim
SCALE = 127  # what 1 is in int8
# what Vespa takes for no text: controls but for tab and line ends, halves of characters, and what Unicode keeps free
_NO_TEXT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
    + "]"
)


def _bfloat16(vectors: Floats) -> NDArray[Any]:
    """Return the upper halves of float32, rounded to the nearest, the even one of two.

    >>> [hex(bits) for bits in _bfloat16(np.array([1, -0.5, 1 + 2**-8, 1 + 3 * 2**-8], np.float32)).tolist()]
    ['0x3f80', '0xbf00', '0x3f80', '0x3f82']
    """
    bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(">u2")


class _Kind:
    """How cells are written: their type in Vespa, digits of one, their bytes."""

    def __init__(self, cell: str, digits: int, of: Callable[[Floats], NDArray[Any]], divisor: int = 1) -> None:
        self.cell, self.digits, self.of, self.divisor = cell, digits, of, divisor


KINDS = {
    "bfloat16": _Kind("bfloat16", 4, _bfloat16),
    "float32": _Kind("float", 8, lambda vectors: vectors.astype(">f4")),
    "int8": _Kind("int8", 2, lambda vectors: np.rint(vectors * SCALE).astype(np.int8), SCALE),
}


def write(source: ExportSource, wanted: ExportRequest) -> None:
    """Write application package and feed into the folder that is wanted."""
    name = wanted.numbers or "bfloat16"
    kind = KINDS[name]
    facts = {
        "documents": source.num_documents, "vectors": source.num_vectors, "dim": source.dim, "numbers": name,
        "schema": wanted.name, "ids": f"id:{NAMESPACE}:{wanted.name}::your id",
    }  # fmt: skip
    changed = 0
    with placed(wanted, "vespa", source.num_vectors * (source.dim * kind.digits + 40), facts) as folder:
        schemas = folder / APPLICATION / "schemas"
        schemas.mkdir(parents=True)
        (schemas / f"{wanted.name}.sd").write_text(schema(wanted.name, source, kind), encoding="utf-8")
        (folder / APPLICATION / "services.xml").write_text(services(wanted.name), encoding="utf-8")
        with (
            (folder / FEED).open("w", encoding="utf-8", newline="\n") as feed,
            Progress(source.num_documents, "documents", "writing a feed") as progress,
        ):
            for block in source.blocks():
                for line, was_changed in _operations(block, wanted.name, kind):
                    feed.write(line)
                    changed += was_changed
                progress.advance(len(block.doc_ids))
    if changed:
        wanted.say(f"{changed:,} texts have characters that Vespa takes for none, and got U+FFFD in their place")
    wanted.say(
        f"{source.num_documents:,} documents: `vespa deploy {wanted.out}/{APPLICATION}`, then "
        f"`vespa feed {wanted.out}/{FEED}`; a document's id ends in yours, which is field doc_id too"
    )


def _operations(block: DocBlock, schema: str, kind: _Kind) -> Iterator[tuple[str, bool]]:
    """Give the line of each document, and whether its text was changed."""
    width = block.vectors.shape[1] * kind.digits
    cells = kind.of(block.vectors).tobytes().hex()
    for place, doc_id in enumerate(block.doc_ids):
        first, last = block.starts[place : place + 2].tolist()
        fields: dict[str, Any] = {"doc_id": _NO_TEXT.sub("\ufffd", doc_id)}
        text = None if block.texts is None else block.texts[place]
        if text is not None:
            fields["text"] = _NO_TEXT.sub("\ufffd", text)
        if last > first:
            fields["mean"] = {"values": block.of(place).mean(axis=0).astype(">f4").tobytes().hex()}
            fields["tokens"] = {
                "blocks": [
                    {"address": {"token": str(token - first)}, "values": cells[token * width : (token + 1) * width]}
                    for token in range(first, last)
                ]
            }
        operation = {"put": f"id:{NAMESPACE}:{schema}::{fields['doc_id']}", "fields": fields}
        yield json.dumps(operation, separators=(",", ":")) + "\n", text is not None and fields["text"] != text


def schema(name: str, source: ExportSource, kind: _Kind) -> str:
    """Return the schema with its rank profiles."""
    cells = f"tensor<{kind.cell}>(token{{}}, x[{source.dim}])"
    maxsim = "sum(reduce(sum(query(tokens) * attribute(tokens), x), max, token), querytoken)"
    return _SCHEMA.format(
        name=name,
        dim=source.dim,
        cells=cells,
        text=_TEXT if source.has_texts else "",
        fieldset=_FIELDSET if source.has_texts else "",
        lexical=_LEXICAL if source.has_texts else "",
        maxsim=maxsim if kind.divisor == 1 else f"{maxsim} / {kind.divisor}",
        reranked=RERANKED,
    )


def services(name: str) -> str:
    """Return services.xml, for one node."""
    return _SERVICES.format(name=name)


_TEXT = """        field text type string {
            indexing: index | summary
            index: enable-bm25
        }
"""
_FIELDSET = """    fieldset default {
        fields: text
    }
"""
_LEXICAL = """    rank-profile colbert_bm25 inherits colbert {
        first-phase {
            expression {
                bm25(text)
            }
        }
    }
"""
_SCHEMA = """schema {name} {{
    document {name} {{
        field doc_id type string {{
            indexing: attribute | summary
        }}
{text}        field mean type tensor<float>(x[{dim}]) {{
            indexing: attribute | index
            attribute {{
                distance-metric: angular
            }}
            index {{
                hnsw {{
                    max-links-per-node: 16
                    neighbors-to-explore-at-insert: 200
                }}
            }}
        }}
        field tokens type {cells} {{
            indexing: attribute
        }}
    }}
{fieldset}    rank-profile colbert {{
        inputs {{
            query(mean) tensor<float>(x[{dim}])
            query(tokens) tensor<float>(querytoken{{}}, x[{dim}])
        }}
        function max_sim() {{
            expression {{
                {maxsim}
            }}
        }}
        first-phase {{
            expression {{
                closeness(field, mean)
            }}
        }}
        second-phase {{
            expression {{
                max_sim
            }}
            rerank-count: {reranked}
        }}
    }}
{lexical}}}
"""
_SERVICES = """<?xml version="1.0" encoding="UTF-8"?>
<services version="1.0">
    <container id="{name}_container" version="1.0">
        <search></search>
        <document-api></document-api>
        <document-processing></document-processing>
    </container>
    <content id="{name}_content" version="1.0">
        <redundancy>1</redundancy>
        <documents>
            <document type="{name}" mode="index"></document>
        </documents>
        <nodes>
            <node distribution-key="0" hostalias="node1"></node>
        </nodes>
    </content>
</services>
"""
