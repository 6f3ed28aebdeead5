"""BERT on a CPU without torch, in float32 or in bytes: the same bits on every processor.

All texts of a batch are packed end to end, so no padding is computed. In "int8" the
weights and activations are bytes, in groups of 64 with one
scale each; sums, LayerNorm and GELU are float32. The reference is `bert.Packed`.

Shapes
  N  tokens of all texts, end to end    I  numbers in a hidden state    F  numbers of the inner layer
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels import transformer
from retrievers.colbert.kernels.products import (
    COLUMNS,
    GROUP,
    ROWS,
    ByteWeights,
    FloatWeights,
    byte_product,
    float_product,
    registers,
)
from retrievers.colbert.model.checkpoint import ACTIVATIONS, Checkpoint, Dense
from retrievers.colbert.model.tokens import Tokens

Floats = NDArray[np.float32]

PRECISIONS = ("fp32", "int8")
TOKENS = 512  # in a batch: what passes between layers stays in the second cache
INNER = 128  # rows of the inner layer made at once, for the same reason


class CompiledModel:
    """The model: tokens to vectors. Any number of threads may call it at once.

    precision  "fp32" or "int8"; the projection is float32 in both
    """

    def __init__(self, checkpoint: Checkpoint, precision: str) -> None:
        state = checkpoint.arrays(shapes(checkpoint.described))
        self.body = CompiledTransformer(checkpoint.described, state, precision)
        self.projection = Projection(checkpoint.steps())
        self.parameters = sum(array.size for array in state.values())

    def __call__(self, tokens: Tokens, texts: NDArray[np.int64]) -> Floats:
        """Return (n, H), the vectors of the kept tokens of some of the texts, in the given order."""
        out = self.projection(self.hidden(tokens, texts))
        vectors = np.empty_like(out)
        transformer.units(out, vectors)
        return vectors

    def hidden(self, tokens: Tokens, texts: NDArray[np.int64]) -> Floats:
        """Return (n, I), the hidden states of the kept tokens."""
        rows = tokens.rows(texts)
        hidden = self.body(tokens.ids[rows], np.diff(tokens.starts)[texts].tolist(), tokens.seen[texts].tolist())
        return hidden[tokens.kept[rows]]


class Projection:
    """The steps from hidden states to vectors, in float32."""

    def __init__(self, steps: Sequence[Dense]) -> None:
        self._steps = [
            (
                step,
                FloatWeights(step.weight_HI, step.bias_H),
                None if step.residual_HI is None else FloatWeights(step.residual_HI, None),
            )
            for step in steps
        ]

    def __call__(self, x_NI: Floats) -> Floats:
        """Return (N, H)."""
        rows = np.zeros((_padded(len(x_NI), ROWS), x_NI.shape[1]), np.float32)
        rows[: len(x_NI)] = x_NI
        for step, weights, around in self._steps:
            given, rows = rows, ACTIVATIONS[step.activation](_product(rows, weights))
            if step.adds_input:
                rows = rows + (given if around is None else _product(given, around))
        return rows[: len(x_NI)]


def _product(rows: Floats, weights: FloatWeights) -> Floats:
    out = np.empty((len(rows), weights.bias.size), np.float32)
    float_product(rows, weights, out)
    return np.ascontiguousarray(out[:, : weights.columns])


class CompiledTransformer:
    """The transformer.

    config     what config.json says; `fits` has seen it
    state      the tensors of `shapes`, float32
    precision  "fp32" or "int8"
    """

    def __init__(self, config: Mapping[str, Any], state: Mapping[str, Floats], precision: str) -> None:
        self.heads, self.wide, self.inner = (
            config[name] for name in ("num_attention_heads", "hidden_size", "intermediate_size")
        )
        self.epsilon = np.float32(config.get("layer_norm_eps") or 1e-12)
        self.precision, self._rooms = precision, local()
        kind = ByteWeights if precision == "int8" else FloatWeights

        def norm(name: str) -> tuple[Floats, Floats]:
            return state[f"{name}.weight"], state[f"{name}.bias"]

        def take(name: str, *parts: str) -> Any:
            names = [f"{name}{part}" for part in parts or ("",)]
            return kind(*(np.concatenate([state[f"{name}.{what}"] for name in names]) for what in ("weight", "bias")))

        self.words = state["embeddings.word_embeddings.weight"]
        types = state["embeddings.token_type_embeddings.weight"]
        self.places = state["embeddings.position_embeddings.weight"] + types[0]
        self.norm = norm("embeddings.LayerNorm")
        self.layers = [
            _CompiledLayer(
                qkv=take(f"{layer}.attention.self.", "query", "key", "value"),
                mix=take(f"{layer}.attention.output.dense"),
                mix_norm=norm(f"{layer}.attention.output.LayerNorm"),
                inner=take(f"{layer}.intermediate.dense"),
                outer=take(f"{layer}.output.dense"),
                outer_norm=norm(f"{layer}.output.LayerNorm"),
            )
            for layer in (f"encoder.layer.{number}" for number in range(config["num_hidden_layers"]))
        ]

    def __call__(self, ids: NDArray[np.int64], lengths: Sequence[int], seen: Sequence[int]) -> Floats:
        """Return (N, I), the last hidden states; they are overwritten by this thread's next call.

        ids  (N,); lengths  of the texts; seen  how many of a text's first tokens the others look at
        """
        room = self._room(len(ids), max(lengths))
        hidden, qkv, mixed = room.hidden, room.qkv, room.mixed
        np.take(self.words, ids, axis=0, out=hidden[: len(ids)])
        first = 0
        for length in lengths:
            mixed[first : first + length] = self.places[:length]
            first += length
        for padding in (hidden, mixed):
            padding[len(ids) :] = 0
        transformer.add_and_norm(hidden, mixed, *self.norm, self.epsilon)
        step = _padded(-(-len(hidden) // -(-len(hidden) // INNER)), ROWS)  # of equal parts
        for layer in self.layers:
            room.product(hidden, layer.qkv, qkv)
            first = 0
            for length, looked_at in zip(lengths, seen, strict=True):
                room.attend(qkv, first, length, looked_at, mixed)
                first += length
            mixed[first:] = 0
            room.product(mixed, layer.mix, qkv)
            transformer.add_and_norm(hidden, qkv, *layer.mix_norm, self.epsilon)
            for start in range(0, len(hidden), step):
                part = hidden[start : start + step]
                inner, outer = room.inner[: len(part)], qkv[: len(part)]
                room.product(part, layer.inner, inner)
                transformer.gelu(inner[:, : self.inner])
                room.product(inner, layer.outer, outer)
                transformer.add_and_norm(part, outer, *layer.outer_norm, self.epsilon)
        return hidden[: len(ids)]

    def _room(self, tokens: int, length: int) -> "_LayerRoom":
        """Return this thread's buffers, for so many tokens in all and in the longest text."""
        found: _LayerRoom | None = getattr(self._rooms, "room", None)
        if found is None or found.tokens < tokens or found.length < length:
            found = _LayerRoom(self, max(tokens, TOKENS), length)
            self._rooms.room = found
        return found.of(tokens)


@dataclass(frozen=True)
class _CompiledLayer:
    """One layer's weights, each with its bias."""

    qkv: Any
    mix: Any
    mix_norm: tuple[Floats, Floats]
    inner: Any
    outer: Any
    outer_norm: tuple[Floats, Floats]


class _LayerRoom:
    """The buffers of one thread, used again from batch to batch: memory that is new costs more than the arithmetic."""

    def __init__(self, body: CompiledTransformer, tokens: int, length: int) -> None:
        self.tokens, self.length = tokens, length
        rows, self._heads, head = _padded(tokens, ROWS), body.heads, body.wide // body.heads
        widest = max(3 * body.wide, body.inner)
        self._hidden = np.zeros((rows, body.wide), np.float32)
        self._mixed = np.zeros((rows, body.wide), np.float32)
        # attention reads past the last text
        self._qkv = np.zeros((rows + ROWS, _padded(3 * body.wide, COLUMNS)), np.float32)
        self.inner = np.zeros((INNER, _padded(body.inner, COLUMNS)), np.float32)
        self._codes = np.zeros((rows, _padded(widest, GROUP)), np.uint8)
        self._scales = np.zeros((rows, _padded(widest, GROUP) // GROUP), np.float32)
        self._scale = np.float32(head**-0.5)
        room, width, step = transformer.Room(length, head), *registers()
        self._attention, self._parts = (
            (transformer.byte_attention(head, width, step), room.bytes())
            if body.precision == "int8"
            else (transformer.float_attention(head, width), room.floats())
        )

    def of(self, tokens: int) -> "_LayerRoom":
        """Return the room with buffers of so many tokens, rounded up."""
        rows = _padded(tokens, ROWS)
        self.hidden, self.mixed, self.qkv = self._hidden[:rows], self._mixed[:rows], self._qkv[:rows]
        return self

    def product(self, x: Floats, weights: FloatWeights | ByteWeights, out: Floats) -> None:
        """Write x @ weights + bias into `out`."""
        if isinstance(weights, FloatWeights):
            float_product(x, weights, out)
            return
        depth = _padded(weights.depth, GROUP)
        codes, scales = self._codes[: len(x), :depth], self._scales[: len(x), : depth // GROUP]
        transformer.as_bytes(x, weights.depth, codes, scales)
        byte_product(codes, scales, weights, out)

    def attend(self, qkv: Floats, first: int, length: int, seen: int, out: Floats) -> None:
        """Write the attention of one text with itself into its rows of `out`."""
        self._attention(qkv, first, length, seen, self._heads, self._scale, *self._parts, out)


def _padded(count: int, step: int) -> int:
    return -(-count // step) * step


def fits(config: Mapping[str, Any]) -> bool:
    """Whether a config.json, as `config.transformer` returns it, describes a BERT as it is computed here."""
    numbers = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    return (
        config.get("model_type") == "bert"
        and all(config.get(name) for name in numbers)
        and config["hidden_size"] % config["num_attention_heads"] == 0
        and (config.get("hidden_act") or "gelu") == "gelu"
        and (config.get("position_embedding_type") or "absolute") == "absolute"
        and not config.get("is_decoder")
    )


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a BERT without a pooler and their shapes, under the names of transformers."""
    wide, inner = config["hidden_size"], config["intermediate_size"]
    shape_of: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], wide),
        "embeddings.position_embeddings.weight": (config.get("max_position_embeddings") or 512, wide),
        "embeddings.token_type_embeddings.weight": (config.get("type_vocab_size") or 2, wide),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in (f"encoder.layer.{number}" for number in range(config["num_hidden_layers"])):
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shape_of |= {f"{layer}.attention.{name}.weight": (wide, wide), f"{layer}.attention.{name}.bias": (wide,)}
        shape_of |= {f"{layer}.intermediate.dense.weight": (inner, wide), f"{layer}.intermediate.dense.bias": (inner,)}
        shape_of |= {f"{layer}.output.dense.weight": (wide, inner), f"{layer}.output.dense.bias": (wide,)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    return shape_of | {f"{name}.{kind}": (wide,) for name in norms for kind in ("weight", "bias")}
