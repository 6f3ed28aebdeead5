"""Rows of a dump that are damaged, repeated or out of order: skipped, counted and named, and the rest is built."""

import shutil

import pytest
from command import error, lotte
from made_dump import ANSWER, QUESTION, SITE, assert_nothing_half_written, counts, posts, report, table, words


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (ANSWER.replace('Id="2" ', "", 1).replace("<row", '<row x="1"'), "a post without Id"),
        (ANSWER.replace('Score="2" ', ""), "a post without Score"),
        (ANSWER.replace('Body="&lt;p&gt;Because.&lt;/p&gt;" ', ""), "a post without Body"),
        (ANSWER.replace('PostTypeId="2" ', ""), "a post without PostTypeId"),
        (ANSWER.replace('Id="2"', 'Id="two"', 1), "post two: invalid literal for int() with base 10: b'two'"),
        (ANSWER.replace('Id="2"', 'Id="-2"', 1), "post -2: Id is -2"),
        (ANSWER.replace('Score="2"', f'Score="{"9" * 30}"'), f"post 2: {b'9' * 20!r} is no number of a dump"),
        (ANSWER.replace('Score="2"', 'Score="2_0"'), "post 2: b'2_0' is no number of a dump"),
        (ANSWER.replace('Id="2"', 'Id="2_0"', 1), "post 2_0: b'2_0' is no number of a dump"),
        (ANSWER.replace("Because", "&nosuch;"), "post 2: an ampersand that begins no entity of XML"),
        (ANSWER.replace("Because", "&#x110000;"), "post 2: &#x110000; is no character of XML"),
        (ANSWER.replace("Because", "a < b"), "not a row in XML"),
        (ANSWER.replace(" />", ""), "not a row in XML"),
    ],
)
def test_one_bad_row_is_named_and_skipped_and_the_rest_is_built(row, says, place):
    posts(place, table(QUESTION, row, ANSWER.replace('Id="2"', 'Id="3"', 1)))
    done = lotte(*words(place))
    assert done.returncode == 0, done.stderr
    assert report(place)["bad_rows"]["first"] == [f"{SITE}/Posts.xml:4: {says}"]
    assert counts(place)["bad rows"] == 1 and counts(place)["passages"] == 1
    assert f"skipped a bad row: {SITE}/Posts.xml:4: {says}" in done.stderr


def test_bytes_that_are_no_utf8_make_a_bad_row(place):
    posts(place, table(QUESTION, ANSWER).replace(b"Because", b"Bec\xff\xfe"))
    assert lotte(*words(place)).returncode == 0
    assert counts(place)["bad rows"] == 1


def test_too_many_bad_rows_are_the_files_fault(place):
    path = posts(place, table(QUESTION, *[ANSWER.replace('Score="2" ', "")] * 3))
    assert error(*words(place)) == (
        f"3 of 4 rows are bad, more than the 1.00% that max_bad_share allows; the first: {path}:4: a post without Score. "
        "Fetch the file again, or raise max_bad_share in the spec."
    )
    assert_nothing_half_written(place)


def test_ids_that_do_not_resolve_are_counted(place):
    lost = ANSWER.replace('Id="2"', 'Id="7"', 1).replace('ParentId="1"', 'ParentId="999"')
    posts(place, table(QUESTION.replace('AcceptedAnswerId="2"', 'AcceptedAnswerId="888"'), ANSWER, lost))
    assert lotte(*words(place)).returncode == 0
    assert counts(place)["answers without their question"] == 1
    assert counts(place)["accepted answers not in the file"] == 1
    assert counts(place)["passages"] == 1


def test_rows_out_of_order_bom_line_ends_and_tag_spelling_change_nothing(place):
    rows = [QUESTION.replace("Title", 'Tags="&lt;a&gt;&lt;b&gt;" Title'), ANSWER, ANSWER.replace('Id="2"', 'Id="5"', 1)]
    posts(place, table(*rows))
    assert lotte(*words(place)).returncode == 0
    first = (place / "out" / "food" / "test" / "collection.tsv").read_bytes()
    shutil.rmtree(place / "out")
    turned = [rows[2], rows[1], rows[0].replace("&lt;a&gt;&lt;b&gt;", "|a|b|")]
    posts(place, b"\xef\xbb\xbf" + table(*turned).replace(b"\n", b"\r\n"))
    assert lotte(*words(place)).returncode == 0
    assert (place / "out" / "food" / "test" / "collection.tsv").read_bytes() == first == b"0\tBecause.\n1\tBecause.\n"


def test_a_post_that_stands_there_twice_counts_once(place):
    posts(place, table(QUESTION, ANSWER, ANSWER.replace("Because", "Again")))
    assert lotte(*words(place)).returncode == 0
    assert (place / "out" / "food" / "test" / "collection.tsv").read_bytes() == b"0\tBecause.\n"
    assert counts(place)["repeated ids"] == 1


def test_posts_with_one_id_are_said_to_be_there(place):
    posts(place, table(QUESTION, QUESTION.replace("Why?", "Why not?"), ANSWER, ANSWER.replace("Because", "Again")))
    done = lotte(*words(place))
    assert f"{SITE}: 2 posts have the Id of an earlier post of their kind: the first one counts" in done.stderr
    assert (place / "out" / "food" / "test" / "questions.forum.tsv").read_text() == "0\tWhy?\n"


@pytest.mark.parametrize("date", ["2015-99-02T00:00:00.000", "yesterday", ""])
def test_a_post_without_a_date_that_is_one_is_said_to_be_there(date, place):
    posts(place, table(QUESTION, ANSWER.replace("2015-01-02T00:00:00.000", date)))
    assert f"{SITE}: 1 posts have no CreationDate that is a date: `created` is null there" in lotte(*words(place)).stderr


@pytest.mark.parametrize("html", ["fast", "reference"])
@pytest.mark.parametrize("control", ["&#x0E;", "&#31;", "&#xFFFF;", "\x0e", "\x1f"])
def test_a_control_character_is_white_space_and_the_post_is_kept(control, html, place):
    (place / "spec.toml").write_text(f'[options]\nhtml = "{html}"\n[topics.food]\ntest = ["{SITE}"]\n')
    second = ANSWER.replace('Id="2"', 'Id="3"', 1).replace("Because", "Last")
    posts(place, table(QUESTION.replace("Why?", f"Why{control}not?"), ANSWER.replace("Because", f"Press {control}-1"), second))
    assert lotte(*words(place)).returncode == 0
    part = place / "out" / "food" / "test"
    assert (part / "collection.tsv").read_text() == "0\tPress -1.\n1\tLast.\n"
    assert (part / "questions.forum.tsv").read_text() == "0\tWhy not?\n"
    assert counts(place)["bad rows"] == 0


def test_the_straightforward_pipeline_makes_the_same_of_control_characters(place):
    import plain_build

    site = posts(place, table(QUESTION.replace("Why", "W&#x1F;hy"), ANSWER.replace("Because", "a&#x0E;b&#xB;\x08c"))).parent
    assert lotte(*words(place)).returncode == 0
    made = plain_build.files(plain_build.part([SITE], site.parent, []))
    for name in ("collection.tsv", "questions.forum.tsv", "metadata.jsonl"):
        assert (place / "out" / "food" / "test" / name).read_text() == made[name]
