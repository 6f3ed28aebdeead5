"""K-NRM: a re-ranker that soft-counts similar words of query and passage.

    lotte train knrm data/squad/train --out runs/knrm
    lotte eval --retriever knrm -o checkpoint=runs/knrm/checkpoint -o first=bm25 -o depth=1000

Source  Xiong et al. 2017, arXiv:1706.06613
"""

from dataclasses import dataclass, field

from retrievers.interaction.retriever import InteractionRetriever
from retrievers.options import NAME

PUBLISHED: dict[str, float] = {"msmarco/dev": 0.198}  # over the official BM25: Khattab and Zaharia 2020, table 1


@dataclass(frozen=True)
class KNRM(InteractionRetriever):
    kind = "knrm"

    name: str = field(default="knrm", kw_only=True, metadata=NAME)


retriever = KNRM
