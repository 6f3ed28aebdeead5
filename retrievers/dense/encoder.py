"""Texts to vectors, one a text, by any bi-encoder that sentence-transformers or transformers has."""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte.errors import CorruptFileError, MismatchError, shown
from lotte.terminal import say
from retrievers.colbert.model.tokens import reported
from retrievers.dense.model import ModelFolder, facts_of, whole_characters

Floats = NDArray[np.float32]

MODULES = ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout")
POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
SIMILARITIES = ("dot", "cosine")
QUERY, DOCUMENT = ("query", "question"), ("document", "passage", "corpus")  # names that models give their prompts
WHAT = "a model with one vector for each text"


class BiEncoder:
    """A model that makes one vector of a text."""

    def __init__(self, source: ModelFolder, model: Any, prompt: str, similarity: str) -> None:
        self.source, self.model, self.prompt, self.similarity = source, model, prompt, similarity

    @classmethod
    def load(
        cls, source: ModelFolder, *, prompts: tuple[str, Sequence[str]], pooling: str, similarity: str, maxlen: int,
        precision: str, device: str,
    ) -> "BiEncoder":  # fmt: skip
        """Return the encoder of a model.

        prompts     what is put before a text, and what the model may call that
        pooling     one of POOLINGS; "": as the model says
        similarity  one of SIMILARITIES; "": as the model says
        maxlen      tokens; 0: as the model says

        Raises  MismatchError for another kind of model; see `ModelFolder.load` for the rest
        """
        require_encoder(source, pooling)
        source.require_length(maxlen)
        prompt, similarity = source.prompt(*prompts), similarity or said_similarity(source)
        model = source.load("SentenceTransformer", precision=precision, device=device)
        if pooling:
            place = next(place for place, module in enumerate(model) if type(module).__name__ == "Pooling")
            model[place] = type(model[place])(model[0].get_embedding_dimension(), pooling_mode=pooling)
        elif not source.kinds:
            say(f"{source.name} does not say what becomes one vector: it is the mean of all tokens; -o pooling says it")
        longest = min(model.max_seq_length or source.found.positions, source.found.positions)
        model.max_seq_length = maxlen or longest
        return cls(source, model, prompt, similarity)

    def vectors(self, texts: Sequence[str], *, batch: int) -> Floats:
        """Return the vectors of texts, of length 1 if the similarity is cosine.

        Raises  CorruptFileError for a vector that is not finite
        """
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        with reported(f"{self.source.name}: a text cannot be encoded"):
            found = self.model.encode(
                [whole_characters(text) for text in texts], prompt=self.prompt or None, batch_size=batch,
                show_progress_bar=False, convert_to_tensor=True, normalize_embeddings=self.similarity == "cosine",
            )  # fmt: skip
        vectors: Floats = found.float().cpu().numpy()
        if not np.isfinite(vectors).all():
            raise CorruptFileError(f"{self.source.name} makes vectors that are not finite; -o precision=fp32 may help")
        return vectors

    @cached_property
    def dim(self) -> int:
        """Return how many numbers a vector has."""
        return len(self.vectors(["a"], batch=1)[0])

    def facts(self) -> dict[str, Any]:
        """Return what a record says of the model."""
        pooling = next(module.pooling_mode for module in self.model if type(module).__name__ == "Pooling")
        return {
            **facts_of(self.source, self.model),
            "dim": self.dim,
            "pooling": pooling if isinstance(pooling, str) else "+".join(pooling),
            "prompt": self.prompt,
            "maxlen": self.model.max_seq_length,
        }


def require_encoder(source: ModelFolder, pooling: str) -> None:
    """Raise MismatchError for a model that does not make one vector of a text."""
    source.require_kinds(MODULES, WHAT)
    if source.kinds and "Pooling" not in source.kinds:
        raise MismatchError(f"{source.name} has no module Pooling, so it makes no vector of a text")
    if not source.kinds and "ForMaskedLM" in source.head and not pooling:
        raise MismatchError(
            f"{source.name} is a {source.head}, trained to fill in words; splade takes one that weighs words, and "
            "-o pooling=mean, or cls, takes its hidden states all the same"
        )


def said_similarity(source: ModelFolder) -> str:
    """Return the similarity that a model was made for: what it says, or what is usual for its kind.

    Raises  MismatchError for one that is no product
    """
    said = source.settings.get("similarity_fn_name") or ("cosine" if source.kinds else "dot")
    if said not in SIMILARITIES:
        raise MismatchError(f"{source.name} is made for similarity {shown(said)}; say -o similarity=dot, or cosine")
    return str(said)


@cache
def encoder(
    checkpoint: str, revision: str, trust: bool, pooling: str, similarity: str, prompt: str, is_query: bool,
    maxlen: int, precision: str, device: str,
) -> BiEncoder:  # fmt: skip
    """Return an encoder, loaded once a process. Raises as `BiEncoder.load` does."""
    return BiEncoder.load(
        ModelFolder.of(checkpoint, revision=revision, trust=trust), prompts=(prompt, QUERY if is_query else DOCUMENT),
        pooling=pooling, similarity=similarity, maxlen=maxlen, precision=precision, device=device,
    )  # fmt: skip
