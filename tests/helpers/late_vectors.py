"""Texts and token vectors of a seed, and what an index of late interaction answers."""

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
