"""`lotte describe` counts what is there: the paper's tables, and its figures as a picture."""

import json
from pathlib import Path

import pytest
from command import error, lotte
from places import DUMPS, GOOAQ, SPEC


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    assert lotte("build", "--dumps", DUMPS, "--gooaq", GOOAQ, "--spec", SPEC, "--out", out).returncode == 0
    return out


def test_the_tables_of_one_topic(built):
    done = lotte("describe", built / "science" / "test")
    tables = done.stdout.split("\n\n")
    assert tables[0] == (
        "collection\tquestions\tnum_questions\tnum_passages\tsubtopics\tanswers\n"
        "science/test\tsearch\t17\t75\t1\t49\n"
        "science/test\tforum\t23\t75\t1\t60"
    )
    assert tables[1] == (
        "collection\tcommunity\tpassages\tsearch\tforum\nscience/test\tstargazing.stackexchange.example\t75\t17\t23"
    )
    assert tables[2].startswith(
        "collection\twhat\tp0\tp5\tp25\tp50\tp75\tp95\tp100\tmean\nscience/test\twords per passage\t"
    )


def test_the_numbers_are_those_of_the_manifest(built):
    manifest = json.loads((built / "manifest.json").read_text())["counts"]["parts"]
    rows = [json.loads(line) for line in lotte("describe", built, "--json").stdout.splitlines()]
    for row in rows:
        counts = manifest[row["collection"]]
        if "num_questions" in row:
            assert (row["num_passages"], row["num_questions"]) == (counts["passages"], counts[row["questions"]])
        if "community" in row:
            found = {kind: row[kind] for kind in ("passages", "search", "forum")}
            assert found == counts["communities"][row["community"]]


def test_the_lengths_are_those_of_the_texts(built):
    lines = (built / "science" / "test" / "collection.tsv").read_text(encoding="utf-8").splitlines()
    words = [len(line.partition("\t")[2].split()) for line in lines]
    rows = [json.loads(line) for line in lotte("describe", built / "science" / "test", "--json").stdout.splitlines()]
    row = next(row for row in rows if row.get("what") == "words per passage")
    assert (row["p0"], row["p100"]) == (min(words), max(words))
    assert row["mean"] == pytest.approx(sum(words) / len(words), abs=0.01)


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_figures_are_drawn(ending, begins, built, tmp_path):
    path = tmp_path / f"lengths.{ending}"
    done = lotte("describe", built, "--plot", path)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes().startswith(begins) and path.stat().st_size > 10_000


def test_another_ending_or_folder_is_one_line(built, tmp_path):
    assert error("describe", built, "--plot", tmp_path / "x.gif") == (
        "--plot takes a file that ends in .png, .svg or .pdf, not 'x.gif'"
    )
    assert error("describe", tmp_path / "no") == (
        f"{tmp_path}/no is not a folder; `lotte describe` takes a build, a <topic>/<split> of one, or an index"
    )


def test_a_collection_without_attribution_or_questions_is_still_counted(tmp_path):
    folder = tmp_path / "x" / "test"
    folder.mkdir(parents=True)
    (folder / "collection.tsv").write_text("0\ta b c\n1\td\n")
    (folder / "qas.search.jsonl").write_text('{"qid": 0, "query": "a b", "answer_pids": [1]}\n')
    done = lotte("describe", folder)
    assert done.stdout.startswith(
        "collection\tquestions\tnum_questions\tnum_passages\tsubtopics\tanswers\nx/test\tsearch\t1\t2\t?\t1\n\n"
    )
