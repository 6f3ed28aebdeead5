"""A matrix in int8: by hand, off by half a step at most, and with a scale for each part of a row."""

import numpy as np
import pytest
import tiny_checkpoint
import trained_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from trained_checkpoint import parts

from retrievers.colbert.model.checkpoint import find

torch = pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
from safetensors.numpy import load_file  # noqa: E402

from retrievers.colbert.model import bert_cpu, export  # noqa: E402


@pytest.fixture
def start(tmp_path):
    return tiny_checkpoint.write(tmp_path / "start", layers=1)


def test_a_matrix_in_int8_by_hand():
    weight = torch.tensor([[127.0, -63.5, 0.5, 1.5], [0, 0, 0, 0], [-0.254, 0.127, 0.002, 0]])
    codes, scale = export.quantized(weight)
    assert codes.tolist() == [[127, -64, 0, 2], [0, 0, 0, 0], [-127, 64, 1, 0]]  # ties to even
    np.testing.assert_allclose(scale, [[1], [0], [0.002]], rtol=1e-6)


numbers = st.floats(-1e6, 1e6, width=32, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-30)


@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.sampled_from([1, 9, 64, 65, 128])), elements=numbers))
def test_int8_is_the_plain_one_and_off_by_half_a_step_at_most(weight):
    codes, scale = (part.numpy() for part in export.quantized(torch.from_numpy(weight)))
    wide = 64 if weight.shape[1] in (64, 128) else weight.shape[1]
    assert scale.shape == (len(weight), weight.shape[1] // wide)
    for row, code, steps in zip(weight, codes, scale, strict=True):
        for number, (x, found) in enumerate(zip(row, code, strict=True)):
            step, begin = steps[number // wide], number // wide * wide
            assert step == max(map(abs, row[begin : begin + wide])) / np.float32(127)
            assert found == (round(float(x / step)) if step else 0)
            assert abs(found * step - x) <= step * 0.5001


def test_parts_of_a_row_have_scales_of_their_own_and_come_back(tmp_path):
    """A model of 64 numbers a state, 128 inside: the reader multiplies each half of a row with its own scale."""
    start = tiny_checkpoint.write(tmp_path / "start", layers=1, hidden=64, inner=128)
    given, name = parts(start), "encoder.layer.0.output.dense.weight"
    given["state"][name][:, 64:] *= 100
    folder = trained_checkpoint.write(tmp_path / "int8", **given, precision="int8")
    state = load_file(folder / "model.int8.safetensors")
    assert state[f"bert.{name}.scale"].shape == (64, 2) and state[f"bert.{name}"].dtype == np.int8
    assert state["bert.embeddings.token_type_embeddings.weight"].dtype == np.float32
    np.testing.assert_array_equal(state["linear.weight"], given["projection_HI"])
    found = torch.tensor(find(folder).arrays(bert_cpu.shapes(given["described"]))[name])
    torch.testing.assert_close(found[:, :64], given["state"][name][:, :64], rtol=0, atol=0.004)
    torch.testing.assert_close(found[:, 64:], given["state"][name][:, 64:], rtol=0, atol=0.4)
