"""A suite runs each dataset once, goes on where it stopped, and averages nothing that is missing."""

import shutil
from math import fsum
from pathlib import Path

import pytest
from places import TINY

from leaderboard import catalogue, machine, suite
from leaderboard.evaluate import Order
from leaderboard.measure import parse
from leaderboard.record.read import read
from leaderboard.record.schema import Record
from lotte.errors import MismatchError, UnavailableError, UnknownNameError
from retrievers import load

KNOWN = {"commit": "a" * 40, "dirty": False}


def result(dataset: str, value: float, measure: str = "Success@5", level: str = "self-run") -> Record:
    return Record.of(
        created="2026-11-21T08:00:00+00:00",
        retriever={"name": "x"},
        dataset={"name": dataset, "source": "local", "counts": {}},
        measures={"official": measure, "aggregate": {measure: {"value": value}}, "per_query": {}},
        run={},
        cost={},
        platform={},
        implementation={},
        contamination=[],
        verification={"level": level},
    )


def test_suites_have_the_names_of_the_catalogue():
    known = set(catalogue.published())
    for name, count in [
        ("lotte", 12), ("beir", 17 + 12), ("openqa", 3), ("bright", 12), ("bright-long", 8), ("freshstack", 5),
        ("limit", 2), ("nanobeir", 13), ("decontaminated", 8),
    ]:  # fmt: skip
        names = suite.datasets(name)
        assert len(names) == len(set(names)) == count and set(names) <= known
    assert set(suite.datasets("paper")) <= known
    assert {"msmarco/dev", "msmarco/eval-local", "trecdl/2019", "treccar/test", "lotte/pooled/dev/forum"} <= set(
        suite.datasets("paper")
    )
    assert "beir/webis-touche2020/v1" not in suite.datasets("beir")
    with pytest.raises(UnknownNameError, match=r"no suite is named 'lote'; there are lotte, beir, .*, paper"):
        suite.datasets("lote")


def test_the_mean_of_lotte_is_of_five_topics_and_the_pool_is_not_in_it():
    values = dict(zip(suite.TOPICS, (0.801, 0.723, 0.567, 0.661, 0.847), strict=True))
    records = [result(f"lotte/{topic}/test/search", value) for topic, value in values.items()]
    records.append(result("lotte/pooled/test/search", 0.1))
    (found,) = suite.averages(records)
    assert (found.name, found.measure, found.parts, found.missing) == ("lotte/test/search", "Success@5", 5, ())
    assert found.value == pytest.approx(0.7198)


def test_a_mean_with_a_part_missing_is_no_number():
    found = suite.averages([result("openqa/nq", 0.7), result("openqa/squad", 0.6)])
    assert [(one.name, one.value, one.missing) for one in found] == [("openqa", None, ("openqa/tq",))]


def test_cqadupstack_counts_as_one_of_the_eighteen():
    names = suite.datasets("beir")
    values = {name: number / 100 for number, name in enumerate(names)}
    found = {one.name: one for one in suite.averages([result(name, values[name], "nDCG@10") for name in names])}
    forums = [value for name, value in values.items() if "cqadupstack" in name]
    single = [value for name, value in values.items() if "cqadupstack" not in name]
    assert found["beir/cqadupstack"].value == pytest.approx(fsum(forums) / 12)
    assert found["beir (18)"].value == pytest.approx((fsum(single) + fsum(forums) / 12) / 18)
    assert found["beir (18)"].parts == 18 and found["beir (13 of ColBERTv2)"].missing == ()


def test_an_average_takes_one_system_one_measure_and_nothing_imported():
    with pytest.raises(MismatchError, match="two records are of openqa/nq"):
        suite.averages([result("openqa/nq", 0.7), result("openqa/nq", 0.8)])
    with pytest.raises(MismatchError, match=r"openqa would be a mean of Success@5 and nDCG@10, which has no meaning"):
        suite.averages([result("openqa/nq", 0.7), result("openqa/tq", 0.8, "nDCG@10")])
    assert suite.averages([result("openqa/nq", 0.7, level="imported")]) == []


@pytest.fixture
def order(tmp_path: Path, monkeypatch) -> Order:
    monkeypatch.setattr(machine, "code", lambda: KNOWN)
    said: list[str] = []
    return Order(out=tmp_path / "results", say=said.append)


def said(order: Order) -> list[str]:
    return order.say.__self__


def test_what_is_finished_is_not_run_again(order):
    first = list(suite.run("lotte", "overlap", load("overlap"), order, TINY))
    assert [one.dataset.name for one in first] == ["lotte/science/test/search", "lotte/science/test/forum"]
    assert said(order)[0].startswith(f"not in {TINY}, so left out: lotte/writing/test/search, ")
    before = {path: path.stat().st_mtime_ns for path in order.out.rglob("*.*")}
    assert list(suite.run("lotte", "overlap", load("overlap"), order, TINY)) == first
    assert {path: path.stat().st_mtime_ns for path in order.out.rglob("*.*")} == before
    assert said(order)[-1] == "already finished: lotte/science/test/search, lotte/science/test/forum"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path, old: path.with_suffix(".trec").write_text(""), "run.sha256: the record says"),
        (lambda path, old: path.write_text("{"), "not JSON"),
        (lambda path, old: old.changed(dataset={**old.content["dataset"], "qrels_sha256": "0" * 64}).write(path), "qrels_sha256 differs"),
        (lambda path, old: old.changed(retriever={**old.content["retriever"], "options": {"lowercase": False}}).write(path), "an option differs"),
        (lambda path, old: old.changed(retriever={**old.content["retriever"], "search": {"k": 5}}).write(path), "k differs: its record has 5, but 1000 was requested"),
        (lambda path, old: old.changed(implementation={**old.content["implementation"], "commit": "b" * 40}).write(path), "it was made by commit bbbbbbbb, and this is aaaaaaaa"),
        (lambda path, old: old.changed(implementation={**old.content["implementation"], "dirty": True}, created="2001-01-01T00:00:00+00:00").write(path), "the code has changed since, and the change is in no commit"),
    ],
)  # fmt: skip
def test_what_is_not_the_same_is_run_again_and_says_why(order, spoil, why):
    list(suite.run("lotte", "overlap", load("overlap"), order, TINY))
    path = order.out / "overlap" / "lotte/science/test/search.json"
    good = read(path)
    spoil(path, good)
    found = list(suite.run("lotte", "overlap", load("overlap"), order, TINY))
    assert len(found) == 2 and read(path).measures == good.measures
    (line,) = [line for line in said(order) if line.startswith("lotte/science/test/search is run again: ")]
    assert why in line


def test_uncommitted_code_that_is_older_than_the_record_is_the_same_code(order, monkeypatch):
    list(suite.run("lotte", "overlap", load("overlap"), order, TINY))
    monkeypatch.setattr(machine, "code", lambda: {**KNOWN, "dirty": True})
    path = order.out / "overlap" / "lotte/science/test/search.json"
    read(path).changed(created="2999-01-01T00:00:00+00:00").write(path)
    list(suite.run("lotte", "overlap", load("overlap"), order, TINY))
    assert not any(line.startswith("lotte/science/test/search is run again") for line in said(order))


def test_a_measure_that_the_record_lacks_is_a_reason(order):
    list(suite.run("lotte", "overlap", load("overlap"), order, TINY))
    more = Order(out=order.out, say=order.say, measures=(parse("P@3"),))
    (first, _) = suite.run("lotte", "overlap", load("overlap"), more, TINY)
    assert "P@3" in first.measures.aggregate
    assert any("its record has no P@3" in line for line in said(order))


def test_a_suite_of_which_nothing_is_here_is_one_line(order, tmp_path):
    with pytest.raises(UnavailableError, match=r"none of the 3 datasets of 'openqa' is in .*; `lotte fetch` gets them"):
        list(suite.run("openqa", "overlap", load("overlap"), order, tmp_path))


def test_one_collection_is_indexed_once(order, tmp_path):
    """Search and forum ask one collection, whichever of them is left."""

    class Counting:
        def __init__(self) -> None:
            self.recipe, self.indexed = load("overlap"), 0

        def index(self, corpus, path):
            self.indexed += 1
            return self.recipe.index(corpus, path)

        def open(self, path):
            return self.recipe.open(path)

    system = Counting()
    assert len(list(suite.run("lotte", "counting", system, order, TINY))) == 2
    assert system.indexed == 1
    shutil.rmtree(order.out / "counting" / "lotte/science/test")
    assert len(list(suite.run("lotte", "counting", system, order, TINY))) == 2
    assert system.indexed == 2


def test_a_system_that_a_dataset_fits_is_finished_as_it_was_fitted(tmp_path, tiny):
    """Its record has the options that the dataset wants, or spells them another way."""
    from leaderboard.evaluate import evaluate

    system, order = load("hybrid", ["of=bm25 + overlap"]), Order(out=tmp_path)
    (record,) = evaluate("hybrid", system, [tiny], order)
    assert record.retriever.options["of"] == "bm25+overlap"
    done, left = suite.divide("hybrid", system, [tiny], order)
    assert ([one.id for one in done], left) == ([record.id], [])
