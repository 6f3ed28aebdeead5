"""`lotte index` and `lotte search`, as a person types them."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from places import HOUSE, TINY


@pytest.fixture
def index(typed, tmp_path):
    done = typed("index", "--retriever", "bm25", "-o", "k1=1.2", "lotte/science/test", "--out", tmp_path / "index")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'index'}\n", "")
    return tmp_path / "index"


def test_search_prints_rank_score_id_and_text(typed, index):
    done = typed("search", index, "Is the sky blue, or the sea?", "-k", 2)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(row[0], row[2], row[3]) for row in rows] == [
        ("1", "3", "the sky is blue because air scatters short waves"),
        ("2", "0", "the moon pulls the sea and makes tides"),
    ]
    assert all(len(row) == 4 and float(row[1]) > 0 for row in rows)
    assert done.stderr == ""


def test_questions_come_from_stdin_too(typed, index):
    done = typed("search", index, "-", "--json", stdin="moon?\n\nzzz\nsalt and glass\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["question"], row["rank"], row["doc_id"]) for row in rows] == [
        ("moon?", 1, "0"), ("salt and glass", 1, "2"), ("salt and glass", 2, "1"),
    ]  # fmt: skip
    assert rows[0].keys() == {"question", "rank", "score", "doc_id", "text"}


def test_a_text_stays_in_its_column(typed, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    text = "glass\tis\r\nan\u2028amorphous solid\u00e9"
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "my-id", "title": "T", "text": text}) + "\n")
    assert typed("index", "--retriever", "overlap", folder, "--out", tmp_path / "i").returncode == 0
    done = typed("search", tmp_path / "i", "glass")
    assert done.stdout == "1\t1.0000\tmy-id\tT glass is an amorphous solid\u00e9\n"


def test_a_collection_that_is_gone_costs_the_texts_and_nothing_else(typed, tmp_path):
    shutil.copytree(TINY / "science" / "test", tmp_path / "topic")
    typed("index", "--retriever", "rank_bm25", tmp_path / "topic", "--out", tmp_path / "i")
    shutil.rmtree(tmp_path / "topic")
    done = typed("search", tmp_path / "i", "moon")
    assert done.stdout.split("\t")[::2] == ["1", "0"] and done.stdout.endswith("\t\n")
    assert done.stderr == (
        f"no texts: the collection of {tmp_path / 'i'} is no longer at {tmp_path / 'topic' / 'collection.tsv'}\n"
    )


def test_an_index_serves_eval_too(typed, index):
    done = typed("eval", "--retriever", "bm25", "-o", "k1=1.2", "lotte/science/test/forum", "--index", index)
    assert done.stdout == "lotte/science/test/forum\tSuccess@5\t1.0000\n"
    assert done.stderr == f"{index}: reusing this index\n"


WHOLE = "an index of hybrid cannot be changed; index the changed collection again"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--add", "more.tsv"], f"--add: {WHOLE}"),
        (["--delete", "3", "--delete", "4"], f"--delete: {WHOLE}"),
        (["--shard", "1/2"], f"--shard: {WHOLE}"),
        (["--executor", "spark"], "--executor is local or ray, not 'spark'"),
    ],
)
def test_what_an_index_cannot_do_yet_is_one_line(typed, tmp_path, words, message):
    hybrid = ("hybrid", "-o", "of=bm25+overlap")
    done = typed("index", "--retriever", *hybrid, "lotte/science/test", "--out", tmp_path / "i", *words)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {message}\n")
    assert not (tmp_path / "i").exists()


def test_what_is_no_index_is_one_line(typed, tmp_path):
    done = typed("search", tmp_path, "moon")
    assert done.stderr == f"error: {tmp_path} is not an index, or an incomplete one. Build it with `lotte index`.\n"
    done = typed("index", "--retriever", "bm25", "lotte/science/test", "--out", tmp_path)
    assert done.stderr == f"error: {tmp_path} exists and is not an index; choose a folder that is empty or new\n"


def test_questions_from_a_stdin_that_is_closed_are_none(index):
    done = subprocess.run(
        [sys.executable, "-m", "leaderboard.cli", "search", str(index), "-"],
        capture_output=True, text=True, cwd=HOUSE, preexec_fn=lambda: os.close(0),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


COUNT_OPENED = """
import sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
from leaderboard.cli import main
try:
    main()
finally:
    print(*(sum(path.endswith(name) for path in opened) for name in ("/i/meta.json", "/i/doc_ids.txt")), file=sys.stderr)
"""


@pytest.mark.parametrize("maker", [["bm25"], ["overlap"], ["rank_bm25"], ["colbertv2", "-o", "checkpoint=shipped"]], ids=lambda words: words[0])
def test_searching_opens_what_an_index_says_and_its_ids_once(typed, tmp_path, maker):
    ids = [f"{'x' * 200}{number}" for number in range(100)]  # more than is read to see whether small files are whole
    docs = [{"_id": doc_id, "title": "", "text": "ice" if doc_id == ids[7] else "salt"} for doc_id in ids]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    made = typed("index", "--retriever", *maker, tmp_path, "--out", tmp_path / "i")
    assert made.returncode == 0, made.stderr
    done = subprocess.run(
        [sys.executable, "-c", COUNT_OPENED, "search", tmp_path / "i", "ice", "-k", "1"], capture_output=True, text=True, cwd=HOUSE
    )
    assert (done.stdout.split("\t")[2:], done.stderr) == ([ids[7], "ice\n"], "1 1\n")
