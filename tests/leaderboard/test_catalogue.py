"""Names, patterns and folders lead to datasets, and a name nobody has leads to the nearest one."""

import shutil
from pathlib import Path

import pytest
from places import TINY

from leaderboard import catalogue
from lotte.errors import LotteError, UnavailableError, UnknownNameError


def named(*patterns: str, data: Path = TINY) -> list[str]:
    return [dataset.name for dataset in catalogue.match(patterns, data)[0]]


def test_a_name_is_one_dataset_and_a_pattern_all_that_fit_and_are_there():
    both = ["lotte/science/test/forum", "lotte/science/test/search"]
    assert named("lotte/science/test/search") == both[1:]
    assert named("lotte/*/test/*") == named("lotte/science/*") == both
    assert named("lotte/science/test/search", "lotte/*/*/*") == both[::-1]


def test_what_a_pattern_fits_and_this_disk_lacks_is_told():
    _, absent = catalogue.match(["lotte/*/test/forum"], TINY)
    assert absent == [
        f"lotte/{topic}/test/forum" for topic in ("lifestyle", "pooled", "recreation", "technology", "writing")
    ]


def test_a_topic_that_only_this_disk_has_counts_too(tmp_path):
    shutil.copytree(TINY / "science" / "test", tmp_path / "coffee" / "dev")
    assert named("lotte/coffee/*", data=tmp_path) == ["lotte/coffee/dev/forum", "lotte/coffee/dev/search"]
    assert "lotte/coffee/dev/forum" in catalogue.names(tmp_path)
    assert catalogue.on_disk(tmp_path) == ["lotte/coffee/dev/forum", "lotte/coffee/dev/search"]


def test_a_folder_stands_in_the_place_of_a_name():
    both = ["lotte/science/test/search", "lotte/science/test/forum"]
    assert named(str(TINY)) == named(str(TINY / "science" / "test")) == both
    assert named(str(TINY / "science" / "test" / "forum")) == both[1:]


@pytest.mark.parametrize(
    ("pattern", "kind", "message"),
    [
        (
            "lotte/sciense/test/forum",
            UnknownNameError,
            "no dataset is named 'lotte/sciense/test/forum'; did you mean 'lotte/science/test/forum'? "
            "`lotte list datasets` shows all 68",
        ),
        (
            "lotte/writing/dev/*",
            UnavailableError,
            f"none of the 2 datasets that 'lotte/writing/dev/*' fits is in {TINY}; "
            "`lotte build` makes them, or point --data at a copy",
        ),
        (
            "lotte/writing/dev/forum",
            UnavailableError,
            f"{TINY}/writing/dev/collection.tsv is not there. `lotte build` makes it, or point --data at a copy.",
        ),
    ],
)
def test_what_is_not_there_is_one_line(pattern, kind, message):
    with pytest.raises(kind) as raised:
        catalogue.match([pattern], TINY)
    assert str(raised.value) == message


def test_two_folders_of_one_name_are_not_mixed_up(tmp_path):
    shutil.copytree(TINY, tmp_path / "other")
    with pytest.raises(LotteError, match="lotte/science/test/search is asked for twice"):
        named(str(TINY), str(tmp_path / "other"))


def test_the_corpus_of_a_dataset_a_topic_or_a_folder():
    for pattern in (
        "lotte/science/test/forum",
        "lotte/science/test",
        "lotte/science/*",
        str(TINY / "science" / "test"),
    ):
        assert catalogue.corpus(pattern, TINY).path.samefile(TINY / "science" / "test" / "collection.tsv")


def test_an_index_is_of_one_corpus(tmp_path):
    for topic in ("a", "b"):
        shutil.copytree(TINY / "science" / "test", tmp_path / topic / "test")
    with pytest.raises(LotteError) as raised:
        catalogue.corpus("lotte/*/test", tmp_path)
    assert str(raised.value) == "lotte/*/test has 2 collections, and an index is made of one; name a dataset"
