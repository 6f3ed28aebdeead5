"""How long `lotte --help` takes: what a person waits for before anything happens. The goal is 0.3 s.

python tests/bench/bench_help.py
"""

import statistics
import subprocess
import sys
from time import perf_counter

CALLS = 15


def main() -> None:
    seconds = []
    for _ in range(CALLS):
        start = perf_counter()
        subprocess.run([sys.executable, "-m", "leaderboard.cli", "--help"], capture_output=True, check=True)
        seconds.append(perf_counter() - start)
    print(
        f"lotte --help: {statistics.median(seconds):.3f} s, the median of {CALLS} ({min(seconds):.3f} to {max(seconds):.3f})"
    )


if __name__ == "__main__":
    main()
