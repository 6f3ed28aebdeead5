"""Training pairs of a build are its own passages and questions, and nothing of its test split gets into them by mistake."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
from places import DUMPS, GOOAQ, HOUSE, SPEC

from lotte import reading
from lotte.builder import build, manifest, spec
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError, UnknownNameError
from lotte.word_runs import normalised
from retrievers.contamination.check import report
from retrievers.contamination.fingerprint import Fingerprint
from retrievers.training import from_build

STACKEXCHANGE = HOUSE.parent / "shared" / "data" / "stackexchange"
TRAINED = ["ai", "bioinformatics", "cardano", "matheducators", "augur"]
HELD_OUT = ["coffee", "beer", "genai", "coffee.meta"]


class Silent:
    def advance(self, amount: int) -> None:
        pass


def made(out: Path, topics: str, dumps: Path = DUMPS, gooaq: Path | None = GOOAQ) -> Path:
    text = out.with_suffix(".toml")
    text.write_text(topics)
    order = build.BuildRequest(spec.read(text), dumps, out, gooaq)
    build.build(order, lambda total, title: nullcontext(Silent()), lambda line: None)
    return out


def host(name: str) -> str:
    return f"{name}.stackexchange.example"


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("sample") / "lotte", SPEC.read_text())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Three communities in one topic's dev, and one of them in test too."""
    names = [host(name) for name in ("baking", "homelab", "houseplants")]
    topics = f"[topics.home]\ndev = {json.dumps(names)}\ntest = {json.dumps(names[2:])}\n"
    return made(tmp_path_factory.mktemp("mixed") / "lotte", topics)


def test_dev_is_what_is_trained_on_search_and_forum_together(sample):
    (data,) = from_build.datasets(sample)
    search, forum = reading.read(sample / "lifestyle" / "dev")
    assert data.name == "from-build/lifestyle/dev"
    assert data.queries == {
        **{f"search/{query_id}": text for query_id, text in search.queries.items()},
        **{f"forum/{query_id}": text for query_id, text in forum.queries.items()},
    }
    assert data.qrels["search/1"] == search.qrels["1"] and data.qrels["forum/2"] == forum.qrels["2"]
    assert list(data.corpus) == list(search.corpus)
    assert data.queries.keys() == data.qrels.keys()


def test_the_card_says_which_build_and_communities_and_how_many(sample):
    (data,) = from_build.datasets(sample)
    assert (data.source, data.licence) == (f"build:{manifest.build_id(sample)[:16]}", build.LICENCE)
    assert data.facts == {
        "communities": host("baking"), "split": "dev", "questions": "search and forum", "left out, asked in test": "0",
    }  # fmt: skip
    assert (len(data.queries), len(data.corpus), sum(map(len, data.qrels.values()))) == (39, 73, 99)
    assert data.source == reading.read(sample / "lifestyle" / "dev")[0].source


def test_a_community_brings_its_own_passages_and_questions_only(mixed):
    whole = reading.read(mixed / "home" / "dev")
    (data,) = from_build.datasets(mixed, communities=[host("homelab")])
    attribution = (mixed / "home" / "dev" / "metadata.jsonl").read_text().splitlines()
    pids = {
        str(pid) for line in map(json.loads, attribution) if line["dataset"] == host("homelab") for pid in line["pids"]
    }
    assert set(data.corpus.doc_ids) == pids and 0 < len(pids) < len(whole[0].corpus)
    assert [doc.doc_id for doc in data.corpus] == list(data.corpus.doc_ids)
    assert all(doc == whole[0].corpus[int(doc.doc_id)] for doc in data.corpus)
    for kind in whole:
        name = kind.name.rpartition("/")[2]
        theirs = {query_id for query_id, judged in kind.qrels.items() if judged.keys() & pids}
        assert {query_id for query_id in data.queries if query_id.startswith(name)} == {
            f"{name}/{one}" for one in theirs
        }
    both = from_build.datasets(mixed, communities=[host("homelab"), host("baking")])
    assert len(both[0].corpus) > len(pids) and both[0].facts["communities"] == f"{host('baking')}, {host('homelab')}"


def test_with_the_dumps_every_page_gives_a_pair(sample):
    (data,) = from_build.datasets(sample, dumps=DUMPS)
    (chosen,) = from_build.datasets(sample)
    assert {doc_id for judged in data.qrels.values() for doc_id in judged} == set(data.corpus.doc_ids)
    pages = {query_id: text for query_id, text in data.queries.items() if query_id.startswith("page/")}
    forum = {text: chosen.qrels[one] for one, text in chosen.queries.items() if one.startswith("forum/")}
    assert len(pages) > len(forum)
    # a title that was chosen as a forum question reads the same, and has the same answers
    assert forum == {text: data.qrels[one] for one, text in pages.items() if text in forum}
    metadata = [json.loads(line) for line in (sample / "lifestyle/dev/metadata.jsonl").read_text().splitlines()]
    assert {f"page/{line['dataset']}/{line['question_id']}" for line in metadata} >= pages.keys()
    assert data.facts["questions"] == "search, and every page's title"


@pytest.mark.parametrize("asked", [{"splits": ("test",)}, {"splits": ("dev", "test")}])
def test_the_test_split_is_refused_unless_it_is_allowed(sample, asked):
    with pytest.raises(MismatchError) as error:
        from_build.datasets(sample, **asked)
    assert str(error.value) == (
        f"{sample}: {host('houseplants')}, {host('stargazing')}, {host('homelab')} belong to the test split "
        "(lifestyle/test, science/test, technology/test), so a model trained on it cannot be evaluated there. Name "
        "other communities, or allow it with --allow-test; the checkpoint's card will say so"
    )
    allowed = from_build.datasets(sample, allow_test=True, **asked)
    assert [one.facts["split"] for one in allowed].count("test") == 3


def test_a_community_of_both_splits_is_refused_by_name(mixed):
    for asked in ({}, {"communities": [host("houseplants")]}, {"communities": [host("houseplants"), host("baking")]}):
        with pytest.raises(MismatchError, match=rf"{host('houseplants')} belongs to the test split \(home/test\)"):
            from_build.datasets(mixed, **asked)
    assert len(from_build.datasets(mixed, allow_test=True)[0].corpus) == len(reading.read(mixed / "home/dev")[0].corpus)


def test_a_question_that_test_asks_too_is_left_out_and_told(sample, tmp_path):
    copy = shutil.copytree(sample, tmp_path / "lotte")
    (data,) = from_build.datasets(sample)
    title = data.queries["forum/3"]
    folder = copy / "science" / "test"
    number = len((folder / "questions.forum.tsv").read_text().splitlines())
    with (folder / "questions.forum.tsv").open("a") as file:
        file.write(f"{number}\t{title.upper()}!\n")
    with (folder / "qas.forum.jsonl").open("a") as file:
        file.write(json.dumps({"qid": number, "query": title.upper(), "answer_pids": [0]}) + "\n")
    said = []
    (left,) = from_build.datasets(copy, say=said.append)
    assert data.queries.keys() - left.queries.keys() == {"forum/3"} == data.qrels.keys() - left.qrels.keys()
    assert said == ["lifestyle/dev: 1 of 39 questions are in the test split too; they are left out of training"]
    assert left.facts["left out, asked in test"] == "1"
    (kept,) = from_build.datasets(copy, allow_test=True)
    assert kept.queries == data.queries


def test_the_pool_is_not_trained_on_a_second_time(sample):
    names = [data.name for data in from_build.datasets(sample, splits=("dev", "test"), allow_test=True)]
    assert sorted(names) == [
        "from-build/lifestyle/dev", "from-build/lifestyle/test", "from-build/science/test", "from-build/technology/test"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "kind", "line"),
    [
        (
            {"communities": ["bakings.stackexchange.example"]},
            UnknownNameError,
            "did you mean 'baking.stackexchange.example'",
        ),
        ({"splits": ("train",)}, UnknownNameError, "no split is named 'train'; there are dev and test"),
        ({"communities": [host("homelab")]}, MismatchError, r"homelab.* belongs to the test split \(technology/test\)"),
        ({"communities": [host("homelab")], "allow_test": True}, MismatchError, "is in no part of dev; name its split"),
        ({"dumps": HOUSE / "tests"}, UnavailableError, "lacks baking.stackexchange.example; --dumps takes the folder"),
    ],
)
def test_what_the_build_lacks_is_one_line(sample, asked, kind, line):
    with pytest.raises(kind, match=line) as error:
        from_build.datasets(sample, **asked)
    assert "\n" not in str(error.value)


def test_another_dump_than_the_one_that_was_built_from_is_refused(sample, tmp_path):
    dump = shutil.copytree(DUMPS / host("baking"), tmp_path / host("baking"))
    posts = dump / "Posts.xml"
    posts.write_bytes(posts.read_bytes().replace(b"cake", b"CAKE", 1))
    with pytest.raises(MismatchError, match=r"is not the dump that .* was built from: Posts.xml has sha256"):
        from_build.datasets(sample, dumps=tmp_path)


def test_a_damaged_build_is_one_line(sample, tmp_path):
    copy = shutil.copytree(sample, tmp_path / "lotte")
    part = copy / "lifestyle" / "dev"

    def refused(kind: type[LotteError], line: str, **asked: object) -> None:
        with pytest.raises(kind, match=line) as error:
            from_build.datasets(copy, **asked)
        assert "\n" not in str(error.value)

    (part / "metadata.jsonl").write_text(
        '{"dataset": "baking.stackexchange.example", "question_id": 1, "pids": [99999]}\n'
    )
    refused(CorruptFileError, "metadata.jsonl:1: pids must be passages of the collection", dumps=DUMPS)
    (part / "attribution.parquet").write_bytes(b"no parquet")
    refused(CorruptFileError, "attribution.parquet: the file is truncated or damaged")
    shutil.copy(copy / "pooled/test/attribution.parquet", part)
    refused(CorruptFileError, "has not one row for each of the 73 passages")
    (part / "attribution.parquet").unlink()
    refused(UnavailableError, "attribution.parquet is not there; make or fetch it again")
    record = json.loads((copy / manifest.NAME).read_text())
    del record["spec"]["topics"]
    (copy / manifest.NAME).write_text(json.dumps(record))
    refused(CorruptFileError, "manifest.json is damaged")
    (copy / manifest.NAME).unlink()
    refused(UnavailableError, "not a complete build")


@pytest.mark.skipif(not STACKEXCHANGE.is_dir(), reason=f"{STACKEXCHANGE} is not here: the dumps beside the project")
def test_real_communities_train_and_what_is_held_out_shares_nothing_with_them(tmp_path):
    def sites(names: list[str]) -> list[str]:
        return [f"{name}.stackexchange.com" for name in names]

    topics = f"[topics.real]\ndev = {json.dumps(sites(TRAINED))}\ntest = {json.dumps(sites(HELD_OUT))}\n"
    out = made(tmp_path / "lotte", topics, STACKEXCHANGE, None)
    (data,) = from_build.datasets(out, dumps=STACKEXCHANGE)
    assert sum(map(len, data.qrels.values())) == len(data.corpus) and len(data.queries) > 2_000
    asked = {normalised(text) for text in reading.read(out / "real" / "test")[0].queries.values()}
    assert asked.isdisjoint(map(normalised, data.queries.values()))
    assert report(Fingerprint.of([data]), reading.read(out / "real" / "test")[0]).level == "none"
