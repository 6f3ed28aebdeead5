"""The cost of a system: the time of one query, of many together, and the size of the index.

Latency is measured one query at a time, with an open and warm index, and
includes everything from the query's text to its ranking.
"""

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from lotte import Hit, Queries, Run, artifact
from lotte.progress import Progress
from retrievers import Index

SAMPLE, WARMUP = 100, 10  # queries timed one by one, and untimed ones before them
BATCH = 256  # questions between two looks at the progress


def timed_search(index: Index, queries: Queries, *, k: int, title: str) -> tuple[Run, float]:
    """Ask everything. Returns the run and the seconds it took."""
    query_ids, seconds = list(queries), 0.0
    hits: dict[str, tuple[Hit, ...]] = {}
    with Progress(len(query_ids), "questions", title) as progress:
        for begin in range(0, len(query_ids), BATCH):
            batch = {query_id: queries[query_id] for query_id in query_ids[begin : begin + BATCH]}
            start = perf_counter()
            run = index.search(batch, k=k)
            seconds += perf_counter() - start
            run.require(batch)
            hits |= {query_id: run.hits[query_id] for query_id in batch}
            progress.advance(len(batch))
    return Run(hits), seconds


def latency(index: Index, queries: Queries, *, k: int) -> Mapping[str, Any] | None:
    """Return milliseconds for one question, or None if there is none to ask."""
    if not queries:
        return None
    step = max(1, len(queries) // SAMPLE)
    sample = [{query_id: queries[query_id]} for query_id in list(queries)[::step][:SAMPLE]]
    for question in sample[:WARMUP]:
        index.search(question, k=k)
    times = []
    for question in sample:
        start = perf_counter()
        index.search(question, k=k)
        times.append((perf_counter() - start) * 1000)
    p50, p95, p99 = np.percentile(times, (50, 95, 99)).tolist()
    return {
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "queries": len(sample),
        "warmup": min(WARMUP, len(sample)),
        "k": k,
        "includes": "reading the question, search and ranking; one at a time, index open and warm",
    }


def size_of(folder: Path) -> int:
    """Return the bytes that the files of an index take."""
    return sum(file.stat().st_size for file in _files(folder))


def sha256_of(folder: Path) -> str:
    """Return one hash for what an index holds, without meta.json, which says where and how fast it was made."""
    return artifact.digest(
        {
            file.relative_to(folder).as_posix(): artifact.sha256(file)
            for file in _files(folder)
            if file.name != artifact.META
        }
    )


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())
