"""Duet: a re-ranker that combines exact matches of rare words with learned text vectors.

    lotte train duet data/squad/train --out runs/duet
    lotte eval --retriever duet -o checkpoint=runs/duet/checkpoint -o first=bm25 -o depth=1000

Source  Mitra et al. 2017, arXiv:1610.08136; Mitra and Craswell 2019, arXiv:1903.07666
"""

from dataclasses import dataclass, field

from retrievers.interaction.retriever import InteractionRetriever
from retrievers.options import NAME

PUBLISHED: dict[str, float] = {"msmarco/dev": 0.243}  # over the official BM25: Khattab and Zaharia 2020, table 1


@dataclass(frozen=True)
class Duet(InteractionRetriever):
    kind = "duet"

    name: str = field(default="duet", kw_only=True, metadata=NAME)


retriever = Duet
