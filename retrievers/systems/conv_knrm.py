"""Conv-KNRM: a re-ranker that soft-counts similar n-grams of query and passage.

    lotte train conv_knrm data/squad/train --out runs/conv_knrm
    lotte eval --retriever conv_knrm -o checkpoint=runs/conv_knrm/checkpoint -o first=bm25 -o depth=1000

Source  Dai et al. 2018, "Convolutional Neural Networks for Soft-Matching N-Grams in Ad-hoc Search"
"""

from dataclasses import dataclass, field

from retrievers.interaction.retriever import InteractionRetriever
from retrievers.options import NAME

PUBLISHED: dict[str, float] = {"msmarco/dev": 0.290}  # over the official BM25: Khattab and Zaharia 2020, table 1


@dataclass(frozen=True)
class ConvKNRM(InteractionRetriever):
    kind = "conv_knrm"

    name: str = field(default="conv_knrm", kw_only=True, metadata=NAME)


retriever = ConvKNRM
