"""`lotte search` beyond one question: a file of them, some documents alone, a prompt; and what a shell asks of `lotte`."""

import json
import os
import pty
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from places import HOUSE

SYSTEMS = [("bm25",), ("overlap",), ("rank_bm25",), ("colbertv2", "-o", "checkpoint=shipped")]
DOCS = {"a": "salt melts the ice", "b": "the tide follows the moon", "c": "ice floats on salt water", "d": "a moon of ice"}


@pytest.fixture(params=SYSTEMS, ids=lambda words: words[0])
def maker(request):
    return request.param


@pytest.fixture
def made(typed, tmp_path):
    def make(*maker, docs=DOCS, name="i"):
        folder = tmp_path / f"{name}-docs"
        folder.mkdir()
        rows = [{"_id": doc_id, "title": "", "text": text} for doc_id, text in docs.items()]
        (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = typed("index", "--retriever", *maker, folder, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        return tmp_path / name

    return make


def rows(done):
    assert done.returncode == 0, done.stderr
    return [line.split("\t")[1:3] for line in done.stdout.splitlines()]


def test_only_documents_of_a_file_are_found_with_the_scores_they_have_among_all(typed, made, tmp_path, maker):
    index = made(*maker)
    (tmp_path / "ids").write_text("a\n\nd\n")
    everything = rows(typed("search", index, "ice and salt"))
    among = rows(typed("search", index, "ice and salt", "--among", tmp_path / "ids"))
    assert among == [row for row in everything if row[1] in ("a", "d")] and len(among) == 2


def test_an_id_that_is_not_in_the_index_is_named_with_its_line(typed, made, tmp_path, maker):
    (tmp_path / "ids").write_text("a\nzz\n")
    done = typed("search", made(*maker), "ice", "--among", tmp_path / "ids")
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path / 'ids'}:2: document 'zz' is not in the index\n")


def test_an_index_that_cannot_be_asked_of_some_says_so(typed, made, tmp_path):
    (tmp_path / "ids").write_text("a\n")
    index = made("hybrid", "-o", "of=bm25+overlap")
    done = typed("search", index, "ice", "--among", tmp_path / "ids")
    assert done.stderr == "error: --among: an index of hybrid cannot be searched within some of its documents\n"


def test_a_file_of_no_ids_is_one_line(typed, made, tmp_path):
    (tmp_path / "ids").write_text("\n")
    done = typed("search", made("bm25"), "ice", "--among", tmp_path / "ids")
    assert done.stderr == f"error: --among: {tmp_path / 'ids'} has no ids; write one per line, or leave the option out\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [("q.tsv", "q1\tice\nq2\tzzz\nq3\tmoon\n"), ("q.jsonl", '{"_id": "q1", "text": "ice"}\n{"_id": "q3", "text": "moon"}\n')],
)  # fmt: skip
def test_questions_of_a_file_become_a_run(typed, made, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    done = typed("search", made("bm25"), "--queries", tmp_path / name, "--out", tmp_path / "run.trec", "-k", 1)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'run.trec'}\n"), done.stderr
    lines = [line.split() for line in (tmp_path / "run.trec").read_text().splitlines()]
    assert [(line[0], line[1], line[3], line[5]) for line in lines] == [("q1", "Q0", "1", "bm25"), ("q3", "Q0", "1", "bm25")]


def test_a_run_has_the_hits_that_each_question_has_alone(typed, made, tmp_path, maker):
    index = made(*maker)
    (tmp_path / "q.tsv").write_text("q1\tice\nq2\tmoon water\n")
    typed("search", index, "--queries", tmp_path / "q.tsv", "--out", tmp_path / "run.trec")
    lines = [line.split() for line in (tmp_path / "run.trec").read_text().splitlines()]
    for query_id, question in (("q1", "ice"), ("q2", "moon water")):
        found = [[f"{float(line[4]):.4f}", line[2]] for line in lines if line[0] == query_id]
        assert found == rows(typed("search", index, question))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--queries", "q.tsv"], "--queries FILE and --out RUN go together: the queries, and the run to write"),
        (["ice", "--out", "run"], "--queries FILE and --out RUN go together: the queries, and the run to write"),
        (["ice", "--queries", "q.tsv", "--out", "run"], "--queries writes a run, so leave out the query, --explain and --json"),
        ([], "`lotte search` needs a query; - reads queries from standard input, --queries FILE --out RUN from a file"),
    ],
)  # fmt: skip
def test_words_that_do_not_go_together_are_one_line(typed, tmp_path, words, message):
    done = typed("search", tmp_path, *words, stdin="")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {message}\n")


def test_a_file_without_a_question_is_one_line(typed, made, tmp_path):
    (tmp_path / "q.tsv").write_text("")
    done = typed("search", made("bm25"), "--queries", tmp_path / "q.tsv", "--out", tmp_path / "run")
    assert done.stderr == f"error: {tmp_path / 'q.tsv'} holds no question: expected one id and text per line, with a tab between\n"
    assert not (tmp_path / "run").exists()


def test_somebody_elses_file_is_not_written_over(typed, made, tmp_path):
    (tmp_path / "q.tsv").write_text("q1\tice\n")
    (tmp_path / "thesis.tex").write_text("a year of work\n")
    done = typed("search", made("bm25"), "--queries", tmp_path / "q.tsv", "--out", tmp_path / "thesis.tex")
    assert done.returncode == 1 and "thesis.tex exists and is not a run of bm25" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "a year of work\n"


def test_a_terminal_without_a_question_is_asked_for_some(made):
    """A terminal of its own: two questions, then Ctrl-D."""
    index = made("bm25")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "leaderboard.cli", "search", str(index), "-k", "1"]
    env = {**os.environ, "TERM": "dumb"}
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HOUSE, env=env)
    os.close(theirs)
    os.write(ours, b"moon of\n\nfloats\n\x04")
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0 and "one query per line; Ctrl-D ends" in err, err
    assert "1\t" in out and "\td\ta moon of ice\n" in out and "\tc\tice floats on salt water\n" in out


def test_the_version_is_that_of_the_package(typed):
    done = typed("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{version('lotte-bench')}\n", "")


def test_a_shell_is_told_which_command_begins_so():
    """What the completion of bash asks, once `lotte --install-completion` has set it up."""
    script = Path(sys.executable).with_name("lotte")
    if not script.exists():
        pytest.skip("lotte is not installed beside this Python")
    env = {**os.environ, "_LOTTE_COMPLETE": "complete_bash", "COMP_WORDS": "lotte sea", "COMP_CWORD": "1"}
    done = subprocess.run([script], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout.split()) == (0, ["search"])
