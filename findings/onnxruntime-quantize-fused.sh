#!/usr/bin/env bash
# onnxruntime 1.32.0, onnx 1.23.2: quantize_dynamic refuses what onnxruntime's own optimizer makes of a transformer.
#
# A good guess: a model that onnxruntime runs, onnxruntime quantizes; the documented order for a BERT is first to fuse it
# (onnxruntime.transformers.optimizer), then quantize_dynamic. But quantize_dynamic asks ONNX's shape inference for the
# type of what each MatMul gives, and ONNX knows no type behind an operator of the domain com.microsoft (BiasGelu,
# SkipLayerNormalization, Attention): a RuntimeError about a "weight_name" that is no weight. With
# extra_options={"DefaultTensorType": FLOAT} it works. And the dictionary that is passed comes back with a key more.
#
# Output seen:
#   runs: (2, 8)
#   quantize_dynamic: RuntimeError Unable to find data type for weight_name='m'
#   with DefaultTensorType: (2, 8)
#   the caller's dictionary: ['DefaultTensorType', 'MatMulConstBOnly']
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - 2>/dev/null <<'P' | tee seen
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

weights = [
    numpy_helper.from_array(np.eye(8, dtype=np.float32), "w"),
    numpy_helper.from_array(np.zeros(8, np.float32), "b"),
]
nodes = [
    helper.make_node("BiasGelu", ["x", "b"], ["h"], domain="com.microsoft"),
    helper.make_node("MatMul", ["h", "w"], ["m"]),
    helper.make_node("Identity", ["m"], ["y"]),
]
ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8])] for name in "xy"]
opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
model = helper.make_model(helper.make_graph(nodes, "fused", *ends, weights), opset_imports=opsets)
model.ir_version = 10
onnx.save(model, "fused.onnx")
x = np.ones((2, 8), np.float32)
print("runs:", onnxruntime.InferenceSession("fused.onnx").run(None, {"x": x})[0].shape)
try:
    quantize_dynamic("fused.onnx", "int8.onnx")
except RuntimeError as error:
    print("quantize_dynamic: RuntimeError", str(error).partition(". ")[0])
options = {"DefaultTensorType": TensorProto.FLOAT}
quantize_dynamic("fused.onnx", "int8.onnx", extra_options=options)
print("with DefaultTensorType:", onnxruntime.InferenceSession("int8.onnx").run(None, {"x": x})[0].shape)
print("the caller's dictionary:", sorted(options))
P
diff seen - <<'S'
runs: (2, 8)
quantize_dynamic: RuntimeError Unable to find data type for weight_name='m'
with DefaultTensorType: (2, 8)
the caller's dictionary: ['DefaultTensorType', 'MatMulConstBOnly']
S
