"""Indexes of the original ColBERT and of fast-plaid, converted to our format: the same tokens, packed differently.

The search uses exactly their data: centroids to the last bit, residuals code
by code, cutoffs, so that documents can be added, and empty rows where
documents were deleted, so that a row is their passage id. Their inverted lists
are not read: ours are built again from the codes. Paths in their
metadata are not followed, and no pickle runs code. The ids beside an index: foreign_ids.py.

Legend  N tokens  D documents  K centroids  H dimensions  P bytes of a packed residual
Source  github.com/stanford-futuredata/ColBERT, colbert/indexing; github.com/lightonai/fast-plaid, rust/index
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotte import extras
from lotte.errors import CorruptFileError, MismatchError, reason, shown
from lotte.parsing import json_file
from retrievers.arrays import npy
from retrievers.colbert.index import build
from retrievers.colbert.index import codec as codecs
from retrievers.colbert.index import segment as segments
from retrievers.colbert.index.meta import Built
from retrievers.colbert.index.segment import SegmentWriter
from retrievers.colbert.kernels.arrays import BITS, Bytes, Codec, Encoded, Floats, Integers, packed_width
from retrievers.colbert.kernels.reference import unpack
from retrievers.colbert.model import tensors
from retrievers.index_meta import AGAIN

COLBERT, PLAID = "colbert", "fast-plaid"
MARKS = {
    COLBERT: ("centroids.pt", "buckets.pt"),
    PLAID: ("bucket_weights.npy", "bucket_cutoffs.npy"),
}  # any one of them
METADATA = "metadata.json"
AT_ONCE = 1 << 20  # tokens that are turned into ours at once: 100 MB at most
BLOCK = 1 << 12  # tokens that are decoded at once: what fits a processor's cache
SAMPLE = 1 << 17  # tokens whose lengths say which lengths a byte has to stand for


def is_foreign(folder: Path) -> str | None:
    """Return who made the index in a folder, "colbert" or "fast-plaid"; None if neither did."""
    return next((maker for maker, names in MARKS.items() if any((folder / name).is_file() for name in names)), None)


def lengths(folder: Path) -> list[int]:
    """Return how many tokens each document of an index has, in order. Raises as `convert` does."""
    theirs = _open(folder)
    return [length for doclens in theirs._doclens for length in doclens.tolist()]


def convert(folder: Path, out: Path) -> Built:
    """Write somebody else's index as codec and segment 0 of ours into a folder.

    out  a folder that may have other files, but no index

    A row is their passage id. Memory is that of the centroids, the lengths of the documents and a million tokens,
    however large a chunk of theirs is: their arrays are mapped. All of it is read and checked
    before the first byte is written.

    Raises  CorruptFileError if a file of theirs is missing, not whole, or does not fit the others
            MismatchError if it is an index that our kernels cannot search
    """
    if (out / codecs.TABLES).exists() or segments.file(out, "cells", 0).exists():
        raise ValueError(f"{out} has an index already")
    theirs, distance = _fitted(_open(folder))
    codecs.save(theirs.codec, out)
    codec = codecs.load(out)
    writer = SegmentWriter(out, 0, codec)
    for chunk in theirs.chunks():
        starts = np.concatenate([[0], np.cumsum(chunk.doclens)])
        cuts = np.flatnonzero(np.diff(starts[:-1] // AT_ONCE)) + 1
        for rows in np.split(np.arange(len(chunk.doclens)), cuts):
            if len(rows):
                some = slice(starts[rows[0]], starts[rows[-1] + 1])
                writer.append(_ours(codec, chunk.codes[some], chunk.residuals[some]), chunk.doclens[rows], distance)
    writer.finish()
    return build.built(writer, maker=theirs.maker)


@cache
def swapped(bits: int) -> Bytes:
    """Return for each of their bytes ours, (256,): the bits of every code are reversed, the order of the codes is kept.

    >>> [hex(swapped(bits)[theirs]) for bits, theirs in ((2, 0x9C), (1, 0xB1), (4, 0x85))]
    ['0x6c', '0xb1', '0x1a']
    """
    single = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    return np.packbits(single.reshape(256, 8 // bits, bits)[:, :, ::-1].reshape(256, 8), axis=1)[:, 0]


class Chunk(NamedTuple):
    """A chunk of theirs, mapped and checked."""

    codes: Integers  # (N,)
    residuals: Bytes  # (N, P), packed their way
    doclens: NDArray[np.int64]  # (D,), 0 for a document that was deleted


@dataclass(frozen=True, eq=False)
class Theirs:
    folder: Path
    maker: str
    codec: Codec
    num_chunks: int

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks in order. Raises CorruptFileError if one is missing, or its files do not fit together."""
        first = 0
        for number, doclens in enumerate(self._doclens):
            yield self._chunk(number, first, doclens)
            first += len(doclens)

    def _chunk(self, number: int, first: int, doclens: NDArray[np.int64]) -> Chunk:
        tokens, width = int(doclens.sum()), packed_width(self.codec.dim, self.codec.bits)
        codes_at, codes = self._array("codes", number)
        residuals_at, residuals = self._array("residuals", number)
        for at, array in ((codes_at, codes), (residuals_at, residuals)):
            if array.ndim == 0 or len(array) != tokens:
                rows = f"{len(array):,}" if array.ndim else "no"
                raise CorruptFileError(f"{at}: {rows} rows, but doclens.{number}.json adds up to {tokens:,}; {AGAIN}")
        if codes.ndim != 1 or codes.dtype.kind not in "iu":
            raise CorruptFileError(f"{codes_at}: expected whole numbers in one axis, found {_kind(codes)}; {AGAIN}")
        if residuals.dtype != np.uint8 or (tokens and residuals.shape[1:] != (width,)):
            raise CorruptFileError(
                f"{residuals_at}: expected uint8 (N, {width}) for {self.codec.dim} dimensions of "
                f"{self.codec.bits} bits, found {_kind(residuals)}; {AGAIN}"
            )
        if tokens and not 0 <= int(codes.min()) <= int(codes.max()) < self.codec.num_centroids:
            wrong = codes.min() if codes.min() < 0 else codes.max()
            raise CorruptFileError(
                f"{codes_at}: a token of centroid {wrong}, but there are {self.codec.num_centroids:,}; {AGAIN}"
            )
        # The counts of metadata.json are not looked at: the original adds too much to them when it adds documents,
        # and the number of partitions that fast-plaid writes is what it wanted, not what it got.
        documents = len(doclens)
        counted = {"passage_offset": first, "num_passages": documents, "num_documents": documents}
        path = self.folder / f"{number}.metadata.json"
        said = _json(path) if path.exists() else {}
        for key, count in {**counted, "num_embeddings": tokens}.items():
            if said.get(key, count) != count:
                raise CorruptFileError(f"{path}: {key} is {shown(said[key])}, but the files have {count:,}; {AGAIN}")
        return Chunk(codes, residuals.reshape(tokens, width), doclens)

    def _array(self, name: str, number: int) -> tuple[Path, NDArray[Any]]:
        """Return where a chunk's codes or residuals are, and the array."""
        if self.maker == COLBERT:
            path = self.folder / f"{number}.{name}.pt"
            return path, _tensors(path, 1)[0]
        path = self.folder / f"{number}.{name}.npy"
        if path.exists():  # not merged yet, or merged and not removed: it is the newer one
            return path, npy(path)
        path = self.folder / f"merged_{name}.npy"
        starts = self._merged[name]
        return path, npy(path)[starts[number] : starts[number + 1]]

    @cached_property
    def _doclens(self) -> list[NDArray[np.int64]]:
        return [_lengths(self.folder / f"doclens.{number}.json") for number in range(self.num_chunks)]

    @cached_property
    def _merged(self) -> dict[str, Integers]:
        """Return where the chunks start in fast-plaid's merged files. Rows of padding stand after the last.

        Older versions keep no manifest, and merge what the document lengths say.
        """
        starts = {}
        for name in ("codes", "residuals"):
            path = self.folder / f"merged_{name}.manifest.json"
            manifest = _json(path) if path.exists() else {}
            rows = [int(doclens.sum()) for doclens in self._doclens]
            for number in range(self.num_chunks):
                if (entry := manifest.get(f"{number}.{name}.npy")) is not None:
                    rows[number] = _whole(path, entry, "rows")
            starts[name] = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
        return starts


def _open(folder: Path) -> Theirs:
    """Read everything but the tokens. Raises as `convert` does."""
    maker = is_foreign(folder)
    if maker is None:
        raise CorruptFileError(
            f"{folder} is not an index of ColBERT or fast-plaid: no centroids.pt and no bucket_weights.npy"
        )
    metadata = _json(folder / METADATA)
    settings = metadata.get("config", {}) if maker == COLBERT else metadata
    if not isinstance(settings, dict):
        raise CorruptFileError(f"{folder / METADATA}: config is not a table; {AGAIN}")
    if maker == COLBERT:
        names = ("centroids.pt", "buckets.pt", "buckets.pt")
        arrays = [*_tensors(folder / names[0], 1), *_tensors(folder / names[1], 2)]
    else:
        names = ("centroids.npy", "bucket_cutoffs.npy", "bucket_weights.npy")
        arrays = [npy(folder / name) for name in names]
    centroids, cutoffs, weights = (_floats(folder / name, array) for name, array in zip(names, arrays, strict=True))
    _check_tables(folder, names, centroids, cutoffs, weights)
    bits = len(weights).bit_length() - 1
    if settings.get("nbits", bits) != bits:
        raise CorruptFileError(
            f"{folder / METADATA}: nbits is {shown(settings['nbits'])}, but {len(weights)} weights are {bits} bits; "
            f"{AGAIN}"
        )
    if bits not in BITS or centroids.shape[1] * bits % 8:
        raise MismatchError(
            f"{folder}: {centroids.shape[1]} dimensions of {bits} bits each; we search 1, 2 and 4 bits that end on a "
            "byte. Build the index again with another nbits."
        )
    step = float(np.abs(centroids).max()) / 127 or 1.0
    shifted = (np.rint(centroids / np.float32(step)) + 128).astype(np.uint8)
    codec = Codec(shifted, step, cutoffs, weights, np.ones(256, np.float32), centroids)
    return Theirs(folder, maker, codec, _whole(folder / METADATA, metadata, "num_chunks"))


def _check_tables(folder: Path, names: tuple[str, ...], centroids: Floats, cutoffs: Floats, weights: Floats) -> None:
    if centroids.ndim != 2 or not centroids.size:
        raise CorruptFileError(f"{folder / names[0]}: expected (K, H), found {_kind(centroids)}; {AGAIN}")
    for name, table in ((names[1], cutoffs), (names[2], weights)):
        if table.ndim != 1 or (np.diff(table) < 0).any():
            raise CorruptFileError(f"{folder / name}: expected rising numbers; {AGAIN}")
    if len(weights) < 2 or len(weights) & len(weights) - 1 or len(cutoffs) != len(weights) - 1:
        raise CorruptFileError(
            f"{folder / names[2]}: {len(weights)} weights for {len(cutoffs)} cutoffs; expected one more, and a "
            f"power of two; {AGAIN}"
        )


def _fitted(theirs: Theirs) -> tuple[Theirs, float]:
    """Read and check every chunk; return the index with the lengths that a byte stands for, and the mean distance.

    The distance is that of decoded tokens from their centroids, as the vectors they were made of are not there.
    """
    inverses, distances = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    for chunk in theirs.chunks():
        some = slice(None, None, max(1, len(chunk.codes) * theirs.num_chunks // SAMPLE))
        centroid_ids, residuals = np.asarray(chunk.codes[some]), swapped(theirs.codec.bits)[chunk.residuals[some]]
        for first in range(0, len(centroid_ids), BLOCK):
            block = centroid_ids[first : first + BLOCK]
            vectors, inverse = _decoded(theirs.codec, block, residuals[first : first + BLOCK])
            inverses.append(inverse)
            distances.append(np.linalg.norm(vectors * inverse[:, None] - theirs.codec.centroids[block], axis=1))
    found = np.concatenate(inverses)
    if not len(found):
        return theirs, 0.0
    middle = float(np.median(found))  # a range from end to end, as a token that is cut short may win a document for it
    low, high = max(float(found.min()), middle * 0.8), min(float(found.max()), middle * 1.25)
    codec = replace(theirs.codec, inverse_lengths=np.linspace(low, high, 256).astype(np.float32))
    return replace(theirs, codec=codec), float(np.concatenate(distances).mean())


def _decoded(codec: Codec, centroid_ids_N: Integers, residuals_NP: Bytes) -> tuple[Floats, Floats]:
    """Return vectors before they are scaled to length 1, (N, H), and what to scale them by, (N,)."""
    of_byte = codec.weights[unpack(np.arange(256, dtype=np.uint8)[:, None], bits=codec.bits)]  # (256, 8 / bits)
    vectors_NH = codec.centroids[centroid_ids_N] + of_byte[residuals_NP].reshape(len(centroid_ids_N), codec.dim)
    return vectors_NH, 1 / np.maximum(np.linalg.norm(vectors_NH, axis=1), np.float32(1e-12))


def _ours(codec: Codec, codes: Integers, residuals: Bytes) -> Encoded:
    """Return tokens of theirs as our index stores them."""
    centroid_ids_N = np.ascontiguousarray(codes).astype(codec.id_type)
    residuals_NP = swapped(codec.bits)[residuals]
    lengths_N = np.empty(len(centroid_ids_N), np.uint8)
    low, high = codec.inverse_lengths[[0, -1]]
    for first in range(0, len(centroid_ids_N), BLOCK):
        some = slice(first, first + BLOCK)
        _, inverse = _decoded(codec, centroid_ids_N[some], residuals_NP[some])
        place = (inverse - low) / max(high - low, np.float32(1e-12)) * 255
        lengths_N[some] = np.rint(place).clip(0, 255)
    return Encoded(centroid_ids_N, residuals_NP, lengths_N)


def _tensors(path: Path, count: int) -> list[NDArray[Any]]:
    """Return the tensors of a .pt file, mapped where its format allows it. Raises CorruptFileError if it has others."""
    torch = extras.package("torch", "an index of the original ColBERT")
    if not path.is_file():
        raise CorruptFileError(f"{path} is missing from the index; {AGAIN}")
    try:
        tensors.require_pickles(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # an unpickler that reads noise raises nearly anything
        raise CorruptFileError(f"{path} is not a file of tensors ({reason(error)}); {AGAIN}") from None
    held = [loaded] if isinstance(loaded, torch.Tensor) else loaded
    whole = isinstance(held, list | tuple) and len(held) == count
    if not whole or not all(isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided for tensor in held):
        raise CorruptFileError(f"{path}: expected tensors, {count} of them, found {type(loaded).__name__}; {AGAIN}")
    return [(tensor.float() if tensor.dtype is torch.bfloat16 else tensor).detach().numpy() for tensor in held]


def _floats(path: Path, array: NDArray[Any]) -> Floats:
    if array.dtype.kind != "f":
        raise CorruptFileError(f"{path}: expected floats, found {_kind(array)}; {AGAIN}")
    with np.errstate(over="ignore"):
        numbers = np.array(array, np.float32)
    if not np.isfinite(numbers).all():
        raise CorruptFileError(f"{path}: some numbers are not finite; {AGAIN}")
    return numbers


def _json(path: Path) -> dict[str, Any]:
    found = _parsed(path)
    if not isinstance(found, dict):
        raise CorruptFileError(f"{path}: expected a table, found {type(found).__name__}; {AGAIN}")
    return found


def _lengths(path: Path) -> NDArray[np.int64]:
    found = _parsed(path)
    if not isinstance(found, list) or not all(type(length) is int and 0 <= length < 2**31 for length in found):
        raise CorruptFileError(f"{path}: expected a list of document lengths; {AGAIN}")
    return np.array(found, np.int64)


def _parsed(path: Path) -> Any:
    try:
        return json_file(path)
    except FileNotFoundError:
        raise CorruptFileError(f"{path} is missing from the index; {AGAIN}") from None
    except CorruptFileError as error:
        raise CorruptFileError(f"{error}; {AGAIN}") from None


def _whole(path: Path, table: Any, key: str) -> int:
    value = table.get(key) if isinstance(table, dict) else None
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise CorruptFileError(f"{path}: {key} is {shown(value)}, not a number of them; {AGAIN}")
    return value


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"
