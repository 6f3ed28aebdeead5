"""An index of late interaction on disk: damage is found, another recipe is refused, and the commands do all of it."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny_checkpoint
from command import lotte
from late_vectors import texts, without_hashes

pytest.importorskip("torch", reason="late interaction needs the extra 'colbert'")
from leaderboard.evaluate import Order, evaluate
from lotte import Dataset, Doc, Docs, ranking
from lotte.errors import CorruptFileError, MismatchError
from retrievers import load
from retrievers.colbert.index import codec
from retrievers.colbert.index import folder as folders
from retrievers.colbert.index.meta import IndexMeta
from retrievers.colbert.search import cpu as search
from retrievers.colbert.search.config import SearchConfig


def test_a_flipped_byte_is_found_and_named(late_index, late_system):
    with (late_index / "residuals.0000.npy").open("r+b") as file:
        file.seek(300)
        byte = file.read(1)[0]
        file.seek(300)
        file.write(bytes([byte ^ 1]))
    done = lotte("check", str(late_index))
    assert done.stdout == "residuals.0000.npy: documents 0 to 59 are not what was written\n"
    assert done.returncode == 1


@pytest.mark.parametrize("name", ["cells.0000.npy", "centroids.npy", "codec.json", "lists.0000.npy", "starts.0000.npy"])
def test_a_file_that_is_cut_or_gone_is_one_line(late_index, late_system, name):
    shutil.copytree(late_index, late_index.parent / "gone")
    (late_index.parent / "gone" / name).unlink()
    with pytest.raises(CorruptFileError, match=rf"{name}.* build (it|the index) again|codec.json"):
        late_system.open(late_index.parent / "gone")
    (late_index / name).write_bytes((late_index / name).read_bytes()[:-30])
    with pytest.raises(CorruptFileError, match=name):
        late_system.open(late_index)


def test_numbers_of_no_centroid_harm_nobody(late_index, late_system):
    centroid_ids = np.load(late_index / "cells.0000.npy")
    centroid_ids[:] = 65_535
    np.save(late_index / "cells.0000.npy", centroid_ids)
    arrays = folders.open_arrays(late_index, IndexMeta.read(late_index))
    query = late_system.encoder.queries(["moon"])[0]
    assert len(search.search(arrays, [query], k=100, config=SearchConfig())[0].rows) <= 60


def test_an_index_of_another_recipe_is_not_opened(late_index, small_checkpoint):
    with pytest.raises(MismatchError, match=r"bits=2.*you asked for .*bits=4"):
        load("colbertv2", [f"checkpoint={small_checkpoint}", "bits=4"]).open(late_index)


def test_how_to_search_may_be_chosen_later(late_index, small_checkpoint):
    exact = load("colbertv2", [f"checkpoint={small_checkpoint}", "exact=true", "threads=1"]).open(late_index)
    assert len(exact.search({"q": "bread"}, k=60).hits["q"]) == 60


def test_other_weights_of_the_same_name_are_noticed(sixty_documents, tmp_path):
    tiny_checkpoint.write(tmp_path / "model", dim=32, seed=1)
    load("colbertv2", [f"checkpoint={tmp_path / 'model'}"]).index(sixty_documents, tmp_path / "index")
    tiny_checkpoint.write(tmp_path / "model", dim=32, seed=2)
    code = (
        "from retrievers import load; import sys\n"
        "load('colbertv2', ['checkpoint=' + sys.argv[1]]).open(__import__('pathlib').Path(sys.argv[2])).search({'q': 'x'}, k=1)"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", code, tmp_path / "model", tmp_path / "index"], capture_output=True, text=True
    )
    assert "the index was built with weights" in done.stderr


def test_the_commands_do_all_of_it(sixty_on_disk, small_checkpoint, tmp_path):
    out = str(tmp_path / "index")
    made = lotte("index", "--retriever", "colbertv2", "-o", f"checkpoint={small_checkpoint}", str(sixty_on_disk), "--out", out)
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


def test_a_dataset_that_asks_for_longer_queries_gets_them(late_system, small_checkpoint, sixty_documents, tmp_path):
    """As ArguAna does, whose queries are arguments; a length that the user set stays."""
    queries = {"q": " ".join(texts(12, seed=1))}
    dataset = Dataset(
        name="toy/long", corpus=sixty_documents, queries=queries, qrels={"q": {"d0": 1}}, measure="nDCG@10",
        facts={"query_tokens": "64"},
    )  # fmt: skip
    orders = {}
    for name, asked in (("fitted", late_system), ("set", load("colbertv2", [f"checkpoint={small_checkpoint}", "query_maxlen=16"]))):
        (result,) = evaluate(name, asked, [dataset], Order(out=tmp_path, index=tmp_path / "kept"))
        orders[name] = ranking.read(tmp_path / name / "toy" / "long.trec", queries, sixty_documents.doc_ids).doc_ids("q")
        assert result.retriever.options["query_maxlen"] == (64 if name == "fitted" else 16)
    for name, length in (("fitted", 64), ("set", 16)):
        one = load("colbertv2", [f"checkpoint={small_checkpoint}", f"query_maxlen={length}"])
        assert one.open(tmp_path / "kept" / name / "toy" / "long").search(queries, k=1000).doc_ids("q") == orders[name]
    assert orders["fitted"] != orders["set"]


def test_every_flipped_byte_of_a_late_index_is_found(late_system, late_index):
    late_system.change(late_index, delete=["d3"], add=Docs((Doc("mine", "bread"),)))
    random, found = np.random.default_rng(0), 0
    for path in sorted(path for path in late_index.iterdir() if path.name != "meta.json" and path.stat().st_size):
        whole = bytearray(path.read_bytes())
        for place in (0, len(whole) // 2, len(whole) - 1, int(random.integers(len(whole)))):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(random.integers(8))]) + whole[place + 1 :])
            assert [line.partition(":")[0] for line in late_system.damaged(late_index)], (path.name, place)
            found += 1
        path.write_bytes(whole)
    assert found > 40 and list(late_system.damaged(late_index)) == []


@pytest.mark.parametrize("change", [b"|", b'{"documents": -1}', b'{"documents": 60, "tokens": "x"}', b"[1]", b"{" * 9999])
def test_a_journal_that_is_damaged_is_a_line_of_check(late_system, late_index, change):
    (late_index / "chunks.0000.jsonl").write_bytes(change + b"\n")
    assert any("chunks.0000.jsonl" in line for line in late_system.damaged(late_index))
    without_hashes(late_index)  # of an index of before
    assert any("chunks.0000.jsonl" in line for line in late_system.damaged(late_index))


def test_a_journal_of_an_index_of_before_that_is_gone_is_a_line_of_check(late_system, late_index):
    (late_index / "chunks.0000.jsonl").unlink()
    without_hashes(late_index)
    assert list(late_system.damaged(late_index)) == ["chunks.0000.jsonl: has 0 documents of 60"]


@pytest.mark.parametrize(
    "tables",
    [{"step": float("nan")}, {"step": -1}, {"step": "x"}, {"weights": [[1]]}, {"weights": [3, 2, 1, 0]}, {"cutoffs": []},
     {"inverse_lengths": [1]}, {"inverse_lengths": [1e400, 1]}, {"exact": "../exact.npy"}],
)  # fmt: skip
def test_tables_that_cannot_be_are_one_line(late_index, tables):
    path = late_index / "codec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | tables))
    with pytest.raises(CorruptFileError, match=r"codec\.json|exact\.npy"):
        codec.load(late_index)


def test_a_file_that_is_deeply_nested_is_one_line(late_index):
    (late_index / "codec.json").write_text("[" * 100_000)
    with pytest.raises(CorruptFileError, match=r"codec\.json: not JSON"):
        codec.load(late_index)


def test_another_number_of_documents_than_the_arrays_have_is_one_line(late_index):
    meta = IndexMeta.read(late_index)
    meta = replace(meta, segments=(replace(meta.segments[0], documents=61),))
    with pytest.raises(CorruptFileError, match=r"starts\.0000\.npy: 60 documents, where meta\.json says 61"):
        folders.open_arrays(late_index, meta)
