"""A dataset is fetched, from its own server or from Hugging Face, and marked as what it is."""

import hashlib
import json
from dataclasses import replace

import pyarrow
import pytest
from file_server import tree, zipped
from pyarrow import parquet

from lotte import download, huggingface
from lotte.benchmarks import beir
from lotte.errors import CorruptFileError, LotteError, UnavailableError, UnknownNameError
from lotte.release import Hub

FILES = [
    ("scifact/corpus.jsonl", b'{"_id": "a", "title": "T", "text": "x"}\n'),
    ("scifact/queries.jsonl", b'{"_id": "q", "text": "asked"}\n'),
    ("scifact/qrels/test.tsv", b"query-id\tcorpus-id\tscore\nq\ta\t1\n"),
    ("scifact/qrels/train.tsv", b"query-id\tcorpus-id\tscore\n"),
]


def small(monkeypatch, server, members=FILES, **changed):
    """Make SciFact a set of one document, at this server."""
    server.content = zipped(members)
    name = "scifact"
    md5 = hashlib.md5(server.content).hexdigest()
    file = replace(beir._zip(name), urls=(f"{server.url}.zip",), size=len(server.content), md5=md5)
    release = replace(
        beir.release(name),
        files=((replace(file, **changed),),),
        hub=None,
        counts=replace(beir.release(name).counts, documents=1, queries=1, judgments=1),
    )
    monkeypatch.setattr(beir, "release", lambda name: release)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    return release


def test_a_dataset_is_fetched_marked_and_read_as_the_release(monkeypatch, server, tmp_path):
    small(monkeypatch, server)
    assert download.fetch("beir/scifact", tmp_path) == tmp_path / "beir" / "scifact"
    dataset = beir.load("scifact", tmp_path)
    assert (dataset.source, dataset.facts["counts"]) == ("release", "those of the release")
    mark = json.loads((tmp_path / "beir" / "scifact" / "source.json").read_text())["files"]["qrels/test.tsv"]
    assert (mark["source"], mark["url"], mark["bytes"]) == ("release", f"{server.url}.zip", 31)
    assert not tree(tmp_path / ".downloads")
    download.fetch("beir/scifact", tmp_path)
    assert len(server.asked) == 1  # nothing is fetched twice


def test_what_lies_there_already_is_not_written_over(monkeypatch, server, tmp_path):
    small(monkeypatch, server)
    own = tmp_path / "beir" / "scifact" / "corpus.jsonl"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(LotteError) as raised:
        download.fetch("beir/scifact", tmp_path)
    assert str(raised.value) == f"{own} already exists and was not fetched; move it away, then fetch again"
    assert own.read_text() == "mine" and server.asked == []


def test_an_archive_of_something_else_makes_no_release(monkeypatch, server, tmp_path):
    small(monkeypatch, server, FILES[:2])
    with pytest.raises(CorruptFileError, match=r"does not hold beir/scifact/qrels/test.tsv"):
        download.fetch("beir/scifact", tmp_path)
    assert not (tmp_path / "beir" / "scifact" / "source.json").exists()


def test_what_comes_with_another_hash_is_no_release(monkeypatch, server, tmp_path):
    small(monkeypatch, server, md5="0" * 32)
    with pytest.raises(CorruptFileError, match="its md5 is"):
        download.fetch("beir/scifact", tmp_path)
    assert not (tmp_path / "beir").exists()


def test_the_next_way_is_tried_and_told_of(monkeypatch, server, tmp_path):
    release = small(monkeypatch, server)
    ((file,),) = release.files
    lost = replace(file, urls=("http://127.0.0.1:9/lost.zip",))
    monkeypatch.setattr(beir, "release", lambda name: replace(release, files=((lost,), (file,))))
    told = []
    download.fetch("beir/scifact", tmp_path, say=told.append)
    assert len(told) == 1 and told[0].startswith("lost.zip could not be fetched (http://127.0.0.1:9/lost.zip: ")


def test_what_is_not_public_says_where_to_get_it(tmp_path):
    with pytest.raises(UnavailableError, match=r"beir/trec-news cannot be downloaded\. It is not public: ask NIST"):
        download.fetch("beir/trec-news", tmp_path)


def test_a_name_of_no_dataset_is_told_what_is_like_it(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'beir/scifact'"):
        download.fetch("beir/scifat", tmp_path)
    with pytest.raises(UnknownNameError, match="no dataset is named 'nothing'"):
        download.fetch("nothing", tmp_path)


ROWS = {
    "corpus": [{"_id": "a", "title": "T", "text": "x", "metadata": None}, {"_id": "b", "title": None, "text": "y\u2028z"}],
    "queries": [{"_id": "q", "text": "asked"}],
    "qrels": [{"query-id": "q", "corpus-id": "a", "score": 1.0}],
}  # fmt: skip


def test_tables_in_parquet_and_json_lines_make_beirs_layout(tmp_path):
    for name, rows in ROWS.items():
        (tmp_path / name).mkdir()
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name / "part-0.parquet")
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for ending in ("", ".jsonl"):
        folder = tmp_path / f"made{ending}" / "scifact"
        beir.write(folder, {name: huggingface.rows(tmp_path / f"{name}{ending}") for name in ROWS})
        dataset = beir.read(folder, "beir/scifact")
        assert [doc.text for doc in dataset.corpus] == ["T x", "y\u2028z"]
        assert (dataset.queries, dataset.qrels) == ({"q": "asked"}, {"q": {"a": 1}})


def test_a_row_without_a_text_is_named(tmp_path):
    with pytest.raises(CorruptFileError, match="queries: a row has no 'text'; it has '_id'"):
        beir.write(tmp_path / "bad", {**ROWS, "queries": [{"_id": "q"}]})


def test_a_damaged_parquet_is_named(tmp_path):
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(CorruptFileError, match=r"no.parquet: the file is truncated or damaged"):
        list(huggingface.rows(tmp_path / "no.parquet"))


class Package:
    """Stands where the package `datasets` stands, with the functions that are called."""

    asked: list[tuple[str, str, str, str]]

    def __init__(self):
        self.asked = []

    def get_dataset_split_names(self, repo, config, *, revision):
        return {"corpus": ["corpus"], "queries": ["queries"], "default": ["train", "test"]}[config]

    def load_dataset(self, repo, config, *, split, revision):
        self.asked.append((repo, config, split, revision))
        if repo == "gone":
            raise RuntimeError("no such set\nand much more")
        return ROWS[{"corpus": "corpus", "queries": "queries", "default": "qrels"}[config]]


def test_a_set_comes_from_hugging_face_at_its_revision(monkeypatch, tmp_path):
    package = Package()
    monkeypatch.setattr(huggingface.extras, "package", lambda name, what: package)
    monkeypatch.setattr(huggingface, "is_installed", lambda: True)
    release = replace(beir.release("scifact"), files=(), counts=replace(beir.release("scifact").counts, documents=2, queries=1, judgments=1))  # fmt: skip
    monkeypatch.setattr(beir, "release", lambda name: release)
    download.fetch("beir/scifact", tmp_path)
    revision = "d56462d0e63a25450459c4f213e49ffdb866f7f9"
    assert package.asked == [
        ("mteb/scifact", config, split, revision)
        for config, split in (("corpus", "corpus"), ("queries", "queries"), ("default", "test"))
    ]
    assert beir.load("scifact", tmp_path).source == f"huggingface:mteb/scifact@{revision}"


def test_a_set_that_hugging_face_does_not_have_is_one_line(monkeypatch):
    monkeypatch.setattr(huggingface.extras, "package", lambda name, what: Package())
    with pytest.raises(UnavailableError, match=r"gone at abc: corpus/corpus could not be loaded \(no such set\)"):
        huggingface.tables(Hub(repo="gone", revision="abc", configs={"corpus": ("corpus", "corpus")}))


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    if huggingface.is_installed():
        pytest.skip("the package datasets is installed")
    with pytest.raises(UnavailableError, match=r"mteb/nq needs datasets, .*: pip install 'lotte-bench\[data\]'"):
        huggingface.tables(beir.release("nq").hub)
