"""Texts to vectors, one per text, with any bi-encoder that sentence-transformers or transformers has."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

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


class Network(NamedTuple):
    """A model that is loaded, which several encoders may share."""

    source: ModelFolder
    model: Any
    dim: int  # numbers in a vector
    longest: int  # tokens of a text, as the model says


class BiEncoder:
    """A model that makes one vector of a text.

    prompt      what is put before a text
    similarity  one of SIMILARITIES: vectors have length 1 if it is cosine
    maxlen      tokens of a text
    """

    def __init__(self, network: Network, prompt: str, similarity: str, maxlen: int) -> None:
        self.source, self.model, self.dim = network.source, network.model, network.dim
        self.prompt, self.similarity, self.maxlen = prompt, similarity, maxlen

    def vectors(self, texts: Sequence[str], *, batch: int) -> Floats:
        """Return the vectors of texts. Raises CorruptFileError for one that is not finite."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        normalise = self.similarity == "cosine"
        return _encoded(self.model, self.source, texts, self.prompt, self.maxlen, batch, normalise)

    def facts(self) -> dict[str, Any]:
        """Return what a record says of the model."""
        pooling = next(module.pooling_mode for module in self.model if type(module).__name__ == "Pooling")
        return {
            **facts_of(self.source, self.model),
            "dim": self.dim,
            "pooling": pooling if isinstance(pooling, str) else "+".join(pooling),
            "prompt": self.prompt,
            "maxlen": self.maxlen,
        }


def encoder(network: Network, *, prompts: tuple[str, Sequence[str]], similarity: str, maxlen: int) -> BiEncoder:
    """Return an encoder by a model that is loaded.

    prompts     what is put before a text, and what the model may call that
    similarity  one of SIMILARITIES; "": as the model says
    maxlen      tokens; 0: as the model says

    Raises  MismatchError for more tokens than it has positions
    """
    network.source.require_length(maxlen)
    similarity = similarity or said_similarity(network.source)
    return BiEncoder(network, network.source.prompt(*prompts), similarity, maxlen or network.longest)


@cache
def network(checkpoint: str, revision: str, trust: bool, pooling: str, precision: str, device: str) -> Network:
    """Return a model, loaded once a process.

    pooling  one of POOLINGS; "": as the model says

    Raises  MismatchError for another kind of model; see `ModelFolder.load` for the rest
    """
    source = ModelFolder.of(checkpoint, revision=revision, trust=trust)
    require_encoder(source, pooling)
    model = source.load("SentenceTransformer", precision=precision, device=device)
    if pooling:
        place = next(place for place, module in enumerate(model) if type(module).__name__ == "Pooling")
        model[place] = type(model[place])(model[0].get_embedding_dimension(), pooling_mode=pooling)
    elif not source.kinds:
        say(f"{source.name} specifies no pooling: using the mean of all tokens; set another with -o pooling=")
    longest = source.longest(model)
    dim = _encoded(model, source, ["a"], "", longest, 1, False).shape[1]
    return Network(source, model, dim, longest)


def _encoded(
    model: Any, source: ModelFolder, texts: Sequence[str], prompt: str, maxlen: int, batch: int, normalise: bool
) -> Floats:
    model.max_seq_length = maxlen
    with reported(f"{source.name}: a text cannot be encoded"):
        found = model.encode(
            [whole_characters(text) for text in texts], prompt=prompt or None, batch_size=batch,
            show_progress_bar=False, convert_to_tensor=True, normalize_embeddings=normalise,
        )  # fmt: skip
    vectors: Floats = found.float().cpu().numpy()
    if not np.isfinite(vectors).all():
        raise CorruptFileError(f"{source.name} makes vectors that are not finite; -o precision=fp32 may help")
    return vectors


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

    Raises  MismatchError for one that is not a product
    """
    said = source.settings.get("similarity_fn_name") or ("cosine" if source.kinds else "dot")
    if said not in SIMILARITIES:
        raise MismatchError(f"{source.name} uses similarity {shown(said)}; set -o similarity=dot or cosine")
    return str(said)
