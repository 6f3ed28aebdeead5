"""Documents encoded a second with the shipped checkpoint on real texts, by each way there is, in one run.

    python tests/bench/bench_encoder_peers.py COLLECTION.tsv [--docs 128] [--threads 1] [--rounds 3] [--out FILE.json]

Ways: ours in float32 and in bytes, with each kind of register that this processor has (LOTTE_KERNELS); torch in
float32 and bfloat16; onnxruntime in float32 and in bytes, if onnx and onnxruntime are installed (the graph fused by its
own optimizer, then quantize_dynamic); OpenVINO in float32 and in bytes, if openvino and nncf are (quantised as
sentence-transformers does it with optimum-intel: static, with these texts for calibration). Each in a process of its own, in turns; the best round of each counts, in
processor seconds and by the clock. Beside it the least and mean cosine with torch in float32: a way that is wrong is
refused. onnxruntime and OpenVINO give hidden states: the projection, and what removes the padding, is not in their time.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

WAYS = {
    "ours fp32": {}, "ours int8": {}, "ours fp32 avx2": {"LOTTE_KERNELS": "avx2"}, "ours int8 avx2": {"LOTTE_KERNELS": "avx2"},
    "ours fp32 plain": {"LOTTE_KERNELS": "plain"}, "ours int8 plain": {"LOTTE_KERNELS": "plain"},
    "torch fp32": {}, "torch bf16": {}, "onnxruntime fp32": {}, "onnxruntime int8": {},
    "openvino fp32": {}, "openvino int8": {},
}  # fmt: skip


def read(path: Path, count: int) -> list[str]:
    with path.open(encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\n").split("\t")[1] for _, line in zip(range(count), file, strict=False)]


def encoder(way: str, threads: int) -> Any:
    """Return what encodes texts to (N, H) vectors: an Encoder, whose lane is torch's where that is asked for."""
    from retrievers.colbert.model.encoder import TORCH_TOKENS, Encoder
    from retrievers.colbert.retriever import WEIGHTS

    kind, precision = way.split()[:2]
    if kind == "ours":
        found = Encoder.load(WEIGHTS, device="cpu", precision=precision)
        found._num_workers = threads
        return found
    import torch

    from retrievers.colbert.model import bert

    torch.set_num_threads(threads)
    checkpoint = Encoder.load(WEIGHTS, device="cpu").checkpoint
    lane = bert.TorchModel(checkpoint, torch.device("cpu"), precision)
    return Encoder(checkpoint, [lane], precision, workers=threads, budget=TORCH_TOKENS, torch_cpu=True)


def hidden_states() -> tuple[Any, Any]:
    """Return the shipped checkpoint's encoder and a torch module from tokens to hidden states."""
    import torch

    from retrievers.colbert.model.encoder import Encoder
    from retrievers.colbert.retriever import WEIGHTS

    found = Encoder.load(WEIGHTS, device="cpu", precision="fp32")
    model = found.checkpoint.model().requires_grad_(False)
    model.config._attn_implementation = "eager"

    class Hidden(torch.nn.Module):
        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    return found, Hidden()


def order(tokens: Any) -> Any:
    """Return texts by length, the longest first: 8 in a row are a batch."""
    return np.argsort(-np.diff(tokens.starts), kind="stable")


def projected(found: Any, texts: list[str], hidden: list[Any]) -> Any:
    """Return (N, H), the vectors of the texts' kept tokens, from the hidden states of the padded batches."""
    from retrievers.colbert.model.bert_cpu import Projection

    tokens = found.tokens.docs(texts)
    lengths, rows = np.diff(tokens.starts), order(tokens)
    states = {row: hidden[at // 8][at % 8, : lengths[row]] for at, row in enumerate(rows)}
    kept = np.concatenate([states[row] for row in range(len(texts))])[tokens.kept].astype(np.float32)
    out = Projection(found.checkpoint.steps())(kept)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def padded(found: Any, texts: list[str]) -> list[dict[str, Any]]:
    """Return batches of 8 texts of like length, padded to the longest."""
    tokens, batches = found.tokens.docs(texts), []
    lengths = np.diff(tokens.starts)
    for first in range(0, len(lengths), 8):
        rows = order(tokens)[first : first + 8]
        ids = np.zeros((len(rows), int(lengths[rows].max())), np.int64)
        mask = np.zeros_like(ids)
        for line, row in enumerate(rows):
            ids[line, : lengths[row]] = tokens.ids[tokens.starts[row] : tokens.starts[row + 1]]
            mask[line, : lengths[row]] = 1
        batches.append({"input_ids": ids, "attention_mask": mask})
    return batches


def exported(folder: Path) -> tuple[Any, Path]:
    """Return the shipped checkpoint's encoder, and its transformer as an ONNX file, which stays in --work."""
    from retrievers.colbert.model.encoder import Encoder
    from retrievers.colbert.retriever import WEIGHTS

    if (folder / "plain.onnx").exists():
        return Encoder.load(WEIGHTS, device="cpu", precision="fp32"), folder / "plain.onnx"
    import torch

    found, hidden = hidden_states()
    names, ones = ["input_ids", "attention_mask"], torch.ones(2, 8, dtype=torch.long)
    axes = {name: {0: "texts", 1: "tokens"} for name in [*names, "hidden"]}
    torch.onnx.export(hidden, (ones, ones), str(folder / "plain.onnx"), dynamo=False, opset_version=14,
                      input_names=names, output_names=["hidden"], dynamic_axes=axes)  # fmt: skip
    return found, folder / "plain.onnx"


def openvino(folder: Path, way: str, threads: int, texts: list[str]) -> tuple[Any, Any]:
    """Return the same by OpenVINO."""
    import nncf
    import openvino as ov

    found, path = exported(folder)
    model, batches = ov.convert_model(path), padded(found, texts)
    if "int8" in way:
        model = nncf.quantize(model, nncf.Dataset(batches), model_type=nncf.ModelType.TRANSFORMER)
    asked = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if "fp32" in way:  # else it computes a model of float32 in bfloat16 where the processor is fast in it
        asked["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = ov.Core().compile_model(model, "CPU", asked)

    return lambda: [compiled(batch)[0] for batch in batches], found


def onnx(folder: Path, way: str, threads: int, texts: list[str]) -> tuple[Any, Any]:
    """Return a call that makes the hidden states of padded batches by onnxruntime, and the encoder with the tokens."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer

    found, plain = exported(folder)
    described = found.checkpoint.described
    fused = optimizer.optimize_model(
        str(plain), model_type="bert", num_heads=described["num_attention_heads"],
        hidden_size=described["hidden_size"],
    )  # fmt: skip
    fused.save_model_to_file(str(folder / "fused.onnx"))
    path = folder / "fused.onnx"
    if way.endswith("int8"):
        path = folder / "int8.onnx"
        quantize_dynamic(folder / "fused.onnx", path, weight_type=QuantType.QInt8, per_channel=True,
                         extra_options={"DefaultTensorType": 1})  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    batches = padded(found, texts)

    return lambda: [session.run(None, batch)[0] for batch in batches], found


def one(way: str, args: argparse.Namespace) -> None:
    """Time one way in this process and print what was found as JSON."""
    texts, row = read(args.collection, args.docs), {"way": way}
    with tempfile.TemporaryDirectory() as folder:
        folder = args.work or folder
        if way.startswith("onnxruntime"):
            run, found = onnx(Path(folder), way, args.threads, texts)
        elif way.startswith("openvino"):
            run, found = openvino(Path(folder), way, args.threads, texts)
        else:
            found = encoder(way, args.threads)
            run = lambda: found.docs(texts)  # noqa: E731
        made = run()
        vectors = projected(found, texts, made) if isinstance(made, list) else made.vectors.astype(np.float32)
        row["sha256"] = hashlib.sha256(vectors.tobytes()).hexdigest()[:12]
        if args.vectors:
            np.save(args.vectors, vectors)
        wall, cpu = np.inf, np.inf
        for _ in range(args.rounds):
            start, begun = perf_counter(), process_time()
            run()
            wall, cpu = min(wall, perf_counter() - start), min(cpu, process_time() - begun)
    print(json.dumps(row | {"wall": len(texts) / wall, "cpu": len(texts) / cpu}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("collection", type=Path, help="a collection.tsv")
    parser.add_argument("--docs", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--work", type=Path, help="keep the ONNX file here: not every transformers can be exported")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--vectors", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one, args)
        return
    rows, threads = [], {name: str(args.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as folder:
        print("way\tdocs/s by processor time\tby the clock\tleast cosine\tmean\tsha256 of the vectors")
        judge = None
        for way in dict.fromkeys(["torch fp32", *args.ways]):
            vectors = Path(folder) / f"{way}.npy"
            done = subprocess.run(
                [sys.executable, __file__, str(args.collection), "--docs", str(args.docs), "--threads", str(args.threads),
                 "--rounds", str(args.rounds), "--one", way, "--vectors", str(vectors), *(["--work", str(args.work)] if args.work else [])],
                env=os.environ | threads | WAYS[way], capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                print(f"{way}\tnot run: {done.stderr.strip().splitlines()[-1]}")
                continue
            row = json.loads(done.stdout.splitlines()[-1])
            if vectors.exists():
                found = np.load(vectors)
                judge = found if judge is None else judge
                cosines = (found * judge).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(judge, axis=1)
                row |= {"least": float(cosines.min()), "mean": float(cosines.mean())}
                if row["mean"] < 0.95:
                    raise SystemExit(f"{way} is wrong: its mean cosine with torch in float32 is {row['mean']}")
            rows.append(row)
            print(f"{way}\t{row['cpu']:.1f}\t{row['wall']:.1f}\t{row.get('least', float('nan')):.6f}\t"
                  f"{row.get('mean', float('nan')):.6f}\t{row.get('sha256', '')}", flush=True)  # fmt: skip
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
