"""Measures for answers with several parts (nuggets), where documents are judged for each part.

Source  Clarke et al., SIGIR 2008, and trec-web's ndeval.c (alpha-nDCG, alpha = 0.5); Thakur et al. 2025,
        arXiv:2504.13128, section 4 (Coverage)
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import log2

ALPHA = 0.5  # how much less a nugget is worth each time it comes again

Nuggets = Mapping[str, Collection[str]]  # nugget -> documents that support it


def alpha_ndcg(ranking: Sequence[str], nuggets: Nuggets, k: int) -> float:
    """The gain of the first k documents as a share of the best order's, which is taken greedily, as in ndeval.

    A document gains 1 for each nugget it supports, half of that if one above it supports it too, and so on; over
    log2(rank + 1).
    """
    of_doc: dict[str, list[str]] = {}
    for nugget, doc_ids in nuggets.items():
        for doc_id in doc_ids:
            of_doc.setdefault(doc_id, []).append(nugget)
    ideal = _gain(_best_order(of_doc, k), of_doc)
    return _gain(ranking[:k], of_doc) / ideal if ideal else 0.0


def coverage(ranking: Sequence[str], nuggets: Nuggets, k: int) -> float:
    """The share of the nuggets that a document among the first k supports."""
    found = set(ranking[:k])
    return sum(not found.isdisjoint(doc_ids) for doc_ids in nuggets.values()) / len(nuggets) if nuggets else 0.0


def _gain(ranking: Sequence[str], of_doc: Mapping[str, Sequence[str]]) -> float:
    seen: Counter[str] = Counter()
    return sum(_new(of_doc.get(doc_id, ()), seen) / log2(rank + 1) for rank, doc_id in enumerate(ranking, start=1))


def _new(nuggets: Sequence[str], seen: "Counter[str]") -> float:
    """Return what these nuggets are worth to who has seen some of them, and count them as seen."""
    worth = sum((1 - ALPHA) ** seen[nugget] for nugget in nuggets)
    seen.update(nuggets)
    return worth


def _best_order(of_doc: Mapping[str, Sequence[str]], k: int) -> list[str]:
    seen: Counter[str] = Counter()
    left = {
        doc_id: of_doc[doc_id] for doc_id in sorted(of_doc, reverse=True)
    }  # of equals, the last by id, as in ndeval
    order: list[str] = []
    while left and len(order) < k:
        best = max(left, key=lambda doc_id: sum((1 - ALPHA) ** seen[nugget] for nugget in left[doc_id]))
        seen.update(left.pop(best))
        order.append(best)
    return order
