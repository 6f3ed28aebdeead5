"""An index written as Qdrant, LanceDB, Parquet and fast-plaid have it answers as it did here."""

import json

import numpy as np
import pytest
from late_vectors import unit, vectors

pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")
from lotte import Doc, Docs
from lotte.collection import Collection
from lotte.errors import LotteError, MismatchError, UnavailableError
from retrievers import exports, index_folder, load
from retrievers.colbert import Arrays, CodecConfig, build_index
from retrievers.colbert.index.folder import open_index
from retrievers.colbert.search import SearchConfig, search
from retrievers.exports import fast_plaid, source, target
from retrievers.exports.source import open_source

DOCUMENTS, QUERIES, DIM = 300, 50, 32
EXACT = SearchConfig(algorithm="exact")


def export(index, to, out=None, **more):
    said = []
    exports.export(to, exports.ExportRequest(index, out, said.append, **more))
    return said


@pytest.fixture(scope="module")
def made_index(tmp_path_factory):
    """An index of vectors, with ids that are no numbers, in which some documents have no token."""
    rows, lengths = vectors(DOCUMENTS, DIM)
    assert (lengths == 0).any()
    path = tmp_path_factory.mktemp("exports") / "index"
    ids = [f"doc/{row}" for row in range(DOCUMENTS)]
    build_index(path, Arrays(rows, lengths), CodecConfig(centroids=64), doc_ids=ids, threads=1)
    return path


@pytest.fixture(scope="module")
def queries():
    random = np.random.default_rng(5)
    return [unit(random.normal(size=(count, DIM))) for count in random.integers(1, 33, QUERIES)]


@pytest.fixture(scope="module")
def truth(made_index, queries):
    """The top 10 of each query, by an exact search: ids and scores."""
    doc_ids = index_folder.read(made_index).doc_ids
    found = search(open_index(made_index), queries, k=10, config=EXACT)
    return [([doc_ids[row] for row in one.rows.tolist()], one.scores) for one in found]


def same(found, truth):
    """Whether ids and scores are those of the truth."""
    doc_ids, scores = found
    return doc_ids == truth[0] and np.allclose(scores, truth[1], atol=1e-3)


# ---- Qdrant and LanceDB, in their embedded modes


@pytest.fixture(scope="module")
def qdrant(made_index, tmp_path_factory):
    package = pytest.importorskip("qdrant_client", reason="needs lotte-bench[qdrant]")
    out = tmp_path_factory.mktemp("qdrant") / "out"
    said = export(made_index, "qdrant", out)
    client = package.QdrantClient(path=str(out))
    yield client, said
    client.close()


def asked_of_qdrant(client, query):
    points = client.query_points("passages", query=query.tolist(), using="tokens", limit=10).points
    return [point.payload["doc_id"] for point in points], [point.score for point in points]


def test_qdrant_answers_as_an_exact_search_here(qdrant, queries, truth):
    client, _ = qdrant
    assert [same(asked_of_qdrant(client, query), one) for query, one in zip(queries, truth, strict=True)] == [True] * QUERIES


def test_qdrant_has_numbers_for_ids_and_that_is_said(qdrant):
    client, said = qdrant
    points, _ = client.scroll("passages", limit=1000)
    assert [(point.id, point.payload["doc_id"]) for point in points] == [(row, f"doc/{row}") for row in range(DOCUMENTS)]
    assert said[-1] == (
        "300 documents in collection passages; their ids are the numbers 0 to 299, as Qdrant takes no texts, and yours "
        "are doc_id of the payload"
    )


def test_a_server_of_qdrant_is_sent_what_the_folder_has(made_index, queries, truth):
    package = pytest.importorskip("qdrant_client", reason="needs lotte-bench[qdrant]")
    from retrievers.exports import qdrant as writer

    client = package.QdrantClient(":memory:")
    opened = open_source(made_index, print)
    writer.create(client, opened, "passages")
    writer.upload(client, opened, "passages")
    assert client.count("passages").count == DOCUMENTS
    assert same(asked_of_qdrant(client, queries[0]), truth[0])


def test_a_server_that_does_not_answer_is_one_line(made_index):
    pytest.importorskip("qdrant_client", reason="needs lotte-bench[qdrant]")
    with pytest.raises(UnavailableError, match=r"Qdrant at http://127\.0\.0\.1:9 did not take the documents: .*refused"):
        export(made_index, "qdrant", url="http://127.0.0.1:9")


@pytest.fixture(scope="module")
def lance_table(made_index, tmp_path_factory):
    package = pytest.importorskip("lancedb", reason="needs lotte-bench[lancedb]")
    out = tmp_path_factory.mktemp("lancedb") / "out"
    export(made_index, "lancedb", out)
    return package.connect(str(out)).open_table("passages")


def asked_of_lance(table, query):
    found = table.search(query, vector_column_name="vectors").metric("cosine").limit(10).to_arrow()
    return found["doc_id"].to_pylist(), len(query) - found["_distance"].to_numpy()


def test_lancedb_answers_as_an_exact_search_here(lance_table, queries, truth):
    assert [same(asked_of_lance(lance_table, query), one) for query, one in zip(queries, truth, strict=True)] == [True] * QUERIES


def test_lancedb_has_every_document_and_its_own_id(lance_table):
    assert lance_table.to_arrow()["doc_id"].to_pylist() == [f"doc/{row}" for row in range(DOCUMENTS)]


# ---- Parquet


def parquet(out):
    import pyarrow.parquet as pq

    return pq.ParquetFile(out / "passages.parquet")


@pytest.mark.parametrize("numbers, close", [("", 0.0), ("float16", 5e-4)])
def test_parquet_has_the_decoded_vectors(made_index, tmp_path, numbers, close):
    export(made_index, "parquet", tmp_path / "out", numbers=numbers)
    rows = parquet(tmp_path / "out").read()["vectors"].to_pylist()
    wanted = [block.of(place) for block in open_source(made_index, print).blocks() for place in range(len(block.doc_ids))]
    assert [len(row) for row in rows] == [len(vectors) for vectors in wanted]
    assert all(np.allclose(row, vectors, atol=close, rtol=0) for row, vectors in zip(rows, wanted, strict=True) if row)


def test_a_row_group_is_no_larger_than_a_block(made_index, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "TOKENS", 500)
    export(made_index, "parquet", tmp_path / "out")
    file = parquet(tmp_path / "out")
    sizes = [sum(map(len, file.read_row_group(number)["vectors"].to_pylist())) for number in range(file.num_row_groups)]
    assert len(sizes) > 5 and max(sizes) <= 500


def test_a_document_longer_than_a_block_is_a_block(made_index, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "TOKENS", 5)
    export(made_index, "parquet", tmp_path / "out")
    assert parquet(tmp_path / "out").metadata.num_rows == DOCUMENTS


def test_texts_go_along_where_the_collection_is_there(late_system, sixty_on_disk, sixty_documents, tmp_path):
    late_system.index(Collection(sixty_on_disk / "collection.tsv"), tmp_path / "index")
    export(tmp_path / "index", "parquet", tmp_path / "out")
    assert parquet(tmp_path / "out").read()["text"].to_pylist() == [doc.text for doc in sixty_documents]


def test_without_the_collection_there_is_no_text_and_that_is_said(made_index, tmp_path):
    said = export(made_index, "parquet", tmp_path / "out")
    assert parquet(tmp_path / "out").schema_arrow.names == ["doc_id", "vectors"]
    assert said[0] == f"no texts: the location of the collection of {made_index} is unknown"


def test_deleted_documents_stay_behind_and_added_ones_come(late_system, late_index, tmp_path):
    late_system.change(late_index, delete=["d3", "d17"], add=Docs((Doc("mine", "bread"), Doc("empty", ""))))
    export(late_index, "parquet", tmp_path / "out")
    kept = [f"d{row}" for row in range(60) if row not in (3, 17)]
    assert parquet(tmp_path / "out").read()["doc_id"].to_pylist() == [*kept, "mine", "empty"]


# ---- fast-plaid


def adopted(out, path):
    load("colbertv2", ["checkpoint=shipped"]).adopt(out, path)
    return index_folder.read(path), open_index(path)


def test_what_fast_plaid_is_given_comes_back_code_by_code(made_index, tmp_path):
    export(made_index, "fast-plaid", tmp_path / "out")
    folder, back = adopted(tmp_path / "out", tmp_path / "back")
    (theirs,), (ours,) = back.segments, open_index(made_index).segments
    assert list(folder.doc_ids) == [f"doc/{row}" for row in range(DOCUMENTS)]
    assert np.array_equal(back.codec.centroids, open_index(made_index).codec.centroids)
    for name in ("centroid_ids", "residuals", "starts"):
        assert np.array_equal(getattr(theirs, name), getattr(ours, name)), name


@pytest.mark.parametrize("bits", [1, 4])
def test_other_bits_come_back_too(tmp_path, bits):
    rows, lengths = vectors(40, DIM, seed=bits)
    build_index(tmp_path / "index", Arrays(rows, lengths), CodecConfig(bits=bits, centroids=16), threads=1)
    export(tmp_path / "index", "fast-plaid", tmp_path / "out")
    _, back = adopted(tmp_path / "out", tmp_path / "back")
    assert np.array_equal(back.segments[0].residuals, open_index(tmp_path / "index").segments[0].residuals)


def test_chunks_of_fast_plaid_are_cut_between_documents_wherever_blocks_end(made_index, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "DOCUMENTS", 70)
    monkeypatch.setattr(fast_plaid, "CHUNK", 64)
    export(made_index, "fast-plaid", tmp_path / "out")
    chunks = [json.loads((tmp_path / "out" / f"doclens.{number}.json").read_text()) for number in range(5)]
    assert [len(lengths) for lengths in chunks] == [64, 64, 64, 64, 44]
    _, back = adopted(tmp_path / "out", tmp_path / "back")
    assert np.array_equal(back.segments[0].centroid_ids, open_index(made_index).segments[0].centroid_ids)


def test_the_lists_of_fast_plaid_are_those_of_the_codes(made_index, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "DOCUMENTS", 70)
    export(made_index, "fast-plaid", tmp_path / "out")
    (segment,) = open_index(made_index).segments
    rows = np.repeat(np.arange(DOCUMENTS), np.diff(segment.starts))
    wanted = [np.unique(rows[segment.centroid_ids == centroid]) for centroid in range(64)]
    lists, counts = (np.load(tmp_path / "out" / f"{name}.npy") for name in ("ivf", "ivf_lengths"))
    assert counts.tolist() == [len(one) for one in wanted] and lists.tolist() == np.concatenate(wanted).tolist()


def test_a_changed_index_comes_back_without_what_was_deleted(late_system, late_index, tmp_path):
    late_system.change(late_index, delete=["d3", "d17"], add=Docs((Doc("mine", "bread"), Doc("empty", ""))))
    export(late_index, "fast-plaid", tmp_path / "out")
    folder, back = adopted(tmp_path / "out", tmp_path / "back")
    assert "d3" not in folder.doc_ids and folder.doc_ids[-1] == "empty"
    assert back.num_documents == 60


# ---- the place it is written to


def test_an_older_export_is_replaced(made_index, tmp_path):
    export(made_index, "fast-plaid", tmp_path / "out")
    export(made_index, "parquet", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["lotte-export.json", "passages.parquet"]


def test_what_is_no_export_is_left_alone(made_index, tmp_path):
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(MismatchError, match="is there and is no export; choose a folder that is empty or new"):
        export(made_index, "parquet", tmp_path)
    assert (tmp_path / "mine").read_text() == "kept"


def test_a_failure_leaves_nothing(made_index, tmp_path, monkeypatch):
    def fails(self):
        yield from ()
        raise RuntimeError("in the middle")

    monkeypatch.setattr(source.LateSource, "blocks", fails)
    with pytest.raises(RuntimeError):
        export(made_index, "parquet", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(made_index, tmp_path, monkeypatch):
    monkeypatch.setattr(target.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(UnavailableError, match=r"has 0 MB left, and the export takes about 1 MB; make room"):
        export(made_index, "parquet", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# ---- what does not go together


@pytest.mark.parametrize(
    "to, more, message",
    [
        ("pinecone", {}, "no engine is named 'pinecone'; there are fast-plaid, lancedb, parquet, qdrant, vespa"),
        ("vespa", {"numbers": "float16"}, "--numbers 'float16': vespa takes bfloat16 or float32 or int8"),
        ("fast-plaid", {"numbers": "float32"}, "--numbers 'float32': fast-plaid keeps the codes of the index"),
        ("parquet", {"url": "http://localhost"}, "an export goes into a folder, --out DIR, or to a server that runs, --url; name one of them"),
        ("qdrant", {"collection": "a b"}, "--collection 'a b': small letters, digits and _ are taken, a letter first"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_line(made_index, tmp_path, to, more, message):
    with pytest.raises(LotteError) as error:
        export(made_index, to, tmp_path / "out", **more)
    assert str(error.value) == message


def test_an_index_without_vectors_says_what_can_be_exported(bm25_index, tmp_path):
    with pytest.raises(UnavailableError) as error:
        export(bm25_index, "parquet", tmp_path / "out")
    assert str(error.value) == (
        f"{bm25_index} is an index of bm25, which keeps no vectors; what can be exported is an index of late interaction "
        "(colbertv2) to every engine, and one of a vector a passage (dense) to parquet"
    )
