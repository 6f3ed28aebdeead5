"""Lines that somebody else made: one reader of a line, and no question that is kept is ever trained on."""

import json
import random

import pytest
import toy_training

pytest.importorskip("torch", reason="training needs the extra 'colbert'")

from lotte.collection import Collection
from lotte.dataset import Dataset
from lotte.errors import CorruptFileError, LotteError, MismatchError
from retrievers.training import mine, teacher
from retrievers.training.example import parsed, question
from retrievers.training.examples import SETS, Pairs
from retrievers.training.given import Given

QUESTIONS, PASSAGES = 24, 40
SPELLINGS = {
    "numbers": lambda qid, pids: json.dumps([qid, *pids]),
    "text": lambda qid, pids: json.dumps([str(qid), *map(str, pids)]),
    "text first": lambda qid, pids: json.dumps([str(qid), *pids]),
    "blanks": lambda qid, pids: f" [ {qid} , {', '.join(map(str, pids))} ] ",
    "scores": lambda qid, pids: json.dumps([qid, *([pid, 0.5] for pid in pids)]),
    "triples": lambda qid, pids: "\t".join(map(str, (qid, *pids))),
}


def dataset(folder, *, ids=str):
    (folder / "collection.tsv").write_text("".join(f"{pid}\ttext {pid}\n" for pid in range(PASSAGES)))
    queries = {ids(qid): f"question {qid}" for qid in range(QUESTIONS)}
    qrels = {query_id: {str(int(query_id)): 1} for query_id in queries}
    return Dataset(name="toy/train", corpus=Collection(folder / "collection.tsv"), queries=queries, qrels=qrels, measure="MRR@10")


def lines(folder, spell):
    """Lines of every question, twice, in an order of chance: those at the end stand earlier too."""
    draw = random.Random(7)
    order = [*range(QUESTIONS), *range(QUESTIONS)]
    draw.shuffle(order)
    path = folder / "examples.json"
    path.write_text("".join(f"{spell(qid, [qid, (qid + 5) % PASSAGES, (qid + 9) % PASSAGES])}\n" for qid in order))
    return path


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_question_that_is_kept_is_trained_on(tmp_path, spelling):
    given = Given(dataset(tmp_path), lines(tmp_path, SPELLINGS[spelling]), validation=4)
    trained = {line.qid for line in given.lines(0)}
    assert given.validation and trained and not given.validation & trained


def test_spellings_that_are_mixed_are_read_as_one(tmp_path):
    draw, spells = random.Random(3), list(SPELLINGS.values())
    path = lines(tmp_path, lambda qid, pids: draw.choice(spells[:4])(qid, pids))
    given = Given(dataset(tmp_path), path, validation=4)
    assert not given.validation & {line.qid for line in given.lines(0)}


@pytest.mark.parametrize("start", ["7", "3.0", "3.5", "true", "null", "[3]", '{"a": 3}', '"3"', '" 3"', "03", "-3", "1e3", "9" * 30, "9" * 5000, '"\\u0663"', "NaN"])  # fmt: skip
@pytest.mark.parametrize("rest", [", 1, 2]", ", [1, 0.5], [2, 0.25]]"])
def test_the_quick_look_at_a_line_says_what_its_reader_says(start, rest):
    line = f"[{start}{rest}".encode()
    try:
        wanted = parsed(line, "x:1").qid
    except CorruptFileError:
        return  # it is told when the line is read
    assert question(line, "x:1") == wanted


@pytest.mark.parametrize("line", ["[3.0, 1, 2]", "[true, 1, 2]", "[3, 1.5, 2]", "[3, false, 2]", "[3, [1], [2]]", "[3, [1, NaN], [2, 1]]", "[3, [1, Infinity], [2, 1]]", '[3, [1, "5"], [2, 1]]', "[3, [1, true], [2, 1]]", "[3, [1, 1e39], [2, 1]]", "[3, [1, 0], 2]", "3\t1.0\t2", "3 1 2", "[" * 100_000, "[3, 1, 2", "", "\x00"])  # fmt: skip
def test_what_is_no_line_is_named(line):
    with pytest.raises(CorruptFileError, match=r"^x:9: expected \[qid, pid, pid, \.\.\.\]"):
        parsed(line, "x:9")


def test_a_kept_line_is_looked_up_like_the_others(tmp_path):
    path = lines(tmp_path, SPELLINGS["numbers"])
    path.write_text(path.read_text() + "[3, 1, 4000]\n")
    with pytest.raises(MismatchError, match="passage 4000 is named, and the collection ends at 39"):
        assert Given(dataset(tmp_path), path, validation=4).ranking


def test_a_question_whose_id_is_no_plain_number_is_refused(tmp_path):
    with pytest.raises(MismatchError, match="question '00' has no number"):
        Given(dataset(tmp_path, ids=lambda qid: f"{qid:02}"), lines(tmp_path, SPELLINGS["numbers"]), validation=4)


def test_passages_under_other_names_than_their_lines_are_refused(tmp_path):
    with pytest.raises(MismatchError, match="its passages are not called 0, 1, 2"):
        _given(tmp_path)


def _given(folder):
    named = toy_training.dataset()
    queries = {str(number): text for number, text in enumerate(named.queries.values())}
    return Given(
        Dataset(name="toy/a", corpus=named.corpus, queries=queries, qrels={}, measure="MRR@10"),
        lines(folder, SPELLINGS["numbers"]), validation=4,
    )  # fmt: skip


def test_readers_of_files_beside_it_say_a_line_and_nothing_else(tmp_path):
    draw = random.Random(11)
    good = {mine.read: "[3, 1, 2]", teacher.read: "[3, [[0.5, 1], [0.25, 2]]]"}
    for read, line in good.items():
        for number in range(400):
            damaged = list(line)
            for _ in range(draw.randint(1, 3)):
                damaged[draw.randrange(len(damaged))] = draw.choice('[]{},"0.eN-\x00\u0663t ')
            path = tmp_path / f"{number}.json"
            path.write_text("".join(damaged) + "\n", encoding="utf-8")
            try:
                read(path)
            except LotteError as error:
                assert f"{path}:1: expected" in str(error)


def test_damaged_pairs_are_a_line(tmp_path):
    toy_training.pairs(tmp_path / "pairs")
    whole, draw = (tmp_path / "pairs" / SETS).read_text(), random.Random(5)
    for _ in range(200):
        place = draw.randrange(len(whole))
        (tmp_path / "pairs" / SETS).write_text(whole[:place] + draw.choice('[]{},"x0') + whole[place + 1 :])
        try:
            assert isinstance(Pairs(tmp_path / "pairs").validation, frozenset)
        except LotteError as error:
            assert str(tmp_path) in str(error)
    (tmp_path / "pairs" / SETS).write_text(whole)
    (tmp_path / "pairs" / "qrels.tsv").write_text("0\t0\t1\n")
    with pytest.raises(CorruptFileError, match=r"qrels.tsv:1: expected qid"):
        assert Pairs(tmp_path / "pairs").positives
