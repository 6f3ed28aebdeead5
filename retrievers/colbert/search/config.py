"""How an index is searched: the algorithm, and how many documents each of its stages keeps."""

from dataclasses import dataclass, replace

ALGORITHMS = ("auto", "paper", "pruned", "exact")
PRUNED_FROM = 10_000  # documents, from which on "auto" is the pruned search: docs/colbert.md says what it loses


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """0 is a rule in words: see `settled`."""

    algorithm: str = "auto"
    probe: int = 0  # centroids looked into for each query token
    candidates: int = 0  # documents that survive the first look
    refined: int = 0  # documents that survive the second look of the pruned search, at centroids alone
    full: int = 0  # documents scored in full by the pruned search

    def settled(self, k: int, documents: int) -> "SearchConfig":
        """Return the settings in force for a depth and an index of so many documents: the rules worked out.

        auto    paper for an index of fewer than PRUNED_FROM documents, pruned for others
        paper   probe 4; candidates probe * 2 ** 12, and never fewer than k: what the paper takes for MS MARCO and
                Wikipedia (section 3.5). It takes probe 2 for LoTTE, which is faster and finds less.
        pruned  probe 4; full 2 k + 250; refined 1,024, or 10 * sqrt(documents) if that is more; candidates
                6 * refined. No stage keeps fewer than the next one.
        """
        if self.algorithm == "auto":
            return replace(self, algorithm="paper" if documents < PRUNED_FROM else "pruned").settled(k, documents)
        if self.algorithm == "exact":
            return SearchConfig(algorithm="exact")
        if self.algorithm == "paper":
            probe = self.probe or 4
            return SearchConfig(algorithm="paper", probe=probe, candidates=max(k, self.candidates or probe * 2**12))
        full = max(k, self.full or 2 * k + 250)
        refined = max(full, self.refined or max(1024, int(10 * documents**0.5)))
        candidates = max(full, self.candidates or 6 * refined)
        looks = {"probe": self.probe or 4, "candidates": candidates, "refined": min(refined, candidates), "full": full}
        return SearchConfig(algorithm="pruned", **looks)
