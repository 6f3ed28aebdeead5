"""What an index in parts costs: processor time of 4 shards on one machine against 1 index. The goal is 1.3 times at most.

    python tests/bench/bench_shards.py [DOCUMENTS]

Token vectors and texts are drawn from a seed. The answers must be identical where the search is exact.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import psutil

HOUSE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HOUSE)]

from lotte import Doc  # noqa: E402
from lotte.dataset import Docs  # noqa: E402
from retrievers import index_folder, registry, sharded  # noqa: E402
from retrievers.colbert import sharding  # noqa: E402
from retrievers.colbert.index import build  # noqa: E402
from retrievers.colbert.index.codec import CodecConfig  # noqa: E402
from retrievers.colbert.index.folder import ColbertIndex, open_arrays  # noqa: E402
from retrievers.colbert.index.meta import IndexMeta  # noqa: E402
from retrievers.colbert.search.config import SearchConfig  # noqa: E402
from retrievers.colbert.search.cpu import search  # noqa: E402

SHARDS, TOKENS, DIM, QUERIES, K, ROUNDS = 4, 40, 128, 64, 10, 3


def main() -> None:
    documents = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print("system\tsearch\theld by\tsame answers\tprocessor s, whole\tprocessor s, shards\tratio")
    with tempfile.TemporaryDirectory() as place:
        if "--bm25" not in sys.argv:
            late(Path(place), documents)
        lexical(Path(place), 10 * documents)


def late(place: Path, documents: int) -> None:
    draw = np.random.default_rng(0)
    topics = draw.normal(size=(500, DIM))
    vectors = topics[draw.integers(0, 500, documents * TOKENS)] + 0.7 * draw.normal(size=(documents * TOKENS, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float16)
    source, config = build.Arrays(vectors, np.full(documents, TOKENS)), CodecConfig(centroids=1024, iterations=2)
    queries = [vectors[first : first + 16].astype(np.float32) for first in range(0, QUERIES * 160, 160)]
    recipe: Any = registry.load("colbertv2", ["checkpoint=shipped", "threads=1"])
    whole, parts = place / "late", place / "late-shards"
    whole.mkdir(), parts.mkdir()
    how: Any = {"threads": 2, "say": lambda line: None}
    made = build.build(whole, source, config, **how)
    said = {"recipe": index_folder.recipe_of(recipe)}
    sharding.write(parts, source, config, list(map(str, range(documents))), SHARDS, said, **how)
    meta = IndexMeta(recipe=said["recipe"], corpus={}, counts=made.counts, segments=(made.segment,))
    one = open_arrays(whole, meta)
    paths = [parts / sharded.name(number) for number in range(SHARDS)]
    opened = [open_arrays(path, IndexMeta.read(path)) for path in paths]
    several = ColbertIndex(opened[0].codec, tuple(part.segments[0] for part in opened), None)
    holders = sharded.Holders(partial(sharding._answers, recipe), paths, 1)
    firsts = several.bases
    for algorithm in ("exact", "paper", "pruned"):
        settled = SearchConfig(algorithm=algorithm).settled(K, documents)

        def asked_whole(settled: SearchConfig = settled) -> Any:
            return search(one, queries, k=K, config=settled)

        def asked_here(settled: SearchConfig = settled) -> Any:
            return search(several, queries, k=K, config=settled)

        def asked_held(settled: SearchConfig = settled) -> Any:
            answers = holders.ask([[(queries, K, settled, None)]] * SHARDS)
            return [sharded.merged(found, firsts, K) for found in zip(*(some for (some,) in answers), strict=True)]

        before = measured(asked_whole, None)
        for by, ask in (("this process", asked_here), ("processes", asked_held)):
            report("colbertv2", algorithm, by, before, measured(ask, holders))
    holders.end()


def lexical(place: Path, documents: int) -> None:
    draw = np.random.default_rng(1)
    words = np.array([f"w{number}" for number in range(20_000)])
    ranks = np.minimum(draw.zipf(1.2, (documents, TOKENS)) - 1, len(words) - 1)
    corpus = Docs(tuple(Doc(str(row), " ".join(words[some])) for row, some in enumerate(ranks)))
    queries = {str(number): " ".join(words[draw.integers(0, 2000, 6)]) for number in range(QUERIES)}
    system: Any = registry.load("bm25")
    one, parts = system.index(corpus, place / "bm25"), system.index_sharded(corpus, place / "bm25-shards", SHARDS)
    held = registry.load("bm25", ["replicas=1"]).open(place / "bm25-shards")

    def ask(index: Any, k: int = K) -> Any:
        return [(rows, scores) for rows, scores in (pairs(hits) for hits in index.search(queries, k=k).hits.values())]

    before = measured(partial(ask, one), None)
    report("bm25", "exact", "this process", before, measured(partial(ask, parts), None))
    report("bm25", "exact", "processes", before, measured(partial(ask, held), held.holders))  # type: ignore[attr-defined]
    held.holders.end()  # type: ignore[attr-defined]


def pairs(hits: Any) -> Any:
    return np.array([int(hit.doc_id) for hit in hits]), np.array([hit.score for hit in hits], np.float32)


def measured(ask: Callable[[], Any], holders: "sharded.Holders | None") -> tuple[float, Any]:
    """Return the least processor time of some rounds, of this process and of those that hold parts, and the answers."""
    found, times = ask(), []
    for _ in range(ROUNDS):
        start = process_time() + held_time(holders)
        ask()
        times.append(process_time() + held_time(holders) - start)
    return min(times), found


def held_time(holders: "sharded.Holders | None") -> float:
    if holders is None:
        return 0.0
    spent = [psutil.Process(replica.process.pid).cpu_times() for replica in holders.held.values()]
    return sum(one.user + one.system for one in spent)


def report(system: str, algorithm: str, by: str, whole: tuple[float, Any], parts: tuple[float, Any]) -> None:
    same = all(
        np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(whole[1], parts[1], strict=True)
    )
    ratio = parts[0] / whole[0]
    print(f"{system}\t{algorithm}\t{by}\t{'yes' if same else 'no'}\t{whole[0]:.3f}\t{parts[0]:.3f}\t{ratio:.2f}", flush=True)


if __name__ == "__main__":
    start = perf_counter()
    main()
    print(f"{perf_counter() - start:.0f} s", file=sys.stderr)
