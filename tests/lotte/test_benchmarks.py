"""Every published dataset knows its counts and rules, is read in its authors' layout, and a wrong copy is refused."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from places import TINY

from leaderboard import catalogue
from leaderboard.measure import parse
from lotte import Run, reading
from lotte.benchmarks import beir, bright, freshstack, limit, lotte, msmarco, nanobeir, openqa, peerqa, treccar, trecdl
from lotte.errors import CorruptFileError, MismatchError, UnavailableError, UnknownNameError
from lotte.release import ReleaseCounts, mark

MODULES = {
    "lotte": lotte, "beir": beir, "openqa": openqa, "msmarco": msmarco, "trecdl": trecdl, "treccar": treccar, "peerqa": peerqa,
    "bright": bright, "freshstack": freshstack, "limit": limit, "nanobeir": nanobeir,
}  # fmt: skip


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder


@pytest.mark.parametrize("name", catalogue.published())
def test_every_published_dataset_says_what_it_is(name):
    release = catalogue.release(name)
    assert release.name == name and release.licence and release.needs and release.homepage.startswith("http")
    assert all(parse(measure) for measure in (release.measure, *release.also))
    public = bool(release.files or release.tables or release.hub)
    assert public != bool(release.by_hand)
    assert release.advice.endswith("point --data at a copy") if public else release.advice == release.by_hand
    for way in release.files:
        held = {(folder, file) for one in way for folder, files in one.holds.items() for file in files}
        assert held >= {(folder, file) for folder, files in release.needs.items() for file in files}
        assert all(url.startswith("https://") for one in way for url in one.urls)
    for file in release.tables.values():
        assert len(file.md5) == 32 and all(url.startswith("https://") for url in file.urls)
    if release.hub and release.hub.revision:
        assert len(release.hub.revision) == 40 and set(release.hub.revision) <= set("0123456789abcdef")


def test_the_pool_of_lotte_is_as_large_as_its_topics():
    for split in lotte.SPLITS:
        for kind in lotte.KINDS:
            parts = [lotte.release(f"{topic}/{split}/{kind}").counts for topic in lotte.TOPICS]
            for field in ("documents", "queries", "judgments"):
                *topics, pool = (getattr(counts, field) for counts in parts)
                assert sum(topics) == pool, (split, kind, field)


def test_there_are_eighteen_beir_sets_and_one_of_them_is_the_mean_of_twelve():
    whole = {name.partition("/")[0] for name in beir.NAMES}
    copies = [name for name in beir.NAMES if name.endswith(("/v1", "/v3", "/decontaminated"))]
    assert len(whole) == 18 and len(copies) == 2 + 8 and len(beir.NAMES) == 17 + 12 + len(copies)
    assert catalogue.parts("beir/cqadupstack") == [f"beir/cqadupstack/{forum}" for forum in beir.FORUMS]
    assert catalogue.parts("beir/nq") == ["beir/nq"]
    assert {name for name in beir.NAMES if beir.release(name).by_hand} == {
        "bioasq",
        "robust04",
        "signal1m",
        "trec-news",
    }


def test_names_of_other_tools_are_understood(tmp_path):
    spelled = {
        "trec-dl/2019": "trecdl/2019",
        "openqa/triviaqa": "openqa/tq",
        "msmarco/dev/small": "msmarco/dev",
        "beir/webis-touche2020/v2": "beir/webis-touche2020",
        "peerqa": "peerqa",
        "nano-beir/nq": "nanobeir/nq",
        "beir/fiqa/test": "beir/fiqa",
        "beir/fiqa/dev": "beir/fiqa/dev",
    }
    for other, ours in spelled.items():
        assert catalogue.release(other).name == ours
        with pytest.raises(UnavailableError, match="is not there"):
            catalogue.match([other], tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'beir/scifact'"):
        catalogue.match(["beir/scifatc"], tmp_path)


def test_what_is_absent_says_how_to_get_it(tmp_path):
    def told(name):
        with pytest.raises(UnavailableError) as raised:
            catalogue.match([name], tmp_path)
        return str(raised.value)

    assert told("beir/scifact") == (
        f"{tmp_path}/beir/scifact/corpus.jsonl is not there. `lotte fetch beir/scifact` downloads it (2.8 MB), "
        "or point --data at a copy"
    )
    assert "It is not public: ask NIST" in told("beir/robust04") and "corpus.jsonl, queries.jsonl" in told(
        "beir/robust04"
    )
    assert told("beir/cqadupstack") == (
        f"none of the 12 datasets that 'beir/cqadupstack/*' fits is in {tmp_path}; "
        "`lotte fetch NAME` downloads them, or point --data at a copy"
    )
    assert "`lotte fetch msmarco/dev` downloads it (1.1 GB)" in told("msmarco/dev")
    assert "make paragraphs.tsv of dedup.articles-paragraphs.cbor" in told("treccar/test")


BEIR = {
    "corpus.jsonl": '{"_id": "a", "title": "T", "text": "x"}\n{"_id": "q", "title": "", "text": "y"}\n',
    "queries.jsonl": '{"_id": "q", "text": "asked"}\n',
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq\ta\t1\n",
}


def test_what_claims_nothing_is_read_and_its_record_says_how_it_differs(tmp_path):
    dataset = beir.load("arguana", write(tmp_path / "beir" / "arguana", BEIR).parent.parent)
    assert (dataset.source, dataset.licence, dataset.ignore_own) == ("local", "unknown", True)
    assert dataset.facts["query_tokens"] == "300"
    assert dataset.facts["counts"] == (
        "differ from the release (documents: 2, published 8,674; queries: 1, published 1,406; judgments: 1, published 1,406)"
    )
    assert beir.release("climate-fever").facts["query_tokens"] == "64"
    assert "query_tokens" not in beir.release("scifact").facts


def test_what_claims_to_be_the_release_and_differs_is_refused(tmp_path):
    folder = write(tmp_path / "beir" / "scifact", BEIR)
    mark(folder, beir.FILES, {"source": "release"})
    with pytest.raises(CorruptFileError) as raised:
        beir.load("scifact", tmp_path)
    assert str(raised.value) == (
        f"{folder} claims to be beir/scifact as published, but differs from it: documents: 2, published 5,183; "
        "queries: 1, published 300; judgments: 1, published 339. Remove the folder and fetch it again with "
        "`lotte fetch beir/scifact`"
    )
    with (folder / "queries.jsonl").open("a") as file:
        file.write('{"_id": "p", "text": ""}\n')
    with pytest.raises(CorruptFileError, match=r"queries.jsonl has 55 bytes, and 30 when it was fetched"):
        beir.load("scifact", tmp_path)


def test_a_topic_of_lotte_that_claims_to_be_the_release_is_counted(tmp_path):
    shutil.copytree(TINY / "science", tmp_path / "science")
    folder = tmp_path / "science" / "test"
    (search, _) = reading.read(folder)
    assert search.facts["counts"].startswith("differ from the release (documents: ")
    mark(folder, [path.name for path in folder.iterdir()], {"source": "release"})
    with pytest.raises(CorruptFileError, match="claims to be lotte/science/test/search as published, but differs"):
        reading.read(folder)


def scifact(shared: Path, home: Path) -> Path:
    """SciFact as provided, in BEIR's layout."""
    folder = home / "beir" / "scifact"
    (folder / "qrels").mkdir(parents=True)
    ids = [line.split("\t")[1] for line in (shared / "scifact" / "docids.tsv").read_text().splitlines()]
    with (folder / "corpus.jsonl").open("w") as file:
        for pid, line in enumerate((shared / "scifact" / "collection.tsv").open(newline="\n")):
            _, text, *title = line.rstrip("\n").split("\t")
            row = {"_id": ids[pid], "title": title[0] if title else "", "text": text}
            file.write(json.dumps(row) + "\n")
    topics = shared / "anserini_topics_qrels"
    with (folder / "queries.jsonl").open("w") as file:
        packed = (topics / "topics" / "topics.beir-v1.0.0-scifact.test.tsv.gz").read_bytes()
        for line in gzip.decompress(packed).decode().splitlines():
            query_id, text = line.rstrip("\n").split("\t")
            file.write(json.dumps({"_id": query_id, "text": text}) + "\n")
    with (folder / "qrels" / "test.tsv").open("w") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for line in (topics / "qrels" / "qrels.beir-v1.0.0-scifact.test.txt").open():
            query_id, _, doc_id, grade = line.split()
            file.write(f"{query_id}\t{doc_id}\t{grade}\n")
    return folder


def test_scifact_whole_is_the_release(shared, tmp_path):
    folder = scifact(shared, tmp_path)
    local = beir.load("scifact", tmp_path)
    assert (local.source, local.licence, local.facts["counts"]) == ("local", "CC BY-NC 2.0", "those of the release")
    assert all(doc_id in set(local.corpus.doc_ids) for judged in local.qrels.values() for doc_id in judged)
    mark(folder, beir.FILES, {"source": "release"})
    assert beir.load("scifact", tmp_path).source == "release"
    assert catalogue.match(["beir/*"], tmp_path)[0][0].name == "beir/scifact"


def test_the_topics_and_judgments_of_beir_have_the_published_counts(shared):
    root = shared / "anserini_topics_qrels"
    left_out = {"trec-covid", "webis-touche2020"}  # anserini has no lines below 0, and none of 0 for Touche
    for name in set(beir.NAMES) - {"robust04"}:
        if name.endswith(("/v1", "/v3", "/decontaminated")):
            continue
        qrels = msmarco.read_judgments(
            root / "qrels" / f"qrels.beir-v1.0.0-{name.replace('/', '-')}.test.txt", None, None
        )
        counts = beir.release(name).counts
        grades = [grade for judged in qrels.values() for grade in judged.values()]
        assert len(qrels) == counts.queries, name
        assert len(grades) == counts.judgments or name in left_out, name
        assert counts.relevant in (None, sum(grade > 0 for grade in grades)), name


def touche(judgments: int) -> dict[str, str]:
    rows = "".join(f"q\td{number}\t{number % 3}\n" for number in range(judgments))
    return {**BEIR, "qrels/test.tsv": f"query-id\tcorpus-id\tscore\n{rows}"}


def test_one_version_of_touche_is_not_taken_for_the_other(tmp_path):
    write(tmp_path / "beir" / "webis-touche2020", touche(2_214))
    write(tmp_path / "beir" / "webis-touche2020" / "v1", touche(2_962))
    assert beir.load("webis-touche2020", tmp_path).facts["version"] == "v2"
    assert beir.load("webis-touche2020/v1", tmp_path).facts["version"] == "v1"
    assert beir.names_in(tmp_path) == ["webis-touche2020", "webis-touche2020/v1"]
    write(tmp_path / "beir" / "webis-touche2020", touche(2_962))
    with pytest.raises(MismatchError) as raised:
        beir.load("webis-touche2020", tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}/beir/webis-touche2020 holds the 2,962 judgments of beir/webis-touche2020/v1, and not the 2,214 "
        "of beir/webis-touche2020; move it to beir/webis-touche2020/v1"
    )


MSMARCO = {
    "collection.tsv": "0\tsalt\n1\tmoon\n2\tglass\n",
    "queries.dev.small.tsv": "7\twhy salt\n9\tno judgment\n",
    "qrels.dev.small.tsv": "7\t0\t1\t1\n",
    "5k-eval.queries.tsv": "8\twhy moon\n",
    "5k-eval.qrels.tsv": "8\t0\t2\t1\n",
}
TRECDL = {
    "msmarco-test2019-queries.tsv": "3\tdeep\n4\tnot judged\n",
    "2019qrels-pass.txt": "3 Q0 0 3\n3 Q0 1 1\n3 Q0 2 0\n",
    "msmarco-test2020-queries.tsv.gz": "5\tdeeper\n",
    "2020qrels-pass.txt": "5 0 0 2\n",
}


def test_ms_marco_and_trec_dl_share_a_collection(tmp_path):
    write(tmp_path / "msmarco", MSMARCO)
    write(tmp_path / "trecdl", TRECDL)
    found, absent = catalogue.match(["msmarco/*", "trecdl/*"], tmp_path)
    assert [one.name for one in found] == ["msmarco/dev", "msmarco/eval-local", "trecdl/2019", "trecdl/2020"]
    assert absent == [] and len({one.corpus.path for one in found}) == 1
    dev, local, first, second = found
    assert (dev.measure, dev.queries, dev.qrels) == ("MRR@10", {"7": "why salt"}, {"7": {"1": 1}})
    assert local.qrels == {"8": {"2": 1}}
    assert (first.measure, first.facts["relevance_level"]) == ("nDCG@10", "2")
    assert first.qrels == {"3": {"0": 3, "1": 1, "2": 0}} and second.queries == {"5": "deeper"}
    assert [one.name for one in reading.read(tmp_path / "msmarco")] == ["msmarco/dev", "msmarco/eval-local"]
    assert [one.name for one in reading.read(tmp_path / "trecdl")] == ["trecdl/2019", "trecdl/2020"]


def test_ms_marcos_questions_and_judgments_have_the_published_counts(shared, tmp_path):
    root, local = shared / "anserini_topics_qrels", shared / "colbert_5k_eval"
    pairs = {
        "msmarco/dev": (root / "topics/topics.msmarco-passage.dev-subset.txt", root / "qrels/qrels.msmarco-passage.dev-subset.txt"),
        "msmarco/eval-local": (local / "5k-eval.queries.tsv", local / "5k-eval.qrels.tsv"),
        "trecdl/2019": (root / "topics/topics.dl19-passage.txt", root / "qrels/qrels.dl19-passage.txt"),
        "trecdl/2020": (root / "topics/topics.dl20.txt", root / "qrels/qrels.dl20-passage.txt"),
    }  # fmt: skip
    for name, (topics, qrels) in pairs.items():
        queries = lotte.read_queries(topics)
        judged = msmarco.read_judgments(qrels, queries, None)
        counts = catalogue.release(name).counts
        assert (len(judged), sum(map(len, judged.values()))) == (counts.queries, counts.judgments), name
        assert max(int(doc_id) for found in judged.values() for doc_id in found) < counts.documents


def test_a_judgment_of_a_passage_that_is_not_there_is_named(tmp_path):
    folder = write(tmp_path / "msmarco", {**MSMARCO, "qrels.dev.small.tsv": "7\t0\t3\t1\n"})
    with pytest.raises(CorruptFileError) as raised:
        msmarco.load("dev", tmp_path)
    assert str(raised.value) == (
        f"{folder}/qrels.dev.small.tsv:1: query 7 is answered by passage 3, but the collection ends at 2"
    )


def test_trec_car_from_its_cbor(tmp_path):
    def text(value: str) -> bytes:
        return bytes([0x78, len(value.encode())]) + value.encode()

    link = b"\x85\x01" + text("Page") + b"\x80" + text("enwiki:Page") + text("linked words")
    first = b"\x83\x00\x58\x02ab\x82" + b"\x82\x00" + text("Salt is\ta ") + link
    second = b"\x83\x00" + text("cd") + b"\x9f" + b"\x82\x00" + text("gl\u00e4ss") + b"\xff"
    folder = tmp_path / "treccar"
    folder.mkdir()
    for name, content in {"flat": first + second, "listed": b"\x9f" + first + second + b"\xff"}.items():
        (folder / name).write_bytes(content)
        treccar.paragraphs(folder / name, folder / "paragraphs.tsv")
        assert (folder / "paragraphs.tsv").read_text() == "ab\tSalt is a linked words\ncd\tgl\u00e4ss\n"
    write(folder, {treccar.QRELS: "enwiki:Salt/Taste%20of%20it 0 ab 1\nenwiki:Salt/Taste%20of%20it 0 gone 1\n"})
    (dataset,) = catalogue.match(["trec-car/*"], tmp_path)[0]
    assert dataset.queries == {"enwiki:Salt/Taste%20of%20it": "Salt Taste of it"}
    assert dataset.qrels == {"enwiki:Salt/Taste%20of%20it": {"ab": 1, "gone": 1}} and dataset.measure == "AP"
    assert [one.name for one in reading.read(folder)] == ["treccar/test"]
    for broken in (first[:-3], b"\x83\x00", b"\x81" * 100, b"\x5b" + b"\xff" * 8, b"\x61\xff"):
        (folder / "broken").write_bytes(broken)
        with pytest.raises(CorruptFileError, match="the CBOR ends in the middle of a value, or is damaged"):
            treccar.paragraphs(folder / "broken", folder / "other.tsv")
        assert not (folder / "other.tsv").exists()


PEERQA = {
    "qa.jsonl": '{"paper_id": "v/c/1", "question_id": "h", "question": "why?"}\n'
    '{"paper_id": "v/c/2", "question_id": "h", "question": "why?"}\n',
    "papers.jsonl": "".join(
        json.dumps({"paper_id": paper, "pidx": part, "sidx": 0, "content": f"{paper} says {part}."}) + "\n"
        for paper in ("v/c/1", "v/c/2")
        for part in (0, 0, 1)
    ),
    "qrels-paragraphs.jsonl": '{"paper_id": "v/c/1", "question_id": "h", "idx": "v/c/1/1"}\n',
}


def test_peerqa_asks_a_paper_about_itself(tmp_path):
    (dataset,) = catalogue.match(["peerqa"], write(tmp_path / "peerqa", PEERQA).parent)[0]
    assert dataset.queries == {"v/c/1#h": "why?"} and dataset.qrels == {"v/c/1#h": {"v/c/1/1": 1}}
    assert dataset.corpus[0] == ("v/c/1/0", "v/c/1 says 0. v/c/1 says 0.") and len(dataset.corpus) == 4
    assert dataset.measure == "MRR" and dataset.facts["candidates"] == "the paragraphs of the question's own paper"
    run = Run.of_ranks({"v/c/1#h": ["v/c/2/0", "v/c/1/1", "v/c/1/0"]})
    assert peerqa.within(run).doc_ids("v/c/1#h") == ["v/c/1/1", "v/c/1/0"]
    assert catalogue.on_disk(tmp_path) == ["peerqa"] and reading.read(tmp_path / "peerqa")[0].name == "peerqa"


def test_what_is_not_published_is_not_compared():
    assert ReleaseCounts().differences(ReleaseCounts(documents=1, queries=2, judgments=3, relevant=4)) == []


def test_a_query_that_is_called_like_the_head_of_the_table_keeps_its_judgment(tmp_path):
    files = {
        "corpus.jsonl": '{"_id": "d1", "text": "one"}\n{"_id": "d2", "text": "two"}\n',
        "queries.jsonl": '{"_id": "query-id-7", "text": "one"}\n{"_id": "query-id", "text": "two"}\n',
        "qrels/test.tsv": "query-id-7\td1\t1\nquery-id\td2\t2\n",
    }
    judged = {"query-id-7": {"d1": 1}, "query-id": {"d2": 2}}
    assert beir.read(write(tmp_path / "a", files), "beir/mine").qrels == judged
    files["qrels/test.tsv"] = "query-id\td2\t2\nquery-id-7\td1\t1\n"
    assert beir.read(write(tmp_path / "b", files), "beir/mine").qrels == judged


def test_a_licence_with_half_a_character_is_spelled_so_that_a_record_can_hold_it(tmp_path):
    files = {
        "collection.tsv": "0\tone\n", "queries.dev.tsv": "q\tone\n", "qrels.dev.tsv": "q 0 0 1\n",
        "SOURCE.json": '{"licence": "mine\\ud83d"}',
    }  # fmt: skip
    (found,) = reading.read(write(tmp_path / "mine", files))
    assert found.licence == "mine\\ud83d"


@pytest.mark.parametrize("line", ["\ufeffenwiki:Tea 0 p2 1", "enwiki:T\x00 0 p2 1", "enwiki:Tea 0 p\x1b2 1"])
def test_an_id_that_only_a_judgment_has_is_an_id_too(tmp_path, line):
    """As where two files with a byte order mark each were put together."""
    files = {treccar.PARAGRAPHS: "p1\tone\np2\ttwo\n", treccar.QRELS: f"enwiki:Tea 0 p1 1\n{line}\n"}
    with pytest.raises(CorruptFileError, match=r"qrels:2: the (query|document) id '.*' has .* in it"):
        treccar.read(write(tmp_path, files))


def test_a_judgment_of_an_empty_collection_is_one_line(tmp_path):
    files = {"collection.tsv": "", "queries.dev.tsv": "q\tone\n", "qrels.dev.tsv": "q 0 0 1\n"}
    with pytest.raises(CorruptFileError, match="query q is answered by passage 0, but the collection is empty"):
        reading.read(write(tmp_path / "mine", files))
