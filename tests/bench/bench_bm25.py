"""BM25 beside bm25s (numba) and tantivy: how long an index takes and how much memory, and a query.

    python tests/bench/bench_bm25.py                  # 20,000 passages, 200 queries, ours alone
    python tests/bench/bench_bm25.py --passages 100000 --peer-python /tmp/peers/bin/python --out bm25.json
    python tests/bench/bench_bm25.py --passages 1000000 --peers tantivy,tantivy-raw --peer-python ... --work DIR
    python tests/bench/bench_bm25.py --passages 100000 --grow 4     # the memory of an index of four times as many

Passages of some 100 words with Zipf's frequencies, made from a seed; --work keeps them for the next time. Every engine
runs in a process of its own (bm25_peers.py says what each reads); queries are asked in turns, one round each, and
the medians of the rounds are shown, in processor time, without the first. The index is timed with its process's
first import and without compiling: ours is asked to make a small one before. Refuses a bm25 whose scores are not bm25s'.
The peers' Python: python3 -m venv DIR; DIR/bin/pip install bm25s==0.3.16 numba tantivy==0.27.0
"""

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from itertools import accumulate, islice
from pathlib import Path
from statistics import median

import numpy as np

from retrievers.analyser import english

PEERS = Path(__file__).with_name("bm25_peers.py")


def passages(path: Path, count: int, seed: int = 0) -> Path:
    """Write a collection, unless it is there."""
    if not path.exists():
        rng = random.Random(seed)
        words = ["".join(rng.choices("etaoinshrdlucmfwypvbgk", k=rng.randint(3, 9))) for _ in range(50_000)]
        weights = list(accumulate(1 / (rank + 10) for rank in range(len(words))))
        with path.with_suffix(".part").open("w") as file:
            for row in range(count):
                file.write(f"{row}\t{' '.join(rng.choices(words, cum_weights=weights, k=rng.randint(40, 160)))}\n")
        path.with_suffix(".part").rename(path)
    return path


def analysed(path: Path, texts: Path, column: int) -> Path:
    """Write each line as the words that an index has of it, unless it is there. A word of these texts is letters alone."""
    if not path.exists():
        known: dict[str, list[str]] = {}
        with texts.open() as lines, path.with_suffix(".part").open("w") as file:
            for line in lines:
                words = line.rstrip("\n").split("\t")[column].split()
                known.update((word, english(word)) for word in words if word not in known)
                file.write(" ".join(one for word in words for one in known[word]) + "\n")
        path.with_suffix(".part").rename(path)
    return path


class Engine:
    """A process that has made an index and can be asked."""

    def __init__(self, python: str, name: str, texts: Path, queries: Path, folder: Path) -> None:
        command = [python, str(PEERS), name, str(texts), str(queries), str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.made = self._said()

    def ask(self, k: int) -> dict[str, float]:
        print(k, file=self._process.stdin, flush=True)
        return self._said()

    def _said(self) -> dict[str, float]:
        if not (line := self._process.stdout.readline()):
            sys.exit("an engine failed")
        return json.loads(line)

    def end(self) -> None:
        self._process.communicate()


def same_scores(folder: Path, k: int) -> None:
    """Raise unless ours scored as bm25s did."""
    ours, theirs = (json.loads((folder / f"{name}.{k}.json").read_text()) for name in ("bm25", "bm25s"))
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, [score for score in expected if score > 0][: len(found)], rtol=1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--k", default="10,1000", help="depths, with commas between")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-python", help="a Python with bm25s, numba and tantivy; without it, ours alone")
    parser.add_argument("--peers", default="bm25s,tantivy,tantivy-raw")
    parser.add_argument("--ours", default="bm25,rank_bm25")
    parser.add_argument("--grow", type=int, default=0, help="also make an index of so many times the passages")
    parser.add_argument("--work", type=Path, help="where passages and indexes are; the passages stay")
    parser.add_argument("--out", help="also write the numbers here, as JSON")
    args = parser.parse_args()
    depths = [int(k) for k in args.k.split(",")]
    with tempfile.TemporaryDirectory(dir=args.work) as scratch:
        work, folder = args.work or Path(scratch), Path(scratch)
        texts = passages(work / f"passages.{args.passages}.tsv", args.passages)
        rng = random.Random(1)
        with texts.open() as lines:
            some = [line.split("\t")[1].split() for line in islice(lines, 20_000)]
        asked = folder / "queries.txt"
        asked.write_text("".join(" ".join(rng.sample(rng.choice(some), 6)) + "\n" for _ in range(args.queries)))
        words = analysed(folder / "analysed_queries.txt", asked, 0)
        names = [(sys.executable, name, texts, asked) for name in args.ours.split(",")]
        if args.peer_python:
            known = analysed(work / f"analysed.{args.passages}.txt", texts, 1)
            for name in args.peers.split(","):
                names.append((args.peer_python, name, texts if name == "tantivy-raw" else known, words))
        warm = passages(folder / "warm.tsv", 10_000)
        for name in args.ours.split(","):
            (folder / "warm").mkdir()
            Engine(sys.executable, name, warm, asked, folder / "warm").end()
            shutil.rmtree(folder / "warm")

        print(f"{args.passages:,} passages, {args.queries} queries of 6 words, {os.cpu_count()} cores\n")
        rows: dict[str, dict[str, float]] = {}
        engines = {}
        for python, name, *files in names:
            engine = Engine(python, name, *files, folder)
            rows[name] = {f"index_{key}": value for key, value in engine.made.items()}
            print(
                f"{name:12} index {engine.made['wall']:7.2f} s, processor {engine.made['cpu']:7.2f} s, "
                f"memory at most {engine.made['peak'] / 1e6:6,.0f} MB",
                flush=True,
            )
            if name == "tantivy-raw":
                engine.end()
            else:
                engines[name] = engine
        for k in depths:
            answers: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
            for _ in range(args.rounds + 1):
                for name, engine in engines.items():
                    answers[name].append(engine.ask(k))
            if {"bm25", "bm25s"} <= engines.keys():
                same_scores(folder, k)
            for name, (_, *rounds) in answers.items():
                found, read = (median(one[key] for one in rounds) / args.queries * 1000 for key in ("cpu", "cpu_read"))
                rows[name] |= {f"ms_a_query_{k}": found, f"ms_a_query_and_its_hits_{k}": read}
                print(f"{name:12} k = {k:5}  {found:7.3f} ms a query, with each hit read {read:7.3f}", flush=True)
        for engine in engines.values():
            engine.end()
        if args.grow:
            more = passages(work / f"passages.{args.passages * args.grow}.tsv", args.passages * args.grow)
            (folder / "grown").mkdir()
            engine = Engine(sys.executable, "bm25", more, asked, folder / "grown")
            engine.end()
            rows["grown"] = {f"index_{key}": value for key, value in engine.made.items()}
            print(f"{args.grow} times the passages: bm25 {engine.made['wall']:.2f} s, memory at most {engine.made['peak'] / 1e6:,.0f} MB")
    if args.out:
        record = {"machine": platform.platform(), "cores": os.cpu_count(), **vars(args), "rows": rows}
        Path(args.out).write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
