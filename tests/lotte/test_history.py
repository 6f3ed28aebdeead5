"""A community as it stood on a day: what the dump of that day says, as far as a later one can tell."""

from pathlib import Path

import pyarrow as pa
import pytest
from command import error
from places import DUMPS, HOUSE

from lotte.builder import community, dump, history
from lotte.builder.spec import BuildOptions
from lotte.builder.xml_rows import XmlRows
from lotte.errors import CorruptFileError, UnavailableError

SHARED = HOUSE.parent / "shared" / "data" / "stackexchange"
HOMELAB = "homelab.stackexchange.example"


def table(root: str, *rows: str) -> XmlRows:
    return XmlRows([f"<{root}>{''.join(rows)}</{root}>".encode()], path=root, root=root)


def past(tmp_path: Path, day: str, history_rows: list[str], votes: list[str], *names: str) -> history.Past:
    found = history.Past(day, tmp_path / "scratch", names)
    found.read("PostHistory.xml", table("posthistory", *history_rows))
    found.read("Votes.xml", table("votes", *votes))
    found.close()
    return found


def revision(row: int, kind: int, post: int, day: str, text: str = "") -> str:
    return (
        f'<row Id="{row}" PostHistoryTypeId="{kind}" PostId="{post}" CreationDate="{day}T10:00:00.000" Text="{text}" />'
    )


def vote(row: int, post: int, kind: int, day: str) -> str:
    return f'<row Id="{row}" PostId="{post}" VoteTypeId="{kind}" CreationDate="{day}T00:00:00.000" />'


def test_the_score_is_the_sum_of_the_votes_of_the_day_and_before(tmp_path):
    votes = [
        vote(1, 7, 2, "2015-01-01"),
        vote(2, 7, 2, "2015-06-01"),
        vote(3, 7, 3, "2016-01-01"),
        vote(4, 8, 3, "2015-01-01"),
    ]
    on = past(tmp_path, "2015-06-01", [], votes)
    assert [on.score(post) for post in (7, 8, 9)] == [2, -1, 0]


def test_the_text_is_the_newest_revision_of_the_day_where_a_later_one_exists(tmp_path):
    rows = [revision(1, 2, 7, "2015-01-01", "first"), revision(2, 5, 7, "2015-02-01", "*second*"), revision(3, 5, 7, "2016-01-01", "third"),
            revision(4, 2, 8, "2015-01-01", "never changed"), revision(5, 1, 7, "2015-01-01", "Old title"),
            revision(6, 4, 7, "2016-01-01", "New title")]  # fmt: skip
    on = past(tmp_path, "2015-06-01", rows, [])
    assert on.body(7) == "<p><em>second</em></p>\n"
    assert on.body(8) is None  # the dump's own text is that of the day
    assert (on.title(7), on.title(8)) == ("Old title", None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example.com/questions/1/any-words", "Old title?"),
        ("http://old.example.com/q/1/77", "Old title?"),
        ("https://a.example.com/questions/1/any-words/7#7", "Old title?"),
        ("https://new.example.com/questions/1/old-title", "Old title?"),  # a host nobody told of; the words tell
        ("https://new.example.com/questions/1/other-words", "https://new.example.com/questions/1/other-words"),
        ("https://new.example.com/q/1", "https://new.example.com/q/1"),
        ("https://a.example.com/questions/2", "https://a.example.com/questions/2"),  # asked after the day
        ("https://a.example.com/questions/tagged/1", "https://a.example.com/questions/tagged/1"),
        ("https://a.example.com/q/999999999999", "https://a.example.com/q/999999999999"),
    ],
)
def test_a_bare_link_to_a_question_of_the_community_shows_the_title_of_the_day(url, shown, tmp_path):
    rows = [revision(1, 1, 1, "2015-01-01", "Old title?"), revision(2, 4, 1, "2016-01-01", "New title?"),
            revision(3, 1, 2, "2016-01-01", "Later"), revision(4, 2, 7, "2015-01-01", f"see {url}"),
            revision(5, 5, 7, "2016-01-01", "third")]  # fmt: skip
    on = past(tmp_path, "2015-06-01", rows, [], "a.example.com", "old.example.com")
    assert on.body(7) == f"<p>see {shown}</p>\n"


def test_the_rules_are_those_of_the_revision_until_the_switch_rendered_all_anew(tmp_path):
    fence = "```c&#xA;x&#xA;```"
    rows = [revision(1, 2, 7, "2015-01-01", fence), revision(2, 5, 7, "2021-01-01", "third"),
            revision(3, 2, 8, "2019-05-01", fence), revision(4, 5, 8, "2021-01-01", "third")]  # fmt: skip
    assert [past(tmp_path, "2019-12-31", rows, []).body(post) for post in (7, 8)] == [
        "<p><code>c\nx\n</code></p>\n", "<pre><code>x\n</code></pre>\n"
    ]  # fmt: skip
    assert past(tmp_path, "2020-06-30", rows, []).body(7) == "<pre><code>x\n</code></pre>\n"


def test_a_post_that_was_deleted_on_the_day_and_is_there_again_is_not_of_the_day(tmp_path):
    rows = [revision(1, 12, 7, "2015-01-01"), revision(2, 13, 7, "2016-01-01"), revision(3, 12, 8, "2015-01-01"),
            revision(4, 13, 8, "2015-02-01")]  # fmt: skip
    on = past(tmp_path, "2015-06-01", rows, [])
    assert [on.was_deleted(post) for post in (7, 8, 9)] == [True, False, False]


def test_rows_may_come_in_any_order(tmp_path):
    rows = [revision(1, 2, 7, "2015-01-01", "first"), revision(2, 5, 7, "2015-01-01", "second"),
            revision(9, 5, 7, "2015-03-01", "newest"), revision(8, 5, 7, "2016-01-01", "later"),
            revision(3, 5, 7, "2015-02-01", "third")]  # fmt: skip
    assert past(tmp_path, "2015-01-01", rows[::-1], []).body(7) == "<p>second</p>\n"
    assert past(tmp_path, "2015-06-01", rows[::-1], []).body(7) == "<p>newest</p>\n"


def test_closing_and_opening_again(tmp_path):
    rows = [
        revision(1, 10, 7, "2015-01-01"),
        revision(2, 10, 8, "2015-01-01"),
        revision(3, 11, 8, "2015-02-01"),
        revision(4, 10, 9, "2016-01-01"),
    ]
    on = past(tmp_path, "2015-06-01", rows, [])
    assert on.is_closed(7, b"").startswith(b"2015-01-01")
    assert on.is_closed(8, b"2017-01-01T00:00:00.000") == b""
    assert on.is_closed(9, b"2016-01-01T00:00:00.000") == b""


def test_the_newest_acceptance_of_the_day_counts(tmp_path):
    import numpy as np

    on = past(
        tmp_path,
        "2015-06-01",
        [],
        [vote(1, 3, 1, "2015-01-01"), vote(2, 4, 1, "2015-02-01"), vote(3, 5, 1, "2016-01-01")],
    )
    assert on.accepted(np.array([3, 4, 5, 6]), np.array([1, 1, 1, 2])) == {1: 4}


def posts(dumps: Path, site: str, out: Path, **options) -> dict[int, tuple[int, str]]:
    found = dump.find(dumps, [site])
    assert found
    community.build(found, BuildOptions(**options), out)
    with pa.OSFile(str(out / "texts.arrow")) as texts, pa.OSFile(str(out / "answers.arrow")) as answers:
        text = pa.ipc.open_file(texts).read_all()["text"].to_pylist()
        table = pa.ipc.open_file(answers).read_all()
    return dict(zip(table["post_id"].to_pylist(), zip(table["score"].to_pylist(), text, strict=True), strict=True))


def test_as_of_a_day_after_the_last_post_nothing_changes(tmp_path):
    now = posts(DUMPS, HOMELAB, tmp_path / "now")
    assert posts(DUMPS, HOMELAB, tmp_path / "then", as_of="2030-01-01") == now


def test_as_of_an_early_day_there_is_less_and_it_is_not_newer(tmp_path):
    now = posts(DUMPS, HOMELAB, tmp_path / "now")
    then = posts(DUMPS, HOMELAB, tmp_path / "then", as_of="2016-12-31")
    assert 0 < len(then) < len(now) and then.keys() <= now.keys()
    assert all(then[post][0] <= now[post][0] + 3 for post in then)


def test_a_dump_without_the_tables_is_one_line(tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text('[topics.t]\ntest = ["baking.stackexchange.example"]')
    words = ("build", "--dumps", DUMPS, "--spec", spec, "--out", tmp_path / "out", "--as-of", "2016-01-01")
    assert error(*words) == (
        f"{DUMPS}/baking.stackexchange.example has no PostHistory.xml and no Votes.xml, which --as-of needs. Take a whole "
        "dump, or leave --as-of out."
    )


def test_texts_of_the_dump_need_votes_only(tmp_path):
    folder = tmp_path / "a.example.com"
    folder.mkdir()
    (folder / "Posts.xml").write_bytes(b"<posts/>")
    (folder / "Votes.xml").write_bytes(b"<votes/>")
    found = dump.find(tmp_path, ["a.example.com"])
    assert found
    assert history.tables(found, BuildOptions(as_of="2016-01-01", as_of_texts="current")) == ["Votes.xml"]
    with pytest.raises(UnavailableError, match='set as_of_texts = "current"'):
        history.tables(found, BuildOptions(as_of="2016-01-01"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the dumps of ../shared/data/stackexchange, which is not here")
def test_the_dump_of_2020_as_of_2016_is_the_dump_of_2016(tmp_path):
    """Outside truth: two real dumps of one community, four years apart."""
    then = posts(SHARED, "beer.stackexchange.com@2016-09", tmp_path / "then")
    back = posts(SHARED, "beer.stackexchange.com", tmp_path / "back", as_of="2016-09-04")
    both = then.keys() & back.keys()
    same_text = sum(then[post][1] == back[post][1] for post in both)
    same_score = sum(then[post][0] == back[post][0] for post in both)
    # the figures of docs/build.md; the passages that are missing were deleted since
    assert (len(then), len(back), len(both), same_text, same_score) == (1134, 1097, 1097, 1097, 1075)


@pytest.mark.parametrize("options", [{}, {"as_of_texts": "current"}, {"include_accepted": True, "closed": "drop"}])
@pytest.mark.parametrize("day", ["2005-01-01", "2015-06-01"])
@pytest.mark.parametrize("empty", ["", "Posts.xml", "Votes.xml", "PostHistory.xml"])
def test_a_day_before_the_first_post_and_tables_without_rows_leave_a_community_without_passages(
    empty, day, options, tmp_path
):
    site = tmp_path / "x.example.com"
    site.mkdir()
    tables = {
        "Posts.xml": '<row Id="1" PostTypeId="1" AcceptedAnswerId="2" CreationDate="2015-01-01T00:00:00.000" Score="1" Body="" Title="t" />'
        '<row Id="2" PostTypeId="2" ParentId="1" CreationDate="2015-01-01T00:00:00.000" Score="1" Body="red" />',
        "Votes.xml": vote(1, 2, 2, "2015-01-01"),
        "PostHistory.xml": revision(1, 2, 2, "2015-01-01", "red"),
    }
    for name, rows in tables.items():
        root = name.removesuffix(".xml").lower()
        (site / name).write_text(f"<{root}>{'' if name == empty else rows}</{root}>")
    found = dump.find(tmp_path, ["x.example.com"])
    community.build(found, BuildOptions(as_of=day, **options), tmp_path / "out")
    has_passages = day == "2015-06-01" and empty in ("", "PostHistory.xml")
    meta = community.artifact.meta(tmp_path / "out")
    assert meta["counts"]["passages"] == int(has_passages)
    assert (f"no passages: nothing that could be one was there on {day}" in meta["notes"]) is not has_passages


DAYS = [f"2015-01-{day:02}" for day in range(1, 9)]


def small_dump(folder: Path, **changed: list[str]) -> dump.Dump:
    """Write a question and seven answers, one a day, each with a vote and a revision, and the tables that are given."""
    rows = {
        "Posts": [
            f'<row Id="{post}" PostTypeId="{1 if post == 1 else 2}" {"" if post == 1 else "ParentId=" + chr(34) + "1" + chr(34)} '
            f'CreationDate="{day}T10:00:00.000" Score="1" Body="red {post}" Title="t" />'
            for post, day in enumerate(DAYS, 1)
        ],
        "Votes": [vote(post, post, 2, day) for post, day in enumerate(DAYS, 1)],
        "PostHistory": [revision(post, 2, post, day, f"red {post}") for post, day in enumerate(DAYS, 1)],
    } | changed
    site = folder / "x.example.com"
    site.mkdir()
    for name, of_table in rows.items():
        (site / f"{name}.xml").write_text(f"<{name.lower()}>{''.join(of_table)}</{name.lower()}>")
    found = dump.find(folder, ["x.example.com"])
    assert found
    return found


def told(tmp_path: Path, day: str = "2015-01-08", **changed: list[str]) -> dict:
    """What meta.json says of such a dump as of a day."""
    community.build(small_dump(tmp_path, **changed), BuildOptions(as_of=day), tmp_path / "out")
    return community.artifact.meta(tmp_path / "out")


def test_a_whole_dump_leaves_no_note(tmp_path):
    meta = told(tmp_path)
    assert (meta["notes"], meta["counts"]["passages"]) == (
        ["no Users.xml: authors are named by their link, not by their name"],
        7,
    )


def test_a_day_after_the_dump_is_told(tmp_path):
    assert (
        "2015-01-09 is after the dump's last day, 2015-01-08: what came later is not in it"
        in told(tmp_path, "2015-01-09")["notes"]
    )


def test_gaps_in_the_history_are_told_and_texts_that_are_newer_for_them_counted(tmp_path):
    rows = [revision(post, 2, post, day, f"red {post}") for post, day in enumerate(DAYS, 1) if post != 3]
    meta = told(tmp_path, PostHistory=[*rows, revision(99, 5, 3, "2016-01-01", "blue")])
    assert "gaps in the history: 1 of 8 posts lack a first revision of their day" in meta["notes"]
    assert "1 texts are newer than 2015-01-08: the history has no older ones" in meta["notes"]
    assert (meta["counts"]["newer_texts"], meta["counts"]["old_texts"], meta["counts"]["passages"]) == (1, 0, 7)


def test_an_older_revision_that_was_rendered_is_counted(tmp_path):
    rows = [revision(post, 2, post, day, f"red {post}") for post, day in enumerate(DAYS, 1)]
    meta = told(tmp_path, PostHistory=[*rows, revision(99, 5, 3, "2016-01-01", "blue")])
    assert meta["counts"]["old_texts"] == 1


@pytest.mark.parametrize(
    "others", [[(post, "2012-05-05") for post in range(1, 9)], [(post, "2015-01-01") for post in range(501, 509)]]
)
def test_the_history_of_another_site_is_one_line(others, tmp_path):
    rows = [revision(at, 2, post, day, "of others") for at, (post, day) in enumerate(others)]
    with pytest.raises(CorruptFileError, match=r"PostHistory.xml tells of other posts than Posts.xml has: the first revision is of "
                       r"the day of the post for [01] of 8 posts\. Take both from one dump\."):  # fmt: skip
        told(tmp_path, PostHistory=rows)


def test_votes_of_another_site_are_told(tmp_path):
    meta = told(tmp_path, Votes=[vote(at, at + 100, 2, "2012-01-01") for at in range(8)])
    assert any(note.startswith("the votes of 8 of 8 posts do not add up to their score") for note in meta["notes"])


@pytest.mark.parametrize("date", ["", 'CreationDate="" ', 'CreationDate="soon" ', 'CreationDate="20150101" '])
def test_a_vote_without_a_date_is_a_bad_row_and_many_are_the_files_fault(date, tmp_path):
    undated = [f'<row Id="{at}" PostId="{at}" VoteTypeId="2" {date}/>' for at in (1, 2)]
    (tmp_path / "one").mkdir()
    dated = [vote(post, post, 2, day) for post, day in enumerate(DAYS, 1) if post > 1]
    meta = told(tmp_path / "one", Votes=[undated[0], *dated])
    assert meta["counts"]["bad_rows"] == 1 and "x.example.com/Votes.xml:1: " in meta["bad"][0]
    with pytest.raises(CorruptFileError, match="2 of 2 rows are bad"):
        told(tmp_path, Votes=undated)


def test_a_question_deleted_on_the_day_is_counted_and_its_answers_are_no_passages(tmp_path):
    rows = [revision(post, 2, post, day, f"red {post}") for post, day in enumerate(DAYS, 1)]
    meta = told(tmp_path, PostHistory=[*rows, revision(98, 12, 1, "2015-01-08"), revision(99, 13, 1, "2015-02-01")])
    assert (meta["counts"]["deleted_then"], meta["counts"]["passages"]) == (1, 0)
