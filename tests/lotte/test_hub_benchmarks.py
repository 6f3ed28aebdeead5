"""BRIGHT, FreshStack, LIMIT and NanoBEIR come as tables, are written in one layout, and read by their authors' rules."""

from dataclasses import replace

import pyarrow
import pytest
from pyarrow import parquet

from leaderboard.evaluate import Order, rescore
from leaderboard.measure import parse, scores
from leaderboard.nuggets import alpha_ndcg, coverage
from lotte import Run, beir_folder, download, huggingface
from lotte.beir_folder import FILES
from lotte.benchmarks import beir, bright, freshstack, limit, nanobeir
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError
from lotte.release import Hub, ReleaseCounts, mark

BRIGHT = {
    "documents": [{"id": f"d {number}", "content": f"text {number}"} for number in range(4)],
    "examples": [
        {"id": "0", "query": "why", "gold_ids": ["d 1"], "gold_ids_long": ["d 2"], "excluded_ids": ["d 0", "d 0", "d 3"]},
        {"id": "1", "query": "how", "gold_ids": ["d 2"], "gold_ids_long": ["d 2"], "excluded_ids": ["N/A"]},
    ],
}  # fmt: skip


def counted(monkeypatch, module, name, **counts):
    """Make a published set one of so many documents."""
    release = replace(module.release(name), counts=ReleaseCounts(**counts))
    monkeypatch.setattr(module, "release", lambda name: release)
    return release


def written(module, name, folder, tables):
    module.write(folder, tables, name)
    return beir_folder.read(folder, "made/set", measure=module.release(name).measure)


def test_bright_leaves_out_the_documents_that_a_question_names(tmp_path):
    dataset = written(bright, "aops", tmp_path / "bright" / "aops", BRIGHT)
    assert dataset.excluded == {"0": {"d%200", "d%203"}} and dataset.qrels == {"0": {"d%201": 1}, "1": {"d%202": 1}}
    assert dataset.facts["excluded"] == "2 pairs are left out of rankings, as its authors do"
    run = Run.of_ranks({"0": ["d%200", "d%203", "d%201"], "1": ["d%200", "d%202"]})
    scored = dataset.scored_part(run)
    assert (scored.doc_ids("0"), scored.doc_ids("1")) == (["d%201"], ["d%200", "d%202"])
    assert dataset.deep_enough(10) == 12


def test_bright_of_whole_pages_has_judgments_of_its_own(tmp_path):
    assert written(bright, "biology-long", tmp_path / "b", BRIGHT).qrels == {"0": {"d%202": 1}, "1": {"d%202": 1}}


def test_a_document_that_is_left_out_and_relevant_is_refused(tmp_path):
    wrong = {**BRIGHT, "examples": [{**BRIGHT["examples"][0], "excluded_ids": ["d 1"]}]}
    with pytest.raises(CorruptFileError, match=r"excluded/test.tsv:2: document 'd%201' is left out for query '0', and is"):
        written(bright, "aops", tmp_path / "b", wrong)


def test_rankings_are_scored_without_what_is_left_out(tmp_path, monkeypatch):
    dataset = written(bright, "aops", tmp_path / "data", BRIGHT)
    (tmp_path / "theirs.trec").write_text("0 Q0 d%200 1 9 t\n0 Q0 d%201 2 8 t\n1 Q0 d%202 1 9 t\n")
    record = rescore(tmp_path / "theirs.trec", "theirs", dataset, Order(out=tmp_path / "out"))
    assert record.value == 1.0


FRESHSTACK = {
    "corpus": [{"_id": f"repo/my file{number}.md_0_9", "title": "", "text": f"text {number}"} for number in range(4)],
    "questions": [
        {"query_id": "77", "query_title": "T", "query_text": "body", "nuggets": [
            {"_id": "77_0", "text": "a", "relevant_corpus_ids": ["repo/my file0.md_0_9", "repo/my file1.md_0_9"], "non_relevant_corpus_ids": ["repo/my file3.md_0_9"]},
            {"_id": "77_1", "text": "b", "relevant_corpus_ids": ["repo/my file0.md_0_9"], "non_relevant_corpus_ids": []},
            {"_id": "77_2", "text": "c", "relevant_corpus_ids": [], "non_relevant_corpus_ids": ["repo/my file1.md_0_9"]},
        ]},
    ],
}  # fmt: skip


def path(number):
    return f"repo/my%20file{number}.md_0_9"


def test_freshstack_has_judgments_of_questions_and_of_nuggets(tmp_path):
    dataset = written(freshstack, "yolo", tmp_path / "f", FRESHSTACK)
    assert dataset.queries == {"77": "T body"} and dataset.qrels == {"77": {path(0): 2, path(1): 1, path(3): 0}}
    assert dataset.nuggets == {"77": {"77_0": {path(0), path(1)}, "77_1": {path(0)}, "77_2": set()}}
    run = Run.of_ranks({"77": [path(1), path(0)]})
    names = ("alpha-nDCG@10", "Coverage@20", "Coverage@1", "R@50")
    found = scores(run, dataset.qrels, map(parse, names), parts=dataset.nuggets)
    assert {str(measure): round(values["77"], 4) for measure, values in found.items()} == {
        "alpha-nDCG@10": 0.8406, "Coverage@20": 0.6667, "Coverage@1": 0.3333, "R@50": 1.0,
    }  # fmt: skip


def test_a_measure_of_nuggets_wants_nuggets():
    with pytest.raises(MismatchError, match="Coverage@20 is a measure of nuggets, and the dataset has none"):
        scores(Run.of_ranks({"q": ["a"]}), {"q": {"a": 1}}, [parse("Coverage@20")])


def test_of_documents_that_gain_the_same_the_best_order_takes_the_last_by_id():
    """As ndeval does, computed with pyndeval 0.0.8: another order has another ideal gain."""
    nuggets = {"a": ["2", "6", "0", "1"], "b": ["5"], "c": ["6", "7"], "d": [], "e": ["5", "2", "0", "1"]}
    assert alpha_ndcg(["y", "7", "0", "2", "6", "4", "z", "x"], nuggets, 5) == pytest.approx(0.5638834404749596)
    assert alpha_ndcg([], nuggets, 5) == alpha_ndcg(["2"], {}, 5) == coverage(["2"], {}, 5) == 0.0


def test_nuggets_of_a_question_without_judgments_are_refused(tmp_path):
    freshstack.write(tmp_path, FRESHSTACK, "yolo")
    with (tmp_path / "nuggets" / "test.tsv").open("a") as file:
        file.write("78\t78_0\tx\t1\n")
    with pytest.raises(CorruptFileError, match=r"nuggets/test.tsv:7: query .78. has no judgment"):
        beir_folder.read(tmp_path, "made/set")


NANO = {
    "corpus": [{"_id": "a", "text": "x"}, {"_id": "b", "text": "y"}],
    "queries": [{"_id": "q", "text": "asked"}],
    "qrels": [{"query-id": "q", "corpus-id": "a"}],
}


def packed(tmp_path, rows):
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "table")
    return (tmp_path / "table").read_bytes()


def test_tables_are_downloaded_held_to_their_md5_and_written(monkeypatch, tmp_path, server):
    """The files as a server has them, whose hash is known."""
    import hashlib

    release = counted(monkeypatch, nanobeir, "nq", documents=2, queries=1, judgments=1)
    tables = {}
    for table, file in release.tables.items():
        content = packed(tmp_path, NANO[table])
        server.files[f"/a/{table}"] = content
        address = f"{server.url.rpartition('/')[0]}/{table}"
        tables[table] = replace(file, urls=(address,), md5=hashlib.md5(content).hexdigest())
    monkeypatch.setattr(nanobeir, "release", lambda name: replace(release, tables=tables))
    download.fetch("nanobeir/nq", tmp_path)
    dataset = nanobeir.load("nq", tmp_path)
    assert (dataset.source, dataset.qrels, dataset.facts["counts"]) == ("release", {"q": {"a": 1}}, "those of the release")
    other = {**tables, "qrels": replace(tables["qrels"], md5="0" * 32)}
    monkeypatch.setattr(nanobeir, "release", lambda name: replace(release, tables=other))
    monkeypatch.setattr(download, "PAUSE", 0.0)
    with pytest.raises(CorruptFileError, match=r"qrels.parquet could not be fetched .*: its md5 is"):
        download.fetch("nanobeir/nq", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "nanobeir").exists()


class Hubs:
    """Stands where the packages `datasets` and `huggingface_hub` stand."""

    def __init__(self, tables, *, splits=None, sha="f" * 40):
        self.tables, self.splits, self.sha, self.asked = tables, splits or {}, sha, []

    def HfApi(self):  # as the package calls it
        return self

    def dataset_info(self, repo):
        if not self.sha:
            raise OSError("Network is unreachable")
        return self

    def get_dataset_split_names(self, repo, config, *, revision):
        if config not in self.splits:
            raise ValueError(f"BuilderConfig {config!r} not found")
        return self.splits[config]

    def load_dataset(self, repo, config, *, split, revision):
        self.asked.append((repo, config, split, revision))
        return self.tables[config if config in self.tables else "corpus" if "corpus" in repo else "questions"]


def put_in_place(monkeypatch, package):
    monkeypatch.setattr(huggingface.extras, "package", lambda name, what: package)
    return package


def test_limit_comes_at_the_revision_that_is_published(monkeypatch, tmp_path):
    counted(monkeypatch, limit, "small", documents=2, queries=1, judgments=1)
    splits = {"corpus": ["corpus"], "queries": ["queries"], "qrels": ["test"]}
    hub = put_in_place(monkeypatch, Hubs(NANO, splits=splits))
    download.fetch("limit/small", tmp_path)
    revision = "ff4a8f2476ae77476c1912f1f3cb5bb5f2d766d4"
    assert hub.asked[-1] == ("orionweller/LIMIT-small", "qrels", "test", revision)  # it has no configuration "default"
    dataset = limit.load("small", tmp_path)
    assert (dataset.name, dataset.measure) == ("limit/small", "R@2")
    assert dataset.source == f"huggingface:orionweller/LIMIT-small@{revision}"


def test_a_table_with_one_split_is_taken_whatever_it_is_called(monkeypatch):
    hub = put_in_place(monkeypatch, Hubs(NANO, splits={"corpus": ["train"]}))
    huggingface.tables(Hub(repo="r", revision="abc", configs={"corpus": ("corpus", "corpus")}))
    assert hub.asked == [("r", "corpus", "train", "abc")]


def test_where_no_revision_is_published_the_newest_is_taken_and_written_down(monkeypatch, tmp_path):
    counted(monkeypatch, freshstack, "yolo", documents=4, queries=1)
    hub = put_in_place(monkeypatch, Hubs(FRESHSTACK, splits={"yolo": ["train", "test"]}))
    download.fetch("freshstack/yolo", tmp_path)
    assert hub.asked == [
        ("freshstack/queries-oct-2024", "yolo", "test", "f" * 40),
        ("freshstack/corpus-oct-2024", "yolo", "train", "f" * 40),
    ]
    source = f"huggingface:freshstack/queries-oct-2024@{'f' * 40} huggingface:freshstack/corpus-oct-2024@{'f' * 40}"
    assert freshstack.load("yolo", tmp_path).source == source


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch, tmp_path):
    put_in_place(monkeypatch, Hubs({}, sha=""))
    with pytest.raises(UnavailableError, match=r"queries-oct-2024: its revision could not be looked up .*unreachable"):
        download.fetch("freshstack/yolo", tmp_path)
    put_in_place(monkeypatch, Hubs({}))
    with pytest.raises(UnavailableError, match=r"orionweller/LIMIT at 48142cc741b0: corpus/corpus could not be loaded"):
        download.fetch("limit", tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_moved_since_it_was_counted_is_refused(monkeypatch, tmp_path):
    counted(monkeypatch, limit, "small", documents=46, queries=1, judgments=1)
    put_in_place(monkeypatch, Hubs(NANO, splits={"corpus": ["corpus"], "queries": ["queries"], "default": ["test"], "qrels": ["test"]}))  # fmt: skip
    monkeypatch.setitem(NANO, "default", NANO["qrels"])
    download.fetch("limit/small", tmp_path)
    with pytest.raises(CorruptFileError, match="as published, but differs from it: documents: 2, published 46"):
        limit.load("small", tmp_path)


def test_a_table_that_is_none_is_one_line(monkeypatch, tmp_path):
    put_in_place(monkeypatch, Hubs({"corpus": [{"text": "x"}], "questions": []}, splits={"yolo": ["test", "train"]}))
    with pytest.raises(LotteError, match="the corpus id '' has no character"):
        download.fetch("freshstack/yolo", tmp_path)
    assert not list((tmp_path / "freshstack").iterdir())


def test_lightons_copies_and_mtebs_touche_are_sets_of_beir(tmp_path):
    assert beir.release("arguana/decontaminated").hub.repo == "iamfortytwo/arguana-decontaminated"
    assert beir.release("webis-touche2020/v3").hub.repo == "mteb/webis-touche2020-v3"
    folder = tmp_path / "beir" / "quora" / "decontaminated"
    beir_folder.write(folder, NANO)
    dataset = beir.load("quora/decontaminated", tmp_path)
    assert (dataset.name, dataset.ignore_own) == ("beir/quora/decontaminated", True)
    mark(folder, FILES, {"source": "release"})
    with pytest.raises(CorruptFileError, match="documents: 2, published 413,157"):
        beir.load("quora/decontaminated", tmp_path)


@pytest.mark.parametrize(("names", "value"), [("abc", 0.9825977), ("cba", 1.0)])
def test_of_documents_that_gain_the_same_the_ideal_takes_the_last_by_id_as_ndeval_does(names, value):
    first, second, third = names  # values of ndeval: findings/ndeval-alpha-ndcg-names.sh
    nuggets = {"0": {first, second}, "1": {third}, "2": {second}, "3": {first, third}}
    assert alpha_ndcg([first, second, third], nuggets, 5) == pytest.approx(value)
