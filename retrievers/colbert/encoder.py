"""Texts to token vectors: queries of one width, documents packed end to end.

What is settled here: documents are sorted by length inside a chunk and cut into
batches of about as many tokens each, the batches are dealt out to the lanes
there are (a core, a GPU), and the next chunk is tokenised meanwhile. What
stands beside a text in a batch does not change its vectors.

Shapes
  B  texts    Q  tokens of a query    N  tokens of all documents    H  numbers in a vector
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotte.errors import MismatchError, UnavailableError, unknown
from retrievers.colbert import checkpoint
from retrievers.colbert.checkpoint import Checkpoint, Dense
from retrievers.colbert.tokens import TextTokens, Tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from retrievers.colbert.bert import Body

CHUNK = 4096  # documents sorted together; twice as many are held
CPU_TOKENS, GPU_TOKENS = 2048, 65_536  # in a batch: enough to fill the matrix units, few enough to stay near them
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")

Vectors = NDArray[np.float32] | NDArray[np.float16]


class Packed(NamedTuple):
    """The vectors of some documents; those of document i are vectors[starts[i]:starts[i + 1]]."""

    vectors: Vectors  # (N, H), each of length 1
    starts: NDArray[np.int64]  # (B + 1,)


class Encoder:
    """A model that gives every token of a text a vector. `Encoder.load` makes one."""

    def __init__(self, found: Checkpoint, *, devices: list["torch.device"], precision: str) -> None:
        projection = found.projection()
        self.checkpoint, self.config, self.precision = found, found.settings, precision
        self.tokens = TextTokens(found.tokenizer, found.settings)
        self._lanes = [_Lane.of(found, projection, device, precision) for device in devices]
        self.dim: int = projection[-1].weight_HI.shape[0] if projection else found.width
        self.parameters = self._lanes[0].body.parameters + sum(step.parameters for step in projection)
        self._budget = CPU_TOKENS if devices[0].type == "cpu" else GPU_TOKENS

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        trust: bool = False,
        device: str = "auto",
        precision: str = "auto",
        query_maxlen: int | None = None,
        doc_maxlen: int | None = None,
    ) -> "Encoder":
        """Return the encoder of a checkpoint: a folder, or a name on the Hugging Face hub.

        revision      of the hub: a branch, tag or commit
        trust         whether weights may be a pickle; see `checkpoint.find`
        device        "auto" (every GPU there is, else the CPU), "cpu", "cuda", "cuda:1", "mps"
        precision     "fp32", "bf16", "fp16"; "auto": fp16 on a GPU, bf16 on a CPU where that is faster, else fp32
        query_maxlen  tokens of a query, doc_maxlen of a document; None: what the checkpoint says

        Raises  UnavailableError, CorruptFileError, MismatchError: see `checkpoint.find`
                UnknownNameError for a device or a precision that does not exist
        """
        devices = _devices(device)
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        found = checkpoint.find(source, revision=revision, trust=trust)
        positions = found.positions
        for name, asked in (("query_maxlen", query_maxlen), ("doc_maxlen", doc_maxlen)):
            if asked is not None and asked > positions:
                raise MismatchError(f"{name}={asked} is more than the {positions} positions of {found.name}")
        settings = replace(
            found.settings,
            query_maxlen=query_maxlen or min(found.settings.query_maxlen, positions),
            doc_maxlen=doc_maxlen or min(found.settings.doc_maxlen, positions),
        )
        found = replace(found, settings=settings)
        return cls(found, devices=devices, precision=_fitting(devices[0]) if precision == "auto" else precision)

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (B, Q, H), each vector of length 1.

        Q is query_maxlen. A model that does not fill its queries up gives the longest
        one its width, and rows of zeros behind the shorter: they add nothing to MaxSim.
        """
        tokens = self.tokens.queries(texts)
        vectors, starts = self._encode(tokens, np.float32)
        widths = np.diff(starts)
        width = int(widths.max(initial=0)) or self.config.query_maxlen
        out = np.zeros((len(texts), width, self.dim), np.float32)
        out[np.arange(width) < widths[:, None]] = vectors
        return out

    def docs(self, texts: Sequence[str]) -> Packed:
        """Return the vectors of documents in their order: float32 if that is the precision, else float16."""
        parts = list(self.stream(texts))
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(length for part in parts for length in np.diff(part.starts))])
        vectors: Vectors = np.concatenate([part.vectors for part in parts] or [np.empty((0, self.dim), self._numbers)])
        return Packed(vectors, starts.astype(np.int64))

    def stream(self, texts: Iterable[str], *, chunk: int = CHUNK) -> Iterator[Packed]:
        """Give the vectors of any number of documents, `chunk` of them at a time.

        The texts are read by a thread of its own, one chunk ahead: two chunks are in memory, and no more.
        """
        remaining = iter(texts)

        def read() -> Tokens | None:
            part = list(islice(remaining, chunk))
            return self.tokens.docs(part) if part else None

        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(read)
            while (tokens := ahead.result()) is not None:
                ahead = reader.submit(read)
                yield self._encode(tokens, self._numbers)

    def tokens_of_query(self, text: str) -> list[str]:
        """Return the query's tokens that have a vector, as the vocabulary spells them."""
        return next(self.tokens.strings(self.tokens.queries([text])))

    def tokens_of_doc(self, text: str) -> list[str]:
        """Return the document's tokens that have a vector, as the vocabulary spells them."""
        return next(self.tokens.strings(self.tokens.docs([text])))

    def facts(self) -> dict[str, Any]:
        """Return what a result says of the model. Reads the weights once, for their hash."""
        found = self.checkpoint
        return {
            "id": found.name,
            "revision": found.revision,
            "sha256": found.sha256,
            "parameters": self.parameters,
            "dim": self.dim,
            "precision": self.precision,
            "query_maxlen": self.config.query_maxlen,
            "doc_maxlen": self.config.doc_maxlen,
        }

    @property
    def _numbers(self) -> Any:
        return np.float32 if self.precision == "fp32" else np.float16

    def _encode(self, tokens: Tokens, numbers: Any) -> Packed:
        starts = tokens.kept_starts()
        vectors = np.empty((int(starts[-1]), self.dim), numbers)
        batches = _batches(np.diff(tokens.starts), self._budget)

        def encode(number: int) -> None:
            texts = batches[number]
            vectors[_rows(starts, texts)] = self._lanes[number % len(self._lanes)](tokens, texts)

        if len(batches) > 1:
            list(self._workers.map(encode, range(len(batches))))
        elif batches:
            encode(0)  # here, with all threads for the one batch: it is what a question waits for
        return Packed(vectors, starts)

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        """Threads that encode batches: two a GPU, so that it need not wait; one a core, each working alone."""
        import torch

        if self._lanes[0].device.type != "cpu":
            return ThreadPoolExecutor(2 * len(self._lanes))
        cores = torch.get_num_threads()
        workers = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
        started = Barrier(cores + 1)
        for _ in range(cores):
            workers.submit(started.wait)
        started.wait()
        torch.set_num_threads(cores)  # what the last thread has set would hold for every thread to come
        return workers


@dataclass(frozen=True)
class _Lane:
    """One copy of the model, on one device."""

    body: "Body"
    projection: list[Dense]
    device: "torch.device"

    @classmethod
    def of(cls, found: Checkpoint, projection: list[Dense], device: "torch.device", precision: str) -> "_Lane":
        import torch

        from retrievers.colbert import bert

        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        body: Body
        if bert.fits(found.described):
            body = bert.Packed(found.described, found.tensors(bert.shapes(found.described)), device, dtype)
        else:
            body = bert.Padded(found.model().to(device=device, dtype=dtype))
        return cls(body, [step.to(device, dtype) for step in projection], device)

    def __call__(self, tokens: Tokens, texts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (n, H), the vectors of the kept tokens of some of the texts, in the order asked for."""
        import torch

        from retrievers.colbert.bert import Batch

        rows = _rows(tokens.starts, texts)
        lengths = np.diff(tokens.starts)[texts].tolist()
        with torch.inference_mode():
            ids = torch.from_numpy(tokens.ids[rows]).to(self.device)
            kept = torch.from_numpy(np.flatnonzero(tokens.kept[rows])).to(self.device)
            out = self.body(Batch(ids, lengths, tokens.seen[texts].tolist()))[kept]
            for step in self.projection:
                out = step(out)
            unit: Tensor = torch.nn.functional.normalize(out.float(), dim=1)
            vectors: NDArray[np.float32] = unit.cpu().numpy()
            return vectors


def _batches(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Return the numbers of texts that are encoded together: alike in length, the longest first, none that is empty."""
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    if not len(order):
        return []
    ends = np.cumsum(lengths[order])
    return np.split(order, np.flatnonzero(np.diff((ends - 1) // budget)) + 1)


def _rows(starts: NDArray[np.int64], texts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of some texts, one text after the other."""
    begins, lengths = starts[texts], starts[texts + 1] - starts[texts]
    ends = np.cumsum(lengths)
    return np.repeat(begins - (ends - lengths), lengths) + np.arange(int(ends[-1]))


def _devices(name: str) -> list["torch.device"]:
    torch = checkpoint.package("torch")
    if name.partition(":")[0] not in DEVICES:
        raise unknown("device", name, DEVICES)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    count = torch.cuda.device_count() if name.startswith("cuda") and torch.cuda.is_available() else 0
    if name == "cuda" and count:
        return [torch.device("cuda", number) for number in range(count)]
    try:
        found = torch.device(name)
    except RuntimeError:
        raise unknown("device", name, DEVICES) from None
    here = {"cpu": True, "mps": torch.backends.mps.is_available(), "cuda": (found.index or 0) < count}
    if not here[found.type]:
        raise UnavailableError(
            f"device {name!r} is not here: torch {torch.__version__} finds {count} GPUs; use device=cpu"
        )
    return [found]


def _fitting(device: "torch.device") -> str:
    """Return the fastest precision that a device multiplies and that serves retrieval."""
    if device.type != "cpu":
        return "fp16"
    import torch

    # not in torch before 2.10: float32 is right everywhere, and only slower
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    # without AMX, bf16 is 4 times as fast as float32 on AMD's Zen 5, and 0.66 times on Intel's Sapphire Rapids; only
    # AMD's have SSE4a
    fast = able.get("amx_bf16") or (able.get("avx512_bf16") and able.get("sse4a"))
    return "bf16" if fast else "fp32"
