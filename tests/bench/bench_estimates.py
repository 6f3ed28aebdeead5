"""What `--estimate` says beside what happens: time, memory, disk, for build, index, eval and train.

    python tests/bench/bench_estimates.py                     # all, some minutes on two quiet cores
    python tests/bench/bench_estimates.py --only build,bm25   # some of them
    python tests/bench/bench_estimates.py --size 0.2          # smaller ones

Texts are of a seed: words as often as in English. Each command runs twice, with --estimate and without, in processes
of their own; "times" is the larger of the two by the smaller. This process imports next to nothing, because Linux
counts the memory of whoever begins a process as the process's own. "load" is what else the machine did.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

HOUSE = Path(__file__).resolve().parents[2]
LOTTE = [sys.executable, "-m", "leaderboard.cli"]
SITE = "bench.stackexchange.com"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/bench_estimates"))
    asked = parser.parse_args()
    print("what        estimated: s     MB   disk    actual: s     MB   disk    times: s     MB   disk   load")
    for name in asked.only.split(","):
        folder = asked.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        words = [str(word) for word in CASES[name](folder / "data", asked.size)]
        out = folder / "out"
        line = subprocess.run([*LOTTE, *words, "--out", out, "--estimate", "--json"], cwd=HOUSE, stdout=subprocess.PIPE, check=True)
        said = json.loads(line.stdout.splitlines()[-1])
        seconds, memory = timed([*LOTTE, *words, "--out", str(out)])
        disk = sum(file.stat().st_size for file in out.rglob("*") if file.is_file() and not file.is_symlink()) / 1e6
        estimated = (said["seconds"], said["memory_mb"], said["disk_mb"])
        pairs = [max(a, b) / max(1e-3, min(a, b)) for a, b in zip(estimated, (seconds, memory, disk), strict=True)]
        row = "    ".join("{:10.1f} {:6.0f} {:6.1f}".format(*values) for values in (estimated, (seconds, memory, disk), pairs))
        print(f"{name:9} {row}   {os.getloadavg()[0]:.1f}", flush=True)
        shutil.rmtree(folder)


def timed(command: list[str]) -> tuple[float, float]:
    """Return seconds and megabytes of a command: the most that one of its processes held, times those that work."""
    start = perf_counter()
    child = subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return perf_counter() - start, used.ru_maxrss / 1e3


def texts(count: int, words: int, seed: int = 0) -> Iterator[str]:
    """Give texts of so many words each."""
    rng = random.Random(seed)
    known = ["".join(rng.choices("etaoinshrdlucmfwypvbgk", k=rng.choice((2, 3, 4, 5, 6, 7, 9)))) for _ in range(20_000)]
    pool = rng.choices(known, [1 / (rank + 5) for rank in range(len(known))], k=300_000)
    for _ in range(count):
        at = rng.randrange(len(pool) - words)
        yield " ".join(pool[at : at + words])


def collection(folder: Path, passages: int, questions: int, words: int = 100) -> Path:
    """Write a dataset: a question is the beginning of its passage."""
    folder.mkdir(parents=True)
    with (folder / "collection.tsv").open("w") as rows, (folder / "queries.test.tsv").open("w") as asked, (folder / "qrels.test.tsv").open("w") as right:
        for row, text in enumerate(texts(passages, words)):
            rows.write(f"{row}\t{text}\n")
            if row < questions:
                asked.write(f"{row}\t{' '.join(text.split()[:8])}\n")
                right.write(f"{row}\t0\t{row}\t1\n")
    return folder


def dump(folder: Path, size: float) -> list[object]:
    """Write a dump of one community, 40 MB of Posts.xml, and its spec; return the words of the command."""
    site = folder / "dumps" / SITE
    site.mkdir(parents=True)
    with (site / "Posts.xml").open("w") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<posts>\n')
        for number, text in enumerate(texts(int(40_000 * size), 150), start=1):
            kind = 'PostTypeId="1" AnswerCount="3"' if number % 4 == 1 else f'PostTypeId="2" ParentId="{(number - 1) // 4 * 4 + 1}"'
            title = f' Title="{text[:50]}" Tags="&lt;a&gt;"' if number % 4 == 1 else ""
            body = f"&lt;p&gt;{text}&lt;/p&gt;"
            file.write(f'  <row Id="{number}" {kind} CreationDate="2020-01-01T00:00:00.000" Score="{number % 9}" ViewCount="9" Body="{body}" OwnerUserId="{number % 99 + 1}"{title} />\n')
        file.write("</posts>\n")
    (folder / "spec.toml").write_text(f'name = "bench"\n[topics.bench]\ntest = ["{SITE}"]\n')
    return ["build", "--dumps", folder / "dumps", "--spec", folder / "spec.toml", "--workers", 1]


def bm25(folder: Path, size: float) -> list[object]:
    return ["index", "--retriever", "bm25", collection(folder, int(200_000 * size), 10)]


def late(folder: Path, size: float) -> list[object]:
    return ["index", "--retriever", "colbertv2", "-o", "checkpoint=shipped", collection(folder, int(2000 * size), 10)]


def evaluated(folder: Path, size: float) -> list[object]:
    return ["eval", "--retriever", "bm25", collection(folder, int(50_000 * size), int(2000 * size))]


def late_evaluated(folder: Path, size: float) -> list[object]:
    options = ["--retriever", "colbertv2", "-o", "checkpoint=shipped"]
    return ["eval", *options, collection(folder, int(1000 * size), int(500 * size))]


def trained(folder: Path, size: float) -> list[object]:
    start = f"start={HOUSE / 'retrievers' / 'weights'}"
    options = ["-o", start, "-o", "precision=fp32", "-o", "validation=40", "-o", "v1.batch=16"]
    return ["train", "colbert", collection(folder, int(5000 * size), int(1000 * size), 60), *options]


CASES: dict[str, Callable[[Path, float], list[object]]] = {
    "build": dump, "bm25": bm25, "late": late, "eval": evaluated, "lateeval": late_evaluated, "train": trained,
}  # fmt: skip

if __name__ == "__main__":
    main()
