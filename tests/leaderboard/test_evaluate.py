"""A result says what happened: one index for a corpus, the authors' rules, misses counted and told."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from places import TINY

from leaderboard.board import texts
from leaderboard.board.entry import read_entries
from leaderboard.evaluate import NO_COST, Order, evaluate, rescore
from leaderboard.measure import MRR, R, parse
from leaderboard.record import submit
from leaderboard.record.loaded_dataset import LoadedDataset
from leaderboard.record.place import name_of
from leaderboard.record.read import read
from lotte import Dataset, Doc, Docs, Run, reading
from lotte.dataset import corpus_sha256
from lotte.errors import LotteError, MismatchError, UnavailableError
from retrievers import load


@pytest.fixture
def order(tmp_path) -> Order:
    return Order(out=tmp_path / "results", command="lotte eval")


class Counting:
    """A retriever that counts how often it is asked to index."""

    def __init__(self) -> None:
        self.system, self.corpora, self.opened = load("overlap"), [], 0

    def index(self, corpus, path):
        self.corpora.append(corpus)
        return self.system.index(corpus, path)

    def open(self, path):
        self.opened += 1
        return self.system.open(path)


def test_one_corpus_is_indexed_once_for_all_its_questions(order):
    counting = Counting()
    datasets = [*reading.read(TINY), *reading.read(TINY)]  # twice, and not as the same object
    names = [result.dataset.name for result in evaluate("mine", counting, datasets, order)]
    assert names == ["lotte/science/test/search", "lotte/science/test/forum"] * 2
    assert len(counting.corpora) == 1


def test_the_record_has_every_field_that_is_promised(order, tiny):
    (result,) = evaluate("bm25", load("bm25", ["k1=1.2"]), [tiny], replace(order, measures=(MRR @ 10, R @ 5)))
    record = json.loads((order.out / "bm25" / "lotte/science/test/search.json").read_text())
    assert read(order.out / "bm25" / "lotte/science/test/search.json").content == record
    assert record["retriever"].keys() == {"name", "family", "options", "model", "index", "search", "training_data"}
    assert record["retriever"]["options"].items() >= {"k1": 1.2, "b": 0.4}.items()
    assert record["retriever"]["index"].keys() == {"type", "bits", "centroids", "seed", "bytes", "sha256"}
    assert record["retriever"]["search"] == {"k": 1000, "exact": True}
    assert record["dataset"]["counts"] == {"documents": 4, "queries": 3, "judged_queries": 3, "judgments": 3}
    measures = record["measures"]
    assert (measures["official"], measures["tool"]) == ("Success@5", "pytrec-eval-terrier")
    assert measures["aggregate"].keys() == measures["per_query"].keys() == {
        "Success@5", "nDCG@10", "MRR@10", "R@100", "R@5"
    }  # fmt: skip
    success = measures["aggregate"]["Success@5"]
    assert success["value"] == pytest.approx(2 / 3) and success["ci95"] == [0.0, 1.0]
    assert success["method"] == "percentile bootstrap over queries"
    assert measures["per_query"]["Success@5"] == {"0": 1.0, "1": 1.0, "2": 0.0}
    assert record["run"].keys() == {"file", "sha256", "depth", "ties", "origin", "missing"}
    assert record["cost"].keys() == NO_COST.keys()
    assert record["cost"]["latency_ms"].keys() >= {"p50", "p95", "p99", "includes"}
    assert record["cost"]["index_bytes"] == record["retriever"]["index"]["bytes"] > 0
    assert record["platform"].keys() == {"cpu", "cores", "memory_bytes", "gpu", "os", "python", "libraries"}
    assert record["implementation"].keys() == {"command", "commit", "dirty", "seeds"}
    assert record["contamination"] == [
        {"dataset": "lotte/science/test/search", "level": "none", "evidence": "the system is not trained"}
    ]
    assert record["verification"] == {"level": "self-run"}
    assert result.value == success["value"]


def test_the_run_lies_beside_the_result_and_scores_the_same(order, tiny):
    (result,) = evaluate("bm25", load("bm25"), [tiny], order)
    path = order.out / "bm25" / "lotte/science/test" / result.run.file
    assert path.read_text().startswith("0 Q0 3 1 ")
    again = rescore(path, "again", tiny, order)
    assert again.measures.per_query == result.measures.per_query
    assert again.run.sha256 != result.run.sha256, "the tag is another"
    assert again.content["verification"] == {"level": "rescored"} and again.content["cost"] == NO_COST


def test_a_system_that_says_nothing_of_itself_is_unknown(order, tiny):
    (result,) = evaluate("my.module:make", Counting(), [tiny], order)
    assert result.retriever.family == "unknown" and result.retriever.training_data is None
    assert result.contamination[0].level == "unknown"
    assert (order.out / "my.module.make" / "lotte/science/test/search.json").is_file()


def test_a_system_that_is_silent_on_a_query_is_refused(order, tiny):
    class Silent:
        def search(self, queries, *, k):
            return Run({})

        index = open = lambda self, *_: self

    with pytest.raises(MismatchError, match="answers 0 of 3 queries"):
        list(evaluate("silent", Silent(), [tiny], order))
    assert not order.out.exists()


def test_a_query_that_somebodys_run_leaves_out_is_a_miss_and_is_told(order, tiny, tmp_path):
    said = []
    (tmp_path / "best.trec").write_text("1 Q0 1 1 9.0 x\n")
    result = rescore(tmp_path / "best.trec", "best", tiny, replace(order, say=said.append))
    assert result.value == pytest.approx(1 / 3)
    assert result.run.missing == ("0", "2")
    assert result.run.origin["file"] == "best.trec"
    assert said == [
        f"{tmp_path / 'best.trec'} leaves out 2 of the 3 queries of lotte/science/test/search; they count as misses. "
        "The first is '0'."
    ]


def test_which_rule_made_the_order_is_on_record(order, tiny, tmp_path):
    (tmp_path / "r.tsv").write_text("0\t1\t1\t0.5\n0\t3\t2\t0.9\n")
    result = rescore(tmp_path / "r.tsv", "r", tiny, replace(order, measures=(MRR @ 10,)))
    assert result.run.ties == "the ranks of the file; its scores are ignored"
    assert result.measures.per_query["MRR@10"]["0"] == 0.5
    assert (order.out / "r" / "lotte/science/test/search.trec").read_text() == "0 Q0 1 1 2 r\n0 Q0 3 2 1 r\n"


@pytest.fixture
def mirrored(tiny) -> Dataset:
    """As ArguAna: the queries are documents."""
    docs = Docs((Doc("a", "moon tide"), Doc("B", "moon tide sea"), Doc("c", "salt")))
    return Dataset(
        name="beir/mirror",
        corpus=docs,
        queries={"a": "moon tide", "c": "salt", "x": "moon tide"},
        qrels={"a": {"B": 1}, "c": {"a": 1}, "x": {"B": 1}},
        measure="nDCG@10",
        ignore_own=True,
    )


def test_a_document_with_its_querys_id_is_no_answer_and_takes_no_place(order, mirrored, tmp_path):
    (result,) = evaluate("overlap", load("overlap"), [mirrored], replace(order, k=1))
    assert result.measures.per_query["nDCG@10"] == {"a": 1.0, "c": 0.0, "x": 0.0}
    ranking = (order.out / "overlap" / "beir/mirror.trec").read_text()
    assert ranking == "a Q0 B 1 1 overlap\nx Q0 a 1 1 overlap\n"
    (tmp_path / "r.trec").write_text("a Q0 a 1 9 x\na Q0 B 2 8 x\nc Q0 c 1 9 x\nx Q0 B 1 1 x\n")
    assert rescore(tmp_path / "r.trec", "r", mirrored, order).value == pytest.approx(2 / 3)


def test_an_index_is_kept_and_used_again(order, tiny, tmp_path):
    said, counting = [], Counting()
    kept = replace(order, index=tmp_path / "kept", say=said.append)
    first, second = (next(evaluate("mine", counting, [tiny], kept)) for _ in range(2))
    path = tmp_path / "kept" / "mine" / "lotte/science/test"
    assert (path / "meta.json").is_file() and len(counting.corpora) == 1
    assert said == [f"{path}: reusing this index"]
    assert (first.cost.index_reused, second.cost.index_reused) == (False, True)
    assert second.cost.index_seconds is not None
    assert first.retriever.index == second.retriever.index
    given = next(evaluate("mine", counting, [tiny], replace(order, index=path)))
    assert given.cost.index_reused and len(counting.corpora) == 1


def test_an_index_is_used_again_by_another_dataset_that_asks_the_same_corpus(order, tiny, tmp_path):
    """As MS MARCO's passages are asked by dev and by TREC."""
    said, counting = [], Counting()
    kept = replace(order, index=tmp_path / "kept", say=said.append)
    for name in ("passages/dev", "trec/2019"):
        next(evaluate("mine", counting, [replace(tiny, name=name)], kept))
    assert len(counting.corpora) == 1
    assert said == [f"{tmp_path / 'kept' / 'mine' / 'passages/dev'}: reusing this index"]


def test_the_hash_of_an_index_does_not_depend_on_where_the_corpus_lies(order, tiny, tmp_path):
    shutil.copytree(TINY, tmp_path / "lotte")
    hashes = {
        next(evaluate("bm25", load("bm25"), reading.read(folder), order)).retriever.index.sha256
        for folder in (TINY, tmp_path / "lotte")
    }
    assert len(hashes) == 1


def test_an_index_of_another_recipe_or_corpus_is_refused(order, tiny, tmp_path):
    kept = replace(order, index=tmp_path / "kept")
    list(evaluate("bm25", load("bm25"), [tiny], kept))
    with pytest.raises(
        MismatchError, match=r"was built by bm25\(b=0.4, k1=0.9\) .* you asked for bm25\(b=0.4, k1=2.0\)"
    ):
        list(evaluate("bm25", load("bm25", ["k1=2"]), [tiny], kept))
    shutil.copytree(TINY, tmp_path / "lotte")
    with (tmp_path / "lotte/science/test/collection.tsv").open("a") as file:
        file.write("4\tone more\n")
    datasets = reading.read(tmp_path / "lotte")
    changed = corpus_sha256(datasets[0].corpus)[:8]
    with pytest.raises(MismatchError) as raised:
        list(evaluate("bm25", load("bm25"), datasets, kept))
    assert str(raised.value) == (
        f"{tmp_path}/kept/bm25/lotte/science/test was built from corpus 05a98e94, and lotte/science/test/search has "
        f"corpus {changed}. Remove the index, or name another --index."
    )


def test_lottes_layout_is_written_for_lotte_and_refused_for_others_before_the_work(order, tiny, mirrored, tmp_path):
    asked = replace(order, rankings=tmp_path / "rankings")
    list(evaluate("overlap", load("overlap"), [tiny], asked))
    lines = (tmp_path / "rankings" / "test" / "science.search.ranking.tsv").read_text().splitlines()
    assert [line.split("\t")[:3] for line in lines][:1] == [["0", "3", "1"]]
    counting = Counting()
    with pytest.raises(LotteError) as raised:
        list(evaluate("mine", counting, [tiny, mirrored], asked))
    assert str(raised.value) == "--rankings writes LoTTE's layout, but beir/mirror is not part of LoTTE"
    assert not counting.corpora


def test_what_is_finished_stays_when_the_next_dataset_fails(order, tiny, mirrored):
    broken = replace(mirrored, qrels={key: {"of another collection": 1} for key in mirrored.queries})
    with pytest.raises(MismatchError, match="are not in its collection"):
        list(evaluate("overlap", load("overlap"), [tiny, broken], order))
    found = [path.name for path in order.out.rglob("*.*") if path.is_file()]
    assert sorted(found) == ["search.json", "search.trec"]


@pytest.mark.parametrize(
    ("file", "name"),
    [("run.bm25.dev.small.tsv", "run.bm25.dev.small"), ("a/my.trec.gz", "my"), ("runs", "runs"), (".tsv", ".tsv")],
)
def test_a_ranking_is_named_by_its_file(file, name):
    assert name_of(Path(file)) == name


def test_every_measure_may_be_asked_for(order, tiny):
    names = ["nDCG@10", "MRR@10", "R@50", "R@1000", "AP", "P@1"]
    (result,) = evaluate("bm25", load("bm25"), [tiny], replace(order, measures=tuple(map(parse, names))))
    assert {name: result.mean(name) for name in names} == pytest.approx(dict.fromkeys(names, 2 / 3))


def test_a_packed_run_takes_the_place_of_a_plain_one(order, tiny):
    folder = order.out / "bm25" / "lotte/science/test"
    (plain,) = evaluate("bm25", load("bm25"), [tiny], order)
    (packed,) = evaluate("bm25", load("bm25"), [tiny], replace(order, gzip=True))
    assert sorted(file.name for file in folder.iterdir()) == ["search.json", "search.trec.gz"]
    assert packed.run.file == "search.trec.gz" and packed.measures == plain.measures
    stored = submit.add(folder / "search.json", order.out.parent / "board", LoadedDataset.of(tiny), by="a test")
    assert stored.with_name("search.trec.gz").read_bytes() == (folder / "search.trec.gz").read_bytes()
    (one,) = read_entries(stored.parent, print)
    assert texts.tops(one)[0] == {
        query_id: tuple(hit.doc_id for hit in hits[:5]) for query_id, hits in load("bm25").index(
            tiny.corpus, order.out / "index").search(tiny.queries, k=5).hits.items() if hits
    }  # fmt: skip
    list(evaluate("bm25", load("bm25"), [tiny], order))
    assert sorted(file.name for file in folder.iterdir()) == ["search.json", "search.trec"]


class NeverIndexed:
    """A system that fails if any work is begun."""

    def index(self, corpus, path):
        raise AssertionError("work was begun")


def test_a_dataset_without_judgments_is_refused_before_any_work(order, tiny):
    with pytest.raises(MismatchError, match="has no judgments, so there is nothing to score"):
        list(evaluate("overlap", NeverIndexed(), [replace(tiny, qrels={})], order))


def test_a_place_that_cannot_be_written_is_refused_before_any_work(order, tiny, tmp_path):
    (tmp_path / "taken").write_text("by a file")
    with pytest.raises(UnavailableError, match="taken is not a folder, so nothing can be written to"):
        list(evaluate("overlap", NeverIndexed(), [tiny], replace(order, out=tmp_path / "taken")))


@pytest.mark.parametrize("name", ["two words", "no\u00a0break", " in front", ""])
def test_a_system_whose_name_is_no_word_is_refused_before_any_work(order, tiny, name):
    with pytest.raises(MismatchError, match="a name is one word: it is a column of the run"):
        list(evaluate(name, NeverIndexed(), [tiny], order))
    assert not order.out.exists()
