"""What an export costs, and whether the engines that read it answer as an exact search here.

    python tests/bench/bench_export.py --documents 10000 [--peer-python PYTHON] [--scratch DIR] [--only qdrant,vespa]

The index is of synthetic vectors of a seed: documents of 60 to 180 tokens of 128 numbers, words around topics. Every
export runs in a process of its own, so its peak memory is its own; "beside" is that of a process that only imports.
Qdrant and LanceDB are then opened in their embedded modes, in another process, and asked 50 queries: "same" is how
many have the same top 10, "off" the largest difference of a score. --peer-python has fast-plaid, which opens its
index, is asked the same and then takes 20 documents more and gives 10 up; what was exported is adopted, and is held
to be the same codes.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from retrievers import index_folder, load
from retrievers.colbert import Arrays, CodecConfig, build_index
from retrievers.colbert.index.folder import open_index
from retrievers.colbert.search import SearchConfig, search

DIM, QUERIES, K = 128, 50, 10
ENGINES = ("parquet", "fast-plaid", "vespa", "lancedb", "qdrant")
EXPORT = """
import sys, time
from pathlib import Path
def peak():  # of this process alone: what getrusage says counts the one that began it
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))
from retrievers import exports
import retrievers.colbert.kernels.cpu
for package in {"qdrant": ("qdrant_client",), "lancedb": ("lancedb",)}.get(sys.argv[1], ()) + ("pyarrow.parquet",):
    __import__(package)
beside = peak()
start = time.perf_counter()
exports.export(sys.argv[1], exports.ExportRequest(Path(sys.argv[2]), Path(sys.argv[3]), lambda line: None))
print(time.perf_counter() - start, peak(), beside)
"""
ASK = {
    "qdrant": """
from qdrant_client import QdrantClient
client = QdrantClient(path=folder)
start = opened()
for query in queries:
    points = client.query_points("passages", query=query.tolist(), using="tokens", limit=10).points
    found.append([[point.payload["doc_id"] for point in points], [point.score for point in points]])
client.close()
""",
    "lancedb": """
import lancedb
table = lancedb.connect(folder).open_table("passages")
start = opened()
for query in queries:
    rows = table.search(query, vector_column_name="vectors").metric("cosine").limit(10).to_arrow()
    found.append([rows["doc_id"].to_pylist(), [len(query) - far for far in rows["_distance"].to_pylist()]])
""",
    "fast-plaid": """
import torch
from fast_plaid import search
index = search.FastPlaid(folder, device="cpu")
ids = {int(place): doc_id for place, doc_id in json.load(open(folder + "/plaid_ids_to_documents_ids.json")).items()}
vectors = torch.tensor(queries)
index.search(vectors[:1], top_k=10)
start = opened()
for hits in index.search(vectors, top_k=10, n_ivf_probe=64, n_full_scores=8192, show_progress=False):
    found.append([[ids[place] for place, _ in hits], [score for _, score in hits]])
if "--change" in sys.argv:
    more = [torch.nn.functional.normalize(torch.randn(30, 128), dim=1).half() for _ in range(20)]
    index.update(documents_embeddings=more)
    (first, _), = index.search(more[3].float()[None], top_k=1, n_ivf_probe=64)[0]
    index.delete(subset=list(range(10)))
    kept = index.search(vectors[:1], top_k=10)[0]
    print(f"  then 20 added, of which number 3 is found at {first - len(ids)}; 10 deleted, {len(kept)} hits", file=sys.stderr)
""",
}
ASKED = """
import json, sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
folder, queries, found = sys.argv[1], np.load(sys.argv[2]), []
begin = time.perf_counter()
def opened():
    global seconds
    seconds = time.perf_counter() - begin
    return time.perf_counter()
{ask}
print(json.dumps({{"open": seconds, "query": (time.perf_counter() - start) / len(queries), "found": found}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--peer-python", help="an interpreter that has fast-plaid")
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/bench_export"))
    parser.add_argument("--only", default=",".join(ENGINES))
    parser.add_argument("--no-ask", action="store_true", help="only export: nobody opens what was written")
    asked = parser.parse_args()
    asked.scratch.mkdir(parents=True, exist_ok=True)
    index, queries = made(asked.scratch, asked.documents)
    truth = [] if asked.no_ask else exact(index, queries)
    print("engine      seconds  peak MB  beside    MB on disk   open   a query   same   off")
    for engine in asked.only.split(","):
        out = asked.scratch / engine
        seconds, peak, beside = map(float, run(sys.executable, EXPORT, engine, index, out).split())
        size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
        row = f"{engine:10} {seconds:8.1f} {peak:8.0f} {beside:7.0f} {size:13.0f}"
        if engine == "fast-plaid":
            print(f"  adopted again, the same codes: {same_codes(index, out, asked.scratch / 'back')}")
        python = asked.peer_python if engine == "fast-plaid" else sys.executable
        print(row + (asked_of(engine, python, out, asked.scratch / "q.npy", truth) if engine in ASK and python and truth else ""))
        shutil.rmtree(out)


def made(scratch: Path, documents: int) -> tuple[Path, Any]:
    """Return an index of synthetic vectors, made if it is not there, and queries near some of its documents."""
    path, random = scratch / f"index-{documents}", np.random.default_rng(7)
    centres = unit(random.normal(size=(20_000, DIM)) + 0.6 * random.normal(size=(200, DIM))[random.integers(0, 200, 20_000)])
    lengths = random.integers(60, 181, documents)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    chosen = random.choice(documents, QUERIES, replace=False)
    rows = np.lib.format.open_memmap(scratch / "rows.npy", "w+", np.float16, (int(starts[-1]), DIM))
    for first in range(0, documents, 1000):
        last = min(first + 1000, documents)
        words = (20_000 * random.random(starts[last] - starts[first]) ** 3).astype(np.int64)
        noise = random.normal(size=(len(words), DIM)).astype(np.float32)
        rows[starts[first] : starts[last]] = unit(centres[words] + 0.06 * noise)
    queries = []
    for row in chosen:
        some = random.integers(starts[row], starts[row + 1], 32)
        queries.append(unit(rows[some].astype(np.float32) + 0.05 * random.normal(size=(32, DIM))))
    np.save(scratch / "q.npy", np.array(queries, np.float32))
    if not index_folder.is_index(path):
        start = perf_counter()
        doc_ids = [f"doc-{row}" for row in range(documents)]
        build_index(path, Arrays(rows, lengths), CodecConfig(), doc_ids=doc_ids)
        print(f"{documents:,} documents, {len(rows):,} tokens indexed in {perf_counter() - start:.0f} s")
    (scratch / "rows.npy").unlink()
    return path, queries


def unit(rows: Any) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def exact(index: Path, queries: Any) -> list[tuple[list[str], Any]]:
    doc_ids = index_folder.read(index).doc_ids
    found = search(open_index(index), queries, k=K, config=SearchConfig(algorithm="exact"), threads=2)
    return [([doc_ids[row] for row in one.rows.tolist()], one.scores) for one in found]


def asked_of(engine: str, python: str, out: Path, queries: Path, truth: list[tuple[list[str], Any]]) -> str:
    """Return how long an engine takes to open what was exported and to answer, and how it answers."""
    more = ["--change"] if engine == "fast-plaid" else []
    told = json.loads(run(python, ASKED.format(ask=ASK[engine]), out, queries, *more).splitlines()[-1])
    same, off = 0, 0.0
    for (doc_ids, scores), (wanted, exactly) in zip(told["found"], truth, strict=True):
        same += doc_ids == wanted
        by_id = dict(zip(wanted, exactly.tolist(), strict=True))
        off = max([off, *(abs(score - by_id[doc_id]) for doc_id, score in zip(doc_ids, scores, strict=True) if doc_id in by_id)])
    return f" {told['open']:5.1f} s {1e3 * told['query']:6.0f} ms  {same}/{QUERIES}  {off:.4f}"


def same_codes(index: Path, out: Path, back: Path) -> bool:
    shutil.rmtree(back, ignore_errors=True)
    load("colbertv2", ["checkpoint=shipped"]).adopt(out, back)
    ours, theirs = open_index(index).segments[0], open_index(back).segments[0]
    names = ("centroid_ids", "residuals", "starts")
    same = all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in names)
    shutil.rmtree(back)
    return same and list(index_folder.read(index).doc_ids)[-1] == f"doc-{ours.num_documents - 1}"


def run(python: str, code: str, *words: object) -> str:
    done = subprocess.run([python, "-c", code, *map(str, words)], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    main()
