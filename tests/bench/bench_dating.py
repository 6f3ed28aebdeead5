"""How often the interval of `lotte date` holds the day: releases made from a real dump, some of whose votes are then lost.

    python tests/bench/bench_dating.py ../shared/data/stackexchange/beer.stackexchange.com.7z [trials]

A day is drawn, and a release of its end or of a moment in it is made from the votes; then each upvote of the dump is
lost with some probability. "all posts" is an older Posts.xml, "passages" a metadata.jsonl: answers with a score of 1.
"""

import sys
from pathlib import Path

import numpy as np

from lotte.builder import dating, dump, history
from lotte.builder.release_scores import VOTES, day_of, read_table


def tables(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return posts (id, day, whether it is an answer) by id, and votes (row of the post, day, worth)."""
    found = dump.find(path.resolve().parent, [path.stem if path.is_file() else path.name])
    posts, votes = [], []

    def post(row):
        if row[b" PostTypeId="] in (b"1", b"2"):
            posts.append((int(row[b" Id="]), day_of(row[b" CreationDate="][:10]), row[b" PostTypeId="] == b"2"))

    def vote(row):
        if worth := history.POINTS.get(row[b" VoteTypeId="]):
            votes.append((int(row[b" PostId="]), day_of(row[b" CreationDate="][:10]), worth))

    read_table(found, dump.POSTS, post)
    read_table(found, VOTES, vote)
    posts, votes = np.array(sorted(posts)), np.array(votes)
    votes = votes[np.isin(votes[:, 0], posts[:, 0])]
    votes[:, 0] = np.searchsorted(posts[:, 0], votes[:, 0])
    return posts, votes


def trial(posts, votes, random, *, lost: float, whole: bool, passages: bool) -> tuple[bool, int, int]:
    """Return whether the interval holds the day, how far the best day is from it, and how many days it spans."""
    last = votes[:, 1].max()
    day = int(random.integers(votes[:, 1].min() + 200, last - 5))
    there = (votes[:, 1] < day) | ((votes[:, 1] == day) & (random.random(len(votes)) < (1 if whole else random.random())))
    score = np.bincount(votes[there, 0], weights=votes[there, 2], minlength=len(posts)).astype(np.int64)
    kept = (posts[:, 1] <= day) & ((posts[:, 2] == 1) & (score >= 1) if passages else True)
    known = votes[((votes[:, 2] < 0) | (random.random(len(votes)) >= lost)) & kept[votes[:, 0]]]
    row = np.cumsum(kept)[known[:, 0]] - 1
    found = dating.agreement(dating.Scores(score[kept], posts[kept, 1].max(), row, known[:, 1], known[:, 2], int(last)))
    low, high = found.interval
    return low <= day <= high, abs(found.best - day), high - low + 1


def main() -> None:
    posts, votes = tables(Path(sys.argv[1]))
    trials = int(sys.argv[2]) if len(sys.argv) > 2 else 400
    print("scores of\tmade\tlost upvotes\tinterval holds the day\twithin 3 days\tdays of the interval")
    for passages in (False, True):
        for whole in (True, False):
            for lost in (0.002, 0.02, 0.08):
                random = np.random.default_rng(0)
                each = [trial(posts, votes, random, lost=lost, whole=whole, passages=passages) for _ in range(trials)]
                held, far, days = (np.array(column) for column in zip(*each, strict=True))
                names = "passages" if passages else "all posts", "at its end" if whole else "within it"
                print(*names, f"{lost:.1%}", f"{held.mean():.1%}", f"{(far <= 3).mean():.1%}", f"{days.mean():.1f}", sep="\t")


if __name__ == "__main__":
    main()
