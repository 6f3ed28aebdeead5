"""The day of a release by the votes of a later dump: counted as in the plainest way, and as sure as it says."""

from collections import defaultdict
from math import exp, log

import numpy as np
import pytest

from lotte.builder import dating
from lotte.builder.dating import Scores

Vote = tuple[int, int, int]  # post, day, worth


def scores(released: list[int], votes: list[Vote], *, newest: int, last: int) -> Scores:
    columns = np.array(votes, dtype=np.int64).reshape(-1, 3).T
    return Scores(np.array(released, dtype=np.int64), newest, *columns, last)


def community(random: np.random.Generator, posts: int = 300, days: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return the day of each post, and votes as rows: most of them in the first days of a post, one in ten against it."""
    created = np.sort(random.integers(0, days, posts))
    of = random.integers(0, posts, 6 * posts)
    day = created[of] + random.geometric(0.02, len(of)) - 1
    worth = np.where(random.random(len(of)) < 0.9, 1, -1)
    return created, np.stack([of, day, worth], axis=1)[day < days]


def released(created: np.ndarray, votes: np.ndarray, day: int, random: np.random.Generator, *, lost: float, part: float = 1) -> Scores:
    """Return a release made on a day, or when a part of its votes was there, beside a dump that lost some upvotes since."""
    there = (votes[:, 1] < day) | ((votes[:, 1] == day) & (random.random(len(votes)) < part))
    total = np.bincount(votes[there, 0], weights=votes[there, 2], minlength=len(created)).astype(np.int64)
    known = votes[(votes[:, 2] < 0) | (random.random(len(votes)) >= lost)]
    posts = int((created <= day).sum())
    known = known[known[:, 0] < posts]
    return Scores(total[:posts], int(created[posts - 1]), *known.T, 399)


def plain(given: Scores, day: int) -> dict[str, float]:
    """Return what `agreement` says of a day, in loops."""

    def surplus(to: int) -> list[int]:
        have: dict[int, int] = defaultdict(int)
        for post, when, worth in zip(given.post, given.day, given.worth, strict=True):
            have[int(post)] += int(worth) * (when <= to)
        return [int(score) - have[post] for post, score in enumerate(given.released)]

    def likelihood(values: list[int]) -> float:
        groups = [[v for v in values if v == 0], [v for v in values if v > 0], [-v for v in values if v < 0]]
        total = sum(len(group) * log(len(group) / len(values)) for group in groups if group)
        for group in groups[1:]:
            steps, stops = sum(group) - len(group), len(group)
            total += sum(n * log(n / (steps + stops)) for n in (steps, stops) if n)
        return total

    def chance(value: int, values: list[int]) -> float:
        kind = [v for v in values if np.sign(v) == np.sign(value)]
        share = (len(kind) + 0.5) / (len(values) + 1.5)
        if not value:
            return share
        further = (sum(map(abs, kind)) - len(kind) + 0.5) / (sum(map(abs, kind)) + 1)
        return share * further ** (abs(value) - 1) * (1 - further)

    before, after = surplus(day - 1), surplus(day)
    moved = {int(post) for post, when in zip(given.post, given.day, strict=True) if when == day}
    parts = []
    for part in (np.arange(8) + 0.5) / 8:
        rest = [part * chance(after[post], before) / chance(before[post], before) + 1 - part for post in moved]
        parts.append(exp(likelihood(before) + sum(map(log, rest))))
    return {
        "log_likelihood": max(likelihood(after), log(sum(parts) / len(parts))),
        "same": sum(v == 0 for v in after),
        "more": sum(v > 0 for v in after),
        "fewer": sum(v < 0 for v in after),
        "lost": sum(max(v, 0) for v in after),
    }


def test_every_day_is_as_the_plain_way_has_it():
    random = np.random.default_rng(5)
    created, votes = community(random, posts=25)
    found = dating.agreement(given := released(created, votes, 300, random, lost=0.1))
    for day in range(max(found.first, 250), 400):
        at = day - found.first
        assert {name: getattr(found, name)[at] for name in plain(given, day)} == pytest.approx(plain(given, day))


def test_the_day_is_the_one_whose_votes_are_the_scores():
    votes = [(0, 10, 1), (0, 12, 1), (1, 11, 1), (1, 13, 1), (2, 12, 1), (3, 14, 1)]
    found = dating.agreement(scores([2, 1, 1, 0], votes, newest=10, last=20))
    assert (found.best, found.row(12)["same"]) == (12, 4)


def test_no_day_before_the_newest_post_is_possible():
    votes = [(0, 10, 1), (1, 11, 1), (2, 13, 1), (2, 14, 1), (3, 15, 1)]
    found = dating.agreement(scores([1, 1, 0, 0], votes, newest=14, last=20))
    assert found.interval[0] >= 14 and not found.row(13)["possible"]


def test_votes_that_were_lost_since_do_not_make_it_later():
    """Three posts lost one of two votes: on the right day most agree, not all."""
    votes = [(post, 10 if post < 90 else 12, 1) for post in range(100)] + [(post, 14, 1) for post in range(50, 70)]
    found = dating.agreement(scores([2] * 3 + [1] * 97, votes, newest=10, last=20))
    assert (found.best, found.row(12)["more"]) == (12, 3)


@pytest.mark.parametrize("lost", [0.005, 0.05])
@pytest.mark.parametrize("whole", [True, False], ids=["at the end of a day", "in the middle of it"])
def test_the_interval_holds_the_day_nineteen_times_in_twenty(lost, whole):
    random = np.random.default_rng(11)
    held, near, trials = 0, 0, 200
    for _ in range(trials):
        created, votes = community(random)
        day = int(random.integers(100, 390))
        part = 1 if whole else random.random()
        found = dating.agreement(released(created, votes, day, random, lost=lost, part=part))
        low, high = found.interval
        held += low <= day <= high
        near += abs(found.best - day) <= 3
    assert held / trials >= 0.92  # .95 less two standard errors
    assert near / trials >= 0.95


def test_communities_together_are_surer_than_each():
    random = np.random.default_rng(3)
    each = [dating.agreement(released(*community(random), 300, random, lost=0.02)) for _ in range(3)]
    both = dating.together(each)
    low, high = both.interval
    assert low <= 300 <= high
    assert high - low <= min(days.interval[1] - days.interval[0] for days in each)
    assert both.same[300 - both.first] == sum(days.same[300 - days.first] for days in each)
