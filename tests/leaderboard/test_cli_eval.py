"""`lotte eval` and `lotte list`, as a person types them: data on stdout, talk on stderr, one line for an error."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import hears_ctrl_c
from places import HOUSE, TINY

from retrievers import names

SCIENCE = "lotte/science/test/*"


def test_eval_prints_a_line_for_each_dataset_and_writes_its_result(typed, tmp_path):
    done = typed("eval", "--retriever", "overlap", SCIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "lotte/science/test/forum\tSuccess@5\t1.0000\nlotte/science/test/search\tSuccess@5\t0.6667\n"
    )
    written = {path.relative_to(tmp_path / "cwd").as_posix() for path in (tmp_path / "cwd").rglob("*.*")}
    assert written == {
        f"results/overlap/lotte/science/test/{kind}.{ending}"
        for kind in ("forum", "search")
        for ending in ("json", "trec")
    }


def test_json_is_an_object_a_line_with_all_digits(typed):
    done = typed("eval", "--retriever", "bm25", "--json", SCIENCE)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"dataset": "lotte/science/test/forum", "measure": "Success@5", "value": 1.0},
        {"dataset": "lotte/science/test/search", "measure": "Success@5", "value": pytest.approx(2 / 3, abs=1e-12)},
    ]


def test_further_measures_have_lines_of_their_own(typed):
    done = typed("eval", "--retriever", "bm25", "--measure", "MRR@10", "--measure", "AP", "lotte/science/test/forum")
    assert done.stdout == "".join(
        f"lotte/science/test/forum\t{name}\t1.0000\n" for name in ("Success@5", "MRR@10", "AP")
    )


def test_out_rankings_index_data_and_k_are_where_they_are_said_to_be(typed, tmp_path):
    done = typed(
        "eval", "--retriever", "overlap", SCIENCE, "--data", TINY, "--out", tmp_path / "o", "--rankings", tmp_path / "r",
        "--index", tmp_path / "i", "--k", 1, "--device", "cuda", home=tmp_path / "nothing",
    )  # fmt: skip
    assert done.returncode == 0
    assert (tmp_path / "r" / "test" / "science.search.ranking.tsv").read_text() == (
        "0\t3\t1\t0.800000012\n1\t1\t1\t0.25\n"
    )
    assert (tmp_path / "i" / "overlap" / "lotte/science/test" / "meta.json").is_file()
    record = json.loads((tmp_path / "o" / "overlap" / "lotte/science/test/search.json").read_text())
    assert record["implementation"]["command"].startswith(
        "lotte eval --retriever overlap 'lotte/science/test/*' --data "
    )
    again = typed("eval", "--retriever", "overlap", "lotte/science/test/forum", "--index", tmp_path / "i")
    assert again.stderr == f"{tmp_path / 'i'}/overlap/lotte/science/test: reusing this index\n"


def test_without_a_dataset_the_lotte_tests_are_meant_and_the_absent_are_named(typed):
    done = typed("eval", "--retriever", "overlap")
    assert done.stdout.splitlines()[0] == "lotte/science/test/forum\tSuccess@5\t1.0000"
    assert done.stderr.startswith(f"not in {TINY}, so left out: lotte/lifestyle/test/forum, ")


def test_a_folder_may_be_given(typed):
    done = typed("eval", "--retriever", "overlap", TINY / "science" / "test")
    assert done.stdout == "lotte/science/test/search\tSuccess@5\t0.6667\nlotte/science/test/forum\tSuccess@5\t1.0000\n"


@pytest.mark.parametrize(
    "text",
    ["0 Q0 3 1 2.0 t\n1 Q0 1 1 2.0 t\n", "0\t3\t1\t2.0\n1\t1\t1\t2.0\n", "0\t3\t1\n1\t1\t1\n"],
    ids=["TREC", "LoTTE", "MS MARCO"],
)
def test_somebodys_ranking_is_scored_without_a_retriever(typed, tmp_path, text):
    (tmp_path / "best.tsv").write_text(text)
    done = typed("eval", "lotte/science/test/search", "--run", tmp_path / "best.tsv")
    assert done.stdout == "lotte/science/test/search\tSuccess@5\t0.6667\n"
    assert done.stderr == (
        f"{tmp_path}/best.tsv leaves out 1 of the 3 queries of lotte/science/test/search; they count as misses. "
        "The first is '2'.\n"
    )
    assert (tmp_path / "cwd" / "results" / "best" / "lotte/science/test/search.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--retriever", "overlab"],
            "no retriever is named 'overlab'; did you mean 'overlap'? `lotte list retrievers` shows all " + str(len(names())),
        ),
        (
            ["--retriever", "overlap", "lotte/sciense/test/forum"],
            "no dataset is named 'lotte/sciense/test/forum'; did you mean 'lotte/science/test/forum'? "
            "`lotte list datasets` shows all 117",
        ),
        (["--retriever", "overlap", "-o", "lowercase=maybe"], "overlap: lowercase takes bool, not 'maybe'"),
        (["--retriever", "bm25", "-o", "b=2"], "bm25: b must be from 0 to 1, not 2.0"),
        (
            ["--retriever", "bm25", "--measure", "Success"],
            "measure 'Success' needs a cut-off of 1 or more, as in 'Success@5'",
        ),
        ([SCIENCE], "`lotte eval` needs --retriever NAME, or --run FILE with an existing ranking"),
        ([SCIENCE, "--run", "x"], "--run is a ranking for one dataset, and 2 were named"),
        (["lotte/science/test/forum", "--run", "x"], "x is not there"),
        (["--retriever", "nowhere:make"], "no module is named 'nowhere', which --retriever nowhere:make names"),
    ],
)
def test_an_error_is_one_line(typed, words, message):
    done = typed("eval", *words)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {message}\n")


def test_a_bad_ranking_is_named_by_its_line_and_nothing_is_written(typed, tmp_path):
    (tmp_path / "r.trec").write_text("0 Q0 3 1 2.0 t\n9 Q0 1 1 2.0 t\n")
    done = typed("eval", "lotte/science/test/search", "--run", tmp_path / "r.trec")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {tmp_path}/r.trec:2: query '9' is not one of the dataset's 3; is this a run of another dataset?\n"
    )
    assert not list((tmp_path / "cwd").iterdir())


def test_a_place_that_cannot_be_written_is_one_line(typed, tmp_path):
    (tmp_path / "file").write_text("")
    done = typed("eval", "--retriever", "overlap", SCIENCE, "--out", tmp_path / "file")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith(f"error: {tmp_path}/file is not a folder")


def test_a_command_line_that_cannot_be_read_exits_2(typed):
    assert typed("eval", "--retriever", "overlap", "--k", "0").returncode == 2
    assert typed("eval", "--nonsense").returncode == 2


def test_anybodys_retriever_is_found_in_this_folder(typed, tmp_path):
    (tmp_path / "cwd" / "mine.py").write_text(
        "from retrievers.systems.overlap import Overlap\ndef make(*, lowercase: bool = True):\n    return Overlap(lowercase)\n"
    )
    done = typed("eval", "--retriever", "mine:make", "-o", "lowercase=false", "lotte/science/test/forum")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "cwd" / "results" / "mine.make" / "lotte/science/test/forum.json").is_file()


def test_list_prints_a_name_a_line(typed):
    rows = [line.split("\t") for line in typed("list", "retrievers").stdout.splitlines()]
    assert [name for name, _ in rows] == names()
    assert typed("list", "measures").stdout == "Success\nnDCG\nMRR\nR\nP\nAP\nalpha-nDCG\nCoverage\n"
    datasets = typed("list", "datasets").stdout.splitlines()
    assert len(datasets) == 117 and "lotte/pooled/dev/search" in datasets and "beir/cqadupstack/tex" in datasets
    assert json.loads(typed("list", "retrievers", "--json").stdout.splitlines()[0]) == dict(zip(["name", "what"], rows[0], strict=True))
    assert "coffee.stackexchange.com" in typed("list", "communities").stdout.splitlines()


def test_a_reader_that_has_read_enough_ends_us_quietly():
    command = f"{sys.executable} -m leaderboard.cli list datasets | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=HOUSE)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_is_one_line_and_exit_130(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import time\nclass Slow:\n    def index(self, corpus, path):\n        print('begun', flush=True)\n"
        "        time.sleep(60)\ndef make():\n    return Slow()\n"
    )
    command = [
        sys.executable,
        "-m",
        "leaderboard.cli",
        "eval",
        "--retriever",
        "slow:make",
        "--data",
        str(TINY),
        SCIENCE,
    ]
    env = {**os.environ, "PYTHONPATH": str(HOUSE)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=env,
        preexec_fn=hears_ctrl_c,
    ) as running:  # fmt: skip
        assert running.stdout.readline() == "begun\n"
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (130, "", "interrupted; what was finished by then is kept\n")


def test_scifact_from_the_command_line(typed, shared: Path):
    done = typed("eval", "--retriever", "bm25", shared / "scifact", "--measure", "R@100", "--json")
    values = {row["measure"]: row["value"] for row in map(json.loads, done.stdout.splitlines())}
    assert values == {"nDCG@10": pytest.approx(0.679, abs=0.005), "R@100": pytest.approx(0.925, abs=0.005)}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("MemoryError('Unable to allocate 9 TiB')", "error: there is too little memory here (Unable to allocate 9 TiB); free"),
        ("MemoryError", "error: there is too little memory here (none is left); free"),
        ("ImportError('lib.so: failed to map segment from shared object')", "error: there is too little memory here to load"),
    ],
)  # fmt: skip
def test_too_little_memory_is_one_line(error, says):
    code = (
        "import sys, leaderboard.catalogue as catalogue\nfrom leaderboard.cli import main\n"
        f"def names(data): raise {error}\n"
        "catalogue.names = names; sys.argv = ['lotte', 'list', 'datasets']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(says) and done.stderr.count("\n") == 1
