"""An index in parts answers as one index does, whoever holds the parts."""

import shutil
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotte import Doc
from lotte.dataset import Docs
from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from lotte.executor import Workers, at_work
from retrievers import index_meta, lexical, registry, sharded
from retrievers.colbert.index import build
from retrievers.topk import topk_reference

WORDS = "moon tide water shore wind sand boat rope sail knot mast deck hull keel".split()
QUESTIONS = {f"q{number}": " ".join(WORDS[number : number + 3]) for number in range(8)}
QUESTIONS["nothing"] = "zzz"
LATE = ("checkpoint=shipped", "exact=true", "threads=1")
SYSTEMS = {"bm25": (), "colbertv2": LATE}


def collection(seed: int = 0, size: int = 60) -> Docs:
    """Documents of few words, so that several have one score."""
    draw = np.random.default_rng(seed)
    texts = [" ".join(draw.choice(WORDS, draw.integers(1, 6))) for _ in range(size)]
    return Docs(tuple(Doc(f"d{(number * 7) % size}", text) for number, text in enumerate(texts)))


@cache
def built(place, name, shards):
    """An index of a system, made once for all tests that only read it."""
    path = place / f"{name}-{shards}"
    system = registry.load(name, SYSTEMS[name])
    system.index_sharded(collection(), path, shards) if shards else system.index(collection(), path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("sharded")


def answers(path, name, *more, k=7):
    system = registry.load(name, [*SYSTEMS[name], *more])
    return dict(system.open(path).search(QUESTIONS, k=k).hits)


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("k", [1, 7, 100])
def test_parts_answer_as_the_whole(place, name, k):
    whole = answers(built(place, name, 0), name, k=k)
    assert answers(built(place, name, 4), name, k=k) == whole
    assert list(whole) == list(QUESTIONS) and any(whole.values())


@pytest.mark.slow
@pytest.mark.parametrize("victims", [[(0, 0)], [(0, 0), (0, 1), (1, 1)]], ids=["a replica", "all of a part"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_processes_answer_as_the_whole_and_one_that_is_killed_loses_no_question(place, name, victims):
    system = registry.load(name, [*SYSTEMS[name], "replicas=2"])
    index, whole = system.open(built(place, name, 2)), answers(built(place, name, 0), name)
    assert dict(index.search(QUESTIONS, k=7).hits) == whole
    for at in victims:
        index.holders.held[at].process.kill()
    found = index.search(QUESTIONS, k=7).hits
    assert (dict(found), list(found)) == (whole, list(QUESTIONS))
    index.holders.end()


def test_scores_of_parts_are_merged_as_the_whole_is_sorted():
    """Of two with one score the one in the larger place comes first, also at the cut."""

    @given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 12), st.integers(1, 5), st.randoms())
    def same(values, k, shards, random):
        scores, place = np.array(values, np.float32), np.array(random.sample(range(len(values)), len(values)))
        cuts = sharded.bounds(len(values), min(shards, len(values)))
        parts = []
        for first, last in pairwise(cuts):
            rows = np.array(topk_reference(scores[first:last], place[first:last], k), np.int64)
            parts.append((rows, scores[first:last][rows]))
        rows, found = sharded.merged(parts, cuts[:-1], k, place)
        assert rows.tolist() == topk_reference(scores, place, k) and found.tolist() == scores[rows].tolist()

    same()


def test_a_pruned_search_over_parts_states_its_rule_and_its_recall(place):
    system = registry.load("colbertv2", ["checkpoint=shipped", "search=pruned", "threads=1"])
    facts = system.open(built(place, "colbertv2", 4)).search_facts(QUESTIONS, k=5)
    assert (facts["shards"], facts["shard_rule"]) == (4, sharded.RULE)
    assert facts["recall_against_exact"]["value"] > 0.95  # of 60 documents in four parts


@pytest.mark.slow
@pytest.mark.parametrize("shards", [0, 3])
@pytest.mark.parametrize("name", SYSTEMS)
def test_several_processes_make_the_bytes_that_one_makes(tmp_path, monkeypatch, name, shards):
    monkeypatch.setattr(build, "CHUNK", 8)
    monkeypatch.setattr(lexical, "BLOCK", 8)
    system = registry.load(name, SYSTEMS[name])
    for path, workers in ((tmp_path / "one", Workers(1)), (tmp_path / "two", Workers(2, folder=tmp_path))):
        with at_work(workers):
            system.index_sharded(collection(), path, shards) if shards else system.index(collection(), path)
    files = sorted(file.relative_to(tmp_path / "one") for file in (tmp_path / "one").rglob("*.npy"))
    assert files and all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    assert not list((tmp_path / "two").glob(".blocks*"))


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_part_that_is_missing_or_twice_or_of_another_codec_is_one_line(place, tmp_path, name):
    path, part = tmp_path / "index", tmp_path / "index" / "shard.0001"
    shutil.copytree(built(place, name, 2), path)
    registry.load(name, SYSTEMS[name]).index_sharded(collection(seed=1), tmp_path / "other", 2)
    system = registry.load(name, SYSTEMS[name])
    assert list(system.damaged(path)) == []
    for other, says in {
        None: f"{part} is missing from the index",
        path / "shard.0000": f"{part} is shard.0000 a second time",
        tmp_path / "other" / "shard.0001": f"{part} has another codec than the index, so its scores cannot be merged",
    }.items():
        if name == "bm25" and other and other.is_relative_to(tmp_path / "other"):
            continue  # all collections here have the same words
        shutil.rmtree(part, ignore_errors=True)
        if other:
            shutil.copytree(other, part)
        assert list(system.damaged(path)) == [says]
        with pytest.raises(CorruptFileError) as raised:
            system.open(path)
        assert str(raised.value) == f"{says}; copy the index again, or build it again"


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_byte_that_changed_in_a_part_is_found(place, tmp_path, name):
    shutil.copytree(built(place, name, 2), tmp_path / "index")
    file = max((tmp_path / "index" / "shard.0001").glob("*.npy"), key=lambda file: file.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1] + b"\xa5")
    found = list(registry.load(name, SYSTEMS[name]).damaged(tmp_path / "index"))
    assert found == [f"shard.0001/{file.name}: not what was written"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_parts_cannot_do_is_one_line(place, tmp_path, name):
    system, path = registry.load(name, SYSTEMS[name]), built(place, name, 2)
    with pytest.raises(UnavailableError, match="has shards, and is built whole; index the changed collection again"):
        system.change(path, delete=["d1"], add=None)
    with pytest.raises(MismatchError, match="--shards 61 is more than there are documents, which are 60"):
        system.index_sharded(collection(), tmp_path / "x", 61)
    assert not (tmp_path / "x").exists() and index_meta.read(path)["counts"]["shards"] == 2
