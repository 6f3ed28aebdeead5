"""The model in training: a transformer and a projection, in float32, optionally computed in bf16.

The weights that are trained stay float32; every forward pass rounds them once,
and gradients flow back through the rounding. On a CPU this is twice as fast as
autocast, and the same code runs on a GPU. Texts are read by the same tokenizer
as for search, and sorted by length, so that padding costs little.

Shapes
  N  texts    L  tokens of the longest    H  numbers in a vector    I  numbers in a hidden state
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lotte.errors import MismatchError
from retrievers.colbert.model import checkpoint, export
from retrievers.colbert.model.checkpoint import Checkpoint
from retrievers.colbert.model.config import ModelConfig
from retrievers.colbert.model.tokens import TextTokens, Tokens

TOKENS_AT_ONCE = 4096  # of padded text on a CPU; a GPU takes a batch whole
STEP = 16  # widths are multiples of it: a library keeps what it prepared for each shape that it saw
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def reader_of(start: Checkpoint, settings: ModelConfig) -> TextTokens:
    """Return what cuts texts for a model. Raises MismatchError for lengths it cannot have, with no weight read."""
    longest = max(settings.query_maxlen, settings.doc_maxlen)
    if longest > start.positions:
        raise MismatchError(
            f"{start.name} has {start.positions} positions, but a text may have {longest} tokens"
        )
    return TextTokens(start.tokenizer, settings)


class Student(nn.Module):
    """A late-interaction model that is trained."""

    def __init__(
        self,
        body: Any,
        projection_HI: Tensor,
        settings: ModelConfig,
        start: Checkpoint,
        *,
        dropout: float,
        precision: str,
    ) -> None:
        super().__init__()
        self.body, self.projection = body, nn.Linear(projection_HI.shape[1], projection_HI.shape[0], bias=False)
        with torch.no_grad():
            self.projection.weight.copy_(projection_HI)
        self.settings, self.start, self.dtype = settings, start, PRECISIONS[precision]
        self.tokens = TextTokens(start.tokenizer, settings)
        for name, weight in body.named_parameters():
            if name.startswith("pooler."):  # nobody reads it, and no checkpoint brings it: else whatever memory held
                nn.init.zeros_(weight)
        set_dropout(body, dropout)

    @classmethod
    def load(
        cls, source: str | Path, settings: ModelConfig, *, dropout: float, precision: str, scratch: bool = False,
        own: bool = True, seed: int = 0,
    ) -> "Student":  # fmt: skip
        """Return a student that starts from a checkpoint: a late-interaction model, or any transformer.

        scratch  take its configuration and tokenizer only, and draw the weights
        own      take its projection, if it has one; else, one of random orthogonal rows
        """
        start = checkpoint.find(source)
        reader_of(start, settings)
        torch.manual_seed(seed)
        body = fresh(start) if scratch else start.model()
        projection_HI = own_projection(start) if own and not scratch else None
        if projection_HI is None:
            projection_HI = nn.init.orthogonal_(torch.empty(settings.dim or 128, start.width))
        settings = replace(settings, dim=projection_HI.shape[0])
        return cls(body, projection_HI, settings, start, dropout=dropout, precision=precision)

    def forward(self, ids_NL: Tensor, seen_NL: Tensor) -> Tensor:
        """Return (N, L, H), vectors of length 1, of padding too."""
        hidden_NLI = self.body(input_ids=ids_NL, attention_mask=seen_NL).last_hidden_state
        return nn.functional.normalize(self.projection(hidden_NLI).float(), dim=-1)

    def encode(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Return (N, L, H) vectors of texts and (N, L) which of them count."""
        device = self.projection.weight.device
        ids_NL, seen_NL, kept_NL = padded(tokens, device, self.start.positions)
        lengths = torch.from_numpy(np.diff(tokens.starts)).to(device)
        if len(ids_NL) == 0 or bool((lengths == lengths[0]).all()) or device.type != "cpu":
            return rounded(self, self.dtype, ids_NL, seen_NL), kept_NL
        order = torch.argsort(lengths, stable=True)
        weights = casts(self, self.dtype)
        parts = []
        for begin, end in groups(lengths[order].tolist(), TOKENS_AT_ONCE):
            rows = order[begin:end]
            width = _wide(int(lengths[rows].max()), ids_NL.shape[1])
            vectors = torch.func.functional_call(self, weights, (ids_NL[rows, :width], seen_NL[rows, :width]))
            parts.append(nn.functional.pad(vectors, (0, 0, 0, ids_NL.shape[1] - width)))
        return torch.cat(parts)[torch.argsort(order)], kept_NL

    def save(self, folder: Path, *, training: Mapping[str, Any], readme: str) -> Path:
        """Write the model as a checkpoint that the original, PyLate and sentence-transformers open."""
        model = export.TrainedModel(
            described=self.start.described,
            state={name: tensor.float().cpu() for name, tensor in self.body.state_dict().items()},
            projection_HI=self.projection.weight.detach().float().cpu(),
            tokenizer=self.start.tokenizer.parent,
            settings=self.settings,
        )
        return export.write(folder, model, export.Papers(training=training, readme=readme))


def own_projection(start: Checkpoint) -> Tensor | None:
    """Return the projection of a checkpoint, None if it has none.

    Raises  MismatchError for one that is not one linear step
    """
    steps = start.projection()
    if len(steps) > 1 or (steps and (steps[0].bias_H is not None or steps[0].activation != "Identity")):
        raise MismatchError(
            f"{start.name} has a projection of {len(steps)} steps; training knows one linear step. Replace it "
            "with -o projection=random or -o projection=principal"
        )
    return steps[0].weight_HI if steps else None


def fresh(start: Checkpoint) -> Any:
    """Return the transformer that a checkpoint describes, with weights drawn as transformers draws them."""
    from transformers import AutoConfig, AutoModel

    described = {
        key: value for key, value in start.described.items() if key not in ("auto_map", "dtype", "torch_dtype")
    }
    build: Any = AutoModel.from_config
    model: Any = build(AutoConfig.for_model(**described))
    return model


def set_dropout(model: Any, share: float) -> None:
    """Set every dropout of a transformer, and the attention that is fast in training on this device."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        for name in ("dropout_prob", "attention_dropout"):  # attention reads its own number, and not a module
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, share)
    if hasattr(model, "set_attn_implementation") and not torch.cuda.is_available():
        model.set_attn_implementation("eager")  # the fused attention's backward pass is 3 times slower on a CPU
    model.train()


def casts(model: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the weights rounded to a precision; a gradient goes through to the weights themselves."""
    return {name: weight.to(dtype) for name, weight in model.named_parameters()}


def rounded(model: nn.Module, dtype: torch.dtype, *inputs: Tensor) -> Tensor:
    """Return what a model gives with its weights rounded to a precision."""
    out: Tensor = torch.func.functional_call(model, casts(model, dtype), inputs)
    return out


def padded(tokens: Tokens, device: torch.device, most: int = 512) -> tuple[Tensor, Tensor, Tensor]:
    """Return (N, L) ids, (N, L) which tokens are looked at, (N, L) which get a vector; L is `most` at most."""
    lengths = np.diff(tokens.starts)
    column_L = np.arange(_wide(int(lengths.max(initial=1)), most))
    real_NL = column_L < lengths[:, None]
    ids_NL, kept_NL = np.zeros(real_NL.shape, np.int64), np.zeros(real_NL.shape, np.bool_)
    ids_NL[real_NL], kept_NL[real_NL] = tokens.ids, tokens.kept
    seen_NL = (column_L < tokens.seen[:, None]).astype(np.int64)
    return tuple(torch.from_numpy(part).to(device) for part in (ids_NL, seen_NL, kept_NL))  # type: ignore[return-value]


def _wide(length: int, most: int) -> int:
    return min(-(-length // STEP) * STEP, most)


def groups(lengths: Sequence[int], budget: int) -> list[tuple[int, int]]:
    """Return ranges of texts that are padded together: one text, or at most `budget` tokens with the padding.

    lengths  ascending
    """
    ranges, begin = [], 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or (end + 1 - begin) * lengths[end] > budget:
            ranges.append((begin, end))
            begin = end
    return ranges


def principal(student: Student, texts: Sequence[str], dim: int) -> Tensor:
    """Return (dim, I), the directions in which the hidden states of some texts are longest.

    A projection onto them keeps the similarities of the transformer's own token
    vectors as well as any of that size can, so training need not find them again.
    """
    wide = student.projection.in_features
    moment_II = torch.zeros(wide, wide, dtype=torch.float64)
    student.eval()
    with torch.inference_mode():
        for begin in range(0, len(texts), 32):
            ids_NL, seen_NL, kept_NL = padded(
                student.tokens.docs(texts[begin : begin + 32]), torch.device("cpu"), student.start.positions
            )
            hidden_NI = student.body(input_ids=ids_NL, attention_mask=seen_NL).last_hidden_state[kept_NL]
            unit_NI = nn.functional.normalize(hidden_NI.double(), dim=-1)
            moment_II += unit_NI.T @ unit_NI
    student.train()
    _, vectors_II = torch.linalg.eigh(moment_II)
    longest_HI: Tensor = vectors_II[:, -dim:].T.flip(0).float().contiguous()
    return longest_HI
