"""Texts to token vectors: queries of one width, documents packed end to end.

The decision here: documents are sorted by length inside a chunk and cut into
batches of about as many tokens each, the batches are distributed over the lanes
(a core, a GPU), and the next chunk is tokenised meanwhile. The other texts of
a batch do not change the vectors of a text.

Shapes
  B  texts    Q  tokens of a query    N  tokens of all documents    H  numbers in a vector
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lotte import extras
from lotte.errors import CorruptFileError, MismatchError, UnavailableError, unknown
from lotte.processors import num_processors
from retrievers.colbert.kernels.arrays import TokenVectors
from retrievers.colbert.model import bert_cpu, checkpoint
from retrievers.colbert.model.checkpoint import Checkpoint
from retrievers.colbert.model.tokens import TextTokens, Tokens, rows_of

if TYPE_CHECKING:
    import torch

CHUNK = 4096  # documents sorted together; twice as many are held
GPU_TOKENS, TORCH_TOKENS = 65_536, 2048  # in a batch: enough to fill the matrix units, few enough to stay near them
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "int8", "bf16", "fp16")

_OF_QUERIES = ("query", "expansion", "attend")  # settings that no vector of a document depends on

Vectors = NDArray[np.float32] | NDArray[np.float16]


class ModelCopy(Protocol):
    """One copy of the model, on one device."""

    parameters: int  # of the transformer

    def __call__(self, tokens: Tokens, texts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (n, H), the vectors of the kept tokens of some of the texts, in the given order."""
        ...

    def hidden(self, tokens: Tokens, texts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (n, I), the hidden states of the same tokens, which no projection has seen."""
        ...


class Encoder:
    """A model that gives every token of a text a vector. `Encoder.load` makes one.

    lanes      the copies of the model that share the batches
    workers    threads that encode batches at once
    budget     tokens in a batch
    torch_cpu  whether the lane is torch's on a CPU: torch then has threads of its own
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        lanes: Sequence[ModelCopy],
        precision: str,
        *,
        workers: int,
        budget: int,
        torch_cpu: bool = False,
    ) -> None:
        projection = checkpoint.steps()
        self.checkpoint, self.config, self.precision = checkpoint, checkpoint.settings, precision
        self.tokens = self._reader(checkpoint)
        if (words := checkpoint.words) is not None and (size := self.tokens.size) > words:
            raise MismatchError(
                f"{checkpoint.tokenizer} has {size:,} tokens, and the model {words:,} embeddings: some tokens have no "
                "embedding; resize the model's embeddings, or take the tokenizer it was trained with"
            )
        self._lanes, self._num_workers, self._budget, self._torch_cpu = lanes, workers, budget, torch_cpu
        self.dim: int = projection[-1].weight_HI.shape[0] if projection else checkpoint.width
        self.parameters = lanes[0].parameters + sum(step.parameters for step in projection)

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
        skiplist: tuple[str, ...] | None = None,
    ) -> Self:
        """Return the encoder of a checkpoint: a folder, or a name on the Hugging Face hub.

        revision      of the hub: a branch, tag or commit
        trust         whether weights may be a pickle
        device        "auto" (every GPU there is, else the CPU), "cpu", "cuda", "cuda:1", "mps"
        precision     "fp32", "int8" (BERT on a CPU), "bf16", "fp16" (torch); "auto": fp16 on a GPU; on a CPU int8 for a
                      checkpoint that is stored so, else fp32. A BERT in fp32 or int8 has the same vectors on every CPU
        query_maxlen, doc_maxlen, skiplist  None: what the checkpoint says

        Raises  UnavailableError, CorruptFileError, MismatchError: see `checkpoint.find`
                UnavailableError where torch is needed and is not there
                UnknownNameError for a device or a precision that does not exist
        """
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        if device.partition(":")[0] not in DEVICES:
            raise unknown("device", device, DEVICES)
        found = checkpoint.find(source, revision=revision, trust=trust)
        model = _with(found, query_maxlen, doc_maxlen, skiplist)
        plain = bert_cpu.fits(model.described)
        if device == "cpu" or (device == "auto" and not _gpu_here()):
            if precision == "auto" and plain:
                precision = "int8" if model.in_bytes else "fp32"
            if plain and precision in bert_cpu.PRECISIONS:
                lane = bert_cpu.CompiledModel(model, precision)
                return cls(model, [lane], precision, workers=num_processors(), budget=bert_cpu.TOKENS)
        return cls._in_torch(model, device, precision)

    @classmethod
    def _in_torch(cls, source: Checkpoint, device: str, precision: str) -> Self:
        if precision == "int8":
            other = not bert_cpu.fits(source.described)
            where = f"{source.name} is a {source.described.get('model_type')}" if other else f"this is {device}"
            raise MismatchError(f"precision=int8 is for BERT models on a CPU, and {where}; take another precision")
        devices = _devices(device, source)
        from retrievers.colbert.model import bert

        cpu = devices[0].type == "cpu"
        if precision == "auto":
            precision = "fp32" if cpu else "fp16"
        lanes = [bert.TorchModel(source, device, precision) for device in devices]
        workers = bert.threads() if cpu else 2 * len(lanes)  # two a GPU, so that it need not wait
        return cls(source, lanes, precision, workers=workers, budget=TORCH_TOKENS if cpu else GPU_TOKENS, torch_cpu=cpu)

    def _reader(self, checkpoint: Checkpoint) -> Any:
        """Return what reads texts, with what `TextTokens` has."""
        return TextTokens(checkpoint.tokenizer, checkpoint.settings)

    def _starts(self, tokens: Tokens) -> NDArray[np.int64]:
        """Return where the vectors of each text begin and end."""
        return tokens.kept_starts()

    def _values(self, lane: ModelCopy, tokens: Tokens, texts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of some texts."""
        return lane(tokens, texts)

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (B, Q, H), each vector of length 1.

        Q is query_maxlen. A model that does not fill its queries up gives the longest
        one its width, and rows of zeros after the shorter: they add nothing to MaxSim.
        """
        tokens = self.tokens.queries(texts)
        vectors, starts = self.encode(tokens, np.float32)
        widths = np.diff(starts)
        width = int(widths.max(initial=0)) or self.config.query_maxlen
        out = np.zeros((len(texts), width, self.dim), np.float32)
        out[np.arange(width) < widths[:, None]] = vectors
        return out

    def docs(self, texts: Sequence[str]) -> TokenVectors:
        """Return the vectors of documents in their order: float32 if that is the precision, else float16."""
        parts = list(self.stream(texts))
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(length for part in parts for length in np.diff(part.starts))])
        vectors: Vectors = np.concatenate([part.vectors for part in parts] or [np.empty((0, self.dim), self.numbers)])
        return TokenVectors(vectors, starts.astype(np.int64))

    def stream(self, texts: Iterable[str], *, chunk: int = CHUNK) -> Iterator[TokenVectors]:
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
                yield self.encode(tokens)

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

    def facts_of_docs(self) -> dict[str, Any]:
        """Return what the vectors of documents depend on: the weights, the precision, how a document is read."""
        how = {key: value for key, value in asdict(self.config).items() if not key.startswith(_OF_QUERIES)}
        return {"model": self.checkpoint.sha256, "dim": self.dim, "precision": self.precision, "read": how}

    @property
    def numbers(self) -> Any:
        """Return the kind of number that documents have."""
        return np.float32 if self.precision == "fp32" else np.float16

    def encode(self, tokens: Tokens, numbers: Any = None) -> TokenVectors:
        """Return the vectors of the kept tokens of some texts.

        numbers  what they are: float32, float16; None: what documents have in this precision
        """
        numbers = numbers or self.numbers
        if (words := self.checkpoint.words) is not None and (last := int(tokens.ids.max(initial=0))) >= words:
            raise CorruptFileError(
                f"{self.tokens.path}: a token has the number {last:,}, and the model {words:,} embeddings"
            )
        starts = self._starts(tokens)
        vectors = np.empty((int(starts[-1]), self.dim), numbers)
        batches = _batches(np.diff(tokens.starts), self._budget)

        def encode(number: int) -> None:
            texts = batches[number]
            values = self._values(self._lanes[number % len(self._lanes)], tokens, texts)
            if not np.isfinite(values).all():
                raise CorruptFileError(
                    f"{self.checkpoint.folder}: the model gives a text vectors that are not finite; its weights are "
                    f"damaged, or too large for precision={self.precision}"
                )
            vectors[rows_of(starts, texts)] = values

        if len(batches) > 1:
            list(self._workers.map(encode, range(len(batches))))
        elif batches:
            encode(0)  # here, with all threads for the one batch: it is what a question waits for
        return TokenVectors(vectors, starts)

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        """Threads that encode batches; on a CPU each works alone."""
        if not self._torch_cpu:
            return ThreadPoolExecutor(self._num_workers)
        import torch

        cores = self._num_workers
        workers = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
        started = Barrier(cores + 1)
        for _ in range(cores):
            workers.submit(started.wait)
        started.wait()
        torch.set_num_threads(cores)  # what the last thread has set would hold for every thread to come
        return workers


def _with(
    source: Checkpoint, query_maxlen: int | None, doc_maxlen: int | None, skiplist: tuple[str, ...] | None
) -> Checkpoint:
    """Return a checkpoint with the given settings. Raises MismatchError if it has too few positions."""
    positions, said = source.positions, source.settings
    for name, maxlen in (("query_maxlen", query_maxlen), ("doc_maxlen", doc_maxlen)):
        if maxlen is not None and maxlen > positions:
            raise MismatchError(f"{name}={maxlen} is more than the {positions} positions of {source.name}")
    settings = replace(
        said,
        query_maxlen=query_maxlen or min(said.query_maxlen, positions),
        doc_maxlen=doc_maxlen or min(said.doc_maxlen, positions),
        expansion_length=min(said.expansion_length, positions),
        skiplist=said.skiplist if skiplist is None else skiplist,
    )
    return replace(source, settings=settings)


def _batches(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Return the numbers of texts that are encoded together: alike in length, the longest first, none that is empty."""
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    if not len(order):
        return []
    ends = np.cumsum(lengths[order])
    return np.split(order, np.flatnonzero(np.diff((ends - 1) // budget)) + 1)


def _gpu_here() -> bool:
    """Whether torch finds a GPU. Torch, whose import takes a second, is used only if there is a driver."""
    from ctypes import CDLL

    try:
        CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        import torch
    except (OSError, ImportError):
        return False
    return bool(torch.cuda.is_available())


def _devices(name: str, model: Checkpoint) -> list["torch.device"]:
    what = f"{model.name}, which is not a BERT in float32 or int8," if name in ("auto", "cpu") else f"device={name}"
    torch = extras.package("torch", what)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    count = torch.cuda.device_count() if name.startswith("cuda") and torch.cuda.is_available() else 0
    if name == "cuda" and count:
        return [torch.device("cuda", number) for number in range(count)]
    try:
        device = torch.device(name)
    except RuntimeError:
        raise unknown("device", name, DEVICES) from None
    usable = {"cpu": True, "mps": torch.backends.mps.is_available(), "cuda": (device.index or 0) < count}
    if not usable[device.type]:
        raise UnavailableError(
            f"device {name!r} is not here: torch {torch.__version__} finds {count} GPUs; use device=cpu"
        )
    return [device]
