"""Names that somebody wrote, and the files they may name."""

import pytest

from lotte.errors import MismatchError
from lotte.paths import inside


@pytest.mark.parametrize("name", ["bm25", "lotte/science/test/forum", "a b", "..hidden", "größe.tsv", "x@2016-09"])
def test_a_name_that_stays_inside_is_the_path_it_reads_as(name, tmp_path):
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../x", "it leads out of the folder"),
        ("a/../../x", "it leads out of the folder"),
        ("/etc/x", "it leads out of the folder"),
        ("a/./b", "a part of it is '.'"),
        ("a//b", "a part of it is ''"),
        ("", "a part of it is ''"),
        ("a\\..\\b", r"it has '\\' in it"),
        ("C:x", "it has ':' in it"),
        ("a\nb", r"it has '\n' in it"),
        ("a\x1b[2J", r"it has '\x1b' in it"),
        ("a\udcff", r"it has '\udcff' in it"),
        ("x" * 256, "it is longer than a file system takes"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused_with_the_reason(name, says, tmp_path):
    with pytest.raises(MismatchError) as raised:
        inside(tmp_path, name, "alias")
    assert str(raised.value).startswith("alias ") and str(raised.value).endswith(says)


@pytest.mark.parametrize("name", ["nul", "CON", "a/com1", "lpt9.json", "aux.tar.gz", "ends.", "ends ", "a. /b"])
def test_a_name_that_windows_gives_to_another_file_is_refused(name, tmp_path):
    with pytest.raises(MismatchError, match="is not a valid file name on Windows"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["null", "con-1", "console", "com10", ".hidden", "a.b", "my.nul"])
def test_a_name_that_only_looks_like_one_is_taken(name, tmp_path):
    assert inside(tmp_path, name) == tmp_path / name
