"""The kind of a dense or sparse model, determined before its weights are read.

A model of sentence-transformers says in `modules.json` what it is made of; a folder of transformers says in
`config.json` which head it was trained with. Another kind of model is refused here, in one line, before hours of
work: loaded as the wrong kind, it would silently get random weights.

Nothing of a model is executed: its modules are the library's own, and weights are safetensors unless `trust` is set.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lotte import artifact, extras
from lotte.errors import CorruptFileError, MismatchError, named, shown
from lotte.parsing import json_file
from retrievers.colbert.model import checkpoint, config
from retrievers.colbert.model.checkpoint import Checkpoint
from retrievers.colbert.model.config import ModelConfig
from retrievers.colbert.model.tokens import reported

MODEL = "model.json"  # of the model that a build is done with, beside what is made already
PRECISIONS = ("fp32", "bf16", "fp16")
OURS = "sentence_transformers."  # what the type of a module begins with
NO_PROMPT = "none"
# words in the architecture of config.json that are a head for something else, and the system that takes such a model
_HEADS = {"ForSequenceClassification": "crossencoder", "HF_ColBERT": "colbertv2", "ForTokenClassification": "",
          "ForQuestionAnswering": "", "ForMultipleChoice": ""}  # fmt: skip


@dataclass(frozen=True)
class ModelFolder:
    """A model in a folder, and what it says of itself."""

    found: Checkpoint
    trust: bool

    @classmethod
    def of(cls, source: str, *, revision: str = "", trust: bool = False) -> "ModelFolder":
        """Return the model in a folder, or of a name on the hub. Raises UnavailableError if it cannot be had."""
        name, folder, commit = checkpoint.locate(source, revision=revision or None, trust=trust)
        return cls(Checkpoint(name=name, folder=folder, revision=commit, settings=ModelConfig(), trust=trust), trust)

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def folder(self) -> Path:
        return self.found.folder

    @cached_property
    def kinds(self) -> list[str]:
        """Return the kinds of its modules, in order; none for a folder of transformers.

        Raises  MismatchError for one whose code is not the library's
        """
        path = self.folder / config.MODULES
        if not path.exists():
            return []
        kinds = [kind for kind, _ in config.modules(self.folder)]
        for entry in config.read_json(path, kind=list):
            if not str(entry["type"]).startswith(OURS) and str(entry["type"]).partition(".")[0] != "pylate":
                raise MismatchError(f"{path} lists {shown(entry['type'])}, custom code, which is not run")
        return kinds

    @property
    def head(self) -> str:
        """Return the class that config.json says its weights are of; "" if it says none."""
        return str(next(iter(self.found.described.get("architectures") or ()), ""))

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what config_sentence_transformers.json says."""
        path = self.folder / config.SETTINGS
        settings: Mapping[str, Any] = config.read_json(path) if path.exists() else {}
        return settings

    def require_kinds(self, allowed: Sequence[str], what: str) -> None:
        """Raise MismatchError for a model that is made of other modules, with the system that takes it."""
        kinds = self.kinds
        if "MultiVectorMask" in kinds or (self.folder / config.METADATA).exists() or "ColBERT" in kinds:
            raise MismatchError(f"{self.name} is a late-interaction model, but {what} is needed; use it with colbertv2")
        if other := [kind for kind in kinds if kind not in allowed]:
            taker = {"SpladePooling": "; splade takes it", "Pooling": "; dense takes it"}.get(other[0], "")
            raise MismatchError(f"{self.name} has a module {named(other[0])}, and {what} has none{taker}")
        for word, taker in _HEADS.items():
            if not kinds and word in self.head:
                takes = f"; {taker} takes one" if taker else ""
                raise MismatchError(f"{self.name} ends in {self.head}, but {what} is needed{takes}")

    def require_length(self, maxlen: int) -> None:
        """Raise MismatchError if the model has not so many positions."""
        if "max_position_embeddings" in self.found.described and maxlen > self.found.positions:
            positions = self.found.positions
            raise MismatchError(f"{self.name} has {positions} positions, but a text may have {maxlen} tokens")

    def longest(self, model: Any) -> int:
        """Return how many tokens of a text a model of sentence-transformers reads."""
        positions = self.found.positions
        return min(int(model.max_seq_length or positions), positions)

    def prompt(self, given: str, names: Sequence[str]) -> str:
        """Return the text in front of a text: what is given, or what the model says under one of some names."""
        if given:
            return "" if given == NO_PROMPT else given
        path, said = self.folder / config.SETTINGS, self.settings
        prompts = config.setting(path, said, "prompts", dict[str, Any]())
        for name in (*names, config.setting(path, said, "default_prompt_name", "")):
            if prompts.get(name):
                return config.setting(path, prompts, name, "")
        return ""

    def load(self, kind: str, *, precision: str, device: str, with_head: bool = False) -> Any:
        """Return the model as a class of sentence-transformers has it, ready to encode.

        kind       that class: SentenceTransformer, SparseEncoder
        with_head  whether what makes words of hidden states is needed too

        Raises  UnavailableError without the package, MismatchError for a GPU that is not there,
                CorruptFileError for a model that cannot be read, or lacks weights
        """
        library = extras.package("sentence_transformers", self.name)
        torch, device = extras.package("torch", self.name), device_of(device)
        _ = self.found.weights  # missing weights or a pickle are reported by name
        kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        arguments = {"dtype": kinds[precision], **({} if self.trust else {"use_safetensors": True})}
        with _quiet(), self._readable() as folder, reported(f"{self.folder}: sentence-transformers cannot read it"):
            model = getattr(library, kind)(
                str(folder), device=device, local_files_only=True, trust_remote_code=False, model_kwargs=arguments
            )
        self._require_whole(model[0], with_head)
        return model.eval()

    @contextmanager
    def _readable(self) -> Iterator[Path]:
        """Give the folder, or one with the same weights under names that transformers' AutoModel knows.

        DPR's two encoders are a BERT each. AutoModel takes either for a question encoder, and makes up the weights of
        the other.
        """
        if self.found.described.get("model_type") != "dpr":
            yield self.folder
            return
        if self.found.described.get("projection_dim"):
            raise MismatchError(f"{self.folder / 'config.json'}: projection_dim is not 0, which is not supported")
        from safetensors.numpy import save_file

        state, prefix = self.found.tensors(), "bert_model."
        own = {
            name.partition(prefix)[2]: np.ascontiguousarray(value) for name, value in state.items() if prefix in name
        }
        with TemporaryDirectory(prefix="lotte-") as scratch:
            folder = Path(scratch)
            said = {**self.found.described, "model_type": "bert", "architectures": ["BertModel"]}
            (folder / "config.json").write_text(json.dumps(said))
            save_file(own, folder / checkpoint.WEIGHTS, metadata={"format": "pt"})
            for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
                if (self.folder / name).exists():
                    (folder / name).write_bytes((self.folder / name).read_bytes())
            yield folder

    def _require_whole(self, transformer: Any, with_head: bool) -> None:
        """Raise CorruptFileError if a weight is in no file: the library makes it up, and says nothing."""
        state = transformer.model.state_dict()
        stored = self.found.tensors().keys()
        ends = {name[at + 1 :] for name in stored for at, letter in enumerate(name) if letter == "."} | set(stored)

        def is_stored(name: str) -> bool:
            return name in ends or any(name[at + 1 :] in stored for at, letter in enumerate(name) if letter == ".")

        shared = {value.data_ptr() for name, value in state.items() if is_stored(name)}
        for name, value in state.items():
            is_spare = "position_ids" in name or "pooler." in name if with_head else checkpoint.is_spare(name)
            if not is_stored(name) and value.data_ptr() not in shared and not is_spare:
                raise CorruptFileError(f"{self.name} lacks the tensor {name!r}, which config.json requires")


def device_of(device: str) -> str:
    """Return what torch calls a device; "auto" is a GPU if there is one. Raises MismatchError for one that is not."""
    torch = extras.package("torch", f"device={device}")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise MismatchError(f"device={device}: torch finds no usable GPU on this machine")
    return device


def whole_characters(text: str) -> str:
    """Return a text with ? for each unpaired surrogate, which a tokenizer does not take."""
    return text.encode("utf-8", "replace").decode()


def facts_of(source: ModelFolder, model: Any) -> dict[str, Any]:
    """Return what a record says of a model."""
    return {
        "id": source.name,
        "revision": source.found.revision,
        "sha256": source.found.sha256,
        "parameters": sum(value.numel() for value in model.parameters()),
    }


def keep_if_same(folder: Path, facts: Mapping[str, Any], name: str) -> None:
    """Remove a file that a stopped build made with another model of the same name, and say which model makes it now."""
    path = folder / MODEL
    try:
        same = json_file(path) == facts
    except (OSError, CorruptFileError):
        same = False
    if not same:
        (folder / name).unlink(missing_ok=True)
        artifact.write_whole(path, artifact.canonical(facts))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence both libraries, which warn of settings that are decided here."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logger = logging.getLogger("sentence_transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
