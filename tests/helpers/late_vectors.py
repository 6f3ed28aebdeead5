"""Texts and token vectors of a seed, and what an index of late interaction answers."""

import json

import numpy as np
import tiny_checkpoint

WORDS = tiny_checkpoint.WORDS[:80]


def texts(count, seed=0):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(3, 20))) for _ in range(count)]


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


def built(folder, rows, lengths, threads=1, **config):
    """Build codec and segment in a folder; return what the build says, and the bytes of each file."""
    from retrievers.colbert import Arrays
    from retrievers.colbert.index import build
    from retrievers.colbert.index.codec import CodecConfig

    folder.mkdir()
    counts = build.build(folder, Arrays(rows, lengths), CodecConfig(**config), threads=threads, say=lambda line: None)
    return counts, {file.name: file.read_bytes() for file in folder.iterdir()}


def without_hashes(folder):
    """Make an index what it would have been before indexes knew their own bytes."""
    from retrievers import index_meta

    meta = {key: value for key, value in index_meta.read(folder).items() if key not in ("digest", "sizes", "sources")}
    (folder / "meta.json").write_text(json.dumps(meta))
