"""Checkpoints small enough for every test: a BERT of a seed, in each of the layouts that we read.

`write(path)` takes some milliseconds and needs no torch. The vocabulary holds
single characters and a few words, so any text has tokens.
"""

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORDS = (
    "the a of and to in is how what why when which can do does my you it for on with from water plant bread flour oven "
    "star moon telescope router disk server network leaf root soil light night bake dough yeast salt sugar temperature "
    "time long best way clean fix grow keep make use see hot cold dry wet old new home house kitchen garden sky "
    "question answer search passage score rank retrieve document query late interaction vector token index cluster "
    "##s ##ed ##ing ##er ##ly ##ion ##able ##ness"
).split()
SPECIAL = ["[PAD]", *(f"[unused{number}]" for number in range(8)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*string.ascii_lowercase, *string.digits, *string.punctuation, *"éßñ日本語”"]
CONTINUED = [f"##{letter}" for letter in string.ascii_lowercase + string.digits]
VOCABULARY = list(dict.fromkeys([*SPECIAL, *LETTERS, *CONTINUED, *WORDS]))

LAYOUTS = ("original", "pylate", "multi_vector", "plain")


def write(
    path: Path,
    layout: str = "original",
    *,
    dim: int = 32,
    hidden: int = 48,
    layers: int = 2,
    heads: int = 4,
    inner: int = 96,
    positions: int = 512,
    query_maxlen: int = 32,
    doc_maxlen: int = 180,
    seed: int = 0,
    **settings: Any,
) -> Path:
    """Write a checkpoint into the folder `path`, and return it.

    layout    one of LAYOUTS; "plain" is a BERT of sentence-transformers without a projection
    settings  written over those of artifact.metadata (original) or config_sentence_transformers.json
    """
    path.mkdir(parents=True, exist_ok=True)
    tokens = [*VOCABULARY, "[Q] ", "[D] "] if layout in ("pylate", "multi_vector") else VOCABULARY
    _tokenizer(path, tokens)
    config = {
        "model_type": "bert", "architectures": ["HF_ColBERT" if layout == "original" else "BertModel"],
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": inner,
        "vocab_size": len(tokens), "max_position_embeddings": positions, "type_vocab_size": 2, "hidden_act": "gelu",
        "layer_norm_eps": 1e-12, "pad_token_id": 0,
    }  # fmt: skip
    _json(path / "config.json", config)
    state = weights(len(tokens), hidden, layers, inner, positions, seed)
    projection = np.random.default_rng(seed + 1).normal(0, hidden**-0.5, (dim, hidden)).astype(np.float32)
    if layout == "original":
        metadata = {
            "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_token": "[Q]", "doc_token": "[D]",
            "query_maxlen": query_maxlen, "doc_maxlen": doc_maxlen, "mask_punctuation": True, "dim": dim,
            "similarity": "cosine", "attend_to_mask_tokens": False,
        }  # fmt: skip
        _json(path / "artifact.metadata", metadata | settings)
        state = {f"bert.{name}": value for name, value in state.items()} | {"linear.weight": projection}
    else:
        _sentence_transformers(path, layout, dim, hidden, projection, query_maxlen, doc_maxlen, settings)
    from safetensors.numpy import save_file

    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    return path


def weights(
    words: int, hidden: int, layers: int, inner: int, positions: int, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a BERT without a pooler, under the names that transformers gives them."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (words, hidden),
        "embeddings.position_embeddings.weight": (positions, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in (f"encoder.layer.{number}" for number in range(layers)):
        for name, rows, columns in (
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", inner, hidden),
            ("output.dense", hidden, inner),
        ):
            shapes |= {f"{layer}.{name}.weight": (rows, columns), f"{layer}.{name}.bias": (rows,)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    norm_shapes: dict[str, tuple[int, ...]] = {
        f"{name}.{kind}": (hidden,) for name in norms for kind in ("weight", "bias")
    }
    state = {}
    for number, (name, shape) in enumerate((shapes | norm_shapes).items()):
        # a generator each: two words more leave all else as it was. 0.15 and not BERT's 0.02: the vectors of a random
        # model should differ from token to token
        rng, middle = np.random.default_rng([seed, number]), float("LayerNorm.weight" in name)
        state[name] = (middle + 0.15 * rng.standard_normal(shape, np.float32)).astype(np.float32)
    return state


def _sentence_transformers(
    path: Path,
    layout: str,
    dim: int,
    hidden: int,
    projection: NDArray[np.float32],
    query_maxlen: int,
    doc_maxlen: int,
    settings: dict[str, Any],
) -> None:
    """Write what PyLate 1.6 and sentence-transformers 6.2 write beside the BERT (looked at, not copied)."""
    base = "sentence_transformers.base.modules"
    punctuation = list(string.punctuation)
    dense = {
        "in_features": hidden,
        "out_features": dim,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    if layout == "plain":
        kinds = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"]
        config: dict[str, Any] = {"__version__": {"sentence_transformers": "2.0.0"}}
        _json(
            path / "1_Pooling" / "config.json", {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True}
        )
    elif layout == "pylate":
        kinds = ["sentence_transformers.models.Transformer", "pylate.models.Dense.Dense"]
        config = {
            "model_type": "ColBERT", "prompts": {}, "similarity_fn_name": "MaxSim", "query_prefix": "[Q] ",
            "document_prefix": "[D] ", "query_length": query_maxlen, "document_length": doc_maxlen,
            "attend_to_expansion_tokens": False, "skiplist_words": punctuation, "do_query_expansion": True,
        }  # fmt: skip
        _json(path / "1_Dense" / "config.json", dense | {"use_residual": False})
    else:
        kinds = [f"{base}.transformer.Transformer", f"{base}.dense.Dense",
                 "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask",
                 "sentence_transformers.sentence_transformer.modules.normalize.Normalize"]  # fmt: skip
        config = {"model_type": "MultiVectorEncoder", "prompts": {"query": "[Q] ", "document": "[D] "}}
        _json(path / "1_Dense" / "config.json", dense | {"module_input_name": "token_embeddings"})
        mask = {"skiplist_words": punctuation, "skiplist_tasks": ["document"], "keep_only_token_ids": None}
        _json(path / "2_MultiVectorMask" / "config.json", mask)
        knobs = {
            "query_length": None, "document_length": doc_maxlen,
            "query_expansion": {"strategy": "fixed", "attend": False, "length": query_maxlen},
        }  # fmt: skip
        _json(path / "sentence_bert_config.json", {"transformer_task": "feature-extraction", **knobs})
    if layout != "plain":
        from safetensors.numpy import save_file

        save_file({"linear.weight": projection}, path / "1_Dense" / "model.safetensors")
    names = ["" if number == 0 else f"{number}_{kind.rpartition('.')[2]}" for number, kind in enumerate(kinds)]
    modules = [
        {"idx": number, "name": str(number), "path": name, "type": kind}
        for number, (name, kind) in enumerate(zip(names, kinds, strict=True))
    ]
    _json(path / "modules.json", modules)
    _json(path / "config_sentence_transformers.json", config | settings)


def _tokenizer(path: Path, tokens: list[str]) -> None:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    ids = {token: number for number, token in enumerate(tokens)}
    pieces = {token: number for token, number in ids.items() if token not in ("[Q] ", "[D] ")}
    tokenizer = Tokenizer(WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens([token for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")])
    tokenizer.add_tokens([AddedToken(token, normalized=True) for token in tokens if token not in pieces])
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "vocab.txt").write_text("".join(f"{token}\n" for token in pieces), encoding="utf-8")
    names = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
    special = {f"{name}_token": token for name, token in names.items()}
    _json(path / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **special})


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def cross_encoder(folder: Path) -> Path:
    """Leave a cross-encoder of random weights, as one that was downloaded. Returns the folder."""
    import torch

    from retrievers.training.teacher import CrossEncoder

    start = write(folder.with_name("start"), "plain", hidden=32, layers=1, heads=2, inner=64, positions=64)
    made = CrossEncoder.load(start, maxlen=64, fresh=True, seed=1)
    with torch.no_grad():
        made.model.classifier.weight *= 100  # a layer that was just drawn finds all pairs nearly alike
    return made.save(folder, {"steps": 0})


def interaction(kind, folder):
    """Write a re-ranker over word vectors that was not trained. Returns the folder."""
    from retrievers.interaction.model import InteractionModel

    words = ["sky", "blue", "moon", "yeast", "bread", "router"]
    model = InteractionModel.begin(kind, [" ".join(words), " ".join(words[::-1])], dim=8, seed=3)
    return model.save(folder, {"start": "drawn"})


def masked_lm(folder: Path, *, seed: int = 0) -> Path:
    """Leave a BERT that fills in words, of random weights, as a SPLADE that was downloaded. Returns the folder."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    folder.mkdir(parents=True)
    _tokenizer(folder, VOCABULARY)
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertForMaskedLM(BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=64, **sizes))
    with torch.no_grad():  # each text says its own words louder than all others
        model.bert.embeddings.word_embeddings.weight *= 50
        model.cls.predictions.bias -= 8
    model.save_pretrained(folder)
    return folder
