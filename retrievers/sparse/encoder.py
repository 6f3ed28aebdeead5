"""Texts to weights of the words of a vocabulary, by a SparseEncoder of sentence-transformers (SPLADEv2 and later)."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lotte.errors import CorruptFileError, MismatchError
from retrievers.colbert.model import tokens
from retrievers.colbert.model.tokens import reported
from retrievers.dense.model import ModelFolder, facts_of, whole_characters
from retrievers.sparse.rows import SparseRows

MODULES = ("Transformer", "MLMTransformer", "SpladePooling")
WHAT = "a model that gives weights to the words of its vocabulary"


class SparseNetwork(NamedTuple):
    """A model that is loaded, which several encoders may share."""

    source: ModelFolder
    model: Any
    words: list[str]  # of the vocabulary, by number
    longest: int  # tokens of a text, as the model says


class SparseTextEncoder:
    """A model that gives weights to the words of its vocabulary.

    prompts  what is put before a text, and what the model may call that
    maxlen   tokens; 0: as the model says

    Raises  MismatchError for more tokens than it has positions
    """

    def __init__(self, network: SparseNetwork, *, prompts: tuple[str, Sequence[str]], maxlen: int) -> None:
        self.source, self.model, self.words, longest = network
        self.source.require_length(maxlen)
        self.prompt, self.maxlen = self.source.prompt(*prompts), maxlen or longest

    def rows(self, texts: Sequence[str], *, batch: int, most: int = 0) -> SparseRows:
        """Return the weights of texts. Raises CorruptFileError for one that is not finite.

        most  words that each text keeps, those with the largest weights; 0: all
        """
        self.model.max_seq_length = self.maxlen
        with reported(f"{self.source.name}: a text cannot be encoded"):
            found = self.model.encode(
                [whole_characters(text) for text in texts], prompt=self.prompt or None, batch_size=batch,
                show_progress_bar=False, convert_to_tensor=True, convert_to_sparse_tensor=True, save_to_cpu=True,
                max_active_dims=most or None,
            ).coalesce()  # fmt: skip
        (row, ids), weights = found.indices().numpy(), found.values().float().numpy()
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise CorruptFileError(f"{self.source.name} makes weights that are negative or not finite")
        some = weights > 0
        lengths = np.bincount(row[some], minlength=len(texts)).astype(np.int32)
        return SparseRows(lengths, ids[some].astype(np.int32), weights[some])

    def facts(self) -> dict[str, Any]:
        """Return what a record says of the model."""
        facts = {"dim": len(self.words), "prompt": self.prompt, "maxlen": self.maxlen}
        return facts_of(self.source, self.model) | facts


def vocabulary(source: ModelFolder) -> list[str]:
    """Return the words that a model gives weights to, by number.

    Raises  MismatchError for another kind of model, or one whose words are not those of its tokenizer
    """
    source.require_kinds(MODULES, WHAT)
    if source.kinds and "SpladePooling" not in source.kinds:
        raise MismatchError(f"{source.name} has no module SpladePooling, so it gives no weights to words")
    if not source.kinds and "ForMaskedLM" not in source.head:
        raise MismatchError(
            f"{source.name} is a {source.head or 'model without a head'}, and {WHAT} ends in a ForMaskedLM: this one "
            "would get random weights"
        )
    numbers = tokens.load(source.found.tokenizer).get_vocab(with_added_tokens=True)
    size = source.found.words
    if sorted(numbers.values()) != list(range(size or 0)):
        raise MismatchError(
            f"{source.name} has {size or 'no'} words in its config.json and {len(numbers)} in its tokenizer; it must "
            "give a weight to each of these"
        )
    return sorted(numbers, key=numbers.__getitem__)


@cache
def sparse_network(checkpoint: str, revision: str, trust: bool, precision: str, device: str) -> SparseNetwork:
    """Return a model, loaded once a process. Raises as `vocabulary` and `ModelFolder.load` do."""
    source = ModelFolder.of(checkpoint, revision=revision, trust=trust)
    words = vocabulary(source)
    model = source.load("SparseEncoder", precision=precision, device=device, with_head=True)
    return SparseNetwork(source, model, words, source.longest(model))
