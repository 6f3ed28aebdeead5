"""ColBERTv2: late interaction (MaxSim) over compressed token vectors, at most 36 bytes each.

The checkpoint is the published one, colbert-ir/colbertv2.0, unless another is
named; if it is not available, the small one in the package
(`shipped`, retrievers/weights/README.md). Which of the two it is, is settled
when the recipe is made and written into every index and record. Document length
300 as the authors use for LoTTE and BEIR. Search as in the paper is `search=paper`, the default for small indexes.
"""

from dataclasses import dataclass, field
from functools import cache

from lotte.errors import UnavailableError
from lotte.terminal import say
from retrievers.colbert.retriever import SHIPPED, LateInteraction
from retrievers.options import NAME

_LOTTE = {  # search test, forum test
    "writing": (0.801, 0.763),
    "recreation": (0.723, 0.708),
    "science": (0.567, 0.461),
    "technology": (0.661, 0.536),
    "lifestyle": (0.847, 0.769),
    "pooled": (0.716, 0.634),
}
_BEIR = {
    "arguana": 0.463, "climate-fever": 0.176, "dbpedia-entity": 0.446, "fever": 0.785, "fiqa": 0.356,
    "hotpotqa": 0.667, "nfcorpus": 0.338, "nq": 0.562, "quora": 0.852, "scidocs": 0.154, "scifact": 0.693,
    "trec-covid": 0.738, "webis-touche2020": 0.263,
}  # fmt: skip
# Santhanam et al. 2022, arXiv:2112.01488, tables 5a and 5b
PUBLISHED: dict[str, float] = {
    **{
        f"lotte/{topic}/test/{kind}": value
        for topic, values in _LOTTE.items()
        for kind, value in zip(("search", "forum"), values, strict=True)
    },
    **{f"beir/{name}": value for name, value in _BEIR.items()},
    "openqa/nq": 0.689,
    "openqa/tq": 0.767,
    "openqa/squad": 0.650,
}

CHECKPOINT = "colbert-ir/colbertv2.0"


@dataclass(frozen=True)
class ColBERTv2(LateInteraction):
    checkpoint: str = ""  # "": the published one, or the bundled one
    name: str = field(default="colbertv2", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.checkpoint:
            object.__setattr__(self, "checkpoint", reachable())


@cache
def reachable() -> str:
    """Return the published checkpoint's name if it is here or can be fetched, else that of the bundled one."""
    from retrievers.colbert.model import checkpoint

    try:
        checkpoint.find(CHECKPOINT)
    except UnavailableError:
        say(f"{CHECKPOINT} cannot be reached: using the small bundled checkpoint; name another with -o checkpoint=")
        return SHIPPED
    return CHECKPOINT


retriever = ColBERTv2
