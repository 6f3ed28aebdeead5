"""What differs between two builds is found thing by thing, and its cause is told."""

import json
import shutil
from pathlib import Path

import pytest
from drifting import CAUSES, DAY, NEW_POSTS, OLD_POSTS, answer, built, dumps, without_posts

from lotte.builder import changes
from lotte.builder.drift import Drift, drift
from lotte.errors import MismatchError


@pytest.fixture(scope="module")
def later(tmp_path_factory) -> Path:
    return dumps(tmp_path_factory.mktemp("later"), NEW_POSTS)


@pytest.fixture(scope="module")
def two(tmp_path_factory, later) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("two")
    before = built(place / "before", dumps(place / "dumps", OLD_POSTS, whole=False))
    return before, built(place / "after", later)


def causes(found: Drift) -> dict[tuple[str, str, int | None], str]:
    return {(one.what, one.change, one.post): one.cause for part in found.parts for one in part.changes if one.what != "judgments"}


def test_every_cause_is_told_by_the_later_dump(two, later):
    assert causes(drift(*two, later)) == CAUSES


def test_without_dumps_the_builds_tell_what_they_can(two):
    found = causes(drift(*two))
    assert {key for key, cause in found.items() if cause == "created later"} == {
        ("passages", "added", 18), ("passages", "added", 22), ("forum questions", "added", 4)
    }  # fmt: skip
    assert {cause for cause in found.values() if cause != "created later"} == {"unknown without --dumps"}


def test_a_judgment_has_the_cause_of_its_passage(two, later):
    found = [one for part in drift(*two, later).parts for one in part.changes if one.what == "judgments"]
    assert {(one.change, one.post, one.cause) for one in found} == {
        ("lost", 12, "deleted since"), ("lost", 13, "vote lost"), ("lost", 16, "voted down since"), ("added", 18, "voted up since"),
        ("added", 22, "created later"),
    }  # fmt: skip


def test_the_day_of_a_build_that_names_none_is_found_by_its_scores(two, later):
    """Post 15 was edited before the votes of February, which the older build has; 18 had none then."""
    found = causes(drift(*two, later))
    assert (found["passages", "edited", 15], found["passages", "added", 18]) == ("edited without history", "voted up since")


def test_questions_of_both_are_paired_and_the_rejudged_are_known(two):
    (part,) = drift(*two).parts
    assert len(part.pairs) == 3
    assert part.rejudged == {("forum", before) for _, before, _ in part.pairs}


def test_what_is_the_same_is_counted(two):
    (part,) = drift(*two).parts
    assert {what: count for (_, what), count in part.same.items()} == {"passages": 2, "forum questions": 2, "judgments": 4}


def test_the_same_build_on_both_sides_has_no_drift(two):
    found = drift(two[0], two[0])
    assert found.is_none
    assert found.verdict() == (
        f"{two[0]} and {two[0]} hold the same: 7 passages, 3 questions, 7 judgments, in 1 parts; no drift"
    )


def test_another_rule_on_the_same_dump_is_the_cause(two, later, tmp_path):
    strict = built(tmp_path / "strict", later, min_score=4)
    found = causes(drift(two[1], strict))
    assert set(found.values()) == {"rule of the spec"} and ("passages", "lost", 11) in found


def test_a_day_in_the_past_is_no_rule(two, later, tmp_path):
    """--as-of against today, of one dump: votes and edits since are the causes."""
    past = built(tmp_path / "past", later, as_of=DAY)
    found = causes(drift(past, two[1], later))
    assert found["passages", "added", 18] == "voted up since"
    assert found["passages", "added", 22] == "created later"
    assert found["passages", "edited", 11] == "edited with history"


def test_a_page_with_passages_that_is_chosen_no_more_is_another_choice(later, tmp_path, two):
    fewer = built(tmp_path / "fewer", later, forum_size=1, forum_min=1)
    (tmp_path / "spec").mkdir()
    found = {cause for (what, change, _), cause in causes(drift(two[1], fewer)).items() if change == "lost"}
    assert found == {"another choice of questions"}


def test_a_release_is_matched_by_its_texts_and_edited_ones_by_their_words(two, later, tmp_path):
    release = without_posts(shutil.copytree(two[0], tmp_path / "release"))
    found = causes(drift(release, two[1], later))
    edited = {(what, change, post) for what, change, post in found if change == "edited"}
    assert edited == {("passages", "edited", 11), ("passages", "edited", 15), ("forum questions", "edited", 2)}
    assert found["passages", "edited", 11] == "edited with history"


def test_a_release_whose_metadata_lists_its_passages_in_order_has_their_posts(two, later, tmp_path):
    release = shutil.copytree(two[0], tmp_path / "release")
    part = release / "food" / "test"
    (part / "attribution.parquet").unlink()
    lines = [json.loads(line) for line in (part / "metadata.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if key not in ("pids", "closed")} for line in lines]
    (part / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    (release / "manifest.json").unlink()
    assert causes(drift(release, two[1], later)) == CAUSES


def test_metadata_in_another_order_than_the_passages_is_not_believed(two, tmp_path):
    release = shutil.copytree(two[0], tmp_path / "release")
    part = release / "food" / "test"
    (part / "attribution.parquet").unlink()
    texts = [line.split("\t")[1] for line in (part / "collection.tsv").read_text().splitlines()]
    (part / "collection.tsv").write_text("".join(f"{row}\t{text}\n" for row, text in enumerate(reversed(texts))))
    lost = {one.before for one in drift(release, two[1]).parts[0].changes if (one.what, one.change) == ("passages", "lost")}
    assert "deleted in the years after that day" in lost


def test_what_a_release_has_lost_is_of_the_community_around_it(two, tmp_path):
    release = without_posts(shutil.copytree(two[0], tmp_path / "release"))
    lost = [one for one in drift(release, two[1]).parts[0].changes if (one.what, one.change) == ("passages", "lost")]
    assert {one.site for one in lost} == {"cheese.example.com"} and len(lost) == 3


def test_two_releases_are_compared_without_any_post(two, tmp_path):
    folders = [without_posts(shutil.copytree(folder, tmp_path / folder.parent.name)) for folder in two]
    (part,) = drift(*folders).parts
    assert {what: count for (_, what), count in part.same.items()} == {"passages": 2, "forum questions": 2, "judgments": 4}


def test_a_topic_that_only_one_has_is_lost_whole(two, tmp_path):
    more = shutil.copytree(two[0], tmp_path / "more")
    shutil.copytree(more / "food" / "test", more / "meals" / "dev")
    lost = [part for part in drift(more, two[0]).parts if part.part == "meals/dev"]
    assert [len([one for one in lost[0].changes if one.what == what]) for what in ("passages", "forum questions")] == [7, 3]


def test_builds_without_a_common_part_are_one_line(two, tmp_path):
    other = tmp_path / "other" / "drinks" / "dev"
    shutil.copytree(two[0] / "food" / "test", other)
    with pytest.raises(MismatchError, match="no part is in both; give two builds, or the same topic and split of both"):
        drift(two[0], tmp_path / "other")


def test_one_topic_and_split_is_compared_by_itself(two):
    found = drift(*(folder / "food" / "test" for folder in two))
    assert [part.part for part in found.parts] == ["."] and not found.is_none


def test_a_community_without_a_dump_is_named(two, tmp_path):
    (tmp_path / "none").mkdir()
    assert drift(*two, tmp_path / "none").without_dump == ["cheese.example.com"]


def test_a_bad_row_of_the_dump_costs_no_cause(two, tmp_path):
    rows = [*NEW_POSTS, '<row Id="99" PostTypeId="2" ParentId="1" Score="x" Body="" CreationDate="yesterday" />']
    assert causes(drift(*two, dumps(tmp_path, rows))) == CAUSES


def test_an_answer_whose_question_was_deleted_was_deleted_with_it(tmp_path):
    posts = [*OLD_POSTS]
    before = built(tmp_path / "before", dumps(tmp_path / "a", posts, whole=False))
    orphaned = dumps(tmp_path / "b", [row for row in posts if 'Id="3" ' not in row] + [answer(30, 2, "later", 1)])
    found = causes(drift(before, built(tmp_path / "after", orphaned), orphaned))
    assert found["passages", "lost", 17] == "deleted since"


def test_changed_words_put_together_are_both_texts():
    before, after = "one two three four", "one 2 three four five"
    pieces = changes.changed_words(before, after)
    assert " ".join(words for sign, words in pieces if sign != "+") == before
    assert " ".join(words for sign, words in pieces if sign != "-") == after


def test_a_manifest_that_holds_other_things_than_a_build_writes_is_no_traceback(two, tmp_path):
    odd = shutil.copytree(two[0], tmp_path / "odd")
    record = json.loads((odd / "manifest.json").read_text())
    record |= {"spec": {"options": {"min_score": "x", "as_of": "soon"}}, "inputs": {"communities": {"cheese.example.com": []}}}
    (odd / "manifest.json").write_text(json.dumps(record))
    assert causes(drift(odd, two[1])) == causes(drift(*two))
