"""Find a checkpoint and read it: weights that fit the model exactly, or one line that says what does not.

Three layouts are read: ColBERT's own (artifact.metadata, linear.weight),
PyLate's and that of sentence-transformers' MultiVectorEncoder (modules.json);
a BERT without a projection serves as an encoder of its hidden states. Nothing
of a checkpoint is executed: weights are safetensors, and a pickle is opened
only with trust.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import artifact, extras
from lotte.errors import CorruptFileError, MismatchError, UnavailableError, named, reason, shown
from retrievers.colbert.kernels.arrays import Pooling
from retrievers.colbert.model import config, tensors
from retrievers.colbert.model.config import ModelConfig, read_json
from retrievers.colbert.model.tensors import Array

WEIGHTS = "model.safetensors"
QUANTIZED = "model.int8.safetensors"  # a name of ours: others would take the codes for numbers
PICKLE = "pytorch_model.bin"
PROJECTION = "linear.weight"
POOLING = "HierarchicalTokenPooling"  # a module of sentence-transformers
_FILES = ["*.json", "*.safetensors", "vocab.txt", "spiece.model", config.METADATA]  # what is fetched from a hub
_COMMIT = re.compile("[0-9a-f]{40}")
# tensors of a checkpoint that a model of hidden states has no place for, and that nobody misses
_SPARE = re.compile(r"(^|\.)(pooler\.|cls\.|lm_head\.|predictions\.)|^linear\.weight$|(^|\.)position_ids$|^residual\.")

Floats = NDArray[np.float32]


def _sigmoid(x: Floats) -> Floats:
    half: Floats = np.tanh(x / np.float32(2))
    return (half + np.float32(1)) * np.float32(0.5)


# names of activations in a module's config.json; a name that is not here is not imported but refused
ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": _sigmoid,
}


@dataclass(frozen=True)
class Dense:
    """One step of the projection: activation(x @ weight.T + bias), and x or x @ residual.T added if it has one.

    The numbers are float32: numpy's arrays from `Checkpoint.steps`, torch's tensors from `Checkpoint.projection`.
    """

    weight_HI: Any
    bias_H: Any = None
    activation: str = "Identity"  # a name in torch.nn
    residual_HI: Any = None
    adds_input: bool = False

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        shapes = [array.shape for array in (self.weight_HI, self.bias_H, self.residual_HI) if array is not None]
        return sum(prod(shape) for shape in shapes)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was found: where, and what its settings say. `model` and `projection` read the weights."""

    name: str  # as given: a name on the hub, or a folder's last part
    folder: Path
    revision: str | None  # the commit on the hub; None for a folder
    settings: ModelConfig
    trust: bool = False

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's file. Raises CorruptFileError if there is none."""
        return _first(self._backbone, ("tokenizer.json", "vocab.txt")) or _missing(self._backbone, "tokenizer.json")

    @property
    def weights(self) -> list[Path]:
        """Return the files that hold the weights, the transformer's first."""
        dense = [_weights(path, self.trust) for kind, path in self._modules if kind in ("Dense", "LayerNorm")]
        return [*_shards(_weights(self._backbone, self.trust)), *dense]

    @cached_property
    def sha256(self) -> str:
        """Return the sha256 of the weights' file; of names and hashes, if there are several."""
        hashes = {str(path.relative_to(self.folder)): artifact.sha256(path) for path in self.weights}
        return next(iter(hashes.values())) if len(hashes) == 1 else artifact.digest(hashes)

    @property
    def _modules(self) -> list[tuple[str, Path]]:
        return config.modules(self.folder) if (self.folder / config.MODULES).exists() else []

    @cached_property
    def pooling(self) -> Pooling:
        """How many tokens of a document become one vector, as a module HierarchicalTokenPooling says.

        Raises  CorruptFileError or MismatchError for one that says what we do not do
        """
        path = next((path for kind, path in self._modules if kind == POOLING), None)
        return Pooling() if path is None else config.pooling(path / "config.json")

    @property
    def _backbone(self) -> Path:
        return next((path for kind, path in self._modules if kind == "Transformer"), self.folder)

    @property
    def positions(self) -> int:
        """Return how many tokens a text may have."""
        count = int(self.described.get("max_position_embeddings") or 512)
        # RoBERTa counts positions from after its padding token
        return count - 2 if "roberta" in str(self.described.get("model_type")) else count

    @cached_property
    def described(self) -> Mapping[str, Any]:
        """Return the transformer's config.json."""
        return config.transformer(self._backbone / "config.json")

    @property
    def width(self) -> int:
        """Return how many numbers a hidden state has."""
        name = "hidden_size" if "hidden_size" in self.described else "dim"  # DistilBERT's word for it
        if self.described.get(name) is None:
            raise CorruptFileError(f"{self._backbone / 'config.json'} has no 'hidden_size'")
        return int(self.described[name])

    @property
    def in_bytes(self) -> bool:
        """Whether the matrices are stored as int8."""
        return _weights(self._backbone, self.trust).name == QUANTIZED

    @property
    def words(self) -> int | None:
        """Return how many tokens have an embedding; None if config.json does not say."""
        found: int | None = self.described.get("vocab_size")
        return found

    def arrays(self, places: "Mapping[str, Sequence[int]]") -> dict[str, Floats]:
        """Return the transformer's tensors in float32, one for each place.

        places  name -> shape, as transformers names them without a prefix

        Raises  CorruptFileError if a file or tensor is missing
                MismatchError if a tensor has another shape, or there is one without a place
        """
        file, state = _weights(self._backbone, self.trust), self._state()
        prefix = _prefix(state, min(places))
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if lacking := sorted(places.keys() - own.keys()):
            raise CorruptFileError(
                f"{file} lacks the tensor {shown(lacking[0])}{_more(lacking)}, which config.json requires"
            )
        if spare := sorted(name for name in own.keys() - places.keys() if not _SPARE.search(name)):
            raise MismatchError(
                f"{file} holds the tensor {shown(spare[0])}{_more(spare)}, which config.json has no place for"
            )
        for name, shape in sorted(places.items()):
            if list(own[name].shape) != list(shape):
                raise MismatchError(
                    f"{file}: {name} is {list(own[name].shape)}, but config.json requires {list(shape)}"
                )
        return {name: own[name].astype(np.float32, copy=False) for name in places}

    def model(self) -> Any:
        """Return the transformer, a PreTrainedModel, as transformers builds it, in float32, with its weights.

        Raises  UnavailableError without transformers; see `arrays` for the rest
        """
        what = f"{self.name}, which is not a BERT as `bert_cpu` computes it,"
        torch, _ = (extras.package(name, what) for name in ("torch", "transformers"))
        from transformers import AutoConfig, AutoModel
        from transformers.initialization import no_init_weights

        leave = ("auto_map", "torch_dtype", "dtype", "quantization_config")  # another class, or another kind of numbers
        said = {name: value for name, value in self.described.items() if name not in leave}

        def build(device: str) -> Any:
            try:
                with no_init_weights(), torch.device(device):
                    # typed by nobody; not from_pretrained, which makes up what a file lacks
                    made: Any = AutoModel.from_config
                    return made(AutoConfig.for_model(**said))
            except Exception as error:  # its validators raise kinds of their own
                path = self._backbone / "config.json"
                raise MismatchError(f"{path} describes a model unknown to transformers ({reason(error)})") from None

        # first without memory for its tensors: a stranger's sizes are held to the file before they are believed
        sizes = build("meta").state_dict()
        arrays = self.arrays({name: value.shape for name, value in sizes.items() if not _SPARE.search(name)})
        model = build("cpu")
        # `arrays` was strict, but for the pooler
        model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()}, strict=False)
        return model.eval()

    def projection(self) -> list[Dense]:
        """Return `steps` in torch, for training. Raises UnavailableError without it."""
        torch = extras.package("torch", "training")

        def tensor(array: Floats | None) -> Any:
            return None if array is None else torch.tensor(array)

        return [
            replace(s, weight_HI=tensor(s.weight_HI), bias_H=tensor(s.bias_H), residual_HI=tensor(s.residual_HI))
            for s in self.steps()
        ]

    def steps(self) -> list[Dense]:
        """Return the steps from hidden states to vectors; none for a model without a projection."""
        if self._modules:
            steps, wide = [], self.width
            for path in (path for kind, path in self._modules if kind == "Dense"):
                steps.append(self._dense(path))
                if steps[-1].weight_HI.shape[1] != wide:
                    found = steps[-1].weight_HI.shape[1]
                    raise MismatchError(
                        f"{path / 'config.json'}: in_features is {found}, but it is given {wide} numbers"
                    )
                wide = steps[-1].weight_HI.shape[0]
            return steps
        state = self._state()
        if PROJECTION in state:
            weight_HI, dim = state[PROJECTION].astype(np.float32), self.settings.dim
            wanted = [dim or weight_HI.shape[0], self.width]
            if list(weight_HI.shape) != wanted:
                file = _weights(self.folder, self.trust)
                raise MismatchError(f"{file}: {PROJECTION} is {list(weight_HI.shape)}, the settings require {wanted}")
            return [Dense(weight_HI)]
        if (self.folder / config.METADATA).exists() or "HF_ColBERT" in (self.described.get("architectures") or ()):
            raise CorruptFileError(f"{_weights(self.folder, self.trust)} lacks the tensor {PROJECTION!r}")
        return []

    def tensors(self) -> dict[str, Array]:
        """Return the transformer's tensors under the names that its files have."""
        return self._state()

    def _state(self) -> dict[str, Array]:
        """Return all tensors. They are read anew each time: safetensors are mapped and not copied."""
        state: dict[str, Array] = {}
        for path in _shards(_weights(self._backbone, self.trust)):
            state |= tensors.read(path, trust=self.trust)
        # some versions of transformers write the names that TensorFlow had for a LayerNorm
        old = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
        return {
            re.sub(r"LayerNorm\.(gamma|beta)$", lambda found: old[found[0]], name.removeprefix("module.")): value
            for name, value in state.items()
        }

    def _dense(self, path: Path) -> Dense:
        described, file = read_json(path / "config.json"), _weights(path, self.trust)
        arrays = tensors.read(file, trust=self.trust)
        said = path / "config.json"
        shape = [config.length(said, described, name, 0) or None for name in ("out_features", "in_features")]
        activation = config.setting(said, described, "activation_function", "Identity").rpartition(".")[2]
        if activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise MismatchError(f"{said}: the activation is {shown(activation)}; known are {known}")
        for name in [PROJECTION, *(["linear.bias"] if config.setting(said, described, "bias", True) else [])]:
            if name not in arrays:
                raise CorruptFileError(f"{file} lacks the tensor {name!r}")
        if list(arrays[PROJECTION].shape) != shape:
            raise MismatchError(f"{file}: {PROJECTION} is {list(arrays[PROJECTION].shape)}, config.json says {shape}")
        weight, bias, residual = (
            None if (array := arrays.get(name)) is None else array.astype(np.float32)
            for name in (PROJECTION, "linear.bias", "residual.weight")
        )
        assert weight is not None
        for name, array, expected in (("linear.bias", bias, shape[:1]), ("residual.weight", residual, shape)):
            if array is not None and list(array.shape) != expected:
                raise MismatchError(f"{file}: {name} is {list(array.shape)}, where {expected} belongs")
        adds_input = config.setting(said, described, "use_residual", False)
        return Dense(weight, bias, activation, residual, adds_input)


def find(source: str | Path, *, revision: str | None = None, trust: bool = False) -> Checkpoint:
    """Return the checkpoint in a folder, or the one of that name on the Hugging Face hub.

    revision  a branch, tag or commit of the hub; a copy in the cache is used if there is one, without asking the hub
    trust     whether a pickle may be opened. A pickle can run anything: only for files whose maker you know

    Raises  UnavailableError if it is neither a folder nor can be fetched
            CorruptFileError or MismatchError if it is there, but not a checkpoint that we can read
    """
    name, folder, commit = locate(source, revision=revision, trust=trust)
    found = Checkpoint(name=name, folder=folder, revision=commit, settings=config.read(folder), trust=trust)
    for kind, path in found._modules:
        if kind not in ("Transformer", "Dense", "MultiVectorMask", "Normalize", "Pooling", POOLING):
            raise MismatchError(f"{folder / config.MODULES} lists a {named(kind)} at {path}, which is not supported")
    _ = found.pooling  # an unsupported module is reported before weights are read
    return found


def locate(source: str | Path, *, revision: str | None = None, trust: bool = False) -> tuple[str, Path, str | None]:
    """Return name, folder and commit of a model, whatever kind of model it is. Raises UnavailableError as `find`."""
    folder = Path(source).expanduser()
    if os.path.isfile(folder) and folder.suffix == ".dnn":
        raise MismatchError(f"{folder}: name the folder that holds it, with config.json and vocab.txt beside it")
    if os.path.isdir(folder):  # of a name that no file can have, Path.is_dir raises
        name, commit = folder.resolve().name, None
    elif revision is None and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise _nowhere(str(source))
    else:
        name, folder = str(source), _fetch(str(source), revision, trust)
        commit = folder.name if _COMMIT.fullmatch(folder.name) else revision
    return name, folder, commit


def _nowhere(source: str) -> UnavailableError:
    place = named(source, 200)
    return UnavailableError(f"{place} is neither a folder here nor a name on the Hugging Face hub (owner/name)")


def is_spare(name: str) -> bool:
    """Whether a tensor has no part in the hidden states: a pooler, a head, the numbers of positions."""
    return _SPARE.search(name) is not None


def _fetch(name: str, revision: str | None, trust: bool) -> Path:
    extras.package("huggingface_hub", f"{name}, which is not a folder here,")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    patterns = [*_FILES, PICKLE, f"*/{PICKLE}", "*.dnn"] if trust else _FILES
    try:
        try:
            return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=True))
        except LocalEntryNotFoundError:
            return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except HFValidationError:
        raise _nowhere(name) from None
    except Exception as error:  # the hub's client has dozens of them, and those of two HTTP libraries
        at = f" at revision {revision!r}" if revision else ""
        raise UnavailableError(
            f"{name}{at} is not a folder here, is not in the cache, and could not be fetched from the Hugging Face hub "
            f"({type(error).__name__}); copy the checkpoint here and name its folder"
        ) from None


def _weights(folder: Path, trust: bool) -> Path:
    """Return the file with the weights of a folder, or say why there is none that may be opened."""
    if found := _first(folder, (WEIGHTS, f"{WEIGHTS}.index.json", QUANTIZED)):
        return found
    pickles = [path for path in (folder / PICKLE, *sorted(folder.glob("*.dnn"))) if path.exists()]
    if pickles and not trust:
        raise MismatchError(
            f"{pickles[0]} is a pickle, which can run any code when it is opened. If you trust its author, open it "
            "with `-o trust=true`; better, get a model.safetensors"
        )
    if not pickles and not trust:  # from a hub no pickle was fetched either
        raise CorruptFileError(
            f"{folder} has no {WEIGHTS}; the checkpoint is not complete, or its weights are a pickle on the hub, which "
            "is fetched with `-o trust=true` only"
        )
    return pickles[0] if pickles else _missing(folder, WEIGHTS)


def _shards(path: Path) -> list[Path]:
    if path.suffix != ".json":
        return [path]
    listed = read_json(path).get("weight_map")
    names = set(map(str, listed.values())) if isinstance(listed, dict) else set()
    if not names or any("/" in name or not name.endswith(".safetensors") for name in names):
        raise CorruptFileError(f"{path} names no safetensors files beside it in its 'weight_map'")
    files = [config.inside(path.parent, name, path.name) for name in sorted(names)]
    return [file if file.exists() else _missing(path.parent, file.name) for file in files]


def _prefix(state: Iterable[str], name: str) -> str:
    """Return what stands before a model's own names in a checkpoint: "bert.", "model.", or nothing."""
    return next((found.removesuffix(name) for found in state if found == name or found.endswith(f".{name}")), "")


def _first(folder: Path, names: Iterable[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


def _missing(folder: Path, name: str) -> Any:
    raise CorruptFileError(f"{folder} has no {named(name)}; the checkpoint is not complete")


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
