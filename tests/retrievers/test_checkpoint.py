"""A checkpoint in any layout gives the same weights and settings; from the hub's cache too."""

import shutil

import numpy as np
import pytest
import tiny_checkpoint
from checkpoint_files import change, opened, rewrite

from lotte import artifact
from lotte.errors import UnavailableError
from retrievers.colbert.model.checkpoint import Dense, find
from retrievers.colbert.model.config import PUNCTUATION, ModelConfig

torch = pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
from retrievers.colbert.model import bert, bert_cpu  # noqa: E402


@pytest.mark.parametrize("layout", tiny_checkpoint.LAYOUTS)
def test_every_layout_gives_the_same_weights(tmp_path, layout):
    found, tensors, projection = opened(tiny_checkpoint.write(tmp_path / layout, layout))
    _, wanted, (wanted_projection,) = opened(tiny_checkpoint.write(tmp_path / "again"))
    assert tensors.keys() == wanted.keys()  # two layouts have two words more, at the end
    assert all(np.array_equal(tensors[name][: len(wanted[name])], wanted[name]) for name in wanted)
    if layout == "plain":
        assert projection == []
    else:
        assert np.array_equal(projection[0].weight_HI, wanted_projection.weight_HI)
    assert found.revision is None and found.name == layout


def test_the_settings_of_three_layouts_are_the_same(tmp_path):
    given = {"query_maxlen": 24, "doc_maxlen": 99}
    found = {
        layout: find(tiny_checkpoint.write(tmp_path / layout, layout, **given)).settings
        for layout in ("original", "pylate", "multi_vector")
    }
    for settings in found.values():
        assert (settings.query_maxlen, settings.doc_maxlen, settings.expansion) == (24, 99, "fixed")
        assert settings.skiplist == PUNCTUATION and not settings.attend_to_mask_tokens
    assert (found["original"].query_marker, found["original"].doc_marker) == ("[unused0]", "[unused1]")
    assert (found["pylate"].query_marker, found["pylate"].doc_marker) == ("[Q] ", "[D] ")
    assert (found["multi_vector"].query_prompt, found["multi_vector"].doc_prompt) == ("[Q] ", "[D] ")


def test_the_settings_of_the_original_are_read(tmp_path):
    settings = {"mask_punctuation": False, "attend_to_mask_tokens": True}
    found = find(tiny_checkpoint.write(tmp_path / "tiny", **settings)).settings
    assert found.skiplist == () and found.attend_to_mask_tokens and not found.mask_punctuation


def test_pylates_expansion_and_skiplist_can_be_off(tmp_path):
    settings = {"do_query_expansion": False, "skiplist_words": []}
    found = find(tiny_checkpoint.write(tmp_path / "tiny", "pylate", **settings)).settings
    assert found.expansion == "off" and found.skiplist == ()


def test_masks_that_are_looked_at_are_spelled_in_two_ways(tmp_path):
    pylate = tiny_checkpoint.write(tmp_path / "pylate", "pylate", attend_to_expansion_tokens=True)
    other = tiny_checkpoint.write(tmp_path / "other", "multi_vector")
    change(other / "sentence_bert_config.json", query_expansion={"strategy": "min", "attend": True, "length": 12})
    settings = find(other).settings
    assert find(pylate).settings.attend_to_mask_tokens and settings.attend_to_mask_tokens
    assert (settings.expansion, settings.expansion_length, settings.query_maxlen) == ("min", 12, 512)


def test_a_projection_of_several_steps_is_followed():
    """As PyLate's Dense: activation(x W + b), and x, or x through a matrix, added to it."""
    x, w, bias, r = (torch.randn(*shape) for shape in ((5, 4), (3, 4), (3,), (3, 4)))
    square = torch.randn(4, 4)

    def stepped(weight, bias=None, activation="Identity", residual=None, adds_input=False):
        arrays = [None if t is None else t.numpy() for t in (weight, bias, residual)]
        dense = Dense(arrays[0], arrays[1], activation, arrays[2], adds_input=adds_input)
        found = bert.Step(dense, torch.device("cpu"), torch.float32)(x)
        torch.testing.assert_close(torch.from_numpy(bert_cpu.Projection([dense])(x.numpy())), found)
        return found

    torch.testing.assert_close(stepped(w), x @ w.T)
    torch.testing.assert_close(stepped(w, bias, "Tanh"), (x @ w.T + bias).tanh())
    torch.testing.assert_close(stepped(w, bias, "Sigmoid"), (x @ w.T + bias).sigmoid())
    torch.testing.assert_close(stepped(w, bias, "ReLU", r, adds_input=True), (x @ w.T + bias).relu() + x @ r.T)
    torch.testing.assert_close(stepped(square, adds_input=True), x @ square.T + x)
    assert Dense(w.numpy(), bias.numpy(), residual_HI=r.numpy()).parameters == 12 + 3 + 12


def test_a_model_of_one_vector_a_text_gets_colberts_settings(tmp_path):
    assert find(tiny_checkpoint.write(tmp_path / "tiny", "plain")).settings == ModelConfig()


def test_the_hash_is_of_the_weights(written_checkpoint, tmp_path):
    assert find(written_checkpoint).sha256 == artifact.sha256(written_checkpoint / "model.safetensors")
    parts = find(tiny_checkpoint.write(tmp_path / "pylate", "pylate"))
    assert parts.sha256 == artifact.digest({str(path.relative_to(parts.folder)): artifact.sha256(path) for path in parts.weights})  # fmt: skip
    assert len(parts.weights) == 2


def test_names_of_an_old_layernorm_are_understood(written_checkpoint):
    _, wanted, _ = opened(written_checkpoint)

    def edit(state):
        for name in list(state):
            state[name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")] = state.pop(name)  # fmt: skip

    rewrite(written_checkpoint / "model.safetensors", edit)
    _, tensors, _ = opened(written_checkpoint)
    assert all(np.array_equal(tensors[name], wanted[name]) for name in wanted)


def test_a_pooler_may_be_there_and_is_not_used(written_checkpoint):
    rewrite(written_checkpoint / "model.safetensors", lambda state: state.update({"bert.pooler.dense.bias": np.zeros(48, "f")}))
    assert not any("pooler" in name for name in opened(written_checkpoint)[1])


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The hub's cache in an empty folder, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_without_network_a_name_is_one_line(hub):
    with pytest.raises(UnavailableError) as caught:
        find("somebody/some-model", revision="v1")
    assert str(caught.value) == (
        "somebody/some-model at revision 'v1' is not a folder here, is not in the cache, and could not be fetched from the "
        "Hugging Face hub (LocalEntryNotFoundError); copy the checkpoint here and name its folder"
    )


@pytest.mark.parametrize("revision", [None, "main", "0123456789" * 4])
def test_without_network_the_cache_serves(hub, written_checkpoint, revision):
    commit = "0123456789" * 4
    cached = hub / "models--somebody--some-model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    shutil.copytree(written_checkpoint, cached / "snapshots" / commit)
    found, _, _ = opened("somebody/some-model", revision=revision)
    assert (found.name, found.revision) == ("somebody/some-model", commit)
