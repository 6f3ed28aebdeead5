"""A fresh build has what was asked and answered since a day, nothing that is nearly older, and says what it left out."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from command import error, lotte
from made_dump import SITE, counts, posts, report, table, words
from places import DUMPS, GOOAQ, SPEC
from sample_dumps import tree

from lotte import reading
from lotte.benchmarks import lotte as benchmark
from lotte.builder import build, spec
from lotte.errors import UnavailableError

DAY = "2024-01-01"
RIPE = "leave it in the cellar for eight weeks at twelve degrees and turn it over every second day"
BLUE = "the blue veins are a mould that needs air so the wheel is pierced with long needles"


def question(number: int, title: str, day: str, body: str = "q", **more: object) -> str:
    further = "".join(f' {name}="{value}"' for name, value in more.items())
    return (
        f'<row Id="{number}" PostTypeId="1" AcceptedAnswerId="{number + 1}" Score="3" ViewCount="9" Title="{title}" '
        f'Body="{body}" CreationDate="{day}T08:00:00.000"{further} />'
    )


def answer(number: int, parent: int, text: str, day: str, **more: object) -> str:
    further = "".join(f' {name}="{value}"' for name, value in more.items())
    return (
        f'<row Id="{number}" PostTypeId="2" ParentId="{parent}" Score="2" Body="{text}" '
        f'CreationDate="{day}T09:00:00.000"{further} />'
    )


OLD = [question(1, "How long does a gouda ripen?", "2023-05-01"), answer(2, 1, RIPE, "2023-05-02")]
NEW = [question(11, "Why is some cheese blue?", "2024-02-01"), answer(12, 11, BLUE, "2024-02-02")]


class Silent:
    def advance(self, amount: int) -> None:
        pass


def built(place, *rows: str, against: Path | None = None) -> list[str]:
    """Build what is new among these posts, in this process. Returns the texts of its passages."""
    posts(place, table(*rows))
    chosen = spec.read(place / "spec.toml", since=DAY)
    request = build.BuildRequest(chosen, place / "dumps", place / "out", against=against)
    build.build(request, lambda total, title: nullcontext(Silent()), lambda line: None)
    lines = (place / "out" / "food" / "test" / "collection.tsv").read_text(encoding="utf-8").splitlines()
    return [line.partition("\t")[2] for line in lines]


def asked(place) -> list[str]:
    lines = (place / "out" / "food" / "test" / "questions.forum.tsv").read_text(encoding="utf-8").splitlines()
    return [line.partition("\t")[2] for line in lines]


def test_only_what_was_asked_and_answered_since_is_taken(place):
    assert built(place, *OLD, answer(3, 1, "a late answer to an old question", "2024-03-01"), *NEW) == [BLUE]
    assert asked(place) == ["Why is some cheese blue?"]
    assert counts(place)["earlier"] == 2
    assert counts(place)["answers to older questions"] == 1
    assert counts(place)["answers without their question"] == 0


def test_the_first_day_is_taken_and_the_day_before_is_not(place):
    first = [question(21, "Is this taken?", DAY), answer(22, 21, "it is", DAY)]
    before = [question(23, "Is that taken?", "2023-12-31"), answer(24, 23, "it is not", "2023-12-31")]
    assert built(place, *before, *first) == ["it is"]


def test_the_order_of_the_file_makes_no_difference(place):
    twin = [question(13, "How long must a gouda ripen?", "2024-02-01"), answer(14, 13, RIPE, "2024-02-02")]
    assert built(place, *NEW, *twin, *OLD) == [BLUE]


def test_an_answer_that_was_written_before_is_left_out(place):
    copied = answer(13, 11, f"I would say: {RIPE}.", "2024-02-03")
    assert built(place, *OLD, *NEW, copied) == [BLUE]
    assert counts(place)["answers nearly an older post"] == 1
    assert report(place)["fresh"]["communities"][SITE]["near"]["answers"] == [[13, 2]]


def test_an_answer_that_was_an_older_question_is_left_out(place):
    older = question(5, "May I?", "2023-06-01", body=RIPE)
    assert built(place, older, *NEW, answer(13, 11, RIPE, "2024-02-03")) == [BLUE]


@pytest.mark.parametrize("title", ["How long does a Gouda ripen", "how long does a gouda ripen today?"])
def test_a_question_that_was_asked_before_is_left_out_with_its_answers(place, title):
    again = [question(13, title, "2024-02-01"), answer(14, 13, "until it is done, and no longer", "2024-02-02")]
    assert built(place, *OLD, *NEW, *again) == [BLUE]
    assert counts(place)["questions nearly an older post"] == 1
    assert counts(place)["answers to questions that were left out"] == 1


def test_a_question_with_the_text_of_an_older_one_is_left_out_whatever_its_title(place):
    older = question(5, "Veins", "2023-06-01", body=BLUE)
    again = [question(13, "A title of its own?", "2024-02-01", body=BLUE), answer(14, 13, "yes", "2024-02-02")]
    fresh = [question(15, "Another one?", "2024-02-01"), answer(16, 15, "no", "2024-02-02")]
    assert built(place, older, *again, *fresh) == ["no"]


def test_new_posts_that_are_alike_stay(place):
    assert built(place, *OLD, *NEW, answer(13, 11, BLUE, "2024-02-03")) == [BLUE, BLUE]


def test_the_share_that_makes_a_duplicate_is_an_option(place):
    (place / "spec.toml").write_text(f'[options]\nnear_texts = 1.0\n[topics.food]\ntest = ["{SITE}"]\n')
    copied = answer(13, 11, f"I would say: {RIPE}", "2024-02-03")
    assert built(place, *OLD, *NEW, copied) == [BLUE, f"I would say: {RIPE}"]
    assert report(place)["fresh"]["near"]["texts"]["least_share"] == 1.0


def test_the_answer_bot_and_fabricated_posts_are_left_out(place):
    bot = answer(13, 11, "made by a machine", "2024-02-03", OwnerUserId=-2)
    made_up = answer(1_000_000_010, 11, "never written", "2024-02-03", OwnerUserId=-1)
    assert built(place, *OLD, *NEW, bot, made_up) == [BLUE]
    assert (counts(place)["owner -2"], counts(place)["watermarks"]) == (1, 1)


def test_a_post_without_a_date_is_not_known_to_be_new(place):
    undated = answer(13, 11, "when?", "2024-02-03").replace("2024-02-03T09:00:00.000", "")
    assert built(place, *OLD, *NEW, undated) == [BLUE]
    assert counts(place)["without a date"] == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("questions.forum.tsv", "0\twhy is some cheese blue\n"),
        ("qas.forum.jsonl", '{"qid": 0, "query": "why is some cheese blue", "answer_pids": []}\n'),
    ],
)
@pytest.mark.parametrize("in_folder", [False, True], ids=["file", "folder"])
def test_questions_of_an_older_test_are_not_asked_again(place, name, content, in_folder):
    file = place / "older" / "food" / "test" / name
    file.parent.mkdir(parents=True)
    file.write_text(content)
    (file.parent / "collection.tsv").write_text("0\tno question\n")
    other = [question(15, "Another one?", "2024-02-01"), answer(16, 15, "no", "2024-02-02")]
    assert built(place, *OLD, *NEW, *other, against=place / "older" if in_folder else file) == ["no"]
    assert counts(place)["questions nearly one of the older test"] == 1
    assert report(place)["fresh"]["against"]["questions"] == 1
    assert report(place)["fresh"]["communities"][SITE]["near_against"] == [11]


def test_search_questions_of_an_older_test_are_not_asked_again(place):
    posts(place, table(*OLD, *NEW))
    rows = [{"id": at, "question": text, "answer_url": f"https://{SITE}/q/11?{at}"}
            for at, text in enumerate(["why is stilton blue?", "what makes the veins?"])]  # fmt: skip
    (place / "gooaq.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (place / "older.tsv").write_text("7\twhy is Stilton blue\n")
    done = lotte(*words(place, "--fresh", "--since", DAY, "--gooaq", place / "gooaq.jsonl", "--against", place / "older.tsv"))
    assert "those of search are not fresh" in done.stderr
    lines = (place / "out" / "food" / "test" / "questions.search.tsv").read_text().splitlines()
    assert lines == ["0\twhat makes the veins?"]
    assert report(place)["counts"]["gooaq"]["chosen"]["question nearly one of the older test"] == 1


def test_a_day_before_the_first_post_makes_an_ordinary_build(place, sample_build, tmp_path):
    out = tmp_path / "fresh"
    done = lotte("build", "--dumps", DUMPS, "--gooaq", GOOAQ, "--spec", SPEC, "--out", out, "--fresh", "--since", "1999-01-01")
    assert "--since 1999-01-01 is before the first post of every community, so this is an ordinary build" in done.stderr
    mine, plain = tree(out), tree(sample_build)
    assert mine.pop("manifest.json") != plain.pop("manifest.json")
    assert mine == plain


def test_a_fresh_build_is_the_same_from_one_worker_or_two(tmp_path):
    trees = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        done = lotte("build", "--dumps", DUMPS, "--spec", SPEC, "--out", out, "--fresh", "--since", "2015-01-01", "--workers", workers)
        assert done.returncode == 0, done.stderr
        trees.append(tree(out))
    assert trees[0] == trees[1]


def test_a_plain_build_says_nothing_of_fresh_ones(sample_build):
    assert "since" not in (sample_build / "manifest.json").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fresh", "--since", "May"), "the command line: option since takes a day like 2021-09-30, not 'May'"),
        (("--fresh", "--since", "2024-02-30"), "the command line: option since takes a day like 2021-09-30, not '2024-02-30'"),
        (("--fresh", "--since", "2031-01-01"), "--since 2031-01-01 is after the newest post of these dumps, of 2024-02-02; "
                                               "take an earlier day"),
        (("--fresh",), "--fresh needs --since DATE, the first day of what is taken"),
        (("--since", DAY), "--since is the first day of a fresh build: say --fresh too"),
        (("--against", "x.tsv"), "--against goes with --fresh --since DATE: a plain build asks what LoTTE asks"),
        (("--fresh", "--since", DAY, "--against", "x.tsv"),
         "x.tsv is not there; --against takes a file of questions, .tsv or .jsonl, or a folder"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_one_line(place, options, message):
    posts(place, table(*OLD, *NEW))
    assert error(*words(place, *options)) == message


def test_questions_without_answers_since_make_no_build(place):
    posts(place, table(*OLD, question(11, "Anyone?", "2024-02-01")))
    assert error(*words(place, "--fresh", "--since", DAY)) == (
        f"--since {DAY}: no question asked since has an answer that may be a passage, so there is nothing to build; "
        "the newest post is of 2024-02-01. Take an earlier day, or a newer dump"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "why?\n", "{file} is no .tsv and no .jsonl; --against takes id TAB question, or JSON objects, a line each"),
        ("a.tsv", "", "{file} holds no question; --against takes id TAB question, or JSON objects, a line each"),
        ("a.jsonl", '{"qid": 3}\n', "{file}:1: 'query' must be a string, found None"),
    ],
)  # fmt: skip
def test_a_file_without_questions_is_one_line(place, name, content, message):
    posts(place, table(*OLD, *NEW))
    (file := place / name).write_text(content)
    assert error(*words(place, "--fresh", "--since", DAY, "--against", file)) == message.format(file=file)


def test_a_build_against_other_questions_is_another_build(place):
    (place / "a.tsv").write_text("0\twhat else\n")
    built(place, *OLD, *NEW)
    assert error(*words(place, "--fresh", "--since", DAY, "--against", place / "a.tsv")) == (
        f"{place / 'out'} holds another build: it differs in questions of --against. Choose another --out, or remove "
        f"{place / 'out'} first."
    )


def test_its_datasets_say_whose_twins_they_are(place):
    built(place, *OLD, *NEW)
    dataset = next(dataset for dataset in reading.read(place / "out") if "/food/" in dataset.name)
    assert dataset.name == f"lotte/food/test-since-{DAY}/forum"
    assert dataset.facts == {"since": DAY, "fresh_twin_of": "lotte/food/test/forum"}


def test_its_datasets_are_asked_for_by_that_name(place):
    built(place, *OLD, *NEW)
    assert f"food/test-since-{DAY}/forum" in benchmark.names_in(place / "out")
    assert benchmark.load(f"food/test-since-{DAY}/forum", place / "out").name == f"lotte/food/test-since-{DAY}/forum"


def test_a_fresh_dataset_is_not_taken_for_the_old_one(place):
    built(place, *OLD, *NEW)
    with pytest.raises(UnavailableError, match=rf"fresh build: there, lotte/food/test/forum is lotte/food/test-since-{DAY}/forum"):
        benchmark.load("food/test/forum", place / "out")


def test_lotte_check_takes_a_fresh_build_for_whole(place):
    built(place, *OLD, *NEW)
    assert lotte("check", place / "out").stderr.endswith("all as the manifest says\n")
