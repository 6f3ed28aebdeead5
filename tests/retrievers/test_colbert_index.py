"""An index of late interaction on disk: the same bytes however it was built, whole or absent, and changed without harm."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import tiny_checkpoint
from command import error, lotte

pytest.importorskip("torch", reason="late interaction needs the extra 'colbert'")

from leaderboard.evaluate import Order, evaluate
from lotte import Dataset, Doc, Docs, ranking
from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from retrievers import index_folder, index_meta, load
from retrievers.colbert import Arrays, build_index
from retrievers.colbert import retriever as recipe
from retrievers.colbert.index import build, codec, kmeans
from retrievers.colbert.index import folder as folders
from retrievers.colbert.index.codec import CodecConfig
from retrievers.colbert.index.meta import IndexMeta
from retrievers.colbert.kernels import reference
from retrievers.colbert.kernels.arrays import packed_width
from retrievers.colbert.search import cpu as search
from retrievers.colbert.search.config import SearchConfig

WORDS = tiny_checkpoint.WORDS[:80]


def texts(count, seed=0):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(3, 20))) for _ in range(count)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint.write(tmp_path_factory.mktemp("checkpoint"), dim=32)


@pytest.fixture(scope="module")
def system(checkpoint):
    return load("colbertv2", [f"checkpoint={checkpoint}"])


@pytest.fixture
def corpus():
    return Docs(tuple(Doc(f"d{row}", text) for row, text in enumerate(texts(60))))


@pytest.fixture
def index(system, corpus, tmp_path):
    system.index(corpus, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def folder(corpus, tmp_path):
    """The same documents as a collection on disk."""
    (tmp_path / "docs").mkdir()
    rows = "".join(f"{row}\t{doc.text}\n" for row, doc in enumerate(corpus))
    (tmp_path / "docs" / "collection.tsv").write_text(rows)
    return tmp_path / "docs"


def answers(system, path, question="bread flour oven", k=60, **asked):
    return system.open(path).search({"q": question}, k=k, **asked)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def vectors(documents, dim=32, seed=0):
    """Token vectors of documents around a few directions, and how many each has; some have none."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 30, documents)
    centres = unit(random.normal(size=(40, dim)))
    rows = centres[random.integers(0, 40, lengths.sum())] + 0.08 * random.normal(size=(lengths.sum(), dim))
    return unit(rows).astype(np.float16), lengths


def test_centroids_are_the_same_on_any_number_of_threads():
    points = np.random.default_rng(0).integers(-90, 90, (40_000, 32)).astype(np.int8)
    first, *others = [kmeans.kmeans(points, 50, iterations=3, seed=7, threads=threads) for threads in (1, 2, 5)]
    assert all((first.shifted == other.shifted).all() and first.step == other.step for other in others)
    assert len(np.unique(first.shifted, axis=0)) == 50


def test_k_means_finds_clusters_that_are_there():
    random = np.random.default_rng(1)
    centres = unit(random.normal(size=(8, 32)))
    points = unit(centres[np.arange(4000) % 8] + 0.05 * random.normal(size=(4000, 32)))
    found = kmeans.kmeans(np.rint(points * 127).astype(np.int8), 32, iterations=10, seed=0)
    centroids = (found.shifted.astype(np.float32) - 128) * found.step
    assert ((centres @ centroids.T).max(axis=1) > 0.98).all()
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=0.02)


def test_empty_clusters_are_filled_again():
    points = np.repeat(np.eye(2, 8, dtype=np.int8) * 100, 50, axis=0)
    found = kmeans.kmeans(points, 3, iterations=2, seed=0)
    assert found.shifted.shape == (3, 8)
    assert (np.linalg.norm(found.shifted.astype(float) - 128, axis=1) > 100).all()


@pytest.mark.parametrize("bits, least", [(1, 0.9), (2, 0.96), (4, 0.99)])
def test_more_bits_keep_more_of_a_vector(bits, least):
    rows, _ = vectors(400)
    made = codec.train(rows, len(rows), CodecConfig(bits=bits, centroids=32))
    encoded = codec.encode(made, rows)
    decoded = reference.decode(made, encoded.centroid_ids_N, encoded.residuals_NP)
    cosines = (decoded * rows.astype(np.float32)).sum(axis=1)
    assert least < cosines.mean() <= 1
    assert encoded.residuals_NP.shape[1] == 32 * bits // 8 and encoded.centroid_ids_N.dtype == np.uint16


@pytest.mark.parametrize("steps, error", [(2, 0.3634), (4, 0.1175), (16, 0.009497)])
def test_a_codebook_has_the_least_error_there_is(steps, error):
    """Max 1960, "Quantizing for minimum distortion", table I: the errors for a normal distribution."""
    numbers = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    cutoffs, weights = codec.codebook(numbers, steps)
    found = float(((weights[np.searchsorted(cutoffs, numbers)] - numbers) ** 2).mean())
    assert found == pytest.approx(error, rel=0.03)


def test_a_codec_of_the_paper_has_the_paper_s_size():
    assert (
        packed_width(128, 1) + 4 == 20
        and packed_width(128, 2) + 4 == 36
        and packed_width(128, 4) + 4 == 68
    )
    with pytest.raises(ValueError, match="12 dimensions of 1 bits do not end on a byte"):
        packed_width(12, 1)


def built(folder, rows, lengths, threads=1, **config):
    folder.mkdir()
    counts = build.build(
        folder, Arrays(rows, lengths), CodecConfig(**config), threads=threads, say=lambda line: None
    )
    return counts, {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("assignment", ["exact", "two_level"])
def test_any_number_of_threads_builds_the_same_bytes(tmp_path, monkeypatch, assignment):
    monkeypatch.setattr(codec, "SLICE", 100)  # tokens that a thread takes at once
    monkeypatch.setattr(kmeans, "SHARE", 90)
    rows, lengths = vectors(300)
    asked = {"assignment": assignment, "centroids": 200}
    assert built(tmp_path / "a", rows, lengths, **asked) == built(tmp_path / "b", rows, lengths, threads=3, **asked)


def test_auto_takes_two_levels_from_many_centroids_on(tmp_path, monkeypatch):
    rows, lengths = vectors(300)
    _, exact = built(tmp_path / "exact", rows, lengths, assignment="exact")
    _, by_two = built(tmp_path / "two_level", rows, lengths, assignment="two_level")
    assert "assignment" not in json.loads(exact["codec.json"])  # the bytes of an index of before
    assert json.loads(by_two["codec.json"])["assignment"] == "two_level"
    assert built(tmp_path / "few", rows, lengths)[1] == exact
    monkeypatch.setattr(kmeans, "MANY_CENTROIDS", 512)
    assert built(tmp_path / "many", rows, lengths)[1] == by_two


def test_of_a_codec_of_two_levels_every_part_is_coded_as_the_whole_is():
    """So --add, which codes a segment of its own, goes on as the index began."""
    rows = unit(np.random.default_rng(0).normal(size=(5000, 32))).astype(np.float16)
    made = codec.train(rows, len(rows), CodecConfig(centroids=600, assignment="two_level"))
    whole = codec.encode(made, rows)
    some = codec.encode(made, rows[1000:1700], threads=2)
    assert whole.centroid_ids_N[1000:1700].tolist() == some.centroid_ids_N.tolist()
    points = reference.as_bytes(rows.astype(np.float32))
    truth = reference.nearest_in_groups(points, made.shifted, kmeans.groups_of(made.shifted), kmeans.REACH)
    assert whole.centroid_ids_N.tolist() == truth.tolist() != reference.nearest(points, made.shifted).tolist()


def test_two_levels_find_nearly_all_nearest_centroids():
    """4,096 centroids as k-means leaves them, and points around directions as frequent as words are."""
    random = np.random.default_rng(0)
    frequent = 1 / np.arange(1, 6001) ** 0.9
    senses = unit(random.normal(size=(6000, 64)) + 1.5 * random.normal(size=(60, 64))[random.integers(0, 60, 6000)])
    rows = unit(senses[random.choice(6000, 60_000, p=frequent / frequent.sum())] + 0.07 * random.normal(size=(60_000, 64)))
    points = reference.as_bytes(rows)
    made = kmeans.kmeans(points[:40_000], 4096, iterations=2, seed=0, two_level=True)
    found, truth = (kmeans.nearest(points[40_000:], made.shifted, threads=2, two_level=how) for how in (True, False))
    assert (found == truth).mean() > 0.96


def test_the_groups_of_centroids_are_all_of_them_and_the_same_on_any_number_of_threads():
    shifted = np.random.default_rng(0).integers(1, 256, (1000, 32)).astype(np.uint8)
    one, three = (kmeans.groups_of(shifted, threads=threads) for threads in (1, 3))
    assert sorted(one.members.tolist()) == list(range(1000)) and one.starts[-1] == 1000 and len(one.centres) == 96
    assert all((getattr(one, name) == getattr(three, name)).all() for name in ("centres", "members", "starts"))


@pytest.mark.parametrize("made", [CodecConfig, lambda **given: recipe.LateInteraction("shipped", **given)])
def test_an_assignment_that_there_is_not_is_one_line(made):
    with pytest.raises(ValueError, match="assignment is one of auto, exact, two_level, not 'nearest'"):
        made(assignment="nearest")


def test_more_dimensions_than_two_levels_take_are_looked_through_in_full():
    assert not kmeans.takes_two_levels("auto", 1 << 16, 1032) and kmeans.takes_two_levels("auto", 1 << 16, 1024)
    with pytest.raises(ValueError, match="assignment=two_level takes 1,024 dimensions at most, not 1,032"):
        kmeans.takes_two_levels("two_level", 10, 1032)


def test_a_plan_knows_of_two_levels():
    exact, auto = (build.plan(200_000, 120, 128, CodecConfig(assignment=name)) for name in ("exact", "auto"))
    assert auto.products < exact.products / 20 and auto.disk == exact.disk
    few = [build.plan(100, 120, 128, CodecConfig(assignment=name)).products for name in ("exact", "auto")]
    assert few[0] == few[1]


def test_an_index_from_before_there_was_a_choice_opens_and_grows_by_exact_assignment(system, index, monkeypatch):
    without_hashes(index)
    meta = json.loads((index / "meta.json").read_text())
    del meta["recipe"]["options"]["assignment"]
    (index / "meta.json").write_text(json.dumps(meta))
    monkeypatch.setattr(kmeans, "MANY_CENTROIDS", 1)
    monkeypatch.setattr(kmeans, "groups_of", None)  # no two levels
    system.change(index, delete=(), add=Docs((Doc("mine", "telescope star moon sky"),)))
    assert "mine" in answers(system, index, "telescope star moon sky", k=61).doc_ids("q")


@pytest.mark.parametrize("assignment", ["exact", "two_level"])
def test_a_build_that_stops_anywhere_goes_on_to_the_same_bytes(tmp_path, monkeypatch, assignment):
    monkeypatch.setattr(build, "CHUNK", 50)
    monkeypatch.setattr(build, "sample_rows", lambda documents, seed: list(range(0, documents, 3)))
    rows, lengths = vectors(300)
    config = CodecConfig(assignment=assignment)
    whole = built(tmp_path / "whole", rows, lengths, assignment=assignment)

    class Stop(Exception):
        pass

    class Stopping(Arrays):
        left = 0

        def vectors(self, wanted):
            if not Stopping.left:
                raise Stop
            Stopping.left -= 1
            return super().vectors(wanted)

    (tmp_path / "stopped").mkdir()
    for attempt in range(20):  # noqa: B007 - how many it took
        Stopping.left = 1
        try:
            counts = build.build(
                tmp_path / "stopped", Stopping(rows, lengths), config, threads=1, say=lambda line: None
            )
            break
        except Stop:
            with next((tmp_path / "stopped").glob("*.npy")).open("ab") as file:
                file.write(b"half a chunk")  # as a kill leaves it
    assert attempt > 5
    assert (counts, {file.name: file.read_bytes() for file in (tmp_path / "stopped").iterdir()}) == whole


def test_a_killed_index_goes_on_where_it_was(folder, checkpoint, tmp_path):
    """kill -9 while it encodes; then the same command, and the bytes of an index that was never killed."""
    command = [
        sys.executable, "-c",
        "import retrievers.colbert.index.build as b, leaderboard.cli, time\n"
        "b.CHUNK = 7\n"
        "fill = b.SegmentWriter.append\n"
        "def slow(*args): fill(*args); time.sleep(0.05)\n"
        "b.SegmentWriter.append = slow\n"
        "leaderboard.cli.main()",
        "index", "--retriever", "colbertv2", "-o", f"checkpoint={checkpoint}", str(folder), "--out",
    ]  # fmt: skip
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    killed = subprocess.Popen([*command, tmp_path / "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / ".killed.unfinished" / "chunks.0000.jsonl"
    while killed.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed").exists()
    done = journal.read_text().count("\n")
    assert 0 < done < 9
    again = subprocess.run([*command, tmp_path / "killed"], check=True, capture_output=True, text=True)
    assert f"going on behind document {7 * done}" in again.stderr
    for file in (tmp_path / "whole").iterdir():
        if file.name != "meta.json":
            assert file.read_bytes() == (tmp_path / "killed" / file.name).read_bytes(), file.name
    assert not journal.parent.exists()


def test_what_another_recipe_left_is_not_built_upon(system, checkpoint, corpus, tmp_path):
    left = tmp_path / ".index.unfinished"
    left.mkdir()
    (left / "plan.json").write_text("{}")
    (left / "codec.json").write_text("of another recipe")
    system.index(corpus, tmp_path / "index")
    assert answers(system, tmp_path / "index").hits["q"]


def test_two_builders_of_one_index_do_not_meet(system, corpus, tmp_path):
    (tmp_path / ".index.unfinished").mkdir()
    with index_folder.exclusive_lock(tmp_path / ".index.unfinished"), pytest.raises(UnavailableError, match="another process"):
        system.index(corpus, tmp_path / "index")


def test_an_index_that_is_being_built_is_no_index(tmp_path):
    (tmp_path / ".index.unfinished").mkdir()
    assert error("search", str(tmp_path / "index"), "why") == (
        f"{tmp_path}/index is no index, or not a whole one. Build it with `lotte index`."
    )


def test_deleted_documents_are_not_found_and_the_others_keep_their_ids(system, index, corpus):
    before = answers(system, index)
    system.change(index, delete=["d3", "d17"], add=None)
    after = answers(system, index)
    assert after.doc_ids("q") == [doc_id for doc_id in before.doc_ids("q") if doc_id not in ("d3", "d17")]
    assert dict(after.hits["q"]).items() <= dict(before.hits["q"]).items()
    with pytest.raises(MismatchError, match=r"document 'd3' is not in .*; nothing was deleted"):
        system.change(index, delete=["d4", "d3"], add=None)
    with pytest.raises(MismatchError, match=r"document '' is not in .*; nothing was deleted"):
        system.change(index, delete=[""], add=None)
    assert answers(system, index) == after


def test_added_documents_are_found_by_their_own_ids(system, index):
    system.change(index, delete=(), add=Docs((Doc("mine", "telescope star moon sky"), Doc("empty", ""))))
    assert "mine" in answers(system, index, "telescope star moon sky", k=62).doc_ids("q")
    with pytest.raises(MismatchError, match=r"document 'mine' is in .* already"):
        system.change(index, delete=(), add=Docs((Doc("mine", "again"),)))
    system.change(index, delete=["mine"], add=None)
    assert "mine" not in answers(system, index, "telescope star moon sky", k=62).doc_ids("q")
    system.change(index, delete=(), add=Docs((Doc("mine", "bread flour"),)))
    assert "mine" in answers(system, index, k=62).doc_ids("q")


def test_readers_are_undisturbed_while_a_writer_works(system, index, corpus):
    reader = system.open(index)
    before = reader.search({"q": "bread flour oven"}, k=60)
    system.change(index, delete=[doc.doc_id for doc in corpus][:40], add=None)  # so many that what is left is rewritten
    assert len(list(index.glob("cells.*.npy"))) == 1 and not (index / "cells.0000.npy").exists()
    assert reader.search({"q": "bread flour oven"}, k=60) == before
    assert set(answers(system, index).doc_ids("q")) == {f"d{row}" for row in range(40, 60)}


def test_a_reader_that_opens_while_files_are_replaced_opens_the_new_ones(system, index, corpus, monkeypatch):
    real = folders.open_arrays

    def late(folder, meta):  # meta.json was read, and before the files are opened a writer is done
        monkeypatch.setattr(folders, "open_arrays", real)
        system.change(index, delete=[doc.doc_id for doc in corpus][:40], add=None)
        return real(folder, meta)

    monkeypatch.setattr(folders, "open_arrays", late)
    assert set(answers(system, index).doc_ids("q")) == {f"d{row}" for row in range(40, 60)}


def test_added_ids_that_are_gone_are_not_made_up(system, index):
    system.change(index, delete=(), add=Docs((Doc("mine", "bread"),)))
    (index / "doc_ids.0001.txt").unlink()
    with pytest.raises(CorruptFileError, match=r"doc_ids\.0001\.txt is missing"):
        system.open(index)


def test_compaction_changes_no_score(system, index, corpus):
    gone = [f"d{row}" for row in range(0, 60, 3)]  # a third
    before = dict(answers(system, index).hits["q"])
    system.change(index, delete=gone, add=None)
    after = answers(system, index)
    assert dict(after.hits["q"]) == pytest.approx({key: before[key] for key in before if key not in gone})
    assert not list(system.damaged(index))
    system.change(index, delete=(), add=Docs((Doc("new", "bread flour oven"),)))
    assert "new" in answers(system, index).doc_ids("q")


def test_strangers_among_the_added_are_reported(index, system, capsys):
    system.change(index, delete=(), add=Docs(tuple(Doc(f"x{i}", "日本語 ñ ß é ” %& 77 zq") for i in range(30))))
    assert "farther from their centroids" in capsys.readouterr().err


def test_only_documents_that_are_asked_for_are_found(system, index):
    run = answers(system, index, among=["d5", "d9", "nobody"])
    assert sorted(run.doc_ids("q")) == ["d5", "d9"]


def test_empty_documents_lose_nothing(system, tmp_path):
    """They keep the three vectors that the model gives any text, as in the original; nothing else moves."""
    full = [Doc("a", "bread flour oven yeast"), Doc("b", "telescope star moon")]
    system.index(Docs((Doc("empty", ""), full[0], Doc("dots", "..."), full[1])), tmp_path / "index")
    run = answers(system, tmp_path / "index", "bread flour", k=4)
    assert sorted(run.doc_ids("q")) == ["a", "b", "dots", "empty"]
    lengths = np.diff(np.load(tmp_path / "index" / "starts.0000.npy"))
    assert lengths[0] == lengths[2] == 3


def test_a_document_without_any_token_is_found_by_nothing(tmp_path):
    rows, lengths = vectors(50)
    assert (lengths == 0).any()
    index = build_index(tmp_path / "index", Arrays(rows, lengths))
    for algorithm in ("paper", "pruned", "exact"):
        found = search.search(index, [rows[:4].astype(np.float32)], k=50, config=SearchConfig(algorithm=algorithm))
        assert sorted(found[0].rows.tolist()) == np.flatnonzero(lengths).tolist()


def test_a_flipped_byte_is_found_and_named(index, system):
    with (index / "residuals.0000.npy").open("r+b") as file:
        file.seek(300)
        byte = file.read(1)[0]
        file.seek(300)
        file.write(bytes([byte ^ 1]))
    done = lotte("check", str(index))
    assert done.stdout == "residuals.0000.npy: documents 0 to 59 are not what was written\n"
    assert done.returncode == 1


@pytest.mark.parametrize("name", ["cells.0000.npy", "centroids.npy", "codec.json", "lists.0000.npy", "starts.0000.npy"])
def test_a_file_that_is_cut_or_gone_is_one_line(index, system, name):
    shutil.copytree(index, index.parent / "gone")
    (index.parent / "gone" / name).unlink()
    with pytest.raises(CorruptFileError, match=rf"{name}.* build (it|the index) again|codec.json"):
        system.open(index.parent / "gone")
    (index / name).write_bytes((index / name).read_bytes()[:-30])
    with pytest.raises(CorruptFileError, match=name):
        system.open(index)


def test_numbers_of_no_centroid_harm_nobody(index, system):
    centroid_ids = np.load(index / "cells.0000.npy")
    centroid_ids[:] = 65_535
    np.save(index / "cells.0000.npy", centroid_ids)
    arrays = folders.open_arrays(index, IndexMeta.read(index))
    query = system.encoder.queries(["moon"])[0]
    assert len(search.search(arrays, [query], k=100, config=SearchConfig())[0].rows) <= 60


def test_an_index_of_another_recipe_is_not_opened(index, checkpoint):
    with pytest.raises(MismatchError, match=r"bits=2.*you asked for .*bits=4"):
        load("colbertv2", [f"checkpoint={checkpoint}", "bits=4"]).open(index)


def test_how_to_search_may_be_chosen_later(index, checkpoint):
    exact = load("colbertv2", [f"checkpoint={checkpoint}", "exact=true", "threads=1"]).open(index)
    assert len(exact.search({"q": "bread"}, k=60).hits["q"]) == 60


def test_other_weights_of_the_same_name_are_noticed(corpus, tmp_path):
    tiny_checkpoint.write(tmp_path / "model", dim=32, seed=1)
    load("colbertv2", [f"checkpoint={tmp_path / 'model'}"]).index(corpus, tmp_path / "index")
    tiny_checkpoint.write(tmp_path / "model", dim=32, seed=2)
    code = (
        "from retrievers import load; import sys\n"
        "load('colbertv2', ['checkpoint=' + sys.argv[1]]).open(__import__('pathlib').Path(sys.argv[2])).search({'q': 'x'}, k=1)"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", code, tmp_path / "model", tmp_path / "index"], capture_output=True, text=True
    )
    assert "the index was made with weights" in done.stderr


def test_a_corpus_without_documents_or_words_has_an_index(system, tmp_path):
    for name, docs in (("none", ()), ("blank", (Doc("a", ""),))):
        system.index(Docs(docs), tmp_path / name)
        assert len(answers(system, tmp_path / name).hits["q"]) <= 1


def test_what_an_index_will_take_is_said_before_and_held_to(system, index, corpus, capsys, monkeypatch):
    monkeypatch.setattr(recipe, "FEW", 0)
    capsys.readouterr()
    system.index(corpus, index)
    line = next(line for line in capsys.readouterr().err.splitlines() if " tokens, " in line)
    assert line.startswith("60 documents of about ") and " MB on disk" in line and " MB of memory" in line
    meta = json.loads((index / "meta.json").read_text())
    plan = build.plan(60, meta["counts"]["tokens"] / 60, 32, system.codec_config)
    arrays = sum((index / f"{name}.0000.npy").stat().st_size for name in ("cells", "residuals", "lengths", "lists"))
    assert plan.centroids == meta["counts"]["centroids"]
    assert 0.5 < plan.disk / (arrays + plan.centroids * 32) < 2


def test_a_full_disk_is_said_before_the_work(system, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "FEW", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(UnavailableError, match=r"has 0 MB left, and the index takes .* MB while it is built"):
        system.index(corpus, tmp_path / "index")


def test_a_bad_line_of_added_documents_is_named(index, tmp_path):
    (tmp_path / "more.tsv").write_text("a\tone\nb two\n")
    assert error("index", "--out", str(index), "--add", str(tmp_path / "more.tsv")) == (
        f"{tmp_path}/more.tsv:2: expected an id and a text with a tab between, found 1 fields"
    )
    (tmp_path / "more.tsv").write_text("a\tone\na\ttwo\n")
    assert error("index", "--out", str(index), "--add", str(tmp_path / "more.tsv")) == (
        f"{tmp_path}/more.tsv:2: document 'a' is on line 1 already"
    )


def test_the_commands_do_all_of_it(folder, checkpoint, tmp_path):
    out = str(tmp_path / "index")
    made = lotte("index", "--retriever", "colbertv2", "-o", f"checkpoint={checkpoint}", str(folder), "--out", out)
    assert made.stdout == f"{out}\n"
    (tmp_path / "more.tsv").write_text("mine\tbread flour oven yeast bake\n")
    lotte("index", "--out", out, "--add", str(tmp_path / "more.tsv"), "--delete", "7")
    found = [
        line.split("\t") for line in lotte("search", out, "bread flour oven yeast bake", "-k", "61").stdout.splitlines()
    ]
    assert ["mine", "bread flour oven yeast bake"] in [row[2:] for row in found]
    assert {row[2] for row in found} == {str(row) for row in range(60) if row != 7} | {"mine"}
    rows = [
        json.loads(line)
        for line in lotte("search", out, "bread oven", "-k", "1", "--explain", "--json").stdout.splitlines()
    ]
    assert [row["query_token"] for row in rows[1:6]] == ["[CLS]", "[unused0]", "bread", "oven", "[SEP]"]
    assert len(rows) == 33
    whole = lotte("check", out)
    assert whole.returncode == 0 and "an index of 61 documents by colbertv2(" in whole.stderr


def test_a_dataset_that_asks_for_longer_queries_gets_them(system, checkpoint, corpus, tmp_path):
    """As ArguAna does, whose queries are arguments; a length that the user set stays."""
    queries = {"q": " ".join(texts(12, seed=1))}
    dataset = Dataset(
        name="toy/long", corpus=corpus, queries=queries, qrels={"q": {"d0": 1}}, measure="nDCG@10",
        facts={"query_tokens": "64"},
    )  # fmt: skip
    orders = {}
    for name, asked in (("fitted", system), ("set", load("colbertv2", [f"checkpoint={checkpoint}", "query_maxlen=16"]))):
        (result,) = evaluate(name, asked, [dataset], Order(out=tmp_path, index=tmp_path / "kept"))
        orders[name] = ranking.read(tmp_path / name / "toy" / "long.trec", queries, corpus.doc_ids).doc_ids("q")
        assert result.retriever.options["query_maxlen"] == (64 if name == "fitted" else 16)
    for name, length in (("fitted", 64), ("set", 16)):
        one = load("colbertv2", [f"checkpoint={checkpoint}", f"query_maxlen={length}"])
        assert one.open(tmp_path / "kept" / name / "toy" / "long").search(queries, k=1000).doc_ids("q") == orders[name]
    assert orders["fitted"] != orders["set"]


# nothing is lost, whatever stands in the way ---------------------------------------------------------------------


def without_hashes(index):
    meta = {key: value for key, value in index_meta.read(index).items() if key not in ("digest", "sizes", "sources")}
    (index / "meta.json").write_text(json.dumps(meta))


def test_a_change_is_both_or_neither_and_the_same_command_goes_on(system, index, monkeypatch):
    before = answers(system, index)
    add = Docs((Doc("d3", "telescope star moon sky"),))
    with monkeypatch.context() as patch:
        patch.setattr(index_meta, "write", lambda folder, meta: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            system.change(index, delete=["d3", "d4"], add=add)
    assert answers(system, index) == before
    for _ in range(2):  # and once more, as somebody does who does not know that it was done
        system.change(index, delete=["d3", "d4"], add=add)
    assert index_folder.read(index).meta["counts"]["deleted"] == 2
    found = answers(system, index, k=99).doc_ids("q")
    assert (found.count("d3"), found.count("d4"), len(found)) == (1, 0, 59)
    assert list(folders.verify(index)) == []


def test_a_build_that_was_stopped_before_its_last_step_is_not_made_again(system, corpus, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(index_folder.artifact, "put", lambda whole, path: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            system.index(corpus, tmp_path / "index")
    with monkeypatch.context() as patch:
        patch.setattr(build, "build", None)
        system.index(corpus, tmp_path / "index")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]
    assert list(folders.verify(tmp_path / "index")) == []


def test_every_flipped_byte_of_a_late_index_is_found(system, index):
    system.change(index, delete=["d3"], add=Docs((Doc("mine", "bread"),)))
    random, found = np.random.default_rng(0), 0
    for path in sorted(path for path in index.iterdir() if path.name != "meta.json" and path.stat().st_size):
        whole = bytearray(path.read_bytes())
        for place in (0, len(whole) // 2, len(whole) - 1, int(random.integers(len(whole)))):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(random.integers(8))]) + whole[place + 1 :])
            assert [line.partition(":")[0] for line in system.damaged(index)], (path.name, place)
            found += 1
        path.write_bytes(whole)
    assert found > 40 and list(system.damaged(index)) == []


@pytest.mark.parametrize("change", [b"|", b'{"documents": -1}', b'{"documents": 60, "tokens": "x"}', b"[1]", b"{" * 9999])
def test_a_journal_that_is_damaged_is_a_line_of_check(system, index, change):
    (index / "chunks.0000.jsonl").write_bytes(change + b"\n")
    assert any("chunks.0000.jsonl" in line for line in system.damaged(index))
    without_hashes(index)  # of an index of before
    assert any("chunks.0000.jsonl" in line for line in system.damaged(index))


def test_a_journal_of_an_index_of_before_that_is_gone_is_a_line_of_check(system, index):
    (index / "chunks.0000.jsonl").unlink()
    without_hashes(index)
    assert list(system.damaged(index)) == ["chunks.0000.jsonl: has 0 documents of 60"]


@pytest.mark.parametrize(
    "tables",
    [{"step": float("nan")}, {"step": -1}, {"step": "x"}, {"weights": [[1]]}, {"weights": [3, 2, 1, 0]}, {"cutoffs": []},
     {"inverse_lengths": [1]}, {"inverse_lengths": [1e400, 1]}, {"exact": "../exact.npy"}],
)  # fmt: skip
def test_tables_that_cannot_be_are_one_line(index, tables):
    path = index / "codec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | tables))
    with pytest.raises(CorruptFileError, match=r"codec\.json|exact\.npy"):
        codec.load(index)


def test_a_file_that_is_deeply_nested_is_one_line(index):
    (index / "codec.json").write_text("[" * 100_000)
    with pytest.raises(CorruptFileError, match=r"codec\.json: no JSON"):
        codec.load(index)


def test_another_number_of_documents_than_the_arrays_have_is_one_line(index):
    meta = IndexMeta.read(index)
    meta = replace(meta, segments=(replace(meta.segments[0], documents=61),))
    with pytest.raises(CorruptFileError, match=r"starts\.0000\.npy: 60 documents, where meta\.json says 61"):
        folders.open_arrays(index, meta)


def test_sigterm_ends_in_order_and_leaves_nothing(folder, tmp_path):
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    code = (
        "import os, signal, sys; from leaderboard import cli; from retrievers import postings; write = postings.write\n"
        "def stop(*given, **named): os.kill(os.getpid(), signal.SIGTERM); return write(*given, **named)\n"
        "postings.write = stop; cli.main()"
    )
    words = ["eval", str(folder), "--retriever", "bm25", "--out", str(out)]
    (folder / "queries.test.tsv").write_text("0\tmoon\n")
    (folder / "qrels.test.tsv").write_text("0\t0\t0\t1\n")
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (143, ["interrupted; what was finished by then is kept"])
    assert not list(scratch.iterdir())
