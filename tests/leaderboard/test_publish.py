"""`lotte publish`: what others read, checked by their readers where they are installed, and the hub without a network."""

import inspect
import json
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
import records
from places import TINY

from leaderboard import published_results
from lotte import hub, publication, published_build, read
from lotte.errors import LotteError, MismatchError, UnavailableError


@pytest.fixture(scope="session")
def published(science_build, tmp_path_factory):
    return published_build.write(science_build, tmp_path_factory.mktemp("publish") / "handed-on")


def configs(folder):
    """Return the tables that the head of a card names: config -> split -> path."""
    yaml = pytest.importorskip("yaml", reason="needs lotte-bench[board]")
    head = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    return {one["config_name"]: {part["split"]: part["path"] for part in one["data_files"]} for one in head["configs"]}


def test_the_tables_have_what_the_build_has(science_build, published):
    for dataset in read(science_build / "science" / "test"):
        kind = dataset.name.rpartition("/")[2]
        data = published / "data" / "science" / "test"
        corpus, queries, qrels = (parquet.read_table(data / f"{name}.parquet").to_pylist() for name in ("corpus", f"{kind}-queries", f"{kind}-qrels"))
        assert [(row["_id"], row["title"], row["text"]) for row in corpus] == [(doc.doc_id, "", doc.text) for doc in dataset.corpus]
        assert {row["_id"]: row["text"] for row in queries} == dataset.queries
        assert {(row["query-id"], row["corpus-id"], row["score"]) for row in qrels} == {
            (query_id, doc_id, grade) for query_id, judged in dataset.qrels.items() for doc_id, grade in judged.items()
        }


def test_every_table_that_the_card_names_is_there(published):
    named = configs(published)
    assert {"science_search-corpus", "science_forum-qrels", "science-attribution"} <= named.keys()
    assert all((published / path).is_file() for files in named.values() for path in files.values())


def test_the_card_says_licence_counts_and_build(science_build, published):
    from lotte.builder.manifest import build_id
    from lotte.builder.manifest import read as read_manifest

    card = (published / "README.md").read_text()
    assert read_manifest(science_build)["licence"] in card and build_id(science_build) in card
    assert "| lotte/science/test/search | test | 75 | 17 | 49 | Success@5 |" in card


def test_checksums_are_those_of_the_files(published):
    sums = dict(reversed(line.split("  ")) for line in (published / "SHA256SUMS").read_text().splitlines())
    there = {path.relative_to(published).as_posix() for path in publication.files(published)}
    assert sums.keys() == there - {"SHA256SUMS", "meta.json"}
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=published).returncode == 0


def test_the_build_in_it_is_whole(typed, published):
    done = typed("check", published / "lotte")
    assert done.returncode == 0 and "all as the manifest says" in done.stderr


def test_the_same_build_is_the_same_bytes(science_build, published, tmp_path):
    again = published_build.write(science_build, tmp_path / "handed-on")
    assert (again / "SHA256SUMS").read_bytes() == (published / "SHA256SUMS").read_bytes()


def test_load_dataset_reads_it(published, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs lotte-bench[data]")
    cache = {"cache_dir": str(tmp_path)}
    queries = datasets.load_dataset(str(published), "science_forum-queries", split="test", **cache)
    assert len(queries) == 23 and queries.column_names == ["_id", "text"]


def test_a_collection_that_is_no_lotte_has_beirs_tables(tmp_path):
    folder = tmp_path / "mine"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "title": "T", "text": "salt"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "what?"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\n")
    out = published_build.write(folder, tmp_path / "out")
    assert configs(out) == {
        "corpus": {"test": "data/test/corpus.parquet"}, "queries": {"test": "data/test/queries.parquet"},
        "default": {"test": "data/test/qrels.parquet"},
    }  # fmt: skip


def test_a_build_that_was_changed_is_refused(science_build, tmp_path):
    shutil.copytree(science_build, tmp_path / "changed")
    with (tmp_path / "changed" / "science" / "test" / "collection.tsv").open("a") as file:
        file.write("75\tone more\n")
    with pytest.raises(LotteError, match=r"is not what its manifest says: changed\tscience/test/collection\.tsv"):
        published_build.write(tmp_path / "changed", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_stands_there_is_not_replaced_unless_it_is_an_older_one(science_build, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("a year of work")
    with pytest.raises(MismatchError, match="out exists and was not written by `lotte publish`"):
        published_build.write(science_build, out)
    (out / "thesis.tex").unlink()
    assert published_build.write(science_build, out) == published_build.write(science_build, out)


@pytest.fixture
def results(tmp_path):
    records.make(tmp_path / "results")
    return tmp_path / "results"


def test_records_go_with_their_runs_and_tables(results, tmp_path):
    out = published_results.write(results, tmp_path / "out")
    (row,) = parquet.read_table(out / "records.parquet").to_pylist()
    assert row["system"] == "overlap" and row["dataset"] == records.NAME and 0 <= row["value"] <= 1
    values = parquet.read_table(out / "per_query.parquet").to_pylist()
    assert {one["measure"] for one in values} == {"Success@5", "nDCG@10", "MRR@10", "R@100"}
    assert configs(out).keys() == {"records", "per_query"}
    assert (out / "results" / row["path"]).is_file()


def test_a_record_with_a_problem_is_not_handed_on(results, tmp_path):
    run = results / "overlap" / f"{records.NAME}.trec"
    run.write_text(run.read_text() + "\n")
    with pytest.raises(MismatchError, match=r"run\.sha256: .*; `lotte board verify .* --quick` lists all"):
        published_results.write(results, tmp_path / "out")


def test_pages_are_the_site(typed, results, tmp_path):
    done = typed("publish", results, "--to", "pages", "--out", tmp_path / "site")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'site' / 'index.html'}\n"), done.stderr
    assert (tmp_path / "site" / ".nojekyll").is_file() and "overlap" in (tmp_path / "site" / "index.html").read_text()


class Api:
    """The hub's client, as far as it is called: it notes what it is told, held to the client's own signatures."""

    def __init__(self, error=None):
        self.calls, self.error = [], error

    def __getattr__(self, name):
        from huggingface_hub import HfApi

        def call(*args, **more):
            inspect.signature(getattr(HfApi, name)).bind(self, *args, **more)
            if self.error:
                raise self.error
            self.calls.append((name, args, more))
            return type("Info", (), {"commit_url": "https://huggingface.co/datasets/me/mine/commit/1"})()

        return call


def test_the_hub_is_given_every_file_in_one_commit(results, tmp_path):
    pytest.importorskip("huggingface_hub", reason="needs lotte-bench[colbert]")
    folder, api = published_results.write(results, tmp_path / "out"), Api()
    assert hub.upload(folder, "me/mine", api).endswith("/commit/1")
    (create, _, how), (commit, (repo, operations), _) = api.calls
    assert (create, how) == ("create_repo", {"repo_type": "dataset", "exist_ok": True})
    assert (commit, repo) == ("create_commit", "me/mine")
    sent = {one.path_in_repo: Path(one.path_or_fileobj) for one in operations}
    assert sent == {path.relative_to(folder).as_posix(): path for path in publication.files(folder)}


def test_a_hub_that_cannot_be_reached_is_one_line(results, tmp_path):
    pytest.importorskip("huggingface_hub", reason="needs lotte-bench[colbert]")
    folder = published_results.write(results, tmp_path / "out")
    with pytest.raises(UnavailableError, match=r"^me/mine: the Hugging Face hub could not be reached, or refused \(no route to host\); `hf auth login`"):
        hub.upload(folder, "me/mine", Api(OSError("no route to host\nand more")))


def test_a_dry_run_lists_what_would_be_sent(typed, results):
    pytest.importorskip("huggingface_hub", reason="needs lotte-bench[colbert]")
    done = typed("publish", results, "--to", "hub", "--repo", "me/mine", "--dry-run", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"README.md", "SHA256SUMS", "records.parquet", f"results/overlap/{records.NAME}.json"} <= {row["path"] for row in rows}
    assert all(len(row["sha256"]) == 64 and row["bytes"] for row in rows)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--to", "folder"), "--to folder writes a folder: name it with --out, and leave out --repo and --dry-run"),
        (("--to", "pages", "--out", "x", "--dry-run"), "--to pages writes a folder: name it with --out, and leave out --repo and --dry-run"),
        (("--to", "hub"), "--to hub needs --repo owner/name"),
        (("--to", "hub", "--repo", "mine"), "--repo takes owner/name, as on the hub, not 'mine'"),
    ],
)  # fmt: skip
def test_words_that_do_not_go_together_are_one_line(typed, tmp_path, words, message):
    done = typed("publish", TINY, *words)
    assert (done.returncode, done.stderr) == (1, f"error: {message}\n")


def test_a_name_that_the_hub_does_not_take_is_one_line(typed):
    done = typed("publish", TINY, "--to", "hub", "--repo", "me/../mine")
    assert done.returncode == 1 and done.stderr.startswith("error: --repo: ") and done.stderr.count("\n") == 1


def test_a_folder_of_nothing_is_one_line(typed, tmp_path):
    done = typed("publish", tmp_path, "--to", "folder", "--out", tmp_path / "out")
    assert done.returncode == 1 and "holds no questions" in done.stderr and done.stderr.count("\n") == 1
    done = typed("publish", tmp_path / "nowhere", "--to", "folder", "--out", tmp_path / "out")
    assert done.stderr == f"error: {tmp_path / 'nowhere'} is not a folder; `lotte publish` takes a build, a collection or records\n"
