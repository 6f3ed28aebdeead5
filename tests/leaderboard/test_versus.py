"""What `lotte board compare` holds against each other: records of one dataset, or systems on what all of them have."""

import json

import pytest
from board import board
from records import NAME, make, replace, rewrite

from leaderboard import compare_rows
from leaderboard.compare import compare_values
from lotte.errors import LotteError, MismatchError


def give(path, dataset, values):
    """A record of another dataset with these values."""
    target = path.parents[3] / f"{dataset}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(path.read_bytes())
    per_query = {str(number): value for number, value in enumerate(values)}

    def change(old):
        measures = {"official": "Success@5", "relevance_level": 1, "per_query": {"Success@5": per_query},
                    "aggregate": {"Success@5": {"value": sum(values) / len(values)}}}  # fmt: skip
        return replace(old, dataset={**old.dataset, "name": dataset}, measures=measures)

    rewrite(target, change)


def test_two_records_are_compared_as_their_values_are(tmp_path):
    a, b = make(tmp_path, name="a"), make(tmp_path, name="b")
    (found,) = compare_rows.compare([a, b], "MRR@10")
    (pair,) = found.pairs
    assert (found.dataset, found.measure) == (NAME, "MRR@10")
    assert pair["difference"] == 0 and pair["p"] == pair["p_holm"] == 1 and pair["ties"] == 3
    assert [(row["rank"], row["system"], row["groups"]) for row in found.standings] == [(1, "a", "a"), (1, "b", "a")]


def test_folders_are_compared_on_what_both_have_and_then_on_the_mean(tmp_path):
    a, b = make(tmp_path, name="a"), make(tmp_path, name="b")
    better, worse = [1.0] * 30 + [0.0] * 10, [1.0] * 5 + [0.0] * 35
    give(a, "x", better), give(b, "x", worse), give(a, "only", better), give(a, "one", [1.0]), give(b, "one", [0.0])
    found = compare_rows.compare([tmp_path / "a", tmp_path / "b"])
    assert [one.dataset for one in found] == [NAME, "x", "mean of 2"]
    (pair,) = found[1].pairs
    values = {
        name: {str(number): value for number, value in enumerate(one)} for name, one in (("a", better), ("b", worse))
    }
    (known,) = compare_values(values)
    assert (pair["p"], pair["low"], pair["high"]) == (known.p, *known.ci95)
    assert [row["rank"] for row in found[1].standings] == [1, 2]
    (mean,) = found[2].pairs
    assert mean["difference"] == pytest.approx(0.625 / 2) and mean["queries"] == 43
    assert found[2].talk == (
        "not in all of them, so left out of the mean: only", "too few queries, so left out: one",
    )  # fmt: skip


def test_one_record_is_nothing_to_compare(tmp_path):
    with pytest.raises(LotteError, match="a comparison takes two records"):
        compare_rows.compare([make(tmp_path, name="a")])


def test_a_record_and_a_folder_are_not_compared(tmp_path):
    a, _ = make(tmp_path, name="a"), make(tmp_path, name="b")
    with pytest.raises(LotteError, match=r"is a folder and .* is not"):
        compare_rows.compare([a, tmp_path / "b"])


def test_records_of_other_judgments_are_not_compared(tmp_path):
    a, b = make(tmp_path, name="a"), make(tmp_path, name="b")
    rewrite(b, lambda old: replace(old, dataset={**old.dataset, "qrels_sha256": "f" * 64}))
    with pytest.raises(MismatchError, match="only records of the same dataset can be compared"):
        compare_rows.compare([a, b])


def test_folders_without_a_dataset_in_common_are_not_compared(tmp_path):
    make(tmp_path, name="a")
    (tmp_path / "c").mkdir()
    with pytest.raises(MismatchError, match="a and c have no dataset in common"):
        compare_rows.compare([tmp_path / "a", tmp_path / "c"])


def test_the_command_prints_ranks_and_pairs(tmp_path):
    a, b = make(tmp_path, name="a"), make(tmp_path, name="b")
    done = board("compare", a, b)
    assert done.stdout == (
        "dataset\tmeasure\trank\tsystem\tmean\tgroups\n"
        f"{NAME}\tSuccess@5\t1\ta\t0.6667\ta\n"
        f"{NAME}\tSuccess@5\t1\tb\t0.6667\ta\n\n"
        "dataset\tmeasure\ta\tb\tmean_a\tmean_b\tdifference\tlow\thigh\tp\tp_holm\tqueries\twins\tties\tlosses\n"
        f"{NAME}\tSuccess@5\ta\tb\t0.6667\t0.6667\t0.0000\t0.0000\t0.0000\t1.0000\t1.0000\t3\t0\t3\t0\n"
    )
    rows = [json.loads(line) for line in board("compare", a, b, "--json").stdout.splitlines()]
    assert [row["kind"] for row in rows] == ["standing", "standing", "pair"]
