"""Searching a late-interaction index: what is found is what an exact search finds, and depends on nothing else."""

import json

import numpy as np
import pytest
import tiny_checkpoint
from command import error, lotte
from places import ORACLE, TINY

pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")

from lotte import Doc, Docs
from retrievers.colbert import Arrays, CodecConfig, ColbertIndex, SearchConfig, build_index
from retrievers.colbert.kernels import reference
from retrievers.colbert.search import search
from retrievers.colbert.search.config import PRUNED_FROM

ALGORITHMS = ("paper", "pruned", "exact")


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def documents(count, seed=0, dim=64):
    """Documents of a few themes, some without any token; and queries made of their tokens."""
    random = np.random.default_rng(seed)
    senses = unit(random.normal(size=(300, dim)))
    lengths = random.integers(5, 40, count)
    lengths[::17] = 0
    themes = random.integers(0, 300, (count, 12))
    words = np.concatenate([random.choice(themes[row], length) for row, length in enumerate(lengths)])
    vectors = unit(senses[words] + 0.6 * unit(random.normal(size=(len(words), dim))))
    starts = np.concatenate([[0], lengths.cumsum()])
    queries = []
    for row in random.choice(np.flatnonzero(lengths), 20, replace=False):
        tokens = vectors[random.integers(starts[row], starts[row + 1], 32)]
        queries.append(unit(tokens + 0.5 * unit(random.normal(size=tokens.shape))))
    return vectors.astype(np.float16), lengths, queries


@pytest.fixture(scope="module", params=[1, 2, 4], ids=lambda bits: f"{bits} bits")
def made(request, tmp_path_factory):
    vectors, lengths, queries = documents(2000)
    config = CodecConfig(bits=request.param, centroids=256)
    return build_index(tmp_path_factory.mktemp("index"), Arrays(vectors, lengths), config, threads=1), queries


def test_an_exact_search_is_maxsim_over_the_decoded_vectors(made):
    index, queries = made
    part = index.segments[0]
    vectors = reference.decode(index.codec, part.centroid_ids, part.residuals)
    for query, found in zip(
        queries[:5], search(index, queries[:5], k=50, config=SearchConfig(algorithm="exact")), strict=True
    ):
        truth = reference.maxsim(query, vectors, part.starts)
        order = np.lexsort((np.arange(len(truth)), -truth))[:50]
        np.testing.assert_allclose(found.scores, truth[order], rtol=1e-5)
        assert np.mean(found.rows == order) > 0.95  # sums in another order swap what is equal to six digits


@pytest.mark.parametrize("algorithm, least", [("paper", 0.97), ("pruned", 0.95)])
def test_the_quick_searches_find_what_an_exact_one_finds(made, algorithm, least):
    index, queries = made
    exact = search(index, queries, k=20, config=SearchConfig(algorithm="exact"))
    quick = search(index, queries, k=20, config=SearchConfig(algorithm=algorithm))
    shared = [len(set(a.rows.tolist()) & set(b.rows.tolist())) / 20 for a, b in zip(exact, quick, strict=True)]
    assert np.mean(shared) >= least
    for a, b in zip(exact, quick, strict=True):
        scores = dict(zip(a.rows.tolist(), a.scores.tolist(), strict=True))
        both = [
            (scores[row], score) for row, score in zip(b.rows.tolist(), b.scores.tolist(), strict=True) if row in scores
        ]
        assert all(abs(score - exact) <= 1e-4 for exact, score in both), "what is printed is MaxSim"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_threads_batches_and_what_was_asked_before_change_nothing(made, algorithm):
    index, queries = made
    config = SearchConfig(algorithm=algorithm)
    alone = [search(index, [query], k=10, config=config)[0] for query in queries]
    search(index, queries[:3], k=500, config=config)
    for threads in (1, 2, 5):
        together = search(index, queries, k=10, config=config, threads=threads)
        for one, other in zip(alone, together, strict=True):
            assert one.rows.tolist() == other.rows.tolist()
            np.testing.assert_allclose(one.scores, other.scores, rtol=1e-6)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_deeper_ranking_begins_with_the_shallower_one(made, algorithm):
    index, queries = made
    config = SearchConfig(algorithm=algorithm, probe=8, candidates=2000, refined=2000, full=2000)
    ten, fifty = (search(index, queries, k=k, config=config) for k in (10, 50))
    assert all((a.rows == b.rows[:10]).all() for a, b in zip(ten, fifty, strict=True))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_whoever_has_a_token_can_be_found_however_many_are_asked_for(made, algorithm):
    index, queries = made
    found = search(index, queries[:2], k=5000, config=SearchConfig(algorithm=algorithm))
    full = np.flatnonzero(np.diff(index.segments[0].starts))
    assert all(sorted(one.rows.tolist()) == full.tolist() for one in found)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_filter_is_a_search_of_the_documents_it_allows(made, algorithm):
    index, queries = made
    allowed = (np.random.default_rng(0).random(index.num_documents) < 0.1).astype(np.uint8)
    some = search(index, queries, k=30, config=SearchConfig(algorithm=algorithm), allowed=allowed)
    everything = search(index, queries, k=5000, config=SearchConfig(algorithm="exact"))
    for one, every in zip(some, everything, strict=True):
        assert allowed[one.rows].all() and len(one.rows) == 30
        best = [row for row in every.rows.tolist() if allowed[row]][:30]
        assert len(set(best) & set(one.rows.tolist())) >= 27


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_few_documents_of_which_the_centroids_find_too_few_are_all_scored(made, algorithm):
    index, queries = made
    allowed = (np.random.default_rng(1).random(index.num_documents) < 0.05).astype(np.uint8)
    short = [query[:2] for query in queries]  # few tokens probe few centroids
    found, every = (
        search(index, short, k=80, config=SearchConfig(algorithm=way), allowed=allowed) for way in (algorithm, "exact")
    )
    for one, truth in zip(found, every, strict=True):
        assert len(one.rows) == 80 and len(set(one.rows.tolist()) & set(truth.rows.tolist())) >= 79


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_segments_are_one_index(made, algorithm):
    index, queries = made
    twice = ColbertIndex(index.codec, (index.segments[0], index.segments[0]), None)
    once = search(index, queries[:5], k=10, config=SearchConfig(algorithm=algorithm))
    both = search(twice, queries[:5], k=20, config=SearchConfig(algorithm=algorithm))
    for a, b in zip(once, both, strict=True):
        assert sorted((b.rows % index.num_documents).tolist()) == sorted([*a.rows.tolist()] * 2)
        assert (np.diff(b.scores) <= 0).all()


def test_settings_are_a_rule_of_k_and_the_size_of_the_index():
    assert SearchConfig(algorithm="paper").settled(10, 99) == SearchConfig(algorithm="paper", probe=4, candidates=16_384)
    assert SearchConfig(algorithm="paper", probe=2).settled(10_000, 99).candidates == 10_000
    wide = SearchConfig(algorithm="pruned").settled(1000, 99)
    assert (wide.probe, wide.candidates, wide.refined, wide.full) == (4, 13_500, 2250, 2250)
    assert [SearchConfig(algorithm="pruned").settled(10, size).refined for size in (99, 90_000)] == [1024, 3000]
    assert [SearchConfig(algorithm="pruned").settled(k, 99).full for k in (10, 100)] == [270, 450]
    few = SearchConfig(algorithm="pruned", candidates=50, full=20).settled(10, 99)
    assert (few.candidates, few.refined, few.full) == (50, 50, 20)
    assert SearchConfig(algorithm="exact", probe=7).settled(5, 99) == SearchConfig(algorithm="exact")


def test_the_default_is_the_paper_s_search_of_a_small_index_and_the_pruned_one_of_a_large_one():
    for documents, algorithm in ((PRUNED_FROM - 1, "paper"), (PRUNED_FROM, "pruned")):
        assert SearchConfig().settled(10, documents) == SearchConfig(algorithm=algorithm).settled(10, documents)


def test_a_query_that_does_not_fit_is_refused(made):
    index, queries = made
    for bad, words in ((queries[0][:, :32], "32 dimensions, and the index 64"), (queries[0] * np.nan, "not finite"),
                       (queries[0][:0], "at least one token")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            search(index, [bad], k=5, config=SearchConfig())


def test_a_record_says_how_it_was_searched_and_what_that_cost(tmp_path, monkeypatch):
    checkpoint = tiny_checkpoint.write(tmp_path / "model", dim=32)
    tiny = TINY / "science" / "test"
    common = [
        "eval",
        str(tiny),
        "--retriever",
        "colbertv2",
        "-o",
        f"checkpoint={checkpoint}",
        "--out",
        str(tmp_path / "out"),
    ]
    assert lotte(*common).returncode == 0
    record = json.loads(next((tmp_path / "out").rglob("*search.json")).read_text())
    asked = record["retriever"]["search"]
    assert (asked["algorithm"], asked["probe"], asked["candidates"], asked["exact"]) == ("paper", 4, 16_384, False)
    assert asked["recall_against_exact"] == {"depth": 100, "queries": 3, "value": 1.0}
    assert record["retriever"]["model"]["sha256"] and record["retriever"]["index"]["bits"] == 2
    lotte(*common, "-o", "exact=true")
    asked = json.loads(next((tmp_path / "out").rglob("*search.json")).read_text())["retriever"]["search"]
    assert asked["exact"] and "recall_against_exact" not in asked


def test_the_recall_of_a_large_index_is_measured_on_fewer_questions(tmp_path, monkeypatch):
    from retrievers import load
    from retrievers.colbert import late_index

    docs = Docs(tuple(Doc(f"d{row}", f"moon server {row}") for row in range(30)))
    system = load("colbertv2", [f"checkpoint={tiny_checkpoint.write(tmp_path / 'model', dim=32)}", "search=paper"])
    index = system.index(docs, tmp_path / "index")
    monkeypatch.setattr(late_index, "RECALL_TOKENS", 7 * index.arrays.num_tokens)
    asked = index.search_facts({f"q{number}": "moon" for number in range(40)}, k=5)
    assert asked["recall_against_exact"]["queries"] == 7


def test_an_index_of_the_original_becomes_one_of_ours(tmp_path):
    if not ORACLE.is_dir():
        pytest.skip("../shared/data/colbert_oracle is not here")
    out = str(tmp_path / "index")
    options = ["-o", f"checkpoint={ORACLE / 'checkpoint'}", "-o", "doc_maxlen=180", "-o", "precision=fp32"]
    assert (
        lotte("index", "--retriever", "colbertv2", *options, str(ORACLE / "index"), "--out", out).stdout == f"{out}\n"
    )
    number, truth = next(iter(json.loads((ORACLE / "search_wide.json").read_text()).items()))
    question = json.loads((ORACLE / "texts.json").read_text())["queries"][int(number)]
    rows = [
        line.split("\t") for line in lotte("search", out, question, "-k", "100", "-o", "exact=true").stdout.splitlines()
    ]
    assert [int(row[2]) for row in rows[:10]] == [pid for pid, _ in truth[:10]]
    assert [float(row[1]) for row in rows] == pytest.approx([score for _, score in truth], abs=1e-3)


@pytest.mark.parametrize(
    "option, words",
    [
        ("bits=3", "colbertv2: bits must be 1, 2 or 4, not 3"),
        ("search=best", "colbertv2: search must be one of auto, paper, pruned, exact, not 'best'"),
        ("probe=-1", "colbertv2: probe must be 0 or more, not -1"),
        ("exact=maybe", "colbertv2: exact takes bool, not 'maybe'"),
    ],
)
def test_an_option_out_of_range_is_one_line(option, words, tmp_path):
    tiny = str(TINY / "science" / "test")
    assert error("index", tiny, "--retriever", "colbertv2", "-o", option, "--out", str(tmp_path / "index")) == words
