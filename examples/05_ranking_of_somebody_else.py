"""Read a ranking in TREC's format, and score it against judgments; a query that it leaves out is a miss."""

import sys
import tempfile
from pathlib import Path

from leaderboard.measure import R, Success, mean, scores
from lotte import ranking

RANKING = """\
q1 Q0 d3 1 12.5 theirs
q1 Q0 d1 2 11.0 theirs
q2 Q0 d2 1 9.25 theirs
"""
QUERIES = {"q1": "why does bread rise", "q2": "how old is saturn", "q3": "who sharpens knives"}
DOC_IDS = ["d1", "d2", "d3"]
JUDGMENTS = {"q1": {"d1": 1}, "q2": {"d2": 1}, "q3": {"d3": 1}}


def main(out: Path) -> None:
    file = out / "theirs.trec"
    file.write_text(RANKING, encoding="utf-8")
    run = ranking.read(file, QUERIES, DOC_IDS)
    print(f"not answered: {', '.join(run.missing(QUERIES))}")
    for measure, values in scores(run.filled(QUERIES), JUDGMENTS, [Success @ 1, R @ 2]).items():
        print(f"{measure}  {mean(values):.4f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch))
