"""What is written for Vespa: a package as pyvespa makes it, and a feed by the published rules."""

import json
import re

import numpy as np
import pytest
from late_vectors import unit, vectors

pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")
from lotte.collection import Collection
from retrievers import exports
from retrievers.colbert import Arrays, CodecConfig, build_index
from retrievers.colbert.index.folder import open_index
from retrievers.colbert.search import SearchConfig, search
from retrievers.exports import vespa
from retrievers.exports.source import open_source

DIM, DOCUMENTS = 32, 60
CELLS = {"bfloat16": ("bfloat16", 4), "float32": ("float", 8), "int8": ("int8", 2)}


def export(index, out, **more):
    said = []
    exports.export("vespa", exports.ExportRequest(index, out, said.append, **more))
    return said


def feed(out):
    return [json.loads(line) for line in (out / "feed.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def made_index(tmp_path_factory):
    rows, lengths = vectors(DOCUMENTS, DIM)
    assert (lengths == 0).any()
    path = tmp_path_factory.mktemp("vespa") / "index"
    build_index(path, Arrays(rows, lengths), CodecConfig(centroids=16), threads=1)
    return path


def decoded(text, numbers):
    """Read cells as Vespa's JsonFormat does: big end first."""
    content = bytes.fromhex(text)
    if numbers == "bfloat16":
        return (np.frombuffer(content, ">u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(content, {"float32": ">f4", "int8": np.int8}[numbers]).astype(np.float32)


@pytest.mark.parametrize("numbers, close", [("bfloat16", 2e-3), ("float32", 0.0), ("int8", 4.1e-3)])
def test_cells_stand_for_the_decoded_vectors(made_index, tmp_path, numbers, close):
    export(made_index, tmp_path / "out", numbers=numbers)
    wanted = [block.of(place) for block in open_source(made_index, print).blocks() for place in range(len(block.doc_ids))]
    scale = 127 if numbers == "int8" else 1
    for operation, rows in zip(feed(tmp_path / "out"), wanted, strict=True):
        blocks = operation["fields"].get("tokens", {"blocks": []})["blocks"]
        assert [block["address"] for block in blocks] == [{"token": str(token)} for token in range(len(rows))]
        found = np.array([decoded(block["values"], numbers) / scale for block in blocks]).reshape(-1, DIM)
        assert np.allclose(found, rows, rtol=0, atol=close)


def test_the_formula_of_the_package_ranks_the_feed_as_an_exact_search_here(made_index, tmp_path):
    export(made_index, tmp_path / "out")
    queries = [unit(np.random.default_rng(seed).normal(size=(8, DIM))) for seed in range(10)]
    found = search(open_index(made_index), queries, k=5, config=SearchConfig(algorithm="exact"))
    tokens = {
        int(operation["put"].rpartition("::")[2]): np.array([decoded(block["values"], "bfloat16") for block in fields["tokens"]["blocks"]])
        for operation in feed(tmp_path / "out") if "tokens" in (fields := operation["fields"])
    }  # fmt: skip
    for query, hits in zip(queries, found, strict=True):
        scores = {row: (query @ rows.T).max(axis=1).sum() for row, rows in tokens.items()}
        best = sorted(scores, key=scores.get, reverse=True)[:5]
        assert np.allclose([scores[row] for row in best], hits.scores, atol=0.02)  # bfloat16 has three digits


def test_every_line_is_a_put_by_the_published_rules(made_index, tmp_path):
    export(made_index, tmp_path / "out", collection="answers")
    operations = feed(tmp_path / "out")
    assert len(operations) == DOCUMENTS
    for number, operation in enumerate(operations):
        assert operation.keys() == {"put", "fields"}
        assert operation["put"] == f"id:lotte:answers::{number}" and operation["fields"]["doc_id"] == str(number)
        for tensor in operation["fields"].get("tokens", {}).get("blocks", ()):
            assert tensor.keys() == {"address", "values"} and re.fullmatch(f"[0-9a-f]{{{4 * DIM}}}", tensor["values"])
        if "mean" in operation["fields"]:
            assert re.fullmatch(f"[0-9a-f]{{{8 * DIM}}}", operation["fields"]["mean"]["values"])


def test_a_document_without_tokens_has_no_tensors(made_index, tmp_path):
    export(made_index, tmp_path / "out")
    lengths = np.diff(open_index(made_index).segments[0].starts)
    assert [len(operation["fields"]) for operation in feed(tmp_path / "out")] == [3 if length else 1 for length in lengths]


@pytest.fixture
def with_texts(late_system, tmp_path):
    """An index of texts, one of them with characters that Vespa takes for no text."""
    (tmp_path / "docs").mkdir()
    path = tmp_path / "docs" / "collection.tsv"
    path.write_text("0\tbread flour\n1\tmoon\x07 star\x7f \ufffe \U0001f600\n", encoding="utf-8")
    late_system.index(Collection(path), tmp_path / "index")
    return tmp_path / "index"


def test_texts_go_along_but_for_what_vespa_refuses(with_texts, tmp_path):
    said = export(with_texts, tmp_path / "out")
    texts = [operation["fields"]["text"] for operation in feed(tmp_path / "out")]
    assert texts == ["bread flour", "moon\ufffd star\x7f \ufffd \U0001f600"]
    assert said[0] == "1 texts have characters that Vespa takes for none, and got U+FFFD in their place"


def words(text):
    """Return a text's words: what a line break between them is, Vespa does not look at."""
    return text.split()


@pytest.mark.parametrize("numbers", list(CELLS))
@pytest.mark.parametrize("texts", [False, True])
def test_the_package_is_what_pyvespa_writes(made_index, with_texts, tmp_path, numbers, texts):
    package = pytest.importorskip("vespa.package", reason="needs pyvespa")
    index, out = with_texts if texts else made_index, tmp_path / "out"
    export(index, out, numbers=numbers)
    cell, _ = CELLS[numbers]
    graph = package.HNSW(distance_metric="angular", max_links_per_node=16, neighbors_to_explore_at_insert=200)
    fields = [
        package.Field("doc_id", "string", indexing=["attribute", "summary"]),
        *([package.Field("text", "string", indexing=["index", "summary"], index="enable-bm25")] if texts else []),
        package.Field("mean", f"tensor<float>(x[{DIM}])", indexing=["attribute", "index"], ann=graph),
        package.Field("tokens", f"tensor<{cell}>(token{{}}, x[{DIM}])", indexing=["attribute"]),
    ]
    maxsim = "sum(reduce(sum(query(tokens) * attribute(tokens), x), max, token), querytoken)"
    ranked = package.RankProfile(
        "colbert",
        inputs=[("query(mean)", f"tensor<float>(x[{DIM}])"), ("query(tokens)", f"tensor<float>(querytoken{{}}, x[{DIM}])")],
        functions=[package.Function("max_sim", maxsim + (" / 127" if numbers == "int8" else ""))],
        first_phase="closeness(field, mean)",
        second_phase=package.SecondPhaseRanking("max_sim", rerank_count=vespa.RERANKED),
    )
    profiles = [ranked, *([package.RankProfile("colbert_bm25", first_phase="bm25(text)", inherits="colbert")] if texts else [])]
    fieldsets = [package.FieldSet("default", ["text"])] if texts else []
    schema = package.Schema("passages", package.Document(fields=fields), fieldsets=fieldsets, rank_profiles=profiles)
    application = package.ApplicationPackage("passages", schema=[schema])
    assert words((out / "application/schemas/passages.sd").read_text()) == words(schema.schema_to_text)
    assert words((out / "application/services.xml").read_text()) == words(application.services_to_text)
