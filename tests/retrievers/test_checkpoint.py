"""A checkpoint is read in every layout, or refused with one line that names the file and what is wrong with it."""

import json
import shutil

import numpy as np
import pytest
import tiny_checkpoint

from lotte import artifact
from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from retrievers.colbert.model import tokens
from retrievers.colbert.model.checkpoint import Dense, find
from retrievers.colbert.model.config import PUNCTUATION, ModelConfig

torch = pytest.importorskip("torch", reason="needs lotte-bench[colbert]")

from safetensors.numpy import load_file, save_file  # noqa: E402

from retrievers.colbert.model import bert, bert_cpu  # noqa: E402
from retrievers.colbert.model.encoder import Encoder  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    return tiny_checkpoint.write(tmp_path / "tiny")


def opened(folder, **options):
    """Read all that an encoder reads."""
    found = find(folder, **options)
    return found, found.arrays(bert_cpu.shapes(found.described)), found.projection()


def change(path, **settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def rewrite(path, edit):
    state = load_file(path)
    edit(state)
    save_file(state, path)


def refused(kind, folder, **options):
    with pytest.raises(kind) as caught:
        opened(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


def test_the_hash_is_of_the_weights(folder, tmp_path):
    assert find(folder).sha256 == artifact.sha256(folder / "model.safetensors")
    parts = find(tiny_checkpoint.write(tmp_path / "pylate", "pylate"))
    assert parts.sha256 == artifact.digest({str(path.relative_to(parts.folder)): artifact.sha256(path) for path in parts.weights})  # fmt: skip
    assert len(parts.weights) == 2


def test_names_of_an_old_layernorm_are_understood(folder):
    _, wanted, _ = opened(folder)

    def edit(state):
        for name in list(state):
            state[name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")] = state.pop(name)  # fmt: skip

    rewrite(folder / "model.safetensors", edit)
    _, tensors, _ = opened(folder)
    assert all(np.array_equal(tensors[name], wanted[name]) for name in wanted)


def test_a_pooler_may_be_there_and_is_not_used(folder):
    rewrite(folder / "model.safetensors", lambda state: state.update({"bert.pooler.dense.bias": np.zeros(48, "f")}))
    assert not any("pooler" in name for name in opened(folder)[1])


def test_a_missing_tensor_is_named(folder):
    rewrite(folder / "model.safetensors", lambda state: state.pop("bert.encoder.layer.1.output.dense.bias"))
    assert refused(CorruptFileError, folder) == (
        f"{folder}/model.safetensors lacks the tensor 'encoder.layer.1.output.dense.bias', which config.json asks for"
    )


def test_a_missing_projection_is_not_an_encoder_without_one(folder):
    rewrite(folder / "model.safetensors", lambda state: state.pop("linear.weight"))
    assert refused(CorruptFileError, folder) == f"{folder}/model.safetensors lacks the tensor 'linear.weight'"


def test_a_tensor_without_a_place_is_named(folder):
    change(folder / "config.json", num_hidden_layers=1)
    assert refused(MismatchError, folder) == (
        f"{folder}/model.safetensors holds the tensor 'encoder.layer.1.attention.output.LayerNorm.bias' and 15 more, "
        "which config.json has no place for"
    )


def test_a_tensor_of_another_width_is_named_with_both(folder):
    change(folder / "config.json", vocab_size=300)
    found = refused(MismatchError, folder)
    wanted = "embeddings.word_embeddings.weight is [212, 48], but config.json asks for [300, 48]"
    assert found == f"{folder}/model.safetensors: {wanted}"


def test_a_projection_of_another_width_is_named_with_both(folder):
    change(folder / "artifact.metadata", dim=128)
    assert refused(MismatchError, folder) == (
        f"{folder}/model.safetensors: linear.weight is [32, 48], the settings ask for [128, 48]"
    )


def test_a_dense_module_of_another_width_is_named(tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "tiny", "pylate")
    change(folder / "1_Dense" / "config.json", out_features=64)
    assert "linear.weight is [32, 48], config.json says [64, 48]" in refused(MismatchError, folder)


def test_an_unknown_activation_is_not_imported(tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "tiny", "pylate")
    change(folder / "1_Dense" / "config.json", activation_function="os.system")
    assert "the activation is 'system'" in refused(MismatchError, folder)


@pytest.mark.parametrize("name", ["../outside", "/etc"])
def test_a_module_outside_the_checkpoint_is_refused(tmp_path, name):
    folder = tiny_checkpoint.write(tmp_path / "tiny", "pylate")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = name
    (folder / "modules.json").write_text(json.dumps(modules))
    assert f"names {name!r}, which is no path in the checkpoint: it leads out of the folder" in refused(CorruptFileError, folder)


def test_an_unknown_module_is_named(tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "tiny", "pylate")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "somebody.code.Surprise"
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "lists a Surprise" in refused(MismatchError, folder)


def test_a_model_without_a_width_is_named(folder):
    (folder / "config.json").write_text("{}")
    with pytest.raises(CorruptFileError) as caught:
        find(folder).projection()
    assert str(caught.value) == f"{folder}/config.json has no 'hidden_size'"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert name in refused(CorruptFileError, folder)


@pytest.mark.parametrize("name", ["config.json", "artifact.metadata", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x80\x04garbage"])
def test_a_broken_file_is_one_line(folder, name, content):
    (folder / name).write_bytes(content)
    assert str(folder / name) in refused((CorruptFileError, MismatchError), folder)


def test_a_file_cut_short_is_one_line(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert str(path) in refused(CorruptFileError, folder)


def test_a_length_that_is_no_number_is_named(folder):
    change(folder / "artifact.metadata", doc_maxlen="long")
    assert (
        refused(CorruptFileError, folder) == f"{folder}/artifact.metadata: doc_maxlen is 'long', not a number from 1 to 65,536"
    )


def pickled(folder, name, content):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(content({key: torch.from_numpy(value) for key, value in state.items()}), folder / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pytorch_model.bin", lambda state: state),
        ("colbert.dnn", lambda state: {"arguments": {"dim": 32}, "model_state_dict": state}),
        ("colbert.dnn", lambda state: {"model_state_dict": {f"module.{key}": value for key, value in state.items()}}),
    ],
)
def test_a_pickle_is_read_with_trust_only(folder, name, content):
    _, wanted, _ = opened(folder)
    pickled(folder, name, content)
    assert refused(MismatchError, folder) == (
        f"{folder / name} is a pickle, which can run any code when it is opened. If you know who made it, say so with "
        "`-o trust=true`; better, ask for a model.safetensors"
    )
    _, tensors, projection = opened(folder, trust=True)
    assert all(np.array_equal(tensors[key], wanted[key]) for key in wanted) and len(projection) == 1


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle ran')",))


def test_a_pickle_beside_safetensors_is_never_opened(folder):
    torch.save({"model_state_dict": Bomb()}, folder / "pytorch_model.bin")
    opened(folder, trust=True)


def test_a_hostile_pickle_does_not_run_without_trust(folder):
    (folder / "model.safetensors").unlink()
    torch.save(Bomb(), folder / "pytorch_model.bin")
    refused(MismatchError, folder)


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UnavailableError) as caught:
        find(tmp_path / "nowhere")
    assert (
        str(caught.value) == f"{tmp_path}/nowhere is no folder here, and no name on the Hugging Face hub (owner/name)"
    )


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
        "somebody/some-model at revision 'v1' is no folder here, is not in the cache, and could not be fetched from the "
        "Hugging Face hub (LocalEntryNotFoundError); copy the checkpoint here and name its folder"
    )


@pytest.mark.parametrize("revision", [None, "main", "0123456789" * 4])
def test_without_network_the_cache_serves(hub, folder, revision):
    commit = "0123456789" * 4
    cached = hub / "models--somebody--some-model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    shutil.copytree(folder, cached / "snapshots" / commit)
    found, _, _ = opened("somebody/some-model", revision=revision)
    assert (found.name, found.revision) == ("somebody/some-model", commit)


@pytest.mark.parametrize(
    ("file", "key", "value", "says"),
    [
        ("config.json", "hidden_size", 10**9, "is 1000000000, not a number from 1 to"),
        ("config.json", "num_attention_heads", 0, "is 0, not a number from 1 to"),
        ("config.json", "num_hidden_layers", -1, "is -1, not a number from 1 to"),
        ("config.json", "num_hidden_layers", 10**6, "is 1000000, and no model has more than"),
        ("config.json", "vocab_size", [5], r"is \[5\], not a number from 1 to"),
        ("config.json", "layer_norm_eps", "small", "is 'small', not a number of 0 or more"),
        ("config.json", "model_type", {}, "is {}, not a text"),
        ("artifact.metadata", "mask_punctuation", "x", "is 'x', not true or false"),
        ("artifact.metadata", "attend_to_mask_tokens", 1, "is 1, not true or false"),
        ("artifact.metadata", "query_token_id", 5, "is 5, not a text"),
        ("artifact.metadata", "doc_maxlen", True, "is True, not a number from 1 to"),
    ],
)
def test_a_setting_of_another_kind_is_one_line(folder, file, key, value, says):
    change(folder / file, **{key: value})
    with pytest.raises(CorruptFileError, match=rf"^{folder / file}: '?{key}'? {says}"):
        Encoder.load(folder, device="cpu")


@pytest.mark.parametrize(("key", "value"), [("do_lower_case", "x"), ("tokenize_chinese_chars", 1), ("strip_accents", [])])
def test_a_setting_of_word_pieces_of_another_kind_is_one_line(folder, key, value):
    (folder / "tokenizer.json").unlink()
    change(folder / "tokenizer_config.json", **{key: value})
    with pytest.raises(CorruptFileError, match=rf"tokenizer_config.json: '{key}' is .*, not true or false$"):
        Encoder.load(folder, device="cpu")


def test_a_larger_model_than_the_file_has_is_refused_before_it_has_memory(folder):
    import tracemalloc

    change(folder / "config.json", hidden_size=60_000, intermediate_size=60_000, num_attention_heads=1)
    tracemalloc.start()
    with pytest.raises(MismatchError, match="asks for"):
        Encoder.load(folder, device="cpu")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_model_that_overflows_is_one_line_and_no_index(folder, tmp_path):
    from lotte import Doc, Docs
    from retrievers import load

    state = load_file(folder / "model.safetensors")
    state["linear.weight"] = np.full_like(state["linear.weight"], 3e38)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    system = load("colbertv2", [f"checkpoint={folder}", "threads=1", "device=cpu"])
    with pytest.raises(CorruptFileError, match="vectors that are not finite"):
        system.index(Docs([Doc("1", "water the plant")]), tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_token_beyond_the_embeddings_is_one_line(folder):
    (folder / "tokenizer.json").unlink()
    words = (folder / "vocab.txt").read_text().splitlines()
    words[words.index("water")] = "plant"
    (folder / "vocab.txt").write_text("\n".join([*words, *["plant"] * 500, "water"]) + "\n")
    with pytest.raises(CorruptFileError, match=r"vocab.txt: a token has the number 7\d\d, and the model 2\d\d embeddings"):
        Encoder.load(folder, device="cpu").queries(["water"])


def test_half_a_character_in_settings_is_one_line(folder):
    (folder / "artifact.metadata").write_text('{"query_token_id": "\\ud800"}')
    assert refused(CorruptFileError, folder).endswith("artifact.metadata: a text in it has half of a character")


def test_long_names_of_strangers_are_cut(folder):
    change(folder / "artifact.metadata", query_token_id="x" * 70_000)
    with pytest.raises(MismatchError) as raised:
        Encoder.load(folder, device="cpu")
    assert len(str(raised.value)) < 300


def test_a_panic_of_the_tokenizers_package_is_one_line(tmp_path, monkeypatch):
    """Its code is Rust, whose panics are no Exception in Python."""
    import tokenizers

    class PanicException(BaseException):
        pass

    class Panicking:
        @staticmethod
        def from_file(path):
            raise PanicException("no entry found")

    monkeypatch.setattr(tokenizers, "Tokenizer", Panicking)
    with pytest.raises(CorruptFileError, match=r"x\.json is no tokenizer that `tokenizers` can read \(no entry found\)"):
        tokens.load(tmp_path / "x.json")
