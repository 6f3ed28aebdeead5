"""An interaction model with its words: built from texts, trained, stored in a folder, used to score pairs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lotte import artifact
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError, reason, shown
from lotte.parsing import json_object
from retrievers.interaction.models import DOC_WORDS, MODELS, QUERY_WORDS
from retrievers.interaction.words import Words, vectors
from retrievers.training.teacher import Passage, Question, Texts

CONFIG, WEIGHTS, WORDS = "config.json", "model.safetensors", "words.json"
PAIRS_AT_ONCE = 256


class InteractionModel(nn.Module):
    """K-NRM, Conv-KNRM or Duet over the words of its training texts.

    kind  a name of MODELS
    """

    def __init__(self, kind: str, words: Words, vector_VH: Tensor) -> None:
        super().__init__()
        self.kind, self.words, self.sha256 = kind, words, ""  # of the weights, once they are in a file
        self.net = MODELS[kind](vector_VH, words.idf_V)

    @classmethod
    def begin(cls, kind: str, texts: Sequence[str], *, dim: int, seed: int) -> "InteractionModel":
        """Return a model that was not trained, with the words of these passages and vectors learnt from them."""
        words = Words.of(texts)
        if not words.known:
            raise MismatchError(f"{kind}: no word is in two of the {len(texts):,} passages, so none can be learned")
        return cls(kind, words, vectors(words, texts, dim, seed))

    @classmethod
    def load(cls, kind: str, folder: str | Path) -> "InteractionModel":
        """Return the model of a folder that `save` wrote.

        Raises  UnavailableError if it is none, MismatchError for a model of another kind, CorruptFileError for a file
                that does not fit
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        if not (folder / CONFIG).is_file():
            raise UnavailableError(
                f"{folder} has no {CONFIG}: name the folder of a checkpoint that `lotte train {kind}` made"
            )
        said = json_object(folder / CONFIG)
        if said.get("kind") != kind:
            raise MismatchError(
                f"{folder} holds {shown(said.get('kind', 'another model'), 40)}, but {kind} was requested"
            )
        artifact.whole(folder)
        try:
            table = json_object(folder / WORDS)
            words = Words(tuple(map(str, table["known"])), tuple(map(float, table["idf"])), float(table["rarest"]))
            state = load_file(folder / WEIGHTS)
            model = cls(kind, words, torch.zeros(len(words), int(said["dim"])))
            model.net.load_state_dict(state)
            model.sha256 = artifact.sha256(folder / WEIGHTS)
        except (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError) as error:
            if isinstance(error, LotteError):
                raise
            raise CorruptFileError(f"{folder}: the model cannot be read ({reason(error)})") from None
        return model

    def save(self, folder: Path, training: Mapping[str, Any], papers: Mapping[str, bytes] | None = None) -> Path:
        """Leave the model in a folder, whole or not at all.

        papers  further files: name -> content
        """
        from safetensors.torch import save_file

        said = {"kind": self.kind, "dim": self.net.get_submodule("vectors").embedding_dim}
        with artifact.folder(folder, {**said, "training": dict(training)}, seal=True) as made:
            artifact.write_json(made / CONFIG, said)
            for name, content in (papers or {}).items():
                (made / name).write_bytes(content)
            table = {"known": self.words.known, "idf": self.words.idf, "rarest": self.words.rarest}
            artifact.write_json(made / WORDS, table)
            save_file({name: weight.detach().cpu().contiguous() for name, weight in self.net.state_dict().items()},
                      made / WEIGHTS)  # fmt: skip
        return folder

    def read(self, questions: Sequence[str], passages: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the numbers of the words of N pairs, (N, Q) and (N, D)."""
        return (
            torch.from_numpy(self.words.numbers(questions, QUERY_WORDS)),
            torch.from_numpy(self.words.numbers(passages, DOC_WORDS)),
        )

    def forward(self, query_NQ: Tensor, doc_ND: Tensor) -> Tensor:
        """Return the (N,) scores of N pairs."""
        device = next(self.net.parameters()).device
        score_N: Tensor = self.net(query_NQ.to(device), doc_ND.to(device))
        return score_N

    def scored(
        self, texts: Texts[Question, Passage], candidates: Mapping[Question, Sequence[Passage]]
    ) -> Iterator[tuple[Question, dict[Passage, float]]]:
        """Yield the scores of question after question, as `teacher.scored` does."""
        self.eval()
        for qid, pids in candidates.items():
            values: list[float] = []
            for begin in range(0, len(pids), PAIRS_AT_ONCE):
                some = pids[begin : begin + PAIRS_AT_ONCE]
                with torch.inference_mode():
                    query_1Q, doc_ND = self.read([texts.questions[qid]], [texts.passage(pid) for pid in some])
                    values += self(query_1Q.expand(len(some), -1), doc_ND).tolist()
            yield qid, dict(zip(pids, (round(value, 5) for value in values), strict=True))
