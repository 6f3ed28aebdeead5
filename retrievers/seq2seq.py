"""A text-to-text model, which samples the expansions of documents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lotte import artifact, extras
from lotte.errors import CorruptFileError, MismatchError, reason
from retrievers.colbert.model import checkpoint
from retrievers.colbert.model.checkpoint import Checkpoint
from retrievers.colbert.model.tokens import reported


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How texts are drawn."""

    samples: int  # of each text
    top_k: int  # words that are drawn from at each place
    maxlen: int  # tokens of a sample
    doc_maxlen: int  # tokens of a text that is read
    seed: int


class Seq2Seq:
    """A model of transformers' AutoModelForSeq2SeqLM, T5 for one, with its tokenizer.

    Raises  UnavailableError without torch or transformers, or for a GPU that is not there
            CorruptFileError or MismatchError for a checkpoint that is no such model
    """

    def __init__(self, found: Checkpoint, device: str) -> None:
        what = f"expanding documents with {found.name}"
        self._torch, _ = (extras.package(name, what) for name in ("torch", "transformers"))
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        pickle = found.weights[0].suffix == ".bin"  # which `weights` has refused without trust
        load: Any = AutoModelForSeq2SeqLM.from_pretrained
        reader: Any = AutoTokenizer
        with reported(f"{found.folder}: transformers cannot read its tokenizer"):
            self._tokenizer = reader.from_pretrained(found.folder, local_files_only=True)
        try:
            model, loading = load(
                found.folder, local_files_only=True, use_safetensors=not pickle, output_loading_info=True
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise CorruptFileError(
                f"{found.name} is not a text-to-text model that transformers can read ({reason(error)})"
            ) from None
        if lacking := sorted(loading["missing_keys"]):
            raise CorruptFileError(f"{found.name} lacks the tensor {lacking[0]!r}, which config.json requires")
        self._model = model.float().eval().to(self._device(device))

    def _device(self, name: str) -> str:
        if name == "auto":
            return "cuda" if self._torch.cuda.is_available() else "cpu"
        if name.startswith("cuda") and not self._torch.cuda.is_available():
            raise MismatchError(f"device={name}: torch finds no usable GPU on this machine")
        return name

    def sample(self, texts: Sequence[str], how: Sampling) -> list[list[str]]:
        """Return samples of each text. The same texts and seed have the same samples, whatever was drawn before."""
        torch = self._torch
        # an unpaired surrogate, which no UTF-8 has, becomes a question mark
        whole = [text.encode("utf-8", "replace").decode() for text in texts]
        tokens = self._tokenizer(
            whole, truncation=True, max_length=how.doc_maxlen, padding=True, return_tensors="pt"
        ).to(self._model.device)
        torch.manual_seed(int(artifact.digest([how.seed, whole])[:15], 16))
        with torch.inference_mode():
            made = self._model.generate(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], do_sample=True, num_beams=1,
                top_k=how.top_k, top_p=1.0, temperature=1.0, max_new_tokens=how.maxlen,
                num_return_sequences=how.samples,
            )  # fmt: skip
        drawn = [text.strip() for text in self._tokenizer.batch_decode(made, skip_special_tokens=True)]
        return [drawn[first : first + how.samples] for first in range(0, len(drawn), how.samples)]


def find(source: str, revision: str = "", *, trust: bool = False) -> Checkpoint:
    """Return the checkpoint of that name or folder. Raises as `checkpoint.find` does."""
    return checkpoint.find(source, revision=revision or None, trust=trust)
