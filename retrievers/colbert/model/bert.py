"""The transformer in torch, run over packed texts: no padding is computed, and none can leak.

For GPUs, for 16-bit numbers, and for every model that `bert_cpu` does not
compute. `Packed` is our own BERT: every matrix product sees all tokens of a
batch end to end, attention runs over texts of one length at a time. `Padded` is
the reference, the forward pass of transformers, and runs every model that is
not a BERT. A BERT needs no transformers, whose import takes longer than a search.

Shapes
  N  tokens of all texts, end to end    B  texts in a batch    L  tokens of a text
  I  numbers in a hidden state          K  attention heads     F  numbers of the inner layer
"""

from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from retrievers.colbert.model import bert_cpu
from retrievers.colbert.model.checkpoint import Checkpoint, Dense
from retrievers.colbert.model.tokens import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_ACTIVATIONS = {"Identity": lambda x: x, "Tanh": torch.tanh, "ReLU": torch.relu, "Sigmoid": torch.sigmoid}

ROUND = 64  # batches on a CPU get a multiple of so many rows, if they are large: see `_spare`
CPU_TOKENS = 2048  # in a batch: enough to fill the matrix units, few enough that what passes between layers stays near


class TextBatch(NamedTuple):
    """Some texts, end to end."""

    ids: Tensor  # (N,) int64
    lengths: list[int]  # B of them; N in sum. Texts of one length that stand together are one step of attention
    seen: list[int]  # B of them: how many of a text's first tokens the others look at


class TorchTransformer(Protocol):
    """What turns tokens into hidden states."""

    parameters: int

    def __call__(self, batch: TextBatch) -> Tensor:
        """Return (N, I), the last hidden states of a batch."""
        ...


class Padded:
    """The reference: transformers' own forward pass over a padded batch, with its mask."""

    def __init__(self, model: "PreTrainedModel") -> None:
        self.model = model
        # a pooler has no part in the hidden states
        self.parameters = sum(t.numel() for name, t in model.named_parameters() if not name.startswith("pooler."))

    def __call__(self, batch: TextBatch) -> Tensor:
        device = batch.ids.device
        lengths, seen = (torch.tensor(counts, device=device) for counts in (batch.lengths, batch.seen))
        place_L = torch.arange(max(batch.lengths), device=device)
        real_BL = place_L < lengths[:, None]
        ids_BL = batch.ids.new_zeros(real_BL.shape)
        ids_BL[real_BL] = batch.ids
        out = self.model(input_ids=ids_BL, attention_mask=(place_L < seen[:, None]).long())
        hidden_NI: Tensor = out.last_hidden_state[real_BL]
        return hidden_NI


class Packed:
    """BERT over packed tokens, in the given precision.

    config  what config.json says; `bert_cpu.fits` has seen it
    state   the tensors of `bert_cpu.shapes`, float32
    """

    def __init__(
        self, config: Mapping[str, Any], state: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.heads, self.epsilon = config["num_attention_heads"], config.get("layer_norm_eps") or 1e-12
        self.one_step = device.type != "cpu"
        self.parameters = sum(tensor.numel() for tensor in state.values())

        def take(name: str, *parts: str) -> tuple[Tensor, Tensor]:
            weight, bias = (
                torch.cat([state[f"{name}{part}.{kind}"] for part in parts or ("",)]).to(device, dtype)
                for kind in ("weight", "bias")
            )
            return weight, bias

        # the sum of three embeddings stays in float32: it is a small part of the work, and not of the error
        self.words = state["embeddings.word_embeddings.weight"]
        self.places = (
            state["embeddings.position_embeddings.weight"] + state["embeddings.token_type_embeddings.weight"][0]
        )
        self.norm = state["embeddings.LayerNorm.weight"], state["embeddings.LayerNorm.bias"]
        self.dtype = dtype
        self.layers = [
            _TorchLayer(
                qkv=linear(*take(f"{layer}.attention.self.", "query", "key", "value")),
                mix=linear(*take(f"{layer}.attention.output.dense")),
                mix_norm=take(f"{layer}.attention.output.LayerNorm"),
                inner=linear(*take(f"{layer}.intermediate.dense")),
                outer=linear(*take(f"{layer}.output.dense")),
                outer_norm=take(f"{layer}.output.LayerNorm"),
            )
            for layer in (f"encoder.layer.{number}" for number in range(config["num_hidden_layers"]))
        ]

    def __call__(self, batch: TextBatch) -> Tensor:
        device = batch.ids.device
        place_N = torch.cat([torch.arange(length) for length in batch.lengths]).to(device)
        hidden_NI = F.embedding(batch.ids, self.words) + F.embedding(place_N, self.places)
        width = hidden_NI.shape[1:]
        hidden_NI = F.layer_norm(hidden_NI, width, *self.norm, self.epsilon).to(self.dtype)
        if spare := 0 if self.one_step else _spare(len(hidden_NI)):
            hidden_NI = F.pad(hidden_NI, (0, 0, 0, spare))
        steps = _one_step(batch, device) if self.one_step else _steps(batch, device)
        for layer in self.layers:
            mixed_NI = layer.mix(_attend(layer.qkv(hidden_NI), steps, self.heads), add=hidden_NI)
            hidden_NI = F.layer_norm(mixed_NI, width, *layer.mix_norm, self.epsilon)
            outer_NI = layer.outer(layer.inner(hidden_NI, gelu=True), add=hidden_NI)
            hidden_NI = F.layer_norm(outer_NI, width, *layer.outer_norm, self.epsilon)
        return hidden_NI[: len(batch.ids)]


def _spare(rows: int) -> int:
    """Return how many rows of nothing to add to a batch.

    oneDNN makes a program for every number of rows that it meets, which takes longer than the product, and keeps a
    thousand of them, a gigabyte. Batches are of nearly as many tokens as they may be, so these are three or four.
    """
    return -rows % ROUND if rows > 4 * ROUND else 0


class Linear:
    """x @ weight.T + bias, then GELU or a sum with what went around it."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor, *, gelu: bool = False, add: Tensor | None = None) -> Tensor:
        out = F.linear(x, self.weight, self.bias)
        if gelu:
            return F.gelu(out)
        return out if add is None else out.add_(add)


class FusedLinear(Linear):
    """`Linear` in one call of oneDNN, on weights in its own order: bias, GELU and sum cost no pass over memory.

    These are the operators that torch.compile calls; they have no name that torch
    promises to keep, so `linear` tries them before it relies on them.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__(torch.ops.mkldnn._reorder_linear_weight(weight, CPU_TOKENS), bias)

    def __call__(self, x: Tensor, *, gelu: bool = False, add: Tensor | None = None) -> Tensor:
        run = torch.ops.mkldnn._linear_pointwise
        if add is not None:
            out: Tensor = run.binary(x, add, self.weight, self.bias, "add")
        else:
            out = run(x, self.weight, self.bias, "gelu" if gelu else "none", [], "none")
        return out


def linear(weight: Tensor, bias: Tensor) -> Linear:
    """Return the product that is fastest here."""
    plain = Linear(weight, bias)
    if weight.dtype != torch.bfloat16 or weight.device.type != "cpu":
        return plain
    try:
        fused, x = FusedLinear(weight, bias), torch.linspace(-1, 1, weight.shape[1], dtype=weight.dtype)[None]
        around = torch.ones_like(bias)[None]
        for choice in ({"gelu": True}, {"add": around}, {}):
            torch.testing.assert_close(fused(x, **choice), plain(x, **choice), rtol=0.05, atol=0.05)
    except (RuntimeError, AttributeError, TypeError, AssertionError):
        return plain
    return fused


class _TorchLayer(NamedTuple):
    """One layer's weights, each with its bias."""

    qkv: Linear
    mix: Linear
    mix_norm: tuple[Tensor, Tensor]
    inner: Linear
    outer: Linear
    outer_norm: tuple[Tensor, Tensor]


class _Step(NamedTuple):
    """Texts that attention takes in one go."""

    rows: slice  # of N
    texts: int
    length: int
    mask: Tensor | None  # (B, 1, 1, L) bool: which tokens are looked at; None: all of them
    position: Tensor | None  # (N,): where a token stands in (B * L); None: there is no padding


def _steps(batch: TextBatch, device: torch.device) -> list[_Step]:
    steps, begin = [], 0
    for length, group in groupby(zip(batch.lengths, batch.seen, strict=True), key=lambda pair: pair[0]):
        seen = [count for _, count in group]
        end = begin + length * len(seen)
        steps.append(_Step(slice(begin, end), len(seen), length, _mask(seen, length, device), None))
        begin = end
    return steps


def _one_step(batch: TextBatch, device: torch.device) -> list[_Step]:
    length, texts = max(batch.lengths), len(batch.lengths)
    mask = _mask(batch.seen, length, device)
    if all(count == length for count in batch.lengths):
        return [_Step(slice(None), texts, length, mask, None)]
    position = torch.cat([torch.arange(count) + row * length for row, count in enumerate(batch.lengths)])
    return [_Step(slice(None), texts, length, mask, position.to(device))]


def _mask(seen: list[int], length: int, device: torch.device) -> Tensor | None:
    if all(count == length for count in seen):
        return None
    return (torch.arange(length) < torch.tensor(seen)[:, None])[:, None, None].to(device)


def _attend(qkv_N: Tensor, steps: list[_Step], heads: int) -> Tensor:
    """Return (N, I), the attention of every text with itself; rows that belong to no text get nothing.

    qkv_N  (N, 3 * I): queries, keys, values
    """
    mixed = []
    for rows, texts, length, mask, position in steps:
        part = qkv_N[rows]
        if position is not None:
            part = part.new_zeros(texts * length, part.shape[1]).index_copy_(0, position, part)
        q_BKLd, k_BKLd, v_BKLd = part.view(texts, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        mixed_BKLd = F.scaled_dot_product_attention(q_BKLd, k_BKLd, v_BKLd, attn_mask=mask)
        mixed_I = mixed_BKLd.transpose(1, 2).reshape(texts * length, -1)
        mixed.append(mixed_I if position is None else mixed_I[position])
    if spare := len(qkv_N) - sum(map(len, mixed)):
        mixed.append(mixed[0].new_zeros(spare, mixed[0].shape[1]))
    return torch.cat(mixed) if len(mixed) > 1 else mixed[0]


class Step:
    """One step of the projection, on a device."""

    def __init__(self, dense: Dense, device: torch.device, dtype: torch.dtype) -> None:
        self.dense = dense
        self.weight_HI, self.bias_H, self.residual_HI = (
            None if array is None else torch.tensor(array).to(device, dtype)
            for array in (dense.weight_HI, dense.bias_H, dense.residual_HI)
        )

    def __call__(self, x_NI: Tensor) -> Tensor:
        assert self.weight_HI is not None
        out_NH: Tensor = _ACTIVATIONS[self.dense.activation](F.linear(x_NI, self.weight_HI, self.bias_H))
        if self.dense.adds_input:
            out_NH = out_NH + (x_NI if self.residual_HI is None else F.linear(x_NI, self.residual_HI))
        return out_NH


class TorchModel:
    """One copy of the model, on one device."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, precision: str) -> None:
        dtype = DTYPES[precision]
        self.device = device
        self.projection = [Step(dense, device, dtype) for dense in checkpoint.steps()]
        self.body: TorchTransformer
        if bert_cpu.fits(checkpoint.described):
            arrays = checkpoint.arrays(bert_cpu.shapes(checkpoint.described))
            state = {name: torch.tensor(array) for name, array in arrays.items()}
            self.body = Packed(checkpoint.described, state, device, dtype)
        else:
            self.body = Padded(checkpoint.model().to(device=device, dtype=dtype))
        self.parameters = self.body.parameters

    def __call__(self, tokens: Tokens, texts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (n, H), the vectors of the kept tokens of some of the texts, in the given order."""
        with torch.inference_mode():
            out = self._hidden(tokens, texts)
            for step in self.projection:
                out = step(out)
            unit: Tensor = F.normalize(out.float(), dim=1)
            vectors: NDArray[np.float32] = unit.cpu().numpy()
            return vectors

    def hidden(self, tokens: Tokens, texts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (n, I), the hidden states of the kept tokens."""
        with torch.inference_mode():
            states: NDArray[np.float32] = self._hidden(tokens, texts).float().cpu().numpy()
            return states

    def _hidden(self, tokens: Tokens, texts: NDArray[np.int64]) -> Tensor:
        rows = tokens.rows(texts)
        lengths = np.diff(tokens.starts)[texts].tolist()
        ids = torch.from_numpy(tokens.ids[rows]).to(self.device)
        kept = torch.from_numpy(np.flatnonzero(tokens.kept[rows])).to(self.device)
        return self.body(TextBatch(ids, lengths, tokens.seen[texts].tolist()))[kept]


def threads() -> int:
    """Return how many threads torch works with."""
    return torch.get_num_threads()
