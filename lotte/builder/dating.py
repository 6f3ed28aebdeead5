"""The day of a release, found from its scores and a dump with votes.

On the right day the score of a post is the sum of the votes up to it, plus the
votes that were lost since: those of removed accounts are in no dump, and
nearly all of them were for a post. So what the release has more than the dump
gives on a day is, of each post by itself,

  0        with some probability
  1, 2...  with another one, each further vote less likely by one factor
  -1, ...  with a third one and a factor of its own: the post had a vote too many, or lost one against it

and the five numbers are those that make the release most likely on that day
(the profile likelihood). Votes have a day and no hour, and a release may have
been made in the middle of one: of a day counts what is likelier, all its votes
or any part of them. The day is the likeliest, the first of several; its
interval holds the days whose log likelihood is not below it by more than
`DROP`. A post of the release must have been there, so no day before the newest
of them counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lotte import picture

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DROP = 1.92  # of the log likelihood: half the 95 % point of chi-square with one degree of freedom
_PARTS = (np.arange(8) + 0.5) / 8  # shares of a day's votes that a release of its middle has


@dataclass(frozen=True)
class Scores:
    """The posts of a community that both release and dump have, and the votes for them; days since 1970.

    post      the post of each vote, as a row of `released`
    """

    released: Ints
    newest: int  # the day on which the newest of these posts was written
    post: Ints
    day: Ints
    worth: Ints  # +1 or -1
    last: int  # the day on which the dump ends


@dataclass(frozen=True)
class Days:
    """How well each day agrees with a release, from `first` on.

    newest          the day of the newest post: none before it counts
    log_likelihood  of each day
    same            how many posts have the released score at the end of the day
    more, fewer     how many have a higher or a lower one in the release
    lost            votes that the release has and the dump has not, summed
    """

    first: int
    newest: int
    log_likelihood: Floats
    same: Ints
    more: Ints
    fewer: Ints
    lost: Ints

    @property
    def _possible(self) -> Floats:
        return np.where(np.arange(len(self.same)) < self.newest - self.first, -np.inf, self.log_likelihood)

    @property
    def best(self) -> int:
        """The day that agrees best."""
        return self.first + int(self._possible.argmax())

    @property
    def interval(self) -> tuple[int, int]:
        """The first and the last day that agree hardly worse than the best."""
        near = np.flatnonzero(self._possible >= self._possible.max() - DROP)
        return self.first + int(near[0]), self.first + int(near[-1])

    def row(self, day: int) -> dict[str, Any]:
        """Return what is known of one day; its log likelihood less that of the best."""
        at = day - self.first
        return {
            "day": spelled(day),
            "log_likelihood": round(float(self.log_likelihood[at] - self._possible.max()), 4) + 0.0,
            "possible": day >= self.newest,
            "same": int(self.same[at]),
            "more": int(self.more[at]),
            "fewer": int(self.fewer[at]),
        }

    def around(self, days: int = 14) -> list[dict[str, Any]]:
        """Return the rows of the interval and of so many days on either side."""
        low, high = self.interval
        end = self.first + len(self.same)
        return [self.row(day) for day in range(max(self.first, low - days), min(end, high + days + 1))]


def spelled(day: int) -> str:
    """Return a day as dumps spell it.

    >>> spelled(17000)
    '2016-07-18'
    """
    return str(np.datetime64(day, "D"))


def agreement(scores: Scores) -> Days:
    """Return how well each day agrees, from the first vote or the newest post to the end of the dump."""
    first = min(int(scores.day.min(initial=scores.newest)), scores.newest)
    num_days = scores.last - first + 1
    steps = _steps(scores, first)
    counts = np.zeros((num_days, 5))
    np.add.at(counts, steps.day, _counted(steps.after) - _counted(steps.before))
    counts = counts.cumsum(axis=0) + _counted(scores.released).sum(axis=0)
    whole = _log_likelihood(counts)
    log_likelihood = np.maximum(whole, _of_parts(whole, counts, steps)).round(9)  # equal days stay equal
    same, more, fewer, lost, _ = np.rint(counts).astype(np.int64).T
    return Days(first, scores.newest, log_likelihood, same, more, fewer, lost)


def together(communities: Sequence[Days]) -> Days:
    """Return how well each day agrees with all of them: those days that all have."""
    first = max(days.first for days in communities)
    end = min(days.first + len(days.same) for days in communities)
    cut = [
        replace(days, **{name: getattr(days, name)[first - days.first : end - days.first] for name in _ARRAYS})
        for days in communities
    ]
    newest = max(days.newest for days in communities)
    return Days(first, newest, *(np.sum([getattr(days, name) for days in cut], axis=0) for name in _ARRAYS))


def plot(communities: Sequence[tuple[str, Days]], path: Path) -> None:
    """Draw the likelihood of the days around the best, and which scores differ; a row of pictures a community."""
    figure = picture.figure(path, 11, 3.4 * len(communities))
    rows_of_axes = figure.subplots(len(communities), 2, squeeze=False)
    half = np.timedelta64(12, "h")
    for (name, days), (left, right) in zip(communities, rows_of_axes, strict=True):
        rows = days.around()
        at = np.array([np.datetime64(row["day"]) for row in rows])
        low, high, newest = (np.datetime64(day, "D") for day in (*days.interval, days.newest))
        below = np.array([row["log_likelihood"] for row in rows])
        if at[0] < newest:
            left.axvspan(at[0] - half, newest - half, color="0.92", lw=0, label="before the newest post of the release")
        left.axvspan(low - half, high + half, color="tab:blue", alpha=0.18, lw=0, label="95 % interval")
        left.axhline(-DROP, color="0.6", lw=0.8, ls="--")
        left.plot(at, below, "o-", ms=3.5, lw=1.2)
        left.set(title=f"{name}: {spelled(days.best)}", ylabel="log likelihood less the best day's")
        left.set_ylim(max(-25.0, 1.1 * below.min() - 1), max(1.5, below.max() + 1))
        posts = np.array([row["same"] + row["more"] + row["fewer"] for row in rows])
        for kind, mark, what in (
            ("more", "^-", "higher: votes lost since"),
            ("fewer", "v-", "lower: votes came later"),
        ):
            share = 100 * np.array([row[kind] for row in rows]) / posts
            right.plot(at, share, mark, ms=3.5, lw=1.2, label=f"{what}, or not yet" if kind == "more" else what)
        right.set(title="released scores that are not those of the day", ylabel="% of posts")
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.legend(fontsize=7, frameon=False)
            axes.tick_params(axis="x", rotation=30, labelsize=8)
    picture.save(figure, path)


_ARRAYS = ("log_likelihood", "same", "more", "fewer", "lost")


@dataclass(frozen=True)
class _Steps:
    """What the release has more than the votes give, before and after each day of each post that has votes then."""

    day: Ints  # from the first on
    before: Ints
    after: Ints


def _steps(scores: Scores, first: int) -> _Steps:
    order = np.lexsort((scores.day, scores.post))
    post, day = scores.post[order], scores.day[order]
    starts = np.flatnonzero(np.append(True, (post[1:] != post[:-1]) | (day[1:] != day[:-1]))[: len(post)])
    worth = np.add.reduceat(scores.worth[order], starts) if len(starts) else np.zeros(0, np.int64)
    post, day = post[starts], day[starts]
    total = np.cumsum(worth)
    begins = np.append(True, post[1:] != post[:-1])[: len(post)]
    of_others = np.maximum.accumulate(np.where(begins, np.arange(len(post)), 0))
    after = scores.released[post] - (total - (total - worth)[of_others])
    return _Steps(day - first, after + worth, after)


def _counted(surplus: Ints) -> Floats:
    """Return (N, 5): whether it is 0, above, below; and how far above, how far below."""
    above, below = np.maximum(surplus, 0), np.maximum(-surplus, 0)
    return np.stack([surplus == 0, above > 0, below > 0, above, below], axis=1).astype(np.float64)


def _log_likelihood(counts: Floats) -> Floats:
    """Return the largest log likelihood of each row of counts, over the five numbers of the model."""
    same, above, below, far_above, far_below = counts.T
    posts = same + above + below
    return (
        _times_log(same, posts)
        + _times_log(above, posts)
        + _times_log(below, posts)
        # how far: each vote beyond the first is a step further that was taken, each post one that was not
        + _times_log(far_above - above, far_above)
        + _times_log(above, far_above)
        + _times_log(far_below - below, far_below)
        + _times_log(below, far_below)
    )


def _times_log(part: Floats, whole: Floats) -> Floats:
    """Return part * log(part / whole), which is 0 if the part is."""
    share = np.where(part > 0, part, 1) / np.where(part > 0, whole, 1)
    return np.asarray(part * np.log(share))


def _of_parts(whole: Floats, counts: Floats, steps: _Steps) -> Floats:
    """Return the log likelihood of each day if the release has a part of its votes, every part being as likely."""
    before = np.maximum(steps.day - 1, 0)
    ratio = np.exp(_log_chance(steps.after, counts[before]) - _log_chance(steps.before, counts[before]))
    yesterday = np.append(-np.inf, whole[:-1])  # before the first day there are no counts
    parts = []
    for part in _PARTS:
        changes = np.log(part * ratio + (1 - part))
        parts.append(yesterday + np.bincount(steps.day, weights=changes, minlength=len(whole)))
    return np.asarray(np.logaddexp.reduce(parts) - np.log(len(parts)))


def _log_chance(surplus: Ints, counts: Floats) -> Floats:
    """Return the log probability of each surplus by the counts beside it, with half a post more of each kind."""
    same, above, below, far_above, far_below = counts.T
    posts = same + above + below + 1.5
    kind = np.where(surplus == 0, same, np.where(surplus > 0, above, below)) + 0.5
    on_above, on_below = (far_above - above + 0.5) / (far_above + 1), (far_below - below + 0.5) / (far_below + 1)
    more = np.where(surplus > 0, on_above, on_below)
    far = np.abs(surplus)
    return np.asarray(
        np.log(kind / posts) + np.where(far > 0, np.maximum(far - 1, 0) * np.log(more) + np.log1p(-more), 0)
    )
