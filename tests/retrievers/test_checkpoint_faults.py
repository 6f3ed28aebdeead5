"""A checkpoint that is damaged, hostile or of another shape is refused in one line."""

import json

import numpy as np
import pytest
import tiny_checkpoint
from checkpoint_files import change, opened, rewrite

from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from retrievers.colbert.model import tokens
from retrievers.colbert.model.checkpoint import find

torch = pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
from safetensors.numpy import load_file, save_file  # noqa: E402

from retrievers.colbert.model.encoder import Encoder  # noqa: E402


def refused(kind, written_checkpoint, **options):
    with pytest.raises(kind) as caught:
        opened(written_checkpoint, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_tensor_is_named(written_checkpoint):
    rewrite(written_checkpoint / "model.safetensors", lambda state: state.pop("bert.encoder.layer.1.output.dense.bias"))
    assert refused(CorruptFileError, written_checkpoint) == (
        f"{written_checkpoint}/model.safetensors lacks the tensor 'encoder.layer.1.output.dense.bias', which config.json requires"
    )


def test_a_missing_projection_is_not_an_encoder_without_one(written_checkpoint):
    rewrite(written_checkpoint / "model.safetensors", lambda state: state.pop("linear.weight"))
    assert refused(CorruptFileError, written_checkpoint) == f"{written_checkpoint}/model.safetensors lacks the tensor 'linear.weight'"


def test_a_tensor_without_a_place_is_named(written_checkpoint):
    change(written_checkpoint / "config.json", num_hidden_layers=1)
    assert refused(MismatchError, written_checkpoint) == (
        f"{written_checkpoint}/model.safetensors holds the tensor 'encoder.layer.1.attention.output.LayerNorm.bias' and 15 more, "
        "which config.json has no place for"
    )


def test_a_tensor_of_another_width_is_named_with_both(written_checkpoint):
    change(written_checkpoint / "config.json", vocab_size=300)
    found = refused(MismatchError, written_checkpoint)
    wanted = "embeddings.word_embeddings.weight is [212, 48], but config.json requires [300, 48]"
    assert found == f"{written_checkpoint}/model.safetensors: {wanted}"


def test_a_projection_of_another_width_is_named_with_both(written_checkpoint):
    change(written_checkpoint / "artifact.metadata", dim=128)
    assert refused(MismatchError, written_checkpoint) == (
        f"{written_checkpoint}/model.safetensors: linear.weight is [32, 48], the settings require [128, 48]"
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
    assert f"names {name!r}, which is not a path in the checkpoint: it leads out of the folder" in refused(CorruptFileError, folder)


def test_an_unknown_module_is_named(tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "tiny", "pylate")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "somebody.code.Surprise"
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "lists a Surprise" in refused(MismatchError, folder)


def test_a_model_without_a_width_is_named(written_checkpoint):
    (written_checkpoint / "config.json").write_text("{}")
    with pytest.raises(CorruptFileError) as caught:
        find(written_checkpoint).projection()
    assert str(caught.value) == f"{written_checkpoint}/config.json has no 'hidden_size'"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(written_checkpoint, name):
    (written_checkpoint / name).unlink()
    assert name in refused(CorruptFileError, written_checkpoint)


@pytest.mark.parametrize("name", ["config.json", "artifact.metadata", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x80\x04garbage"])
def test_a_broken_file_is_one_line(written_checkpoint, name, content):
    (written_checkpoint / name).write_bytes(content)
    assert str(written_checkpoint / name) in refused((CorruptFileError, MismatchError), written_checkpoint)


def test_a_file_cut_short_is_one_line(written_checkpoint):
    path = written_checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert str(path) in refused(CorruptFileError, written_checkpoint)


def test_a_length_that_is_no_number_is_named(written_checkpoint):
    change(written_checkpoint / "artifact.metadata", doc_maxlen="long")
    assert (
        refused(CorruptFileError, written_checkpoint) == f"{written_checkpoint}/artifact.metadata: doc_maxlen is 'long', not a number from 1 to 65,536"
    )


def pickled(written_checkpoint, name, content):
    state = load_file(written_checkpoint / "model.safetensors")
    (written_checkpoint / "model.safetensors").unlink()
    torch.save(content({key: torch.from_numpy(value) for key, value in state.items()}), written_checkpoint / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pytorch_model.bin", lambda state: state),
        ("colbert.dnn", lambda state: {"arguments": {"dim": 32}, "model_state_dict": state}),
        ("colbert.dnn", lambda state: {"model_state_dict": {f"module.{key}": value for key, value in state.items()}}),
    ],
)
def test_a_pickle_is_read_with_trust_only(written_checkpoint, name, content):
    _, wanted, _ = opened(written_checkpoint)
    pickled(written_checkpoint, name, content)
    assert refused(MismatchError, written_checkpoint) == (
        f"{written_checkpoint / name} is a pickle, which can run any code when it is opened. If you trust its author, open it with "
        "`-o trust=true`; better, get a model.safetensors"
    )
    _, tensors, projection = opened(written_checkpoint, trust=True)
    assert all(np.array_equal(tensors[key], wanted[key]) for key in wanted) and len(projection) == 1


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle ran')",))


def test_a_pickle_beside_safetensors_is_never_opened(written_checkpoint):
    torch.save({"model_state_dict": Bomb()}, written_checkpoint / "pytorch_model.bin")
    opened(written_checkpoint, trust=True)


def test_a_hostile_pickle_does_not_run_without_trust(written_checkpoint):
    (written_checkpoint / "model.safetensors").unlink()
    torch.save(Bomb(), written_checkpoint / "pytorch_model.bin")
    refused(MismatchError, written_checkpoint)


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UnavailableError) as caught:
        find(tmp_path / "nowhere")
    assert (
        str(caught.value) == f"{tmp_path}/nowhere is neither a folder here nor a name on the Hugging Face hub (owner/name)"
    )


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
def test_a_setting_of_another_kind_is_one_line(written_checkpoint, file, key, value, says):
    change(written_checkpoint / file, **{key: value})
    with pytest.raises(CorruptFileError, match=rf"^{written_checkpoint / file}: '?{key}'? {says}"):
        Encoder.load(written_checkpoint, device="cpu")


@pytest.mark.parametrize(("key", "value"), [("do_lower_case", "x"), ("tokenize_chinese_chars", 1), ("strip_accents", [])])
def test_a_setting_of_word_pieces_of_another_kind_is_one_line(written_checkpoint, key, value):
    (written_checkpoint / "tokenizer.json").unlink()
    change(written_checkpoint / "tokenizer_config.json", **{key: value})
    with pytest.raises(CorruptFileError, match=rf"tokenizer_config.json: '{key}' is .*, not true or false$"):
        Encoder.load(written_checkpoint, device="cpu")


def test_a_larger_model_than_the_file_has_is_refused_before_it_has_memory(written_checkpoint):
    import tracemalloc

    change(written_checkpoint / "config.json", hidden_size=60_000, intermediate_size=60_000, num_attention_heads=1)
    tracemalloc.start()
    with pytest.raises(MismatchError, match=r"config\.json requires"):
        Encoder.load(written_checkpoint, device="cpu")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_model_that_overflows_is_one_line_and_no_index(written_checkpoint, tmp_path):
    from lotte import Doc, Docs
    from retrievers import load

    state = load_file(written_checkpoint / "model.safetensors")
    state["linear.weight"] = np.full_like(state["linear.weight"], 3e38)
    save_file(state, written_checkpoint / "model.safetensors", metadata={"format": "pt"})
    system = load("colbertv2", [f"checkpoint={written_checkpoint}", "threads=1", "device=cpu"])
    with pytest.raises(CorruptFileError, match="vectors that are not finite"):
        system.index(Docs([Doc("1", "water the plant")]), tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_token_beyond_the_embeddings_is_one_line(written_checkpoint):
    (written_checkpoint / "tokenizer.json").unlink()
    words = (written_checkpoint / "vocab.txt").read_text().splitlines()
    words[words.index("water")] = "plant"
    (written_checkpoint / "vocab.txt").write_text("\n".join([*words, *["plant"] * 500, "water"]) + "\n")
    with pytest.raises(CorruptFileError, match=r"vocab.txt: a token has the number 7\d\d, and the model 2\d\d embeddings"):
        Encoder.load(written_checkpoint, device="cpu").queries(["water"])


def test_half_a_character_in_settings_is_one_line(written_checkpoint):
    (written_checkpoint / "artifact.metadata").write_text('{"query_token_id": "\\ud800"}')
    assert refused(CorruptFileError, written_checkpoint).endswith("artifact.metadata: a text in it contains an unpaired surrogate")


def test_long_names_of_strangers_are_cut(written_checkpoint):
    change(written_checkpoint / "artifact.metadata", query_token_id="x" * 70_000)
    with pytest.raises(MismatchError) as raised:
        Encoder.load(written_checkpoint, device="cpu")
    assert len(str(raised.value)) < 300


def test_a_panic_of_the_tokenizers_package_is_one_line(tmp_path, monkeypatch):
    """Its code is Rust, whose panics are not an Exception in Python."""
    import tokenizers

    class PanicException(BaseException):
        pass

    class Panicking:
        @staticmethod
        def from_file(path):
            raise PanicException("no entry found")

    monkeypatch.setattr(tokenizers, "Tokenizer", Panicking)
    with pytest.raises(CorruptFileError, match=r"x\.json is not a tokenizer that `tokenizers` can read \(no entry found\)"):
        tokens.load(tmp_path / "x.json")
