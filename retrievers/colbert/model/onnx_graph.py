"""A late-interaction BERT as an ONNX graph: token ids in, a vector of length 1 for every token out.

The graph is written from the tensors, operator by operator, so it needs `onnx` and not torch, and is the same
bytes for the same weights. What it leaves to whoever runs it is what `tokens.py` does: markers, masks, and which
tokens of a document are kept.

  input_ids       (B, N) int64      token ids; what is after a text's end may be any token
  attention_mask  (B, N) int64      1 for a token that the others look at; a query's [MASK] tokens have 0 unless
                                    the checkpoint says attend_to_mask_tokens
  vectors         (B, N, H) float32
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import extras
from lotte.errors import UnavailableError
from retrievers.colbert.model import bert_cpu
from retrievers.colbert.model.checkpoint import Checkpoint, Dense
from retrievers.colbert.model.config import ModelConfig

NAME = "model.onnx"
OPSET, IR = 17, 8  # the first with LayerNormalization; what onnxruntime 1.14 and later read
HIDDEN = -1e9  # added to the score of a token that nobody looks at
_OPERATORS = {"Tanh": "Tanh", "ReLU": "Relu", "Sigmoid": "Sigmoid"}


def content(source: Checkpoint) -> bytes:
    """Return the bytes of the graph. Raises UnavailableError without `onnx`, or if the model is not a BERT."""
    if not bert_cpu.fits(source.described):
        kind = source.described.get("model_type")
        raise UnavailableError(f"a graph is written of a BERT, and {source.name} is a {kind} of another build")
    onnx = extras.package("onnx", NAME)
    state = source.arrays(bert_cpu.shapes(source.described))
    graph = _Graph(onnx)
    hidden = _embedded(graph, state, source.described)
    bias = graph.mask()
    for number in range(source.described["num_hidden_layers"]):
        hidden = _layer(graph, hidden, bias, state, f"encoder.layer.{number}", source.described)
    for step in source.steps():
        hidden = _projected(graph, hidden, step)
    length = graph.node("ReduceL2", [hidden], axes=[-1], keepdims=1)
    graph.node("Div", [hidden, graph.node("Max", [length, graph.number(1e-12)])], output="vectors")
    made: bytes = graph.model(source.steps()[-1].weight_HI.shape[0]).SerializeToString()
    return made


def card(settings: ModelConfig) -> list[str]:
    """Return the lines of a card about the graph."""
    first, second = settings.query_marker, settings.doc_marker
    look = "1, as all" if settings.attend_to_mask_tokens else "0"
    return [
        f"`{NAME}` takes `input_ids` and `attention_mask` (B, N) and gives `vectors` (B, N, H) of length 1. A query is "
        f"`[CLS] {first} words [SEP]` filled up with `[MASK]` to {settings.query_maxlen} tokens, whose mask is {look}; "
        f"a document is `[CLS] {second} words [SEP]`, and the vectors of its punctuation are left out.",
    ]


class _Graph:
    """Nodes and tensors, with names made as they come."""

    def __init__(self, onnx: Any) -> None:
        self._onnx, self._nodes, self._tensors = onnx, list[Any](), dict[str, Any]()

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **settings: Any) -> str:
        """Add an operator; return what it gives."""
        output = output or f"{kind}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], **settings))
        return output

    def tensor(self, name: str, array: NDArray[Any]) -> str:
        """Add numbers under a name; return it."""
        self._tensors[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def number(self, value: float) -> str:
        return self.tensor(f"number_{value!r}", np.array(value, np.float32))

    def whole(self, *values: int) -> str:
        return self.tensor(f"whole_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def mask(self) -> str:
        """Return (B, 1, 1, N), what is added to scores: 0, or HIDDEN for a token that nobody looks at."""
        mask = self.node("Cast", ["attention_mask"], to=self._onnx.TensorProto.FLOAT)
        away = self.node("Mul", [self.node("Sub", [self.number(1.0), mask]), self.number(HIDDEN)])
        return self.node("Unsqueeze", [away, self.whole(1, 2)])

    def linear(self, given: str, name: str, weight_HI: NDArray[Any], bias_H: NDArray[Any] | None) -> str:
        out = self.node("MatMul", [given, self.tensor(f"{name}.weight", weight_HI.T)])
        return out if bias_H is None else self.node("Add", [out, self.tensor(f"{name}.bias", bias_H)])

    def norm(self, given: str, name: str, state: Any, epsilon: float) -> str:
        parts = [self.tensor(f"{name}.{kind}", state[f"{name}.{kind}"]) for kind in ("weight", "bias")]
        return self.node("LayerNormalization", [given, *parts], axis=-1, epsilon=epsilon)

    def model(self, dim: int) -> Any:
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        shape = ["texts", "tokens"]
        inputs = [helper.make_tensor_value_info(n, kinds.INT64, shape) for n in ("input_ids", "attention_mask")]
        outputs = [helper.make_tensor_value_info("vectors", kinds.FLOAT, [*shape, dim])]
        graph = helper.make_graph(self._nodes, "late_interaction", inputs, outputs, list(self._tensors.values()))
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, producer_name="lotte-bench", ir_version=IR)


def _embedded(graph: _Graph, state: Any, described: Any) -> str:
    """Return the sum of what stands for words and places; every token is of the first type."""
    words = graph.tensor("words", state["embeddings.word_embeddings.weight"])
    first_type = state["embeddings.token_type_embeddings.weight"][0]
    places = graph.tensor("places", state["embeddings.position_embeddings.weight"] + first_type)
    count = graph.node("Slice", [graph.node("Shape", ["input_ids"]), graph.whole(1), graph.whole(2)])
    here = graph.node("Slice", [places, graph.whole(0), count, graph.whole(0)])
    both = graph.node("Add", [graph.node("Gather", [words, "input_ids"]), here])
    return graph.norm(both, "embeddings.LayerNorm", state, described.get("layer_norm_eps") or 1e-12)


def _layer(graph: _Graph, hidden: str, bias: str, state: Any, name: str, described: Any) -> str:
    heads, wide = described["num_attention_heads"], described["hidden_size"]
    epsilon, each = described.get("layer_norm_eps") or 1e-12, wide // heads

    def dense(given: str, part: str) -> str:
        return graph.linear(given, f"{name}.{part}", *(state[f"{name}.{part}.{kind}"] for kind in ("weight", "bias")))

    def split(part: str, order: list[int]) -> str:
        parts = graph.node("Reshape", [dense(hidden, f"attention.self.{part}"), graph.whole(0, 0, heads, each)])
        return graph.node("Transpose", [parts], perm=order)

    scores = graph.node("MatMul", [split("query", [0, 2, 1, 3]), split("key", [0, 2, 3, 1])])
    scaled = graph.node("Add", [graph.node("Mul", [scores, graph.number(each**-0.5)]), bias])
    mixed = graph.node("MatMul", [graph.node("Softmax", [scaled], axis=-1), split("value", [0, 2, 1, 3])])
    joined = graph.node("Reshape", [graph.node("Transpose", [mixed], perm=[0, 2, 1, 3]), graph.whole(0, 0, wide)])
    own = graph.node("Add", [dense(joined, "attention.output.dense"), hidden])
    own = graph.norm(own, f"{name}.attention.output.LayerNorm", state, epsilon)
    inner = _gelu(graph, dense(own, "intermediate.dense"))
    return graph.norm(
        graph.node("Add", [dense(inner, "output.dense"), own]), f"{name}.output.LayerNorm", state, epsilon
    )


def _gelu(graph: _Graph, given: str) -> str:
    """Return x / 2 * (1 + erf(x / sqrt(2)))."""
    erf = graph.node("Erf", [graph.node("Mul", [given, graph.number(0.5**0.5)])])
    return graph.node("Mul", [graph.node("Mul", [given, graph.number(0.5)]), graph.node("Add", [erf, graph.number(1)])])


def _projected(graph: _Graph, given: str, step: Dense) -> str:
    name = f"projection_{given}"
    out = graph.linear(given, name, step.weight_HI, step.bias_H)
    if step.activation in _OPERATORS:
        out = graph.node(_OPERATORS[step.activation], [out])
    if step.adds_input:
        around = given if step.residual_HI is None else graph.linear(given, f"{name}.residual", step.residual_HI, None)
        out = graph.node("Add", [out, around])
    return out
