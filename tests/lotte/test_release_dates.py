"""`lotte date`: the forms that a release may have, and one line for what cannot be dated."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from command import error, lotte
from made_dump import table
from places import STACKEXCHANGE

SITE = "cheese.example.com"


def day(number: int) -> str:
    return f"2015-{1 + number // 28:02}-{1 + number % 28:02}T10:00:00.000"


def post(number: int, score: int, created: str) -> str:
    kind = f'PostTypeId="2" ParentId="{number - number % 5}"' if number % 5 else 'PostTypeId="1" Title="Which one?"'
    return f'<row Id="{number}" {kind} Score="{score}" Body="&lt;p&gt;cheese {number}&lt;/p&gt;" CreationDate="{created}" />'


def vote(number: int, of: int, on: str, kind: int = 2) -> str:
    return f'<row Id="{number}" PostId="{of}" VoteTypeId="{kind}" CreationDate="{on[:10]}T00:00:00.000" />'


POSTS = range(5, 205)
VOTES = [(of, on) for of in POSTS for on in (of, of + 1 + of % 3, of + 40 + of % 11)]  # post, day


def posts_until(last: int) -> bytes:
    """Posts.xml at the end of a day; post n is of day n."""
    rows = [post(of, sum(1 for voted, on in VOTES if voted == of and on <= last), day(of)) for of in POSTS if of <= last]
    return table(*rows)


@pytest.fixture
def dumps(tmp_path) -> Path:
    """The community at its end, with its votes but for every fiftieth, and one of another community."""
    site = tmp_path / "dumps" / SITE
    site.mkdir(parents=True)
    (site / "Posts.xml").write_bytes(posts_until(300))
    kept = [vote(number, of, day(on)) for number, (of, on) in enumerate(VOTES, start=1) if number % 50]
    favourites = [vote(9000 + of, of, day(of), kind=5) for of in POSTS]
    (site / "Votes.xml").write_bytes(table(*kept, *favourites, root="votes"))
    other = site.with_name("wine.example.com")
    other.mkdir()
    (other / "Posts.xml").write_bytes(table(*(post(of, 1, day(of + 9)) for of in POSTS)))
    (other / "Votes.xml").write_bytes(table(vote(1, 5, day(20)), root="votes"))
    return site.parent


def dated(*words: object) -> list[dict]:
    done = lotte("date", *words, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def metadata(path: Path, *, last: int, dataset: object = SITE, **more: object) -> Path:
    """What a release of that day says of all its posts, a question a line."""
    found = [(of, sum(1 for voted, on in VOTES if voted == of and on <= last)) for of in POSTS if of <= last]
    lines = [{"dataset": dataset, "question_id": 5, "post_ids": [of], "scores": [score], **more} for of, score in found]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_an_older_posts_table_is_dated_by_the_dump_that_has_its_posts(dumps, tmp_path):
    (tmp_path / "old.xml").write_bytes(posts_until(120))
    (row,) = dated(tmp_path / "old.xml", "--dumps", dumps)
    assert (row["site"], row["day"]) == (SITE, day(120)[:10])
    assert row["low"] <= row["day"] <= row["high"]
    assert row["posts"] == row["same"] + row["more"] + row["fewer"] == 116


def test_every_form_of_an_older_dump_has_the_same_day(dumps, tmp_path):
    folder = tmp_path / "then" / SITE
    folder.mkdir(parents=True)
    (folder / "Posts.xml").write_bytes(posts_until(120))
    (tmp_path / "Posts.xml.gz").write_bytes(gzip.compress(posts_until(120)))
    (archive,) = [shutil.make_archive(str(tmp_path / SITE), "zip", folder)]
    rows = [dated(form, "--dumps", dumps / SITE) for form in (folder, folder / "Posts.xml", tmp_path / "Posts.xml.gz", archive)]
    assert all(row == rows[0] for row in rows)


def test_a_release_is_dated_by_its_metadata(dumps, tmp_path):
    file = metadata(tmp_path / "release" / "food" / "test" / "metadata.jsonl", last=120)
    for form in (file, file.parent, tmp_path / "release"):
        (row,) = dated(form, "--dumps", dumps)
        assert (row["site"], row["day"]) == (SITE, day(120)[:10])


def test_the_pool_adds_nothing_to_its_topics(dumps, tmp_path):
    for topic in ("food", "pooled"):
        metadata(tmp_path / "release" / topic / "test" / "metadata.jsonl", last=120)
    (row,) = dated(tmp_path / "release", "--dumps", dumps)
    assert row["posts"] == 116


def test_without_a_host_as_dataset_the_urls_say_the_community(dumps, tmp_path):
    file = metadata(tmp_path / "metadata.jsonl", last=120, dataset="cheese", post_urls=[f"https://{SITE}/a/7"])
    (row,) = dated(file, "--dumps", dumps)
    assert row["day"] == day(120)[:10]


def test_several_communities_have_a_day_together(dumps, tmp_path):
    twin = "bread.example.com"
    shutil.copytree(dumps / SITE, dumps / twin)
    for topic, site in (("food", SITE), ("meals", twin)):
        metadata(tmp_path / "release" / topic / "test" / "metadata.jsonl", last=120, dataset=site)
    rows = dated(tmp_path / "release", "--dumps", dumps)
    assert [(row["site"], row["day"]) for row in rows] == [(name, day(120)[:10]) for name in (SITE, twin, "all")]


def test_the_days_around_it_stand_in_the_json(dumps, tmp_path):
    (tmp_path / "old.xml").write_bytes(posts_until(120))
    (row,) = dated(tmp_path / "old.xml", "--dumps", dumps)
    likely = {one["day"]: one["log_likelihood"] for one in row["days"]}
    assert likely[row["day"]] == 0
    assert [one["possible"] for one in row["days"] if one["day"] in (day(119)[:10], day(120)[:10])] == [False, True]


def test_the_picture_is_drawn(dumps, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "old.xml").write_bytes(posts_until(120))
    dated(tmp_path / "old.xml", "--dumps", dumps, "--plot", tmp_path / "day.svg")
    assert "<svg" in (tmp_path / "day.svg").read_text()


def test_a_release_of_the_last_day_of_a_dump_may_be_newer(dumps, tmp_path):
    (tmp_path / "old.xml").write_bytes(posts_until(300))
    done = lotte("date", tmp_path / "old.xml", "--dumps", dumps)
    assert "is the last day of the dump; the release may be newer than that" in done.stderr


@pytest.fixture
def old(tmp_path) -> Path:
    path = tmp_path / "old.xml"
    path.write_bytes(posts_until(120))
    return path


def test_a_release_of_no_dump_given_is_one_line(dumps, old):
    shutil.rmtree(dumps / SITE)
    assert error("date", old, "--dumps", dumps) == (
        f"{dumps} holds no dump with the posts of {old}; fetch <site>.7z, or name another --dumps"
    )


def test_a_dump_of_another_community_is_one_line(dumps, old):
    assert error("date", old, "--dumps", dumps / "wine.example.com") == (
        f"{dumps}/wine.example.com has none of the 116 posts of {old}; is it the dump of another community?"
    )


def test_a_community_without_a_dump_is_named(dumps, tmp_path):
    file = metadata(tmp_path / "metadata.jsonl", last=120, dataset="bread.example.com")
    assert error("date", file, "--dumps", dumps) == (
        f"{dumps} holds no dump with the posts of {file} (bread.example.com); fetch <site>.7z, or name another --dumps"
    )


def test_votes_without_dates_are_one_line(dumps, old):
    path = dumps / SITE / "Votes.xml"
    path.write_bytes(path.read_bytes().replace(b' CreationDate="2015', b' On="2015'))
    assert error("date", old, "--dumps", dumps) == (
        f"{path}: 588 of 588 votes have no CreationDate, so no day can be found by them; take a dump with the days of its "
        "votes"
    )


def test_a_dump_without_votes_is_one_line(dumps, old):
    (dumps / SITE / "Votes.xml").unlink()
    assert error("date", old, "--dumps", dumps) == (
        f"{dumps / SITE} has no Votes.xml, and a day is found by the votes; take a whole dump"
    )


def test_a_release_newer_than_the_dump_is_one_line(dumps, tmp_path):
    (tmp_path / "new.xml").write_bytes(table(*(post(of, 1, day(of)) for of in range(5, 320))))
    assert error("date", tmp_path / "new.xml", "--dumps", dumps) == (
        f"{tmp_path}/new.xml is newer than {dumps / SITE}: its newest post is 319, and the dump ends on {day(248)[:10]} "
        "with post 204. Take a newer dump."
    )


def test_a_line_without_scores_is_named(dumps, tmp_path):
    file = metadata(tmp_path / "metadata.jsonl", last=120, scores=[1, 2])
    assert error("date", file, "--dumps", dumps).startswith(
        f"{file}:1: expected post_ids and scores, two lists of numbers, found {{'dataset': '{SITE}'"
    )


def test_a_folder_without_posts_is_one_line(dumps, tmp_path):
    (tmp_path / "empty").mkdir()
    assert error("date", tmp_path / "empty", "--dumps", dumps) == (
        f"{tmp_path}/empty holds no metadata.jsonl, no <topic>/<split>/metadata.jsonl and no Posts.xml"
    )


def test_a_bad_score_of_a_post_is_no_traceback(dumps, old):
    old.write_bytes(old.read_bytes().replace(b'Score="1"', b'Score="one"'))
    assert "rows are bad" in error("date", old, "--dumps", dumps)


@pytest.mark.skipif(not STACKEXCHANGE.is_dir(), reason="needs the dumps of ../shared/data/stackexchange, which is not here")
def test_the_day_of_a_real_dump_is_found_by_a_real_one_four_years_later():
    """Outside truth: its newest vote, which is not looked at, is of 2016-09-03."""
    (row,) = dated(STACKEXCHANGE / "beer.stackexchange.com@2016-09" / "Posts.xml", "--dumps", STACKEXCHANGE)
    assert [row[name] for name in ("site", "day", "low", "high")] == ["beer.stackexchange.com", "2016-09-03", "2016-09-03", "2016-09-04"]
