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
            "`lotte list datasets` shows all 117",
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
    with pytest.raises(LotteError, match="lotte/science/test/search was named twice"):
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


SPLITS = {
    "corpus.jsonl": '{"_id": 1, "text": "one"}\n{"_id": 2, "title": null, "text": "two"}\n',
    "queries.jsonl": '{"_id": 7, "text": "seven"}\n{"_id": 8, "text": "eight"}\n',
    "qrels/dev.tsv": "query-id\tcorpus-id\tscore\n7\t1\t1.0\n",
    "qrels/train.tsv": "query-id\tcorpus-id\tscore\n8\t2\t1\n",
}


def beir_folder(folder: Path, files: dict[str, str] = SPLITS) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_split_of_a_beir_folder_is_asked_for_by_name(tmp_path):
    beir_folder(tmp_path / "beir" / "mine")
    assert named("beir/mine/dev", "beir/mine/train", data=tmp_path) == ["beir/mine/dev", "beir/mine/train"]
    (dev,) = catalogue.match(["beir/mine/dev"], tmp_path)[0]
    assert (dev.queries, dev.qrels, dev.facts["split"]) == ({"7": "seven"}, {"7": {"1": 1}}, "dev")


def test_no_pattern_fits_a_further_split_but_one_that_ends_in_it(tmp_path):
    test = {"qrels/test.tsv": "query-id\tcorpus-id\tscore\n7\t2\t1\n"}
    beir_folder(tmp_path / "beir" / "mine", {**SPLITS, **test})
    assert named("beir/*", data=tmp_path) == ["beir/mine"] == catalogue.on_disk(tmp_path)
    assert named("beir/*/train", data=tmp_path) == ["beir/mine/train"]


def test_a_split_that_a_folder_lacks_says_what_it_has(tmp_path):
    beir_folder(tmp_path / "beir" / "mine")
    with pytest.raises(UnavailableError, match=r"beir/mine/qrels/test.tsv is not there; it has the splits dev, train"):
        catalogue.load("beir/mine/test", tmp_path)


def test_a_beir_folder_is_read_by_its_best_split_or_the_one_that_is_named(tmp_path):
    folder = beir_folder(tmp_path / "mine")
    assert named(str(folder)) == ["beir/mine/dev"]
    assert named(str(folder / "train")) == ["beir/mine/train"]


def test_a_published_split_is_fetched_by_its_name(tmp_path):
    release = catalogue.release("beir/fiqa/dev")
    assert (release.counts.queries, release.counts.judgments) == (500, 1_238)
    assert release.needs == {"beir/fiqa": ("corpus.jsonl", "queries.jsonl", "qrels/dev.tsv")}
    with pytest.raises(UnavailableError, match="`lotte fetch beir/fiqa/dev` downloads it"):
        catalogue.match(["beir/fiqa/dev"], tmp_path)


def test_judgments_in_json_lines_are_read(tmp_path):
    files = {name: text for name, text in SPLITS.items() if "qrels" not in name}
    files["qrels.jsonl"] = '{"query-id": 7, "corpus-id": "2", "score": 1.0}\n\n'
    (dataset,) = catalogue.match([str(beir_folder(tmp_path / "mine", files))], tmp_path)[0]
    assert (dataset.name, dataset.qrels) == ("beir/mine", {"7": {"2": 1}})
