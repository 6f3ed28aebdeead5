"""MaxSim by bytes in plain compiled loops, for shapes and processors that no vector code takes.

Legend  as in `reference`
"""

from typing import Any

import numpy as np

from retrievers.colbert.kernels.arrays import LANES
from retrievers.colbert.kernels.compile import compiled, inlined

LOWEST = np.float32(-3.4e38)


@compiled
def longest(tokens: Any, rows: Any) -> Any:
    """Return the tokens of the longest of some documents."""
    most = 0
    for row in rows:
        most = max(most, tokens.starts[row + 1] - tokens.starts[row])
    return most


@inlined
def _token_scores(tables: Any, tokens: Any, scores: Any, token: Any, levels: Any, out: Any) -> None:
    """Write the scores of a token with all query tokens. `levels` is room for its numbers."""
    blocks, _, dim = tables.query.shape
    per_byte = dim // tokens.residuals.shape[1]
    bits = 8 // per_byte
    for d in range(dim):
        code = tokens.residuals[token, d // per_byte] >> (8 - bits * (d % per_byte + 1)) & (2**bits - 1)
        levels[d] = tables.levels[code]
    centroid_id = min(np.int64(tokens.centroid_ids[token]), scores.shape[1] - 1)
    for block in range(blocks):
        for lane in range(LANES):
            dot = np.int32(0)
            for d in range(dim):
                dot += np.int32(levels[d]) * np.int32(tables.query[block, lane, d])
            near = np.float32(scores[block, centroid_id, lane]) * tables.units[0]
            score = (near + np.float32(dot) * tables.units[1]) * tables.inverse_lengths[tokens.lengths[token]]
            out[block, lane] = score


@compiled
def portable_maxsim(tables: Any, tokens: Any, scores: Any, rows: Any, listed: Any, out: Any, close: Any) -> None:
    """Raise `out` to the scores of documents, as `maxsim.quantized_maxsim` says."""
    blocks, _, dim = tables.query.shape
    keep, some, levels = len(close.starts) > 0, len(listed.starts) > 0, np.empty(dim, np.int16)
    best = np.empty((blocks, LANES), np.float32)
    kept = np.empty((longest(tokens, rows) if keep else 1, blocks, LANES), np.float32)
    for i in range(len(rows)):
        best[:] = LOWEST
        start, stop = tokens.starts[rows[i]], tokens.starts[rows[i] + 1]
        if some:
            start, stop = listed.starts[i], listed.starts[i + 1]
        for at in range(start, stop):
            now = kept[at - start if keep else 0]
            _token_scores(tables, tokens, scores, listed.tokens[at] if some else at, levels, now)
            for block in range(blocks):
                for lane in range(LANES):
                    best[block, lane] = max(best[block, lane], now[block, lane])
        if start < stop:
            out[i] = best.sum()
        for at in range(stop - start if keep else 0):
            for block in range(blocks):
                mask = np.uint32(0)
                for lane in range(LANES):
                    if kept[at, block, lane] >= best[block, lane] - close.doubts[block, lane]:
                        mask |= np.uint32(1) << np.uint32(lane)
                close.masks[close.starts[i] + at, block] = mask
