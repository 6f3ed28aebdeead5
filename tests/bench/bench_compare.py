"""The statistics of a board: seconds for all pairs of 50 systems on 12 datasets of 2,000 queries.

    OMP_NUM_THREADS=1 python tests/bench/bench_compare.py                  # the full size; the goal is a minute
    OMP_NUM_THREADS=1 python tests/bench/bench_compare.py --systems 10 --out compare.json

One thread for the matrix products: a second gains a tenth on an idle machine, and on a busy one the two wait for
each other and take several times as long.

Values are made from a seed: hard and easy queries that all systems share. "10,000 signs" is the test with
as many resamples as the interval; the other has as many as Holm needs for a family of this size. The plain
loops do one pair with a hundredth of the resamples, and their seconds are scaled up. Refuses to time a fast
road that does not find what the loops find.
"""

import argparse
import json
import os
import sys
from math import comb
from pathlib import Path
from time import perf_counter

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import plain_resample

from leaderboard import resample
from leaderboard.compare import compare_macro, compare_values, enough
from leaderboard.interval import RESAMPLES
from leaderboard.letter_display import standings


def table(queries: int, systems: int, seed: int) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(seed)
    easy, ids = rng.random(queries), [str(query) for query in range(queries)]
    return {
        f"s{system:02}": dict(
            zip(ids, np.clip(easy + rng.normal(0.002 * system, 0.25, queries), 0, 1).tolist(), strict=True)
        )
        for system in range(systems)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--systems", type=int, default=50)
    parser.add_argument("--datasets", type=int, default=12)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--out", help="also write the numbers here, as JSON")
    args = parser.parse_args()
    pairs = comb(args.systems, 2)
    tables = {f"d{seed:02}": table(args.queries, args.systems, seed) for seed in range(args.datasets)}
    rows: dict[str, float] = {}

    def row(name: str, seconds: float) -> None:
        rows[name] = seconds
        print(f"{name:46} {seconds:12,.2f} s   {args.datasets * pairs / seconds:12,.2f} pairs/s", flush=True)

    print(
        f"{args.systems} systems, {args.datasets} datasets, {args.queries:,} queries, "
        f"{args.datasets} x {pairs:,} pairs, {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')}\n"
    )
    few = RESAMPLES // 100
    first = tables["d00"]
    grid = resample.on_grid([list(first["s00"].values()), list(first["s01"].values())])
    start = perf_counter()
    plain = (
        plain_resample.p_value(grid[:1], grid[1:], resamples=few),
        *plain_resample.interval(grid[:1], grid[1:], resamples=few),
    )
    loops = (perf_counter() - start) * 100 * pairs * args.datasets
    strata = [grid]
    fast = resample.p_values(strata, resamples=few)[0], *resample.intervals(strata, resamples=few)[0]
    if plain != fast:
        raise SystemExit(f"the loops find {plain}, the fast road {fast}: nothing is timed")

    start = perf_counter()
    for one in tables.values():
        compare_values(one, resamples=RESAMPLES)
    row(f"compare, {RESAMPLES:,} signs, {RESAMPLES:,} draws", perf_counter() - start)
    start = perf_counter()
    for one in tables.values():
        found = compare_values(one)
        standings({system: sum(values.values()) / len(values) for system, values in one.items()}, found)
    row(f"compare and rank, {enough(pairs):,} signs", perf_counter() - start)
    start = perf_counter()
    compare_macro(tables)
    row(f"the macro mean of all, {enough(pairs):,} signs", perf_counter() - start)
    row(f"plain loops, {RESAMPLES:,} and {RESAMPLES:,} (scaled up)", loops)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({**vars(args), "seconds": rows}, file, indent=1, sort_keys=True)


if __name__ == "__main__":
    main()
