"""Parquet files that are damaged, or hold something else: one line."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lotte import parquet
from lotte.errors import CorruptFileError, LotteError, UnavailableError


@pytest.fixture
def path(tmp_path):
    pq.write_table(pa.table({"site": ["a", "b"] * 50, "post_id": range(100)}), tmp_path / "x.parquet")
    return tmp_path / "x.parquet"


def test_columns_are_read(path):
    assert parquet.columns(path, {"post_id": int})["post_id"] == list(range(100))


@pytest.mark.parametrize("end", range(0, 400, 7))
def test_a_file_cut_anywhere_is_one_line(end, path):
    path.write_bytes(path.read_bytes()[: -1 - end])
    with pytest.raises(CorruptFileError, match="is truncated or damaged") as raised:
        parquet.columns(path, {"site": str})
    assert "\n" not in str(raised.value)


def test_a_flipped_byte_is_one_line_or_harmless(path):
    sound = path.read_bytes()
    for at in range(0, len(sound), 3):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 0x55]) + sound[at + 1 :])
        try:
            assert len(parquet.columns(path, {"site": str, "post_id": int})["site"]) >= 0
        except LotteError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"site": ["a"]}, "has no column 'post_id', but 'site'"),
        ({"site": [1], "post_id": [1]}, "column 'site' must hold str, found int64"),
        ({"site": [None, "a"], "post_id": [1, 2]}, "column 'site' must hold str, found nothing in a row"),
        ({"site": ["a"], "post_id": [1.5]}, "column 'post_id' must hold int, found double"),
    ],
)
def test_other_columns_are_named(table, says, path):
    pq.write_table(pa.table(table), path)
    with pytest.raises(CorruptFileError) as raised:
        parquet.columns(path, {"site": str, "post_id": int})
    assert str(raised.value) == f"{path}: {says}"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UnavailableError, match="is not there"):
        parquet.columns(tmp_path / "x.parquet", {"site": str})
