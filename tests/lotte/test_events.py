"""What is kept of events is the newest, the lowest or the sum of each post, however often the rest was dropped on the way."""

import random

import pytest

from lotte.builder import events


@pytest.fixture(params=[1, 7, 1 << 20])
def dropping(request, monkeypatch):
    """Drop what is no longer needed after so few numbers."""
    monkeypatch.setattr(events, "_FEW", request.param)


def test_the_newest_event_is_the_latest_and_of_one_time_that_of_the_larger_row(dropping):
    rng, newest = random.Random(0), events.Newest()
    rows = [(rng.randrange(20), rng.randrange(5), row, rng.randrange(99), -row) for row in range(300)]
    rng.shuffle(rows)
    for row in rows:
        newest.add(*row)
    for post in (3, 5, 3):
        newest.add_later(post)
    newest.close()
    for post in range(25):
        of_post = sorted(row for row in rows if row[0] == post)
        assert newest.of(post) == ((of_post[-1][1], *of_post[-1][3:]) if of_post else None)
        assert newest.has_later(post) == (post in (3, 5))
    assert list(newest) == [
        (post, max(row[1] for row in rows if row[0] == post)) for post in sorted({row[0] for row in rows})
    ]


def test_sums_count_ups_less_downs_of_the_day_and_of_all_days(dropping):
    rng, sums = random.Random(0), events.Sums()
    votes = [(rng.randrange(20), rng.random() < 0.3, rng.random() < 0.5) for _ in range(300)]
    for vote in votes:
        sums.add(*vote)
    sums.close()
    for post in (*range(25), 3, 3):
        ever = [(1 - 2 * is_down, is_later) for of, is_down, is_later in votes if of == post]
        assert sums.of(post) == (sum(one for one, is_later in ever if not is_later), sum(one for one, _ in ever))


def test_firsts_are_the_lowest(dropping):
    firsts = events.Firsts()
    for post, number in [(5, 9), (1, 4), (5, 3), (5, 7)]:
        firsts.add(post, number)
    firsts.close()
    assert [firsts.of(post) for post in (1, 2, 5)] == [4, 0, 3]


@pytest.mark.parametrize("kind", [events.Newest, events.Sums, events.Firsts])
def test_nothing_added_is_nothing_found(kind):
    nothing = kind()
    nothing.close()
    assert nothing.of(1) in (None, 0, (0, 0))


def test_memory_is_that_of_the_posts_not_of_the_events(monkeypatch):
    monkeypatch.setattr(events, "_FEW", 100)
    newest = events.Newest()
    for row in range(10_000):
        newest.add(row % 10, row, row)
        newest.add_later(row % 10)
    assert len(newest._events.numbers) <= 105 and len(newest._later.numbers) <= 105


def test_a_number_too_large_is_refused_and_leaves_nothing_behind():
    newest = events.Newest()
    with pytest.raises(OverflowError):
        newest.add(1, 1 << 70, 1)
    newest.close()
    assert newest.of(1) is None
