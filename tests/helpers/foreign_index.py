"""Small indexes of the original ColBERT and of fast-plaid, of a seed, with the vectors that they stand for."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from retrievers.colbert.index import codec as codecs
from retrievers.colbert.index import foreign
from retrievers.colbert.index import segment as segments
from retrievers.colbert.index.folder import ColbertIndex

DIM, CENTROIDS = 32, 24
DOCLENS = [[3, 0, 5, 1], [], [7, 2], [0]]  # of four chunks; documents 1 and 6 were deleted


def packed_their_way(codes, bits):
    """In order, each code's bits least significant first, eight to a byte, as the specification says."""
    single = codes[:, :, None] >> np.arange(bits) & 1
    return np.packbits(single.reshape(len(codes), codes.shape[1] * bits).astype(np.uint8), axis=1)


def open_foreign(folder):
    """Return an index of another program to search, converted in a folder that is gone once its files are mapped."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        foreign.convert(folder, Path(name))
        codec = codecs.load(Path(name))
        return ColbertIndex(codec, (segments.open_segment(Path(name), 0, codec),), None)


class Made:
    """A small index of either maker, with the vectors that it stands for."""

    def __init__(self, folder, maker="colbert", bits=2, legacy=False):
        random = np.random.default_rng(bits)
        folder.mkdir()
        self.folder, self.maker, self.bits, self.legacy = folder, maker, bits, legacy
        centroids = random.normal(size=(CENTROIDS, DIM))
        self.centroids = (centroids / np.linalg.norm(centroids, axis=1, keepdims=True)).astype(np.float16)
        self.weights = np.linspace(-0.1, 0.12, 2**bits, dtype=np.float32)
        self.cutoffs = (self.weights[1:] + self.weights[:-1]) / 2
        self.write("centroids", self.centroids)
        if maker == "colbert":
            import torch

            torch.save((torch.tensor(self.cutoffs), torch.tensor(self.weights)), folder / "buckets.pt")
            (folder / "ivf.pid.pt").write_bytes(b"is not read")
            settings = {"config": {"nbits": bits, "checkpoint": "/nowhere", "index_path": "/nowhere"}}
        else:
            self.write("bucket_cutoffs", self.cutoffs)
            self.write("bucket_weights", self.weights)
            settings = {"nbits": bits, "num_partitions": 9999}
        self.json("metadata", {**settings, "num_chunks": len(DOCLENS), "num_embeddings": 123456})
        vectors, first = [], 0
        for number, doclens in enumerate(DOCLENS):
            cells, codes = (
                random.integers(CENTROIDS, size=sum(doclens)),
                random.integers(2**bits, size=(sum(doclens), DIM)),
            )
            self.write(f"{number}.codes", cells.astype(np.int32 if maker == "colbert" else np.int64))
            self.write(f"{number}.residuals", packed_their_way(codes, bits))
            self.json(f"doclens.{number}", doclens)
            name = "num_passages" if maker == "colbert" else "num_documents"
            self.json(f"{number}.metadata", {"passage_offset": first, name: len(doclens), "num_embeddings": len(cells)})
            vectors.append(self.centroids[cells].astype(np.float32) + self.weights[codes])
            first += len(doclens)
        self.vectors = np.concatenate(vectors)
        self.vectors /= np.linalg.norm(self.vectors, axis=1, keepdims=True)
        self.starts = np.concatenate([[0], np.cumsum([length for doclens in DOCLENS for length in doclens])])

    def write(self, name, array):
        if self.maker == "colbert":
            import torch

            zipped = not self.legacy
            torch.save(torch.tensor(array), self.folder / f"{name}.pt", _use_new_zipfile_serialization=zipped)
        else:
            np.save(self.folder / f"{name}.npy", array)

    def json(self, name, value):
        (self.folder / f"{name}.json").write_text(json.dumps(value))

    def merge(self, manifest=True):
        for name, tail in (("codes", ()), ("residuals", (DIM * self.bits // 8,))):
            files = [self.folder / f"{number}.{name}.npy" for number in range(len(DOCLENS))]
            parts = [np.load(file) for file in files]
            self.write(f"merged_{name}", np.concatenate([*parts, np.full((5, *tail), 255, parts[0].dtype)]))
            if manifest:
                rows = {file.name: {"rows": len(part)} for file, part in zip(files, parts, strict=True)}
                self.json(f"merged_{name}.manifest", rows)
            for file in files:
                file.unlink()
