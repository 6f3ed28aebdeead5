"""Encoding on this CPU, beside the bare matrix products of the same model.

    python tests/bench/bench_encoder.py                       # BERT-base and MiniLM-L6, fp32 and bf16, 1 and 2 threads
    python tests/bench/bench_encoder.py --models minilm-l6 --precisions bf16 --docs 256 --out encoder.json

Random weights, documents of 128 tokens, each kept. The products are those of
the model and nothing else: F.linear without bias for the four of a layer,
torch.bmm for the two of attention, over batches as large as the encoder's, in
the same precision and on as many threads. Encoder and products take turns, and
the best round of each counts, because the machine may be shared. CPU seconds
stand beside them. Refuses to time an encoder that disagrees with transformers.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
import tiny_checkpoint

from retrievers.colbert.model import bert
from retrievers.colbert.model.bert import CPU_TOKENS
from retrievers.colbert.model.encoder import Encoder

MODELS = {"bert-base": (768, 12, 12, 3072), "minilm-l6": (384, 6, 12, 1536)}  # width, layers, heads, inner width
TOKENS, GOAL = 128, 1.5
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def products(name: str, dtype: torch.dtype, docs: int) -> Callable[[], None]:
    """Return what multiplies all matrices that encoding so many documents multiplies, and does nothing else."""
    wide, layers, heads, inner = MODELS[name]
    batch = CPU_TOKENS // TOKENS
    x, h = torch.randn(CPU_TOKENS, wide).to(dtype), torch.randn(CPU_TOKENS, inner).to(dtype)
    q, scores = (torch.randn(batch * heads, TOKENS, last).to(dtype) for last in (wide // heads, TOKENS))
    # weights of their own for every layer: twelve times the same would stay in the cache
    weights = [
        tuple(torch.randn(shape).to(dtype) for shape in ((3 * wide, wide), (wide, wide), (inner, wide), (wide, inner)))
        for _ in range(layers)
    ]
    projection = torch.randn(128, wide).to(dtype)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(docs // batch):
                for qkv, mix, up, down in weights:
                    F.linear(x, qkv)
                    torch.bmm(q, q.transpose(1, 2))
                    torch.bmm(scores, q)
                    F.linear(x, mix)
                    F.linear(x, up)
                    F.linear(h, down)
                F.linear(x, projection)

    return run


def best(rounds: int, *work: Callable[[], object]) -> list[tuple[float, float]]:
    """Return the least wall and CPU seconds of each, run in turns, after one round that is thrown away."""
    found: list[list[tuple[float, float]]] = [[] for _ in work]
    for _ in range(rounds + 1):
        for times, call in zip(found, work, strict=True):
            wall, cpu = perf_counter(), process_time()
            call()
            times.append((perf_counter() - wall, process_time() - cpu))
    return [(min(wall for wall, _ in times[1:]), min(cpu for _, cpu in times[1:])) for times in found]


def check(found: Encoder, text: str) -> None:
    """Refuse an encoder that does not give what transformers' forward pass gives."""
    padded = bert.Padded(found.checkpoint.model())
    tokens = found.tokens.docs([text])
    batch = bert.TextBatch(torch.from_numpy(tokens.ids), [len(tokens.ids)], tokens.seen.tolist())
    with torch.inference_mode():
        (step,) = found.checkpoint.projection()
        wanted = F.normalize(step(padded(batch)), dim=1).numpy()[tokens.kept]
    least = (found.docs([text]).vectors.astype(np.float32) * wanted).sum(1).min()
    if least < (0.9999 if found.precision == "fp32" else 0.97):
        raise SystemExit(f"the encoder is wrong: a cosine of {least} with transformers in {found.precision}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--precisions", nargs="+", default=list(DTYPES), choices=DTYPES)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--docs", type=int, default=64, help="documents a round, a multiple of 16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="also write the numbers here, as JSON")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    words = [word for word in tiny_checkpoint.WORDS if not word.startswith("##")]
    docs = [" ".join(rng.choice(words, TOKENS)) for _ in range(args.docs)]
    questions = [" ".join(rng.choice(words, 8)) for _ in range(50)]
    rows = []
    print("model\tprecision\tthreads\tdocs/s\tms/query p50\tp95\ts encoding\ts products\tratio\tCPU ratio")
    for name in args.models:
        wide, layers, heads, inner = MODELS[name]
        with tempfile.TemporaryDirectory() as folder:
            shape = {"hidden": wide, "layers": layers, "heads": heads, "inner": inner, "dim": 128}
            path = tiny_checkpoint.write(Path(folder) / name, doc_maxlen=TOKENS, **shape)
            for precision in args.precisions:
                for threads in args.threads:
                    torch.set_num_threads(threads)
                    found = Encoder.load(path, device="cpu", precision=precision)
                    check(found, docs[0])
                    assert len(found.docs(docs[:2]).vectors) == 2 * TOKENS
                    encoding, bare = best(
                        args.rounds, partial(found.docs, docs), products(name, DTYPES[precision], len(docs))
                    )
                    times = []
                    for question in questions:
                        start = perf_counter()
                        found.queries([question])
                        times.append((perf_counter() - start) * 1e3)
                    p50, p95 = np.percentile(times[5:], [50, 95])
                    row = {
                        "model": name, "precision": precision, "threads": threads,
                        "docs_per_second": round(len(docs) / encoding[0], 1), "query_ms_p50": round(p50, 1),
                        "query_ms_p95": round(p95, 1), "encoding_seconds": round(encoding[0], 3),
                        "products_seconds": round(bare[0], 3), "ratio": round(encoding[0] / bare[0], 2),
                        "cpu_ratio": round(encoding[1] / bare[1], 2),
                    }  # fmt: skip
                    rows.append(row)
                    print(*row.values(), sep="\t", flush=True)
    bad = [f"{row['model']} on {row['threads']}" for row in rows if row["precision"] == "bf16" and row["ratio"] > GOAL]
    print(
        f"goal: bf16 within {GOAL} of its products;", f"missed by {', '.join(bad)}" if bad else "holds", file=sys.stderr
    )
    if args.out:
        where = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability(), "docs": args.docs}
        Path(args.out).write_text(json.dumps({**where, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
