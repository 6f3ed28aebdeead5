"""The code for Arm processors (NEON), on any machine: compiled for such a processor, read, and played where `unicorn` is.

Nothing here needs an Arm processor. `pip install unicorn` emulates one, and then the compiled steps are held to numpy,
or to what the same step does on this processor.
"""

import ctypes
import struct
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba", reason="the compiled kernels need the extra 'colbert'")

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils

from retrievers.colbert.kernels import products
from retrievers.colbert.kernels.reference import pack
from retrievers.colbert.kernels.vectors import forms, rows, simd, simd_centroids, simd_dots, simd_scores

FEATURES = {"sdot": "+neon,+dotprod", "usdot": "+neon,+dotprod,+i8mm"}
DIM, BITS = 128, 2


@pytest.fixture(params=["sdot", "usdot"])
def neon(request, monkeypatch):
    """The form of an Arm processor: with dot products, or with those of unsigned and signed bytes as well."""
    made = forms.Form("neon", 4, forms.USDOT if request.param == "usdot" else forms.SDOT)
    for module in (simd, simd_dots, simd_scores, products):
        monkeypatch.setattr(module, "form", lambda: made)
    return request.param


def module_of(step, *known, numbers, kinds=None):
    """LLVM's code of a step as a function `run` of so many addresses, with what is known when it is compiled.

    kinds  of its arguments, if they are not addresses; a tuple of addresses is given as one after the other
    """
    kinds = kinds or [types.intp] * numbers
    signature, codegen = step._defn(None, *kinds, *map(types.literal, known))
    I64, F32 = ir.IntType(64), ir.FloatType()
    of = [F32 if kind == types.float32 else I64 for kind in kinds for _ in range(getattr(kind, "count", 1))]
    module = ir.Module()
    returned = F32 if signature.return_type == types.float32 else I64
    function = ir.Function(module, ir.FunctionType(returned, of), "run")
    builder = ir.IRBuilder(function.append_basic_block())
    context = SimpleNamespace(get_dummy_value=lambda: None, cast=lambda builder, value, kind, other: value)
    args = [cgutils.pack_array(builder, function.args)] if hasattr(kinds[0], "count") else list(function.args)
    value = codegen(context, builder, signature, [*args, *[None] * len(known)])
    if value is None:
        builder.ret(ir.Constant(returned, 0))
    else:
        builder.ret(value if value.type == returned else builder.zext(value, I64))
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
    return machine.emit_assembly(parsed), linked(machine.emit_object(parsed))


CODE, STACK, DATA = 0x10000, 0x400000, 0x800000
TOP = STACK + (1 << 17)  # of the stack, which grows down from here
CONSTANTS = 1 << 15  # where they begin, behind the code
ADR_PREL_PG_HI21, ADD_ABS_LO12_NC, LDST128_ABS_LO12_NC = 275, 277, 299  # ELF for the Arm 64-bit architecture, table 5-7
SHIFTS = {ADD_ABS_LO12_NC: 0, 278: 0, 284: 1, 285: 2, 286: 3, LDST128_ABS_LO12_NC: 4}


def linked(elf: bytes) -> bytes:
    """Return code with its constants after it, as they stand from CODE on: what a linker does, of what is needed here."""
    offset, size, count = struct.unpack_from("<Q", elf, 40)[0], *struct.unpack_from("<HH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, offset + size * number) for number in range(count)]
    image, bases, at = bytearray(1 << 16), {}, CONSTANTS
    for number, (_, kind, flags, _, start, length, *_) in enumerate(sections):
        if kind == 1 and flags & 2:  # bytes that are loaded
            bases[number] = 0 if flags & 4 else at  # code
            image[bases[number] : bases[number] + length] = elf[start : start + length]
            at += 0 if flags & 4 else -(-length // 64) * 64
    for _, kind, _, _, start, length, symbols, of, *_ in sections:
        if kind == 4 and bases.get(of) == 0:  # what is to be put into the code
            for place in range(start, start + length, 24):
                where, info, addend = struct.unpack_from("<QQq", elf, place)
                _, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", elf, sections[symbols][4] + 24 * (info >> 32))
                target = CODE + bases[section] + value + addend
                (word,) = struct.unpack_from("<I", image, where)
                if (how := info & 0xFFFFFFFF) == ADR_PREL_PG_HI21:
                    pages = (target >> 12) - ((CODE + where) >> 12)
                    word |= (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
                else:
                    word |= ((target & 0xFFF) >> SHIFTS[how]) << 10
                struct.pack_into("<I", image, where, word)
    return bytes(image)



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
    number = floats = 0
    for array in arrays:
        if isinstance(array, np.float32):
            machine.reg_write(arm.UC_ARM64_REG_S0 + floats, int(array.view(np.uint32)))
            floats += 1
            continue
        value = at if isinstance(array, np.ndarray) else array
        if number < 8:
            machine.reg_write(arm.UC_ARM64_REG_X0 + number, value)
        else:  # the ninth argument and those after it lie on the stack
            machine.mem_write(TOP + 8 * (number - 8), struct.pack("<q", value))
        number += 1
        if isinstance(array, np.ndarray):
            machine.mem_write(at, array.tobytes())
            at += -(-array.nbytes // 64) * 64 + 64
    machine.reg_write(arm.UC_ARM64_REG_SP, TOP)
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
        (module_of(products.share_tile, 4, 4, forms.SDOT, numbers=9), "sdot"),
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


def test_shares_of_the_encoder_times_values_are_those_of_numpy(neon):
    known = (4, 4, forms.SDOT)  # rows, numbers in a register, step: bytes of rows are below 128, so sdot takes them
    _, code = compiled(module_of(products.share_tile, *known, numbers=9), FEATURES[neon])
    random = np.random.default_rng(3)
    shares, columns = random.integers(0, 128, (2, 4, 64), "u1"), random.integers(-127, 128, (32, 64)).astype("i1")
    panel = np.ascontiguousarray(columns.reshape(32, 16, 4).transpose(1, 0, 2))
    worth, scales = random.normal(1, 0.1, 32).astype("f4"), random.normal(1, 0.1, 4).astype("f4")
    found, _ = played(code, shares, 256, 64, panel, worth, scales, np.zeros((4, 32), "f4"), 128, 16)
    counts = (shares[0].astype("i4") * 128 + shares[1]) @ columns.T.astype("i4")
    assert (found[-1] == counts.astype("f4") * worth * scales[:, None]).all()


def run_here(module, arrays):
    """Run the same code on this processor; return what the arrays hold then."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    machine = binding.Target.from_default_triple().create_target_machine(binding.get_host_cpu_name(), features, opt=3)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), machine)
    engine.finalize_object()
    arrays = [array.copy() if isinstance(array, np.ndarray) else array for array in arrays]
    kinds = [ctypes.c_float if isinstance(array, np.float32) else ctypes.c_int64 for array in arrays]
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(engine.get_function_address("run"))
    function(*[array.ctypes.data if isinstance(array, np.ndarray) else array for array in arrays])
    return [array for array in arrays if isinstance(array, np.ndarray)]


def steps():
    """Every other step: itself, what is known of it, kinds of its arguments, and arguments."""
    random = np.random.default_rng(5)
    near = random.normal(0, 1, 32).astype("f4")
    scores, coarse = random.integers(-9000, 9000, (7, 32)).astype("i2"), random.integers(-128, 128, (7, 32)).astype("i1")
    ids, lengths = random.integers(0, 9, 12).astype("u2"), random.integers(0, 256, 12, dtype="u1")
    table, unit = random.normal(1, 0.1, 256).astype("f4"), np.array([2**-14, 1e-4], "f4")
    dots, kept = random.integers(-99999, 99999, (12, 32)).astype("i4"), np.zeros((12, 32), "f4")
    packed = random.integers(0, 256, 128, dtype="u1")
    weights, centroid = random.normal(0, 0.1, 16).astype("f4"), random.integers(0, 256, 128, dtype="u1")
    of_tokens = [dots, 12, ids, scores, lengths, table, unit, near.copy(), kept, 6]
    yield "take_best", simd.take_best, (2, 1), [types.UniTuple(types.intp, 10)], of_tokens
    yield "close", simd_scores.close, (), None, [random.normal(0, 1, (9, 32)).astype("f4"), 9, near, np.zeros(9, "u4"), 4]
    for bits in (1, 2, 4):
        kinds = [types.intp] * 3 + [types.float32, types.intp]
        given = [packed, weights, centroid, np.float32(0.01), np.zeros(128, "f4")]
        yield f"decoded {bits}", simd_scores.decoded, (128, bits, 0), kinds, given
    out = [np.zeros((12, 32), "i2"), np.zeros((12, 32), "i1")]
    start, floors = random.integers(-999, 999, 32).astype("i4"), np.zeros(32, "i2")
    yield "steps", simd_centroids.steps, (), None, [dots, 12, start, unit[:1] * 3000, *out, floors]
    yield "largest", simd_centroids.largest, (), None, [dots, 12, 5, np.full(32, -(2**31), "i4"), np.zeros(32, "i4")]
    tops = np.full((3, 32), -(2**31), "i4")
    yield "largest_few", simd_centroids.largest_few, (3,), None, [dots, 12, 5, tops, 5, 2]
    yield "largest_lanes", simd_centroids.largest_lanes, (), None, [dots, 12, start, np.zeros(12, "i4")]
    yield "best_tokens", simd_centroids.best_tokens, (2,), None, [ids, 12, coarse, 6, np.zeros(32, "u2"), np.zeros(32, "i1")]
    yield from steps_of_rows()


def steps_of_rows():
    """The encoder's, with rows that end after a whole register, and far after one."""
    random = np.random.default_rng(6)
    row, other, weight, bias = (random.normal(0, 2, 83).astype("f4") for _ in range(4))
    share, epsilon, real = np.float32(1 / 83), np.float32(1e-12), types.float32
    address, room = types.intp, np.zeros((2, 4, 64), "u1")
    yield "norm", rows.norm_of, (), [address] * 5 + [real] * 2, [row, other, weight, bias, 83, share, epsilon]
    yield "gelu", rows.gelu_of, (), None, [row, 83]
    yield "size", rows.size_of, (), None, [row, 83]
    yield "codes", rows.codes_of, (64,), [address] * 2 + [real, address], [row, 83, np.float32(9), np.zeros(96, "u1")]
    yield "softmax", rows.softmax_of, (), None, [np.concatenate([row[:70], np.full(10, -3e38, "f4")]), 70]
    scores = random.normal(0, 2, (4, 64)).astype("f4")
    yield "shares", rows.shares_of, (4,), None, [scores, 256, 1, room, 64, 256, np.zeros(4, "f4")]
    keys = [row, 40, np.float32(9), np.zeros((12, 32), "i4"), 128]
    yield "key words", rows.key_words, (), [address] * 2 + [real] + [address] * 2, keys
    values = random.normal(0, 2, (8, 20)).astype("f4")
    yield "worth", rows.values_worth, (), None, [values, 80, 7, np.zeros(16, "f4"), np.zeros(16, "f4")]
    yield "values", rows.values_bytes, (), None, [values, 80, 2, weight, np.zeros((2, 32), "i4"), 128]


@pytest.mark.parametrize("step", [name for name, *_ in steps()])
def test_every_other_step_does_on_arm_what_it_does_here(neon, step, monkeypatch):
    ((_, made, known, kinds, arrays),) = [one for one in steps() if one[0] == step]
    _, code = compiled(module_of(made, *known, numbers=len(arrays), kinds=kinds), FEATURES[neon])
    found, _ = played(code, *arrays)
    for module in (simd, simd_scores):
        monkeypatch.setattr(module, "form", forms.form)
    expected = run_here(module_of(made, *known, numbers=len(arrays), kinds=kinds), arrays)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.tobytes() == theirs.tobytes()
