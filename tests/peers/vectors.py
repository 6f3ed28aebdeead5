"""Peers of late interaction: they open the exported checkpoint and index, and theirs are taken here."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from peer import OURS, Answer, Peer, Task, found_json, offline, shared, trec

HOUSE = Path(__file__).resolve().parents[2]
PROBE = 32  # cells that a peer looks into for a token of a query: most of so small an index
LIMIT = 2e-5  # of a number of a vector of length 1, in float32


def texts_of(given: Path) -> tuple[list[str], list[str]]:
    texts = found_json(given / "texts.json")
    return list(texts["docs"].values()), list(texts["queries"].values())


def ours(given: Path) -> tuple[list[Any], list[Any]]:
    """Return our vectors: of documents, and of queries."""
    import numpy as np

    stored = np.load(given / "vectors.npz")
    docs = [stored["docs"][begin:end] for begin, end in pairwise(stored["starts"].tolist())]
    return docs, list(stored["queries"])


def compared(given: Path, docs: Any, queries: Any) -> Answer:
    """Return the largest difference between two numbers at the same place of the same text."""
    import numpy as np

    found: list[tuple[Any, Any]] = []
    for mine, others in zip(ours(given), (docs, queries), strict=True):
        others = [np.asarray(other) for other in others]
        if wrong := [
            row for row, (one, other) in enumerate(zip(mine, others, strict=True)) if one.shape != other.shape
        ]:
            first = wrong[0]
            return Answer(f"{len(wrong)} texts of other sizes: {mine[first].shape} here, {others[first].shape}", False)
        found += zip(mine, others, strict=True)
    most = max(float(np.abs(one - other).max()) for one, other in found)
    return Answer(f"{len(found)} texts, at most {most:.1g} apart", most <= LIMIT)


def sentence_transformers(given: Path) -> Answer:
    offline()
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(given / "checkpoint"), device="cpu")
    docs, queries = texts_of(given)
    made = [
        encode(texts, convert_to_numpy=True)
        for encode, texts in ((model.encode_document, docs), (model.encode_query, queries))
    ]
    return compared(given, *made)


def sparse(given: Path) -> Answer:
    offline()
    sys.path[:0] = [str(HOUSE), str(HOUSE / "tests" / "helpers")]
    import numpy as np
    import tiny_checkpoint
    from sentence_transformers import SparseEncoder

    from retrievers import load

    folder = tiny_checkpoint.masked_lm(given.parent / "sparse" / "model")
    theirs = SparseEncoder(str(folder), device="cpu")
    encoder = load("splade", [f"checkpoint={folder}"]).doc_encoder
    texts = texts_of(given)[0]
    rows = encoder.rows(texts, batch=8)
    mine = np.zeros((len(texts), len(encoder.words)), np.float32)
    mine[np.repeat(np.arange(len(texts)), rows.lengths), rows.ids] = rows.weights
    most = float(np.abs(mine - theirs.encode(texts).to_dense().numpy()).max())
    return Answer(f"{len(texts)} texts, at most {most:.1g} apart", most <= 1e-5)


def pylate(given: Path) -> Answer:
    offline()
    from pylate import models

    model = models.ColBERT(str(given / "checkpoint"), device="cpu")
    docs, queries = texts_of(given)
    return compared(given, model.encode(docs, is_query=False), model.encode(queries, is_query=True))


def first_ten(given: Path) -> dict[str, list[str]]:
    return {query_id: [doc_id for doc_id, _ in hits] for query_id, hits in found_json(given / "found.json").items()}


def adopted(given: Path, index: Path, first: dict[str, list[str]], names: Callable[[str], str] = str) -> Answer:
    """Return how many of the first 10 that a peer finds in its index `lotte index` and `lotte search` find in it.

    names  of our ids for theirs
    """
    work = index.parent
    lotte = [os.environ[OURS], "-m", "leaderboard.cli"]
    queries = work / "queries.tsv"
    queries.write_text("".join(f"{key}\t{text}\n" for key, text in found_json(given / "texts.json")["queries"].items()))
    options = ["-o", f"checkpoint={given / 'checkpoint'}", "-o", "precision=fp32", "-o", "exact=true"]
    shutil.rmtree(work / "ours", ignore_errors=True)
    for words in (
        ["index", index, "--retriever", "colbertv2", *options, "--out", work / "ours"],
        ["search", work / "ours", *options, "--queries", queries, "--out", work / "found.trec", "-k", 10],
    ):
        done = subprocess.run([*lotte, *map(str, words)], cwd=HOUSE, capture_output=True, text=True)
        if done.returncode:
            return Answer("", False, done.stderr.strip().splitlines()[-1][:200])
    found = {query_id: [names(doc_id) for doc_id in docs] for query_id, docs in trec(work / "found.trec").items()}
    return shared(first, found, 0.95)


def pylate_index(given: Path) -> Answer:
    offline()
    from pylate import indexes, retrieve

    folder, (docs, queries) = given.parent / "pylate", ours(given)
    index = indexes.PLAID(str(folder), "made", override=True, nbits=2, n_ivf_probe=PROBE)
    index.add_documents(list(found_json(given / "texts.json")["docs"]), docs)
    found = retrieve.ColBERT(index=index).retrieve(queries_embeddings=queries, k=10)
    first = {key: [hit["id"] for hit in hits] for key, hits in zip(asked(given), found, strict=True)}
    return adopted(given, folder / "made", first)


def asked(given: Path) -> list[str]:
    return list(found_json(given / "texts.json")["queries"])


def _tensors(given: Path) -> tuple[Any, Any]:
    import torch

    docs, queries = ours(given)
    return [torch.from_numpy(doc) for doc in docs], torch.stack([torch.from_numpy(query) for query in queries])


def _plaid_search(given: Path, index: Path, names: Callable[[str], str]) -> dict[str, list[str]]:
    from fast_plaid.search import FastPlaid

    found = FastPlaid(str(index), device="cpu").search(
        _tensors(given)[1], top_k=10, n_ivf_probe=PROBE, show_progress=False
    )
    return {key: [names(str(place)) for place, _ in hits] for key, hits in zip(asked(given), found, strict=True)}


def plaid_export(given: Path) -> Answer:
    index = given.parent / "fast-plaid" / "export"
    shutil.rmtree(index, ignore_errors=True)
    shutil.copytree(given / "fast-plaid", index)
    names = found_json(given / "fast-plaid" / "plaid_ids_to_documents_ids.json")
    return shared(first_ten(given), _plaid_search(given, index, names.__getitem__), 0.95)


def plaid_index(given: Path) -> Answer:
    from fast_plaid.search import FastPlaid

    index, doc_ids = given.parent / "fast-plaid" / "made", list(found_json(given / "texts.json")["docs"])
    shutil.rmtree(index, ignore_errors=True)
    index.mkdir(parents=True)
    FastPlaid(str(index), device="cpu").create(documents_embeddings=_tensors(given)[0], nbits=2)

    def names(place: str) -> str:
        return doc_ids[int(place)]

    return adopted(given, index, _plaid_search(given, index, names), names)


def onnxruntime(given: Path) -> Answer:
    sys.path.insert(0, str(HOUSE))
    import numpy as np
    import onnxruntime

    from retrievers.colbert.model import checkpoint, onnx_graph
    from retrievers.colbert.model.encoder import Encoder

    content = onnx_graph.content(checkpoint.find(given / "checkpoint"))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    encoder, made = Encoder.load(given / "checkpoint", device="cpu", precision="fp32"), []
    for texts, read in zip(texts_of(given), (encoder.tokens.docs, encoder.tokens.queries), strict=True):
        made.append([])
        for text in texts:
            tokens = read([text])
            ids = tokens.ids[None].astype(np.int64)
            mask = (np.arange(ids.shape[1]) < tokens.seen[:, None]).astype(np.int64)
            (out,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
            made[-1].append(out[0][tokens.kept])
    return compared(given, *made)


def colbert_checkpoint(given: Path) -> Answer:
    offline()
    from colbert.infra import ColBERTConfig
    from colbert.modeling.checkpoint import Checkpoint

    folder = str(given / "checkpoint")
    model = Checkpoint(folder, colbert_config=ColBERTConfig.load_from_checkpoint(folder))
    docs, queries = texts_of(given)
    flat, lengths = model.docFromText(docs, bsize=8, keep_dims="flatten")[:2]
    rows = model.queryFromText(queries, bsize=8)
    return compared(given, [doc.numpy() for doc in flat.split(lengths)], [row.numpy() for row in rows])


def colbert_script(given: Path) -> Answer:
    """Its script is not part of the wheel's packages: it stands beside them, in `utility`."""
    import utility.evaluate.evaluate_lotte_rankings as script

    runs, most = given.parent / "runs", []
    values = found_json(runs / "values.json")
    for system in values:
        place = Path(script.__file__)
        words = ["--k", 5, "-s", "test", "-d", given.parent / "lotte", "-r", runs / "rankings" / system]
        done = subprocess.run([sys.executable, place, *map(str, words)], capture_output=True, text=True, check=True)
        line = next(line for line in done.stdout.splitlines() if "query_type=forum, dataset=pooled" in line)
        ours = values[system]["Success@5"].values()
        most.append(abs(float(line.split()[-1]) / 100 - sum(ours) / len(ours)))
    return Answer(
        f"{len(most)} runs, at most {max(most):.1g} apart", max(most) <= 5e-4
    )  # it prints a tenth of a percent


CHECKPOINT = "the exported checkpoint's vectors, 60 documents and 12 queries"
ADOPTED = "its index of our vectors, taken by `lotte index`: the first 10 of both searches"
PEERS = (
    Peer(
        "sentence-transformers", ("sentence-transformers==6.2.0",), "vectors",
        (
            Task("a checkpoint", CHECKPOINT, sentence_transformers),
            Task("SPLADE", "all weights of 60 documents, a tiny model", sparse),
        ),
        shares=True,
    ),
    Peer(
        "onnxruntime", ("onnxruntime==1.32.0", "onnx==1.23.2"), "vectors",
        (Task("a checkpoint", CHECKPOINT + ", model.onnx", onnxruntime),), shares=True,
    ),
    Peer(
        "colbert-ai", ("colbert-ai==0.2.22", "jsonlines", "transformers<5"), "vectors",
        (
            Task("a checkpoint", CHECKPOINT + "; with transformers<5: 5 does not load its class", colbert_checkpoint),
            Task("Success@5", "3 runs of `--rankings`, by its evaluate_lotte_rankings.py", colbert_script),
        ),
        shares=True,
    ),
    Peer(
        "fast-plaid", ("fast-plaid==1.7.0.2110",), "vectors",
        (
            Task("an export", "`lotte export --to fast-plaid`, its search: the first 10 beside ours", plaid_export),
            Task("an index", ADOPTED, plaid_index),
        ),
    ),
    Peer(
        "PyLate", ("pylate==1.6.0",), "vectors",
        (Task("a checkpoint", CHECKPOINT, pylate), Task("an index", ADOPTED, pylate_index)),
    ),
)  # fmt: skip
