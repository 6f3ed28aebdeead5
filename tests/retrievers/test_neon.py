"""The code for Arm processors (NEON), on any machine: compiled for such a processor, read, and played where `unicorn` is.

Nothing here needs an Arm processor. `pip install unicorn` emulates one, and then the compiled steps are held to numpy.
"""

import struct
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba", reason="the compiled kernels need the extra 'colbert'")

from llvmlite import binding, ir
from numba import types

from retrievers.colbert.kernels import products
from retrievers.colbert.kernels.reference import pack
from retrievers.colbert.kernels.vectors import forms, simd, simd_dots, simd_scores

FEATURES = {"sdot": "+neon,+dotprod", "usdot": "+neon,+dotprod,+i8mm"}
DIM, BITS = 128, 2


@pytest.fixture(params=["sdot", "usdot"])
def neon(request, monkeypatch):
    """The form of an Arm processor: with dot products, or with those of unsigned and signed bytes as well."""
    made = forms.Form("neon", 4, forms.USDOT if request.param == "usdot" else forms.SDOT)
    for module in (simd, simd_dots, simd_scores, products):
        monkeypatch.setattr(module, "form", lambda: made)
    return request.param


def module_of(step, *known, numbers):
    """LLVM's code of a step as a function `run` of so many addresses, with what is known when it is compiled."""
    literals = [types.literal(number) for number in known]
    signature, codegen = step._defn(None, *[types.intp] * numbers, *literals)
    module = ir.Module()
    I64 = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(I64, [I64] * numbers), "run")
    builder = ir.IRBuilder(function.append_basic_block())
    context = SimpleNamespace(get_dummy_value=lambda: None)
    value = codegen(context, builder, signature, [*function.args, *[None] * len(known)])
    builder.ret(ir.Constant(I64, 0) if value is None else builder.zext(value, I64))
    return module


def compiled(module, features):
    """Return assembly and the bytes of the code for an Arm processor."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        target = binding.Target.from_triple("aarch64-linux-gnu")
    except RuntimeError:
        pytest.skip("this llvmlite makes no code for Arm")
    machine = target.create_target_machine(cpu="generic", features=features, opt=3, reloc="pic")
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    return machine.emit_assembly(parsed), text_of(machine.emit_object(parsed))


def text_of(elf: bytes) -> bytes:
    """Return the section .text of an object file; it must need no other."""
    offset, size, count, names = struct.unpack_from("<Q", elf, 40)[0], *struct.unpack_from("<HHH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, offset + size * number) for number in range(count)]
    strings = sections[names][4]
    named = {elf[strings + s[0] : elf.index(b"\0", strings + s[0])].decode(): s for s in sections}
    assert ".rela.text" not in named
    return elf[named[".text"][4] : named[".text"][4] + named[".text"][5]]


CODE, STACK, DATA = 0x10000, 0x400000, 0x800000


def played(code, *arrays):
    """Run code with the addresses of arrays, on an emulated processor; return what these hold then."""
    unicorn = pytest.importorskip("unicorn", reason="no emulated Arm processor: pip install unicorn")
    from unicorn import arm64_const as arm

    machine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
    machine.ctl_set_cpu_model(arm.UC_CPU_ARM64_MAX)
    for start, size in ((CODE, 1 << 17), (STACK, 1 << 18), (DATA, 1 << 22)):
        machine.mem_map(start, size)
    machine.mem_write(CODE, code)
    machine.reg_write(arm.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # NEON is switched on
    at = DATA
    for number, array in enumerate(arrays):
        value = at if isinstance(array, np.ndarray) else array
        machine.reg_write(arm.UC_ARM64_REG_X0 + number, value)
        if isinstance(array, np.ndarray):
            machine.mem_write(at, array.tobytes())
            at += -(-array.nbytes // 64) * 64 + 64
    machine.reg_write(arm.UC_ARM64_REG_SP, STACK + (1 << 17))
    end = CODE + (1 << 17) - 4
    machine.reg_write(arm.UC_ARM64_REG_X30, end)
    machine.emu_start(CODE, end)
    found, at = [], DATA
    for array in arrays:
        if isinstance(array, np.ndarray):
            found.append(np.frombuffer(bytes(machine.mem_read(at, array.nbytes)), array.dtype).reshape(array.shape))
            at += -(-array.nbytes // 64) * 64 + 64
    return found, machine.reg_read(arm.UC_ARM64_REG_X0)


def test_the_code_is_made_of_what_such_processors_have_for_it(neon):
    made = [
        (module_of(simd_dots.dots, 8, DIM, numbers=3), neon),
        (module_of(simd.unpack, BITS, DIM * BITS // 8, numbers=4), "tbl"),
        (module_of(products.count_tile, 4, 4, forms.SDOT, numbers=5), "sdot"),
    ]
    assert [f"\t{step}\t" in compiled(module, FEATURES[neon])[0] for module, step in made] == [True] * 3


def test_dot_products_are_those_of_numpy(neon):
    _, code = compiled(module_of(simd_dots.dots, 8, DIM, numbers=3), FEATURES[neon])
    random = np.random.default_rng(0)
    rows, lanes = random.integers(0, 256, (8, DIM), dtype=np.uint8), random.integers(-127, 128, (1, 32, DIM)).astype(np.int8)
    if neon == "usdot":
        pytest.skip("unicorn 2.1 knows no usdot: this one is only read")
    (_, _, out), _ = played(code, rows, simd_dots.grouped(lanes)[0], np.zeros((8, 32), np.int32))
    assert (out == rows.astype(np.int32) @ lanes[0].T.astype(np.int32)).all()


def test_a_dot_product_of_two_rows_is_that_of_numpy(neon):
    _, code = compiled(module_of(simd_dots.dot, DIM, numbers=2), FEATURES[neon])
    random = np.random.default_rng(1)
    row, lane = random.integers(0, 256, DIM, dtype=np.uint8), random.integers(-127, 128, DIM).astype(np.int8)
    if neon == "usdot":
        pytest.skip("unicorn 2.1 knows no usdot: this one is only read")
    _, value = played(code, row, lane)
    assert np.int32(np.uint32(value & 0xFFFFFFFF)) == row.astype(np.int32) @ lane.astype(np.int32)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_unpacking_looks_levels_up_in_a_table(neon, bits):
    width = DIM * bits // 8
    _, code = compiled(module_of(simd.unpack, bits, width, numbers=4), FEATURES[neon])
    random = np.random.default_rng(bits)
    codes = random.integers(0, 2**bits, (16, DIM), dtype=np.uint8)
    levels = random.integers(0, 256, 16, dtype=np.uint8)
    packed = np.concatenate([pack(codes, bits=bits).ravel(), np.zeros(64, np.uint8)])
    (_, _, out), _ = played(code, packed, 16 * width, np.tile(levels, 4), np.zeros(16 * DIM + 64, np.uint8))
    planes = codes.reshape(16, width, 8 // bits).transpose(0, 2, 1).reshape(16, DIM)
    assert (out[: 16 * DIM].reshape(16, DIM) == levels[planes]).all()


def test_products_of_the_encoder_are_those_of_numpy(neon):
    known = (4, 4, forms.SDOT)  # rows, numbers in a register, step: bytes of rows are below 128, so sdot takes them
    _, code = compiled(module_of(products.count_tile, *known, numbers=5), FEATURES[neon])
    random = np.random.default_rng(3)
    rows, columns = random.integers(1, 128, (4, 64), dtype=np.uint8), random.integers(-127, 128, (32, 64)).astype(np.int8)
    panel = np.ascontiguousarray(columns.reshape(32, 16, 4).transpose(1, 0, 2))
    (_, _, out), _ = played(code, rows, 64, panel, np.zeros((4, 32), np.int32), 16)
    assert (out == rows.astype(np.int32) @ columns.T.astype(np.int32)).all()
