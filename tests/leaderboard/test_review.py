"""A result that a stranger hands in: taken as data, scored again, answered; and the workflows that do it."""

import gzip
import json
import re
import shutil

import pytest
import records
from board import board
from places import HOUSE, TINY
from records import NAME, replace, rewrite

from leaderboard.review import DataPlaces, review

WORKFLOWS = HOUSE / ".github" / "workflows"


@pytest.fixture
def folders(tmp_path):
    """Ours with one record, theirs with one more."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    records.make(ours)
    shutil.copytree(ours, theirs)
    records.make(theirs, "newcomer", lowercase="false")
    return theirs, ours


def looked_at(theirs, ours, data=TINY):
    return review(theirs, ours, DataPlaces(data), lambda line: None)


def record_of(theirs):
    return theirs / "newcomer" / f"{NAME}.json"


def test_a_result_is_scored_again_and_compared(folders):
    done = looked_at(*folders)
    assert done.problems == ()
    assert done.answer.startswith(f"### newcomer on {NAME}: Success@5 ")
    (row,) = [line for line in done.answer.splitlines() if line.startswith("| overlap")]
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["0.6667", "+0.0000"]


def test_the_first_result_of_a_dataset_has_nothing_beside_it(folders, tmp_path):
    theirs, ours = folders
    shutil.rmtree(theirs / "overlap")
    shutil.rmtree(ours / "overlap")
    assert "No other record of this dataset is on the board" in looked_at(theirs, ours).answer


def lie(theirs):
    def higher(record):
        values = record.measures["per_query"]["Success@5"]
        values = {query_id: 0.0 for query_id in values}
        measures = {**record.measures, "per_query": {**record.measures["per_query"], "Success@5": values}}
        measures["aggregate"] = {**measures["aggregate"], "Success@5": {"value": 0.0, "ci95": [0.0, 0.0]}}
        return replace(record, measures=measures)

    rewrite(record_of(theirs), higher)


def claim(theirs):
    rewrite(record_of(theirs), lambda old: replace(old, verification={"level": "imported", "log": []}))


def claim_a_log(theirs):
    entry = {"what": "praised", "by": "everybody"}
    rewrite(record_of(theirs), lambda old: replace(old, verification={"level": "self-run", "log": [entry]}))


def other_data(theirs):
    rewrite(record_of(theirs), lambda old: replace(old, dataset={**old.dataset, "qrels_sha256": "0" * 64}))


def unknown_data(theirs):
    path = theirs / "newcomer" / "beir" / "no-such-set.json"
    path.parent.mkdir()
    shutil.move(record_of(theirs), path)
    shutil.move(record_of(theirs).with_suffix(".trec"), path.with_suffix(".trec"))
    rewrite(path, lambda old: replace(old, dataset={**old.dataset, "name": "beir/no-such-set"}, run={**old.run, "file": "no-such-set.trec"}))


def same_again(theirs):
    from leaderboard.record.read import read

    rewrite(record_of(theirs), lambda old: replace(old, retriever={**read(theirs / "overlap" / f"{NAME}.json").content["retriever"]}))
    path = theirs / "overlap" / f"{NAME}@12345678.json"
    shutil.move(record_of(theirs), path)
    shutil.move(record_of(theirs).with_suffix(".trec"), path.with_name(record_of(theirs).with_suffix(".trec").name.replace("search", "search@1")))
    rewrite(path, lambda old: replace(old, run={**old.run, "file": "search@1.trec"}))


def cut(theirs):
    record_of(theirs).write_text(record_of(theirs).read_text()[:200])


def pack_badly(theirs):
    run = record_of(theirs).with_suffix(".trec")
    run.with_name(f"{run.name}.gz").write_bytes(gzip.compress(run.read_bytes())[:40])
    run.unlink()
    rewrite(record_of(theirs), lambda old: replace(old, run={**old.run, "file": f"{run.name}.gz"}))


def no_run(theirs):
    record_of(theirs).with_suffix(".trec").unlink()


def one_more(theirs):
    records.make(theirs, "another")


def a_script(theirs):
    (theirs / "setup.py").write_text("print('hello')")


def a_link(theirs):
    (theirs / "newcomer" / "more.json").symlink_to("/etc/hosts")


def a_linked_folder(theirs):
    (theirs / "linked").symlink_to(theirs.parent)


def a_change(theirs):
    with (theirs / "overlap" / f"{NAME}.trec").open("a") as file:
        file.write("\n")


def a_change_of_the_same_size(theirs):
    run = theirs / "overlap" / f"{NAME}.trec"
    run.write_bytes(run.read_bytes()[:-2] + b"x\n")


def a_loss(theirs):
    (theirs / "overlap" / f"{NAME}.json").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lie, "measures.Success@5: the run is worth 0.666667, the record says 0.000000"),
        (claim, "verification.level: wanted self-run or rescored, found 'imported'"),
        (claim_a_log, "verification.log: wanted entries of rescored alone"),
        (other_data, "dataset.qrels_sha256: lotte/science/test/search here has"),
        (unknown_data, "no dataset of that name is in"),
        (same_again, "is of the same system with the same settings; a repetition comes with --reproduces"),
        (cut, "search.json: "),
        (pack_badly, "run.sha256: the record says"),
        (no_run, "wanted one new record and its run, SYSTEM/DATASET.json and .trec beside it; found newcomer/"),
        (one_more, "wanted one new record and its run"),
        (a_script, "wanted one new record and its run"),
        (a_link, "newcomer/more.json is a link or no plain file"),
        (a_linked_folder, "linked is a link or no plain file"),
        (a_change, f"overlap/{NAME}.trec is changed"),
        (a_change_of_the_same_size, f"overlap/{NAME}.trec is changed"),
        (a_loss, f"overlap/{NAME}.json is taken away"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_what_is_not_one_honest_result_is_refused_with_a_reason(folders, change, message):
    theirs, ours = folders
    change(theirs)
    done = looked_at(theirs, ours)
    assert message in done.problems[0]
    assert done.answer.startswith("### Not taken as it is\n") and "docs/hand-in.md" in done.answer


def test_a_name_is_no_markdown(folders):
    theirs, ours = folders
    rewrite(record_of(theirs), lambda old: replace(old, retriever={**old.retriever, "name": "[x](http://evil)"}))
    answer = looked_at(theirs, ours).answer
    assert "\\[x\\]\\(http" in answer and "[x](http" not in answer


def test_only_a_published_dataset_is_fetched(folders):
    theirs, ours = folders
    unknown_data(theirs)
    fetched = []
    review(theirs, ours, DataPlaces(TINY, fetch=fetched.append), lambda line: None)
    assert fetched == []


def test_a_record_of_a_build_that_is_not_here_is_not_fetched_as_the_release(folders, tmp_path):
    theirs, ours = folders
    rewrite(record_of(theirs), lambda old: replace(old, dataset={**old.dataset, "source": "build:" + "0" * 64}))
    fetched = []
    done = review(theirs, ours, DataPlaces(tmp_path / "empty", fetch=fetched.append), lambda line: None)
    assert fetched == [] and "science/test" in done.problems[0]


def test_the_command_writes_the_answer_and_says_yes(folders, tmp_path):
    theirs, ours = folders
    done = board("review", theirs, "--results", ours, "--data", TINY, "--out", tmp_path / "answer.md")
    assert done.returncode == 0 and done.stdout == (tmp_path / "answer.md").read_text()


def test_the_command_says_no_with_one_line_and_an_answer(folders, tmp_path):
    theirs, ours = folders
    a_loss(theirs)
    done = board("review", theirs, "--results", ours, "--data", TINY, "--out", tmp_path / "answer.md")
    assert done.returncode == 1
    assert done.stderr == f"error: {theirs} is not accepted: overlap/{NAME}.json is taken away\n"
    assert (tmp_path / "answer.md").read_text().startswith("### Not taken as it is")


def workflow(name):
    yaml = pytest.importorskip("yaml", reason="needs lotte-bench[board]")
    return yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text())


def steps(name):
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def test_who_reads_what_a_fork_brings_may_write_nothing():
    made = workflow("record")
    assert made["permissions"] == {} and set(made["jobs"]["review"]["permissions"].values()) == {"read"}
    assert made["jobs"]["answer"]["permissions"] == {"pull-requests": "write"}
    assert not any("checkout" in step.get("uses", "") for step in made["jobs"]["answer"]["steps"])


def test_nothing_of_a_fork_is_run():
    """Its branch lies in theirs/, and no command goes there but the one that reads it."""
    runs = [step["run"] for step in workflow("record")["jobs"]["review"]["steps"] if "run" in step]
    assert [line for run in runs for line in run.splitlines() if "theirs" in line] == [
        "lotte board review theirs/results --results ours/results --data data --fetch --build sample --out answer/answer.md"
    ]


@pytest.mark.parametrize("name", ["record", "pages"])
def test_no_secret_and_no_words_of_a_stranger_are_in_a_command(name):
    assert "secrets." not in (WORKFLOWS / f"{name}.yml").read_text()
    assert not any("${{" in step.get("run", "") for step in steps(name))
    assert all(step["with"]["persist-credentials"] is False for step in steps(name) if "checkout" in step.get("uses", ""))


@pytest.mark.parametrize("name", ["record", "pages"])
def test_the_commands_of_a_workflow_are_ours(name, typed):
    commands = [line.strip() for step in steps(name) for line in step.get("run", "").splitlines() if line.strip().startswith("lotte ")]
    assert commands
    for command in commands:
        words = [word for word in command.split()[1:3] if not word.startswith("-") and word.isalpha()]
        asked = words[:2] if words[0] == "board" else words[:1]
        help_ = typed(*asked, "--help").stdout
        assert all(option in help_ for option in re.findall(r"--[a-z-]+", command)), command


def test_the_answer_is_json_free_of_paths_of_this_machine(folders):
    theirs, ours = folders
    cut(theirs)
    assert str(theirs) not in json.dumps(looked_at(theirs, ours).answer)


def test_a_record_of_a_build_is_scored_from_that_build(science_build, tmp_path):
    from leaderboard.evaluate import Order, evaluate
    from lotte import read
    from retrievers import load

    for folder, system in (("ours", "overlap"), ("theirs", "overlap"), ("theirs", "bm25")):
        (_,) = evaluate(system, load(system), read(science_build / "science" / "test" / "search"), Order(out=tmp_path / folder))
    for name in ("json", "trec"):  # which says when it was made
        path = f"overlap/lotte/science/test/search.{name}"
        shutil.copy(tmp_path / "ours" / path, tmp_path / "theirs" / path)
    where = DataPlaces(tmp_path / "empty", (science_build,))
    done = review(tmp_path / "theirs", tmp_path / "ours", where, lambda line: None)
    assert done.problems == () and "| overlap |" in done.answer
