"""Records as pandas has them."""

import pytest
import records
from made_records import made

import leaderboard
from lotte.errors import UnavailableError

pytest.importorskip("pandas", reason="needs lotte-bench[frames]")


@pytest.fixture
def folder(tmp_path):
    for system, values in (("bright", [1, 1, 0, 1]), ("dull", [0, 1, 0, 0])):
        made(system, "mine/test", values).write(tmp_path / system / "mine" / "test.json")
    return tmp_path


def test_a_record_is_a_row(folder):
    frame = leaderboard.results(folder)
    assert frame[["system", "dataset", "value"]].values.tolist() == [["bright", "mine/test", 0.75], ["dull", "mine/test", 0.25]]


def test_every_measure_of_a_real_record_is_a_column(tmp_path):
    records.make(tmp_path)
    (row,) = leaderboard.results(tmp_path).to_dict("records")
    assert row["measure"] == "Success@5" and row["value"] == row["Success@5"] and {"nDCG@10", "MRR@10", "R@100"} <= row.keys()
    assert row["low"] <= row["value"] <= row["high"] and row["documents"] == 4


def test_values_by_query_have_the_mean_of_the_record(folder):
    means = leaderboard.per_query(folder).groupby("system").value.mean()
    assert means.to_dict() == {"bright": 0.75, "dull": 0.25}


def test_one_dataset_and_another_measure_can_be_asked_for(tmp_path):
    records.make(tmp_path)
    frame = leaderboard.per_query(tmp_path, measure="nDCG@10", dataset=records.NAME)
    assert set(frame.measure) == {"nDCG@10"} and len(frame)
    assert len(leaderboard.per_query(tmp_path, dataset="another")) == 0


def test_no_record_is_a_frame_with_its_columns(tmp_path):
    assert "value" in leaderboard.results(tmp_path).columns and len(leaderboard.results(tmp_path)) == 0


def test_no_folder_is_one_line(tmp_path):
    with pytest.raises(UnavailableError, match="nowhere is not there; a folder of records is wanted"):
        leaderboard.results(tmp_path / "nowhere")


def test_a_file_that_is_no_record_is_left_out_with_a_line(folder, capsys):
    (folder / "broken.json").write_text("{")
    assert len(leaderboard.results(folder)) == 2
    assert "left out: " in capsys.readouterr().err
