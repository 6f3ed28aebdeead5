"""A passage holds an answer exactly when DPR's rules say so, and Open-QA's number is the share of questions it makes."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.measure import mean, parse, score
from lotte import Run, reading
from lotte.answer_match import compile_pattern, holds, holds_pattern, tokens
from lotte.benchmarks import openqa
from lotte.errors import CorruptFileError, UnavailableError
from lotte.release import mark

HARD = [  # answer, text, whether DPR finds it there
    ("U.S.", "the U.S.A. won", True),
    ("US", "the U.S.A. won", False),
    ("caf\u00e9", "a cafe\u0301 here", True),
    ("cafe\u0301", "a caf\u00e9 here", True),
    ("cafe", "a caf\u00e9 here", False),
    ("Z\u00fcrich", "in ZU\u0308RICH", True),
    ("\u00c5ngstr\u00f6m", "\u212bngstr\u00f6m", True),  # the sign of the unit decomposes like the letter
    ("1,000", "1000 men", False),
    ("1,000", "1 , 000 men", True),
    ("1000", "10000", False),
    ("3.5", "about 3.5%", True),
    ("3", "about 3.5%", True),
    ("New  York", "in new york-based firms", True),
    ("York based", "New York-based", False),
    ("York-based", "New York - based", True),
    ("over", "to overcome", False),
    ("Levi's", "at LEVI ' S stadium", True),
    ("Levi's", "at Levi\u2019s stadium", False),  # another apostrophe is another token
    ("O'Connor", "Sandra Day O'Connor", True),
    ("Connor", "Sandra Day O'Connor", True),
    ("the Beatles", "Beatles", False),  # articles are words
    ("Beatles.", "the Beatles", False),  # and full stops are tokens
    ("a_b", "A_B", True),
    ("ab", "a\u00adb", False),  # a soft hyphen is control, and divides
    ("a b", "a\u00adb", True),
    ("a\u00a0b", "a b", True),  # blanks of any kind
    ("\u4e2d", "\u4e2d\u56fd", False),  # letters side by side are one token, in Chinese too
    ("\u4e2d\u56fd", "\u4e2d\u56fd", True),
    ("\u0391\u03a3", "\u03b1\u03c2 \u03b2", True),  # a small sigma at the end of a word
    ("\u0391\u03a3", "\u0391\u03a3'\u0391", True),
    ("STRASSE", "stra\u00dfe", False),  # lower case is not case folding
    ("\U0001f600", "so \U0001f600!", True),
    ("\u00bd", "\u00bd cup", True),
    ("", "anything", False),  # DPR: True, in every passage
    (" \t\u200b", "anything", False),
    ("", "", False),
    ("long answer of many words", "long answer", False),
]


def holds_plainly(answers, text):
    """What `holds` says, as obvious as it can be: an answer's tokens stand side by side in the text."""
    words = [tokens(answer) for answer in answers]
    passage = tokens(text)
    return any(
        passage[begin : begin + len(answer)] == answer
        for answer in words if answer
        for begin in range(len(passage))
    )  # fmt: skip


@pytest.mark.parametrize(("wanted", "text", "found"), HARD)
def test_the_hard_cases(wanted, text, found):
    assert holds([wanted])(text) is holds_plainly([wanted], text) is found
    assert holds(["zzz", wanted])(text) is found


@given(
    st.lists(st.text("aAb\u00e9e\u0301\u03a3\u03c3\u03c2.'- \u0130I1,\u00df", max_size=5), max_size=4),
    st.text("aAb\u00e9e\u0301\u03a3\u03c3\u03c2.'- \u0130I1,\u00df", max_size=30),
)
def test_the_quick_test_is_the_plain_one(answers, text):
    assert holds(answers)(text) == holds_plainly(answers, text)


@given(st.text(max_size=20), st.text(max_size=40))
def test_the_quick_test_is_the_plain_one_for_any_characters(wanted, text):
    assert holds([wanted])(text + wanted + text) == holds_plainly([wanted], text + wanted + text)


@given(st.text(max_size=60))
def test_tokens_are_those_of_dprs_pattern(text):
    """Where Python's Unicode and the package's know the same characters."""
    regex = pytest.importorskip("regex")
    known = "".join(letter for letter in text if unicodedata.category(letter) not in ("Cn", "Cs"))
    pattern = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]", regex.IGNORECASE | regex.UNICODE | regex.MULTILINE)
    expected = [token.lower() for token in pattern.findall(unicodedata.normalize("NFD", known))]
    assert tokens(known) == expected


def test_patterns_are_searched_and_one_that_is_none_matches_nothing():
    pytest.importorskip("regex")
    assert holds_pattern([r"20\s?,?\s?(32|40)0\s?-?\s?f(ee|oo)t"])("It is 20,320 feet high")
    assert holds_pattern([r"^Mount"])("tall\nmount X")  # MULTILINE, IGNORECASE
    assert holds_pattern(["caf\u00e9"])("cafe\u0301")
    assert compile_pattern("(") is None and compile_pattern("a{2,1}") is None
    assert not holds_pattern(["(", "x"])("(y")
    assert holds_pattern(["(", "x"])("(x")


def test_a_pattern_that_runs_away_is_stopped_and_the_others_are_still_asked():
    pytest.importorskip("regex")
    test = holds_pattern([r"(a|aa|a?)*$(?<=c)", r"(.*?,){40}P", "right"], patience=0.2)
    text = "a" * 40 + "b" + "1," * 60
    assert not test(text)
    assert test(f"{text} right")


PASSAGES = (
    "id\ttext\ttitle\n"
    '1\t"He said ""no"" in Zu\u0308rich."\tA title\n'
    "2\tplain text\tB's \u201cown\u201d\n"
    '3\t"the title answers"\t"Paris, ""France"""\n'
)


def make(folder, questions, name="nq-dev.qa.csv", passages=PASSAGES):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "psgs_w100.tsv").write_text(passages)
    (folder / name).write_text(questions)
    return folder


NQ = 'where\t[\'Z\u00fcrich\', \'nowhere\']\nwho\t"[\'nobody\', ""Levi\'s""]"\n"capital of ""F"""\t[\'PARIS\']\n'


def test_dprs_passages_and_questions(tmp_path):
    dataset = openqa.load("nq", make(tmp_path / "openqa", NQ).parent)
    assert [doc.text for doc in dataset.corpus] == [
        'A title | He said "no" in Zu\u0308rich.',
        "B's \u201cown\u201d | plain text",
        'Paris, "France" | the title answers',
    ]
    assert list(dataset.corpus.doc_ids) == ["1", "2", "3"] and dataset.corpus.doc_ids[1:] == ["2", "3"]
    assert "1" in dataset.corpus.doc_ids and not {"0", "4", "01", 1} & set(
        filter(dataset.corpus.doc_ids.__contains__, ["0", "4", "01", 1])
    )
    assert dataset.queries == {"0": "where", "1": "who", "2": 'capital of "F"'}
    assert dataset.answers == {"0": ("Z\u00fcrich", "nowhere"), "1": ("nobody", "Levi's"), "2": ("PARIS",)}
    assert (dataset.measure, dataset.facts["answers_dropped"]) == ("Success@5", "0")
    assert dataset.facts["counts"] == (
        "differ from the release (documents: 3, published 21,015,324; queries: 3, published 8,757)"
    )


def test_judgments_are_made_for_a_run_and_a_question_left_out_is_a_miss(tmp_path):
    dataset = openqa.read(make(tmp_path, NQ), "nq")
    run = Run.of_ranks({"0": ["2", "1"], "2": ["1", "2"]})
    qrels = dataset.judge(run)
    assert qrels == {"0": {"1": 1}, "1": {}, "2": {}}
    values = score(run.filled(dataset.queries), qrels, parse("Success@5"))
    assert values == {"0": 1.0, "1": 0.0, "2": 0.0} and mean(values) == pytest.approx(1 / 3)
    assert dataset.judge(Run.of_ranks({"2": ["3"]}))["2"] == {"3": 1}  # in the title


def test_answers_without_a_token_are_dropped_and_counted(tmp_path):
    dataset = openqa.read(make(tmp_path, "q\t['', ' ']\n"), "nq")
    assert dataset.facts["answers_dropped"] == "2"
    assert dataset.judge(Run.of_ranks({"0": ["1", "2", "3"]})) == {"0": {}}


def test_patterns_for_curated_trec(tmp_path):
    pytest.importorskip("regex")
    rows = '{"question": "q", "answer": ["z.{1,2}rich|qqq", "("]}\n'
    dataset = openqa.read(make(tmp_path, rows, "curatedtrec-test.qa.csv"), "curatedtrec/test")
    assert dataset.judge(Run.of_ranks({"0": ["1", "2"]})) == {"0": {"1": 1}}
    assert dataset.facts["answers_dropped"] == "1"


def test_a_json_list_is_read_too(tmp_path):
    path = tmp_path / "squad.json"
    path.write_text(json.dumps([{"question": "q", "answers": ["a"], "positive_ctxs": []}]))
    assert openqa.read_questions(path) == {"0": ("q", ("a",))}


@pytest.mark.parametrize(
    "text", ['[{"question": "q", "answers": ["a"]}]', '{"question": "q", "answer": ["a"]}\n', "q\t['a']\n"]
)
def test_a_byte_order_mark_is_no_part_of_a_list_of_questions(tmp_path, text):
    path = tmp_path / "questions"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert openqa.read_questions(path) == {"0": ("q", ("a",))}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("only a question\n", ":1: expected a question and a list of answers with a tab between, found 'only a question'"),
        ("q\t['a'\n", ":1: expected a question and a list of answers with a tab between, found \"q\\t['a'\""),
        ("q\t__import__('os')\n", ":1: expected a question and a list of answers with a tab between"),
        ("q\t'a'\n", ":1: expected a question and a list of answer strings, found 'a'"),
        ("q\t['a']\nq\t[1]\n", ":2: expected a question and a list of answer strings, found '[1]'"),
        ('{"question": "q"}\n', ":1: expected a question and a list of answer strings, found 'None'"),
        ('{"question": "q", "answer": ["\\ud800"]}\n', ":1: an unpaired surrogate in the question or an answer"),
    ],
)  # fmt: skip
def test_what_is_no_question_is_named_by_its_line(tmp_path, line, message):
    path = tmp_path / "q.csv"
    path.write_text(line)
    with pytest.raises(CorruptFileError) as raised:
        openqa.read_questions(path)
    assert str(raised.value).startswith(f"{path}{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\ta\tb\n", ":1: expected the header id, text, title, as DPR publishes it"),
        ("", ":1: expected the header id, text, title, as DPR publishes it"),
        ("id\ttext\ttitle\n2\ta\tb\n", ":2: expected passage 1, its text and its title with tabs between, found 3 fields and '2'"),
        ("id\ttext\ttitle\n1\ta\n", ":2: expected passage 1, its text and its title with tabs between, found 2 fields and '1'"),
    ],
)  # fmt: skip
def test_what_is_no_passage_is_named_by_its_line(tmp_path, text, message):
    folder = make(tmp_path, NQ, passages=text)
    with pytest.raises(CorruptFileError) as raised:
        list(openqa.Passages(folder / "psgs_w100.tsv"))
    assert str(raised.value) == f"{folder / 'psgs_w100.tsv'}{message}"


def test_what_claims_to_be_dprs_and_is_not_is_refused(tmp_path):
    folder = make(tmp_path / "openqa", NQ)
    mark(folder, ["psgs_w100.tsv", "nq-dev.qa.csv"], {"source": "release"})
    with pytest.raises(CorruptFileError, match=r"documents: 3, published 21,015,324; queries: 3, published 8,757\. "):
        openqa.read(folder, "nq")


def test_a_folder_of_dprs_files_is_recognised(tmp_path):
    folder = make(tmp_path / "somewhere", NQ)
    assert [dataset.name for dataset in reading.read(folder)] == ["openqa/nq"]
    assert reading.read_corpus(folder)[0].doc_id == "1"
    with pytest.raises(UnavailableError, match=r"psgs_w100.tsv is not there. `lotte fetch openqa/nq` downloads it"):
        openqa.load("nq", tmp_path)


def test_the_questions_of_dpr_are_all_there(shared):
    topics = shared / "anserini_topics_qrels" / "topics"
    files = {"nq": "nq.dev", "nq/test": "nq.test", "tq": "trivia.dev", "tq/test": "trivia.test", "squad/test": "squad.test",
             "webq/test": "wq.test", "curatedtrec/test": "curated.test"}  # fmt: skip
    for name, file in files.items():
        questions = openqa.read_questions(topics / f"topics.dpr.{file}.txt")
        assert len(questions) == openqa.release(name).counts.queries, name
        assert all(answers and all(map(tokens, answers)) for _, answers in questions.values()), name


def test_collections_with_answers_are_open_qa_too(shared):
    (squad,) = reading.read(shared / "squad_dev11" / "dev.answers")
    assert (squad.name, len(squad.queries), len(squad.corpus)) == ("squad_dev11/dev.answers", 10_570, 2_067)
    gold = Run.of_ranks({str(row["qid"]): list(map(str, row["answer_pids"])) for row in _rows(shared / "squad_dev11")})
    judged = squad.judge(gold)
    assert sum(map(bool, judged.values())) >= 10_550  # an answer cut inside a token is none to DPR's rules
    (qed,) = reading.read(shared / "nq_qed" / "dev.answers")
    assert len(qed.queries) == 1_355
    assert [one.name for one in reading.read(shared / "squad_dev11")] == ["squad_dev11/dev"]


def _rows(folder):
    return map(json.loads, (folder / "qas.dev.jsonl").open())
