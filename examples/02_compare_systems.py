"""Score two systems on the same questions, and ask whether the difference is beyond chance."""

import sys
import tempfile
from pathlib import Path

import lotte
import retrievers
from leaderboard.compare import compare_values
from leaderboard.measure import Success, scores
from lotte.builder import build, spec
from lotte.progress import Progress

SAMPLE = Path(lotte.__file__).parent / "sample"


def main(out: Path) -> None:
    request = build.BuildRequest(
        spec.read(SAMPLE / "spec.toml"), SAMPLE / "dumps", out / "collection", SAMPLE / "gooaq.jsonl"
    )
    build.build(request, lambda total, title: Progress(total, "bytes", title), lambda line: None)
    _, forum = lotte.read(out / "collection" / "pooled" / "test")

    values = {}
    for name in ("overlap", "bm25"):
        run = retrievers.load(name).index(forum.corpus, out / "index" / name).search(forum.queries, k=100)
        values[name] = scores(run, forum.qrels, [Success @ 5])[Success @ 5]

    for pair in compare_values(values):
        low, high = pair.ci95
        print(f"{pair.a} {pair.mean_a:.4f}, {pair.b} {pair.mean_b:.4f} ({pair.n} questions)")
        print(f"difference {pair.difference:.4f}, 95 % interval {low:.4f} to {high:.4f}, p = {pair.p_holm:.4f}")
        print(f"{pair.a} is better on {pair.wins}, {pair.b} on {pair.losses}, equal on {pair.ties}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch))
