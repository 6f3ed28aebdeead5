"""The lines of a file are its rows, however an editor or a shell left its end."""

import gzip

import pytest

from lotte.collection import Collection, OwnIds
from lotte.errors import CorruptFileError
from lotte.line_index import LineIndex
from lotte.lines import lines

ENDS = ["", "\n", "\n\n", "\r\n\r\n", "\n \n", "\n\n  "]


def written(folder, text, ending=""):
    path = folder / f"file{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending else text.encode())
    return path


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("end", ENDS)
def test_blank_lines_at_the_end_are_no_rows(tmp_path, end, ending):
    path = written(tmp_path, f"a\tb\nc\td{end}", ending)
    assert list(lines(path)) == [(1, "a\tb"), (2, "c\td")]
    index = LineIndex(path)
    assert [index[row] for row in range(len(index))] == [b"a\tb", b"c\td"]


def test_a_blank_line_between_rows_is_a_row_with_its_number(tmp_path):
    path = written(tmp_path, "a\n\n\nb\n\n")
    assert list(lines(path)) == [(1, "a"), (2, ""), (3, ""), (4, "b")]
    assert len(LineIndex(path)) == 4


def test_a_file_of_blank_lines_has_no_rows(tmp_path):
    path = written(tmp_path, "\n\n\n")
    assert list(lines(path)) == [] and len(LineIndex(path)) == 0


def test_a_last_row_of_empty_fields_is_a_row(tmp_path):
    path = written(tmp_path, "d\ttext\n\t\n")
    assert list(lines(path))[1:] == [(2, "\t")] and len(LineIndex(path)) == 2
    with pytest.raises(CorruptFileError, match="file:2: the document id '' has no character"):
        OwnIds(path)


@pytest.mark.parametrize("end", ENDS)
def test_a_collection_ends_with_its_last_passage(tmp_path, end):
    assert [doc.text for doc in Collection(written(tmp_path, f"0\tone\n1\ttwo{end}"))] == ["one", "two"]
