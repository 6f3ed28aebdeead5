"""Triton's compiler takes the kernels of a GPU as its interpreter does: code for a Hopper, of the instructions it is for."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from places import HOUSE

pytest.importorskip("numba", reason="needs lotte-bench[colbert]")

from retrievers.colbert.kernels import gpu

COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from retrievers.colbert.kernels import gpu
kernel, known = gpu._kernel(sys.argv[1]), eval(sys.argv[3])
types = dict(pair.split("=") for pair in sys.argv[2].split())
signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
known = {(kernel.arg_names.index(name),): value for name, value in known.items()}
print(triton.compile(ASTSource(kernel, signature, known), target=GPUTarget("cuda", 90, 32)).asm["ptx"])
"""
TOKENS = "out=*fp32 counts=*i32 rows=*i64 centroid_ids=*u16 residuals=*u8 starts=*i64 table=*u8 weights=*fp32 wanted=*u8 offset=fp32 num_rows=i32 num_queries=i32 num_centroids=i32 groups=i32"
IN_FULL = {"PAIRS": True, "WANTED": False, "BITS": 2, "P": 32, "BLOCK_P": 32, "QUERY": 32, "GROUP": 1, "TOKENS": 64}
SOURCES = [
    ("_nearest_kernel", "points=*i8 centroids=*i8 centroid_ids=*i32 num_points=i32 num_centroids=i32", {"H": 128, "BLOCK_H": 128, "BLOCK_N": 128, "BLOCK_K": 128, "SHIFT": 7}, "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8"),
    ("_interaction_kernel", "out=*i64 scores=*i8 rows=*i64 centroid_ids=*i32 starts=*i64 num_rows=i32 num_centroids=i32", {"QUERY": 32, "TOKENS": 32, "LEAST": -128, "NOTHING": gpu.EMPTY}, "max.s32"),
    ("_maxsim_kernel", f"queries=*fp16 {TOKENS}", {**IN_FULL, "WANTED": True}, "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16"),
    ("_maxsim_kernel", f"queries=*bf16 {TOKENS}", {**IN_FULL, "PAIRS": False, "GROUP": 4}, "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16"),
    ("_maxsim_kernel", f"queries=*fp32 {TOKENS}", {**IN_FULL, "BITS": 4, "P": 24}, "fma.rn.f32"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("triton"), reason="needs triton")
@pytest.mark.parametrize(("name", "types", "known", "instruction"), SOURCES)
def test_the_compiler_takes_what_the_interpreter_takes(tmp_path, name, types, known, instruction):
    env = {**os.environ, "PYTHONPATH": str(HOUSE), "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COMPILE, name, types, repr(known)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HOUSE, env=env)
    assert done.returncode == 0 and instruction in done.stdout, done.stderr
