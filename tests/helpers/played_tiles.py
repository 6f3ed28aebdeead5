"""Matrix registers (AMX) played by vectors, for processors without them: a pytest plugin, `-p played_tiles`.

The code around the registers (16 rows at a time, a query that is held, what
ends must have begun) then runs as it does where they are.
"""

import shutil
import tempfile

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from retrievers.colbert.kernels.vectors import amx, forms
from retrievers.colbert.kernels.vectors.llvm import HALVES, I64, store
from retrievers.colbert.kernels.vectors.simd_dots import fused_dots

HELD = np.zeros(2, np.int64)  # the address of the query that is held, 0 for none; how often one was


def _pointer(b, place=0):
    return b.inttoptr(ir.Constant(I64, HELD.ctypes.data + 8 * place), I64.as_pointer())


def pytest_configure():
    """Play, once this is asked for as a plugin; and keep what is compiled from others, who may have real registers."""
    amx.begin, amx.end, amx.hold, amx.dots, forms.has_tiles = begin, end, hold, dots, lambda: True
    numba.config.CACHE_DIR = tempfile.mkdtemp(prefix="played_tiles-")


def pytest_sessionfinish(session):
    shutil.rmtree(numba.config.CACHE_DIR, ignore_errors=True)
    if not HELD[1]:
        session.exitstatus = 3  # no code for matrix registers was run


@intrinsic
def begin(typingctx, config):
    return types.void(types.intp), lambda context, b, signature, args: context.get_dummy_value()


@intrinsic
def end(typingctx):
    def codegen(context, b, signature, args):
        b.store(ir.Constant(I64, 0), _pointer(b))
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic(prefer_literal=True)
def hold(typingctx, query, dim):
    def codegen(context, b, signature, args):
        b.store(args[0], _pointer(b))
        b.store(b.add(b.load(_pointer(b, 1)), ir.Constant(I64, 1)), _pointer(b, 1))
        return context.get_dummy_value()

    return types.void(types.intp, dim), codegen


@intrinsic(prefer_literal=True)
def dots(typingctx, rows, out, dim):
    if not isinstance(dim, types.IntegerLiteral):
        return None
    num_dims = dim.literal_value

    def codegen(context, b, signature, args):
        query = b.load(_pointer(b))
        for row in range(amx.TILE):
            at = b.add(args[0], ir.Constant(I64, row * num_dims))
            (sums,) = fused_dots(b, [at], num_dims, query)
            for half in HALVES:
                store(b, sums[half], args[1], 128 * row + 64 * half)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, dim), codegen
