"""The board takes a record only if its run, its dataset and itself say the same, and says in a line what does not."""

import gzip
import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from board import board
from command import error
from places import HOUSE, TINY
from records import NAME, make, replace, rewrite

from leaderboard.evaluate import Order
from leaderboard.record import submit
from leaderboard.record.audit import Report, audit
from leaderboard.record.loaded_dataset import LoadedDataset, find
from leaderboard.record.read import parsed, read
from leaderboard.record.schema import Record
from leaderboard.record.store import stem_of
from leaderboard.record.submit import RefusedError
from leaderboard.record.verify import inspect, rescore
from lotte.benchmarks.lotte import read as read_lotte
from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from lotte.run import Hit, Run


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return make(tmp_path / "mine")


@pytest.fixture
def truth() -> LoadedDataset:
    return LoadedDataset.of(read_lotte(TINY / "science" / "test", "search"))


def inspected(path: Path) -> list[str]:
    """What is wrong with a record that can be seen without its dataset."""
    record = parsed(path)
    return list(inspect(path, record)) if isinstance(record, Record) else record


def problems(path: Path, truth: LoadedDataset) -> list[str]:
    with pytest.raises(RefusedError) as raised:
        submit.add(path, path.parent / "nowhere", truth, by="me")
    assert not (path.parent / "nowhere").exists()
    return raised.value.problems


def test_a_record_that_matches_is_stored_with_its_run_and_a_log(tmp_path, record, truth):
    stored = submit.add(record, tmp_path / "results", truth, by="A. Nother")
    assert stored == tmp_path / "results" / "overlap" / f"{NAME}.json"
    result, mine = read(stored), read(record)
    assert result.changed(verification=mine.content["verification"]) == mine
    assert result.verification.level == "rescored"
    (entry,) = result.verification.log
    assert (entry["what"], entry["by"], entry["record"]) == ("rescored", "A. Nother", mine.id)
    assert stored.with_suffix(".trec").read_bytes() == record.with_suffix(".trec").read_bytes()
    assert {path.name for path in stored.parent.iterdir()} == {"search.json", "search.trec"}


def test_what_is_there_already_stays_as_it_is(tmp_path, record, truth):
    stored = submit.add(record, tmp_path / "results", truth, by="me")
    before = stored.read_bytes()
    assert submit.add(record, tmp_path / "results", truth, by="you") == stored
    assert submit.add(stored, tmp_path / "results", truth, by="you") == stored
    assert stored.read_bytes() == before


def test_the_same_settings_again_need_a_word_and_other_settings_a_place_of_their_own(tmp_path, record, truth):
    results = tmp_path / "results"
    first = submit.add(record, results, truth, by="me")
    again = make(tmp_path / "again")
    rewrite(again, lambda old: replace(old, created="2026-12-01T00:00:00+00:00"))
    with pytest.raises(MismatchError, match="has the same system and settings"):
        submit.add(again, results, truth, by="me")
    assert submit.add(again, results, truth, by="me", replacing=True) == first
    assert read(first).created == "2026-12-01T00:00:00+00:00"
    other = submit.add(make(tmp_path / "other", lowercase="false"), results, truth, by="me")
    assert other.parent == first.parent and other.name.startswith("search@") and other.suffix == ".json"
    assert read(other).run.file == f"{other.stem}.trec"
    report = Report()
    assert not list(audit(results, TINY, report))
    assert (report.records, report.rescored, report.bad) == (2, 2, 0)


def test_a_record_that_replaces_one_with_another_run_is_never_beside_the_wrong_run(tmp_path, record, truth):
    results = tmp_path / "results"
    stored = submit.add(record, results, truth, by="me")
    again = make(tmp_path / "again")
    run = again.with_suffix(".trec")
    run.write_text(run.read_text().replace("overlap", "another"))
    rewrite(
        again, lambda old: replace(old, created="2026", run={**old.run, "sha256": read(stored).run.sha256})
    )
    assert problems(again, truth) == [
        f"run.sha256: the record says {read(stored).run.sha256[:8]}, search.trec has {sha(run)}"
    ]
    rewrite(again, lambda old: replace(old, run={**old.run, "sha256": sha(run, 64)}))
    submit.add(again, results, truth, by="me", replacing=True)
    assert read(stored).run.file == f"search.{sha(run)}.trec"
    assert {path.name for path in stored.parent.iterdir()} == {"search.json", f"search.{sha(run)}.trec"}
    assert not list(inspect(stored, read(stored)))


def sha(path: Path, digits: int = 8) -> str:
    from lotte.artifact import sha256

    return sha256(path)[:digits]


def test_a_better_number_is_refused_even_if_the_record_agrees_with_itself(record, truth):
    def boast(old):
        values = {query_id: 1.0 for query_id in old.measures["per_query"]["Success@5"]}
        measures = {
            **old.measures,
            "per_query": {**old.measures["per_query"], "Success@5": values},
            "aggregate": {**old.measures["aggregate"], "Success@5": {"value": 1.0, "ci95": [1.0, 1.0]}},
        }
        return replace(old, measures=measures)

    rewrite(record, boast)
    assert problems(record, truth) == [
        "measures.Success@5: the run is worth 0.666667, the record says 1.000000; 1 queries differ: '2' 0.0000 and not 1.0000"
    ]


def test_a_mean_that_is_not_of_its_values_needs_no_dataset_to_be_seen(record):
    def boast(old):
        aggregate = {**old.measures["aggregate"], "MRR@10": {"value": 0.9, "ci95": [0, 1]}}
        return replace(old, measures={**old.measures, "aggregate": aggregate})

    rewrite(record, boast)
    assert inspected(record) == [
        "measures.aggregate.MRR@10: its values have the mean 0.666667, the record says 0.900000"
    ]


def test_an_interval_that_was_made_narrower_is_seen(record, truth):
    def boast(old):
        aggregate = {**old.measures["aggregate"]}
        aggregate["Success@5"] = {**aggregate["Success@5"], "ci95": [0.6, 0.7]}
        return replace(old, measures={**old.measures, "aggregate": aggregate})

    rewrite(record, boast)
    assert problems(record, truth) == [
        "measures.Success@5: the 95 % interval is 0.000000 to 1.000000, the record says [0.6, 0.7]"
    ]


def test_another_dataset_than_its_hashes_is_refused_with_both_hashes(record, truth):
    rewrite(
        record,
        lambda old: replace(
            old, dataset={**old.dataset, "corpus_sha256": "0" * 64, "counts": {**old.dataset["counts"], "documents": 5}}
        ),
    )
    assert problems(record, truth) == [
        f"dataset.corpus_sha256: {NAME} here has {truth.facts['corpus_sha256'][:8]}, the record 00000000",
        f"dataset.counts.documents: {NAME} here has 4, the record 5",
    ]


def test_a_record_that_claims_the_release_has_its_counts(record):
    rewrite(record, lambda old: replace(old, dataset={**old.dataset, "source": "release"}))
    assert inspected(record) == [
        f"dataset.counts.documents: {NAME} as published has 1,694,164, the record 4",
        f"dataset.counts.queries: {NAME} as published has 617, the record 3",
        f"dataset.counts.judgments: {NAME} as published has 1,738, the record 3",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("0 Q0 3 1 nan t\n", "score 'nan' is not a finite float32, so it has no order"),
        ("0 Q0 3 1 2.0 t\n0 Q0 3 2 1.0 t\n", "document '3' occurs a second time for query '0'; a ranking names a document once"),
        ("0 Q0 99 1 2.0 t\n", "document '99' is not in the collection; is this a run of another dataset?"),
        ("77 Q0 3 1 2.0 t\n", "query '77' is not one of the dataset's 3; is this a run of another dataset?"),
    ],
)  # fmt: skip
def test_a_bad_run_is_named_by_its_line(record, truth, line, problem):
    run = record.with_suffix(".trec")
    run.write_text(line)
    rewrite(record, lambda old: replace(old, run={**old.run, "sha256": sha(run, 64)}))
    (found,) = problems(record, truth)
    assert found == f"{run}:{line.count(chr(10))}: {problem}"


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "a/../../b", ".hidden", "<script>alert(1)</script>", "a b", "x\ny", "a\\b"]
)
def test_a_name_that_climbs_or_is_markup_is_refused(tmp_path, record, truth, name):
    rewrite(record, lambda old: replace(old, retriever={**old.retriever, "name": name}))
    if "/" in name and not name.startswith("<"):  # a system's name has no folders: they become underscores
        with suppress(CorruptFileError):
            assert stem_of(read(record)).parts[0] == name.replace("/", "__") and ".." not in stem_of(read(record)).parts
        return
    (found,) = problems(record, truth)
    assert found.startswith("the name of a system or dataset is made of letters, digits and ._+-, found ")
    rewrite(
        record,
        lambda old: replace(old, retriever={**old.retriever, "name": "x"}, dataset={**old.dataset, "name": name}),
    )
    assert inspected(record)


@pytest.mark.parametrize("file", ["../search.trec", "/etc/passwd", "..", "", None, 3, "a\\b", "gone.trec"])
def test_a_run_is_a_file_beside_its_record_and_nothing_else(record, file):
    if file is None:
        rewrite(record, lambda old: replace(old, run={**old.run, "file": None}))
        assert "run.file: wanted the name of a file beside the record, found None" in list(
            inspect(record, read(record))
        )
        return
    rewrite(record, lambda old: replace(old, run={**old.run, "file": file}))
    (found,) = inspected(record)
    assert found.startswith("run.file: ")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"run": []}, "run: wanted an object, found []"),
        ({"measures": {"official": 3, "aggregate": {}, "per_query": {}}}, "measures.official: wanted a text, found 3"),
        ({"dataset": {"name": "x", "source": "y"}}, "dataset.counts: wanted an object, found None"),
        ({"verification": {"level": "certified"}}, "verification.level: wanted one of self-run, rescored, reproduced, imported, found 'certified'"),
        ({"verification": {"level": "reproduced"}}, "verification.log: wanted who reproduced it, found nobody"),
        ({"contamination": {}}, "contamination: wanted a list, found {}"),
    ],
)  # fmt: skip
def test_a_record_of_the_wrong_shape_is_a_line(record, fields, problem):
    rewrite(record, lambda old: replace(old, **fields))
    assert inspected(record) == [problem]


def test_a_claim_to_be_reproduced_is_not_believed(tmp_path, record, truth):
    rewrite(record, lambda old: replace(old, verification={"level": "imported"}))
    stored = submit.add(record, tmp_path / "results", truth, by="me")
    assert read(stored).verification.level == "imported"  # and it never rises


def test_somebody_else_can_reproduce_a_record_and_the_difference_is_on_its_log(tmp_path, record, truth):
    results = tmp_path / "results"
    stored = submit.add(record, results, truth, by="me")
    with pytest.raises(MismatchError, match="itself, and no repetition"):
        submit.reproduce(record, stored, truth, by="you")
    again = make(tmp_path / "again")
    rewrite(again, lambda old: replace(old, created="2026-12-01T00:00:00+00:00"))
    with pytest.raises(MismatchError, match="was added by me, and a repetition must be by somebody else"):
        submit.reproduce(again, stored, truth, by="me")
    entry, agrees = submit.reproduce(again, stored, truth, by="you")
    assert agrees and entry["difference"]["Success@5"] == 0 and entry["same_values"] == 1
    result = read(stored)
    assert result.verification.level == "reproduced"
    assert [one["by"] for one in result.verification.log] == ["me", "you"]
    assert json.loads(gzip.decompress((stored.parent / entry["evidence"]).read_bytes()))["id"] == entry["record"]
    assert not list(inspect(stored, result))
    report = Report()
    assert not list(audit(results, TINY, report)) and report.records == 1
    (stored.parent / entry["run"]).unlink()
    assert list(inspect(stored, result)) == [
        f"verification.log: {entry['run']} of the repetition is not beside the record"
    ]


def test_a_repetition_that_differs_is_logged_and_raises_no_level(tmp_path, record, truth):
    stored = submit.add(record, tmp_path / "results", truth, by="me")
    again = make(tmp_path / "again", lowercase="false")
    with pytest.raises(MismatchError, match=r"not a repetition of .*: options was"):
        submit.reproduce(again, stored, truth, by="you")
    worse = make(tmp_path / "worse")
    run = worse.with_suffix(".trec")
    run.write_text("".join(line for line in run.read_text().splitlines(True) if not line.startswith("1 ")))
    order = Order(out=tmp_path / "scored")
    from leaderboard.evaluate import rescore as score

    dataset = read_lotte(TINY / "science" / "test", "search")
    scored = score(run, "overlap", dataset, order)
    rewrite(worse, lambda old: replace(old, measures=scored.content["measures"], run=scored.content["run"]))
    shutil.copy(tmp_path / "scored" / "overlap" / f"{NAME}.trec", run)
    entry, agrees = submit.reproduce(worse, stored, truth, by="you")
    assert not agrees and entry["what"] == "repeated, and differs"
    assert entry["difference"]["Success@5"] == pytest.approx(-1 / 3)
    assert read(stored).verification.level == "rescored" and len(read(stored).verification.log) == 2


def test_verify_lists_every_problem_of_every_record_and_says_what_was_not_checked(tmp_path):
    results = tmp_path / "results"
    make(results)
    make(results, name="loud")
    copy = results / "loud" / "lotte/science/test/forum.json"
    shutil.copy(results / "loud" / f"{NAME}.json", copy)
    (results / "notes.json").write_text('{"schema": "lotte-result/9"}')
    (results / "overlap" / f"{NAME}.trec").write_text("")
    (results / ".cache").mkdir()
    (results / ".cache" / "x.json").write_text("{")
    report = Report()
    found = list(audit(results, tmp_path / "nothing", report))
    assert [line.removeprefix(f"{results}/") for line in found] == [
        f"loud/lotte/science/test/forum.json: is of {NAME} by loud, and should stand at loud/{NAME}.json",
        f"loud/{NAME}.json: the same record as {copy}",
        "notes.json has schema 'lotte-result/9', this is 'lotte-result/1'. Run `lotte eval` again, or read it with the commit it names.",
        f"overlap/{NAME}.json: run.sha256: the record says {read(results / 'overlap' / f'{NAME}.json').run.sha256[:8]}, search.trec has e3b0c442",
    ]  # fmt: skip
    assert (report.records, report.rescored, report.bad) == (4, 0, 4)


def test_records_of_one_name_with_different_data_are_told_apart_without_the_dataset(tmp_path):
    results = tmp_path / "results"
    for name in ("overlap", "b", "c"):
        make(results, name=name)
    odd = results / "b" / f"{NAME}.json"
    rewrite(odd, lambda old: replace(old, dataset={**old.dataset, "qrels_sha256": "f" * 64}))
    there = read(results / "overlap" / f"{NAME}.json").dataset.qrels_sha256[:8]
    assert list(audit(results, TINY, Report(), quick=True)) == [
        f"{odd}: dataset.qrels_sha256: 2 other records of {NAME} (local) have {there}, this one ffffffff"
    ]


def test_a_dataset_is_found_by_the_name_in_its_record(tmp_path):
    assert find(NAME, TINY).name == NAME
    folder = tmp_path / "mini"
    shutil.copytree(TINY / "science" / "test", folder)
    (folder / "queries.test.tsv").write_text("0\twhy\n")
    (folder / "qrels.test.tsv").write_text("0 0 3 1\n")
    for name in ("questions.search.tsv", "qas.search.jsonl", "questions.forum.tsv", "qas.forum.jsonl"):
        (folder / name).unlink()
    assert find("mini/test", tmp_path).name == "mini/test"
    assert find("mini/test", folder).name == "mini/test"
    with pytest.raises(UnavailableError, match="no dataset of that name is in"):
        find("mini/dev", folder)


def test_a_deep_nesting_is_no_record(tmp_path):
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(CorruptFileError):
        read(tmp_path / "x.json")


def test_rescoring_goes_by_the_order_of_the_run(record, truth):
    assert not list(rescore(record, read(record), truth))
    assert Run({"0": (Hit("3", 1.0),)}).depth == 1


def test_the_commands_as_they_are_typed(tmp_path):
    make(tmp_path / "mine")
    done = board("add", "mine/overlap/lotte/science/test/search.json", "--by", "me", cwd=tmp_path, home=TINY)
    assert (done.returncode, done.stdout) == (0, f"results/overlap/{NAME}.json\n"), done.stderr
    done = board("verify", cwd=tmp_path, home=TINY)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "1 records: 1 without a problem, 0 with; 1 scored again from their runs\n"
    done = board("verify", "--data", tmp_path / "nowhere", cwd=tmp_path)
    assert done.stderr.splitlines()[1].startswith(f"1 not scored again: {NAME}: ")
    (tmp_path / "results" / "overlap" / f"{NAME}.trec").write_text("")
    done = board("verify", cwd=tmp_path, home=TINY)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stderr.splitlines()[-1] == "error: 1 of 1 records in results have problems, listed above"
    done = board("add", "results/overlap/lotte/science/test/search.json", cwd=tmp_path, home=TINY)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: 1 of 1 records refused; the reasons are listed above"
    assert board("verify", "nowhere", cwd=tmp_path).stderr == (
        "error: nowhere is not a folder of records; `lotte eval` and `lotte board add` make one\n"
    )


@pytest.mark.slow
def test_two_thousand_records_are_read_in_one_go(tmp_path):
    """None is lost, and one bad one among them is found."""
    source = make(tmp_path / "mine")
    for number in range(2_000):
        target = tmp_path / "results" / f"s{number}" / f"{NAME}.json"
        target.parent.mkdir(parents=True)
        shutil.copy(source.with_suffix(".trec"), target.with_suffix(".trec"))
        old = read(source)
        old.changed(retriever={**old.content["retriever"], "name": f"s{number}"}).write(target)
    (tmp_path / "results" / "s77" / f"{NAME}.trec").write_text("")
    report = Report()
    assert len(list(audit(tmp_path / "results", TINY, report, quick=True))) == 1
    assert report.records == 2_000


def test_the_board_asks_for_nothing_heavy_before_it_works():
    code = "import sys, leaderboard.cli.board; print(*({'numpy', 'torch', 'pandas', 'yaml'} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE
    )
    assert (done.returncode, done.stdout) == (0, "\n")


@pytest.mark.parametrize("words", [["add", "FOLDER"], ["add", "RECORD", "--reproduces", "FOLDER"], ["import", "FOLDER"]])
def test_a_folder_in_place_of_a_record_is_said_to_be_one(tmp_path, record, words):
    words = [{"FOLDER": str(tmp_path), "RECORD": str(record)}.get(word, word) for word in words]
    assert error("board", *words, "--data", TINY).startswith(f"{tmp_path} is a folder, but a file is needed; ")
