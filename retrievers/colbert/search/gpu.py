"""An index on a GPU, and its search: the three algorithms of `search`, with the same documents as results.

Integer arithmetic chooses the documents, as on a CPU; of those scored in full,
float16 chooses the few that float32 scores again. So the results equal those
of a CPU, except for the last bits of a score, and for the pruned search, which
scores in full what a CPU scores by one token per query token first.
Queries are answered in blocks, whose size is what fits the GPU.

Legend  as in `gpu`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lotte.errors import CorruptFileError, UnavailableError
from retrievers.colbert.index.folder import ColbertIndex
from retrievers.colbert.kernels import gpu
from retrievers.colbert.kernels.arrays import LANES, Bytes, Floats, Query
from retrievers.colbert.kernels.gpu import GpuCodec, GpuSegment, QueryBatch
from retrievers.colbert.search.config import SearchConfig
from retrievers.colbert.search.cpu import TopK, findable, query_of
from retrievers.index_meta import AGAIN

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 64  # queries that are answered at once
CENTROID_SCORES, SCORES = 1 << 26, 1 << 26  # numbers at once: query tokens by centroids, queries by documents
ENTRIES = 1 << 26  # of inverted lists, gathered at once


@dataclass(frozen=True, eq=False)
class GpuIndex:
    """A `ColbertIndex` whose arrays are on a device."""

    codec: GpuCodec
    segments: tuple[GpuSegment, ...]
    bases: list[int]
    alive: Bytes | None
    device: str
    num_documents: int

    @classmethod
    def of(cls, index: ColbertIndex, where: str | None = None) -> GpuIndex:
        """Move an index. Raises UnavailableError if it does not fit, or there is no GPU."""
        torch = gpu.package("torch")
        where = where or gpu.device()
        for part in index.segments:  # a GPU reads what stands at any place of its memory
            if part.num_tokens and (largest := int(part.centroid_ids.max())) >= index.codec.num_centroids:
                raise CorruptFileError(f"the index has a token of centroid {largest}, too large; {AGAIN}")
        try:
            codec = gpu.tables(index.codec, where)
            parts = tuple(gpu.segment(segment, index.codec, where) for segment in index.segments)
        except torch.OutOfMemoryError:
            free, total = torch.cuda.mem_get_info(where)
            stored = sum(
                part.centroid_ids.nbytes + part.residuals.nbytes + 4 * part.num_tokens for part in index.segments
            )
            sort = 32 * max(part.num_tokens for part in index.segments)  # keys of 8 bytes, and what sorting them takes
            raise UnavailableError(
                f"the index takes {stored / 1e9:.1f} GB, and about {sort / 1e9:.1f} more while its lists are made; "
                f"{where} has {free / 1e9:.1f} of {total / 1e9:.1f} GB free. Use device=cpu, or a GPU with more memory."
            ) from None
        return cls(codec, parts, index.bases, index.alive, where, index.num_documents)


class Probed(NamedTuple):
    """What a query probes: B queries of Q tokens each, and K centroids."""

    scores: Tensor  # (B, K, Q) int16: of `gpu.centroid_scores`
    ids: Tensor  # (B, Q, P) int64: of each query token the best, best first; P is how many are probed
    values: Tensor  # (B, Q, P) int64: their scores


def best_centroids(codec: GpuCodec, batch: QueryBatch, probe: int) -> Probed:
    """Return the centroids of `reference.best_centroids`, and those of token 0 again where there is no token."""
    torch = gpu.package("torch")
    scores = gpu.centroid_scores(codec, batch)
    numbers = torch.arange(scores.shape[1], device=scores.device)
    centroid_ids, values = gpu.best(numbers, scores.transpose(1, 2), probe)
    alive = torch.arange(scores.shape[2], device=scores.device) < batch.counts[:, None]
    return Probed(scores, torch.where(alive[:, :, None], centroid_ids, centroid_ids[:, :1]), values)


def gather(part: GpuSegment, probed: Probed, counts_B: Tensor, allowed_D: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what `reference.gather` returns for each query: rows and gains, (B, C), filled up with -1."""
    torch = gpu.package("torch")
    num_queries, num_tokens, _ = probed.ids.shape
    where = counts_B.device
    begins_PBQ = part.row_starts[probed.ids].permute(2, 0, 1)
    lengths_PBQ = part.row_starts[probed.ids + 1].permute(2, 0, 1) - begins_PBQ
    # the centroids of token 0, which stand where there is no token, would add nothing, and only be work
    lengths_PBQ = lengths_PBQ * (torch.arange(num_tokens, device=where) < counts_B[:, None])
    gains_PBQ = (probed.values - probed.values[:, :, -1:]).permute(2, 0, 1)
    lengths = lengths_PBQ.reshape(-1)
    if num_queries > 1 and int(lengths.sum()) > ENTRIES:
        return _gathered_by_halves(part, probed, counts_B, allowed_D)
    entry = torch.repeat_interleave(torch.arange(len(lengths), device=where), lengths)
    places = torch.arange(len(entry), device=where) - (lengths.cumsum(0) - lengths)[entry]
    rows = part.rows[begins_PBQ.reshape(-1)[entry] + places].long()
    owner = entry % (num_queries * num_tokens)
    documents = max(1, part.num_documents)
    keys = (owner // num_tokens * documents + rows) * num_tokens + owner % num_tokens
    keys, order = keys.sort(stable=True)  # of a token's centroids that have a row, the best stays first
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    pairs, inverse = torch.unique_consecutive(keys[first] // num_tokens, return_inverse=True)
    gains = gains_PBQ.reshape(-1)[entry[order[first]]].long()
    gain = torch.zeros_like(pairs).index_add_(0, inverse, gains)
    if allowed_D is not None:
        is_allowed = allowed_D[pairs % documents] > 0
        pairs, gain = pairs[is_allowed], gain[is_allowed]
    query = pairs // documents
    counts = torch.bincount(query, minlength=num_queries)
    column = torch.arange(len(pairs), device=where) - (counts.cumsum(0) - counts)[query]
    shape = (num_queries, int(counts.max()))
    rows_BC, gains_BC = torch.full(shape, -1, device=where), torch.full(shape, -1, device=where)
    rows_BC[query, column], gains_BC[query, column] = pairs % documents, gain
    return rows_BC, gains_BC


def _gathered_by_halves(
    part: GpuSegment, probed: Probed, counts_B: Tensor, allowed_D: Tensor | None
) -> tuple[Tensor, Tensor]:
    torch = gpu.package("torch")
    halves = (slice(len(counts_B) // 2), slice(len(counts_B) // 2, None))
    both_parts = [gather(part, Probed(*(of[half] for of in probed)), counts_B[half], allowed_D) for half in halves]
    width = max(rows.shape[1] for rows, _ in both_parts)
    pad = torch.nn.functional.pad
    rows, gain = (
        torch.cat([pad(of, (0, width - of.shape[1]), value=-1) for of in both])
        for both in zip(*both_parts, strict=True)
    )
    return rows, gain


def search(
    index: GpuIndex, queries: Sequence[Floats], *, k: int, config: SearchConfig, allowed: Bytes | None = None
) -> list[TopK]:
    """Answer queries as `search.cpu.search` does.

    Raises  ValueError for a query of another width than the index, or with a number that is not finite
    """
    settled, codec = config.settled(k, index.num_documents), index.codec.codec
    in_bytes = [query_of(codec, query) for query in queries]
    longest = max((query.count for query in in_bytes), default=1)
    at_once = min(AT_ONCE, max(1, CENTROID_SCORES // (codec.num_centroids * gpu.power_of_two(LANES, longest))))
    masks = _masks(index, allowed)
    answers: list[TopK] = []
    for first in range(0, len(in_bytes), at_once):
        answers += _answers(index, in_bytes[first : first + at_once], k, settled, masks)
    return answers


def _masks(index: GpuIndex, allowed: Bytes | None) -> list[Tensor | None]:
    """Return which documents of each segment may be found; None for all."""
    mask = findable(index.alive, allowed)
    if mask is None:
        return [None] * len(index.segments)
    parts = zip(index.bases, index.segments, strict=True)
    return [gpu.moved(mask[base : base + part.num_documents], index.device) for base, part in parts]


def _answers(
    index: GpuIndex, queries: list[Query], k: int, config: SearchConfig, masks: list[Tensor | None]
) -> list[TopK]:
    torch = gpu.package("torch")
    batch = gpu.batch(index.codec, queries)
    if config.algorithm == "exact":
        chosen = [_all(part, mask) for part, mask in zip(index.segments, masks, strict=True)]
    else:
        probed = best_centroids(index.codec, batch, config.probe)
        gathered = [_gathered(part, probed, batch, mask) for part, mask in zip(index.segments, masks, strict=True)]
        if config.probe < probed.scores.shape[1]:
            counts = torch.stack([(rows >= 0).sum(1) for rows, _ in gathered]).sum(0)
            short = (counts < k).tolist()
            if any(short):
                return _wider(index, queries, short, k, config, masks)
        parts = zip(index.segments, gathered, strict=True)
        chosen = [_chosen(index.codec, part, batch, probed, config, *both) for part, both in parts]
    best = []
    for base, part, rows in zip(index.bases, index.segments, chosen, strict=True):
        # float16 is right to a few thousandths: who is close to the cut is in, as on a CPU
        rows = _half_precision_best(index.codec, part, batch, rows, k + k // 4 + 8)
        best.append((rows + base, gpu.exact_maxsim(index.codec, part, batch.vectors, batch.counts, rows)))
    rows, scores = (torch.cat(both, dim=1) for both in zip(*best, strict=True))
    rows, scores = gpu.best(rows, scores, k)
    answers = zip(rows.cpu().numpy(), scores.cpu().numpy(), strict=True)
    return [TopK(rows[np.isfinite(scores)], scores[np.isfinite(scores)]) for rows, scores in answers]


def _wider(
    index: GpuIndex, queries: list[Query], short: list[bool], k: int, config: SearchConfig, masks: list[Tensor | None]
) -> list[TopK]:
    """Answer queries of which some found fewer than k documents: those probe more centroids, the others do not.

    Where all that can be found are few enough to be scored in full, an exact search is what those need.
    """
    every = index.codec.codec.num_centroids
    findable = sum(len(_all(part, mask)) for part, mask in zip(index.segments, masks, strict=True))
    if findable <= (config.refined if config.algorithm == "pruned" else config.candidates):
        wider = SearchConfig(algorithm="exact")
    else:
        wider = replace(config, probe=every if findable <= config.candidates else min(4 * config.probe, every))
    settings = {True: wider, False: config}
    answers = {}
    for wide in set(short):
        chosen = [query for query, is_short in zip(queries, short, strict=True) if is_short == wide]
        answers[wide] = iter(_answers(index, chosen, k, settings[wide], masks))
    return [next(answers[is_short]) for is_short in short]


def _gathered(part: GpuSegment, probed: Probed, batch: QueryBatch, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return candidates and their gains: where all centroids are probed, all documents, by centroid interaction."""
    if probed.ids.shape[2] < probed.scores.shape[1]:
        return gather(part, probed, batch.counts, mask)
    rows = _all(part, mask).expand(len(batch.counts), -1)
    return rows, gpu.centroid_interaction(part, probed.scores, rows)


def _all(part: GpuSegment, mask: Tensor | None) -> Tensor:
    """Return the rows that can be found, (C,): they have a token and are allowed."""
    has_token = part.starts[1:] > part.starts[:-1]
    rows: Tensor = (has_token if mask is None else has_token & (mask > 0)).nonzero()[:, 0]
    return rows


def _chosen(
    codec: GpuCodec,
    part: GpuSegment,
    batch: QueryBatch,
    probed: Probed,
    config: SearchConfig,
    rows: Tensor,
    gain: Tensor,
) -> Tensor:
    """Return the rows that are worth scoring in full, (B, C)."""
    torch = gpu.package("torch")
    if config.algorithm == "pruned":
        rows, _ = gpu.best(rows, gain, config.candidates)
        if rows.shape[1] > config.refined:
            rows, _ = gpu.best(rows, gpu.centroid_interaction(part, gpu.coarse(probed.scores), rows), config.refined)
    elif rows.shape[1] > config.candidates:
        is_probed = torch.zeros(probed.scores.shape[:2], dtype=torch.uint8, device=rows.device)
        is_probed.scatter_(1, probed.ids.flatten(1), 1)
        bounds = gpu.exact_maxsim(codec, part, batch.vectors.half(), batch.counts, rows, is_probed)
        rows, _ = gpu.best(rows, bounds, config.candidates)
    return rows


def _half_precision_best(codec: GpuCodec, part: GpuSegment, batch: QueryBatch, rows: Tensor, count: int) -> Tensor:
    """Return the rows with the best scores in float16, (B, C)."""
    torch = gpu.package("torch")
    best = []
    step = max(1, SCORES // len(batch.counts))
    for first in range(0, max(1, rows.shape[-1]), step):
        block = rows[..., first : first + step]
        best.append(gpu.best(block, gpu.exact_maxsim(codec, part, batch.vectors.half(), batch.counts, block), count))
    rows, scores = (torch.cat(both, dim=1) for both in zip(*best, strict=True))
    return gpu.best(rows, scores, count)[0]
