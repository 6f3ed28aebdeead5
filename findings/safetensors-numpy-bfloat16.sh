#!/usr/bin/env bash
# safetensors 0.8.0, ml_dtypes 0.6.0, numpy 2.4.6: whether safetensors.numpy reads a bfloat16 file depends on an import elsewhere.
#
# A good guess: `load_file` of a checkpoint in bfloat16 either fails, because numpy has no bfloat16, or works,
# because ml_dtypes is installed. Neither: safetensors asks numpy for a type by the name "bfloat16", and ml_dtypes
# gives numpy that name when it is imported. So the same call on the same file fails in a process, and works after
# somebody (JAX, TensorFlow, ONNX) has imported ml_dtypes.
#
# Output seen:
#   before the import: TypeError: data type 'bfloat16' not understood
#   after the import: bfloat16 [1.5, 2.5]
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 ml_dtypes==0.6.0 numpy==2.4.6
"$work/venv/bin/python" - "$work/model.safetensors" <<'P' | tee "$work/seen"
import json
import sys

from safetensors.numpy import load_file

path = sys.argv[1]
header = json.dumps({"weight": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
header += b" " * (-len(header) % 8)
with open(path, "wb") as file:
    file.write(len(header).to_bytes(8, "little") + header + bytes([0xC0, 0x3F, 0x20, 0x40]))
try:
    print("before the import:", load_file(path)["weight"].tolist())
except TypeError as error:
    print(f"before the import: TypeError: {error}")
import ml_dtypes  # noqa: E402, F401

found = load_file(path)["weight"]
print("after the import:", found.dtype, found.astype("float32").tolist())
P
diff "$work/seen" - <<'S'
before the import: TypeError: data type 'bfloat16' not understood
after the import: bfloat16 [1.5, 2.5]
S
