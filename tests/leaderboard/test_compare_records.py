"""Records are compared by their values of each query, and only those that belong together."""

import pytest
from made_scores import listed

from leaderboard.compare import (
    MOST,
    compare_macro,
    compare_values,
    table,
    tally,
)
from leaderboard.record.schema import Record
from lotte.errors import CorruptFileError, LotteError, MismatchError


def record(name="bm25", options=None, measures=None, values=(1.0, 0.0, 0.5), model=None, **dataset):
    said = {"official": "nDCG@10", "relevance_level": 1, "per_query": {"nDCG@10": {str(q): v for q, v in enumerate(values)}}}
    said |= measures or {}
    said["aggregate"] = {name: {"value": 0.5} for name in {said["official"], *said["per_query"]}}
    return Record.of(
        created="2026-11-21T08:00:00+00:00",
        retriever={"name": name, "options": options or {}, "model": model},
        dataset={
            "name": "beir/tiny", "source": "local", "counts": {},
            "corpus_sha256": "c" * 64, "queries_sha256": "d" * 64, "qrels_sha256": "e" * 64, **dataset,
        },
        measures=said,
        run={}, cost={}, platform={}, implementation={}, contamination=[], verification={"level": "self-run"},
    )  # fmt: skip


def test_records_are_compared_by_their_values_of_each_query():
    found = compare_values(table([record(), record("dense", values=(1.0, 1.0, 0.75))], "nDCG@10"))
    assert [(one.a, one.b, one.difference, one.losses, one.p) for one in found] == [
        ("bm25", "dense", pytest.approx(-1.25 / 3), 2, 0.5)
    ]


def test_systems_of_one_name_are_told_apart_by_the_options_that_differ():
    results = [record(options={"k1": 0.9, "b": 0.4}), record(options={"k1": 1.2, "b": 0.4}), record("dense")]
    assert list(table(results, "nDCG@10")) == ["bm25(k1=0.9)", "bm25(k1=1.2)", "dense"]
    assert list(table(results, "nDCG@10", names=["x", "y", "z"])) == ["x", "y", "z"]


def test_an_option_is_spelled_as_in_json():
    assert list(table([record(options={"lowercase": low}) for low in (True, False)], "nDCG@10")) == [
        "bm25(lowercase=true)", "bm25(lowercase=false)",
    ]  # fmt: skip


def test_two_models_under_one_name_are_told_apart():
    records = [record("dense", model={"id": "m", "sha256": digit * 64}) for digit in "ab"]
    assert list(table(records, "nDCG@10")) == ["dense(model sha256=aaaaaaaa)", "dense(model sha256=bbbbbbbb)"]


def test_less_than_two_records_have_no_pairs():
    assert compare_values(table([], "nDCG@10")) == compare_values(table([record()], "nDCG@10")) == ()


@pytest.mark.parametrize(
    ("results", "kind", "message"),
    [
        (
            [record(), record("dense", qrels_sha256="f" * 64)],
            MismatchError,
            "'dense' on beir/tiny has qrels_sha256 ffffffff, 'bm25' on beir/tiny has eeeeeeee; "
            "only records of the same dataset can be compared",
        ),
        (
            [record(corpus_sha256=None)],
            MismatchError,
            "'bm25' on beir/tiny has corpus_sha256 none, 'bm25' on beir/tiny has none; "
            "only records of the same dataset can be compared",
        ),
        (
            [record(), record("dense", measures={"relevance_level": 2, "per_query": {"nDCG@10": {}}})],
            MismatchError,
            "nDCG@10 of 'dense' counts grades from 2 as relevant, of 'bm25' from 1; score their runs again at one level",
        ),
        (
            [record(), record("dense", measures={"relevance_level": 1, "per_query": {"Success@5": {}, "AP": {}}})],
            MismatchError,
            "'dense' has no nDCG@10 for each query of beir/tiny; it has Success@5, AP",
        ),
        (
            [record(measures={"per_query": {}})],
            MismatchError,
            "'bm25' has no nDCG@10 for each query of beir/tiny; it has no measure",
        ),
        ([record(), record()], LotteError, "two records are of 'bm25' on beir/tiny; compare one of them"),
        (
            [record(), record("dense", values=(1.0, 0.0))],
            MismatchError,
            "'dense' has values of 2 queries and 'bm25' of 3; the first that only one has is '2'. "
            "Score both against the same judgments.",
        ),
    ],
)
def test_records_that_do_not_belong_together_are_refused(results, kind, message):
    with pytest.raises(kind) as raised:
        compare_values(table(results, "nDCG@10"))
    assert str(raised.value) == message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", None, 10**400], ids=str)
def test_a_value_that_is_no_number_is_refused(value):
    with pytest.raises(CorruptFileError) as raised:
        compare_values(listed([0.5, 0.5], [0.5, value]))
    assert str(raised.value) == (
        f"'b' has {value!r} for query '001', and a value is a finite number; score its run again"
    )


def test_too_few_queries_are_refused():
    with pytest.raises(LotteError, match=r"^there are too few queries to compare systems by: 1, and it takes 2$"):
        compare_values(listed([0.5], [0.7]))
    with pytest.raises(LotteError, match=r"^there are too few queries on x to compare systems by: 0, and it takes 2$"):
        compare_macro({"x": {"a": {}, "b": {}}})


def test_a_value_that_is_too_large_is_refused():
    with pytest.raises(LotteError, match=r"^a value of 1e\+09 over 2 queries is too large to be compared exactly; "):
        compare_values(listed([1e9, 0], [0, 0]))


def test_too_many_systems_are_refused():
    with pytest.raises(LotteError, match=r"^201 systems are too many to compare pair by pair; choose at most 200$"):
        compare_values({str(number): {"0": 0.0, "1": 0.0} for number in range(MOST + 1)})


def test_a_cell_that_was_not_run_is_not_averaged_away():
    one = listed([1, 0, 1], [0, 0, 1])
    with pytest.raises(MismatchError) as raised:
        compare_macro({"x": one, "y": {"a": one["a"]}})
    assert str(raised.value) == "'b' was not run on every dataset; a macro mean needs every system on each"


def test_a_query_of_no_group_is_refused():
    one = listed([1, 0, 1], [0, 0, 1])
    with pytest.raises(MismatchError, match="1 queries are in no group; the first is '002'"):
        tally(one["a"], one["b"], {"000": "x", "001": "x"})
