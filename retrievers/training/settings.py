"""The settings of a whole training, by name: `paper` is what the paper did, `small` fits a laptop.

A run is a function that returns its settings; to try a variant, write another
one, or change single settings with `-o v1.lr=2e-5`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_type_hints

from lotte import key_value
from lotte.errors import LotteError, did_you_mean, shown
from retrievers.training.bounds import require_bounds

DIM = 128  # numbers in a vector of a projection that training makes
_WORDS: Mapping[str, tuple[Any, ...]] = {
    "projection": ("own-or-random", "own-or-principal", "random", "principal"),
    "precision": ("bf16", "fp32"),
    "teacher_negatives": ("bm25", "mined"),
    "bits": (1, 2, 4, 8),
}
_ABOVE_0 = (
    "query_maxlen", "doc_maxlen", "teacher_maxlen", "validation_depth", "bm25_depth", "v1_passes", "teacher_passes",
    "depth", "passes",
)  # fmt: skip
FREE = ("parts", "validate_every", "save_every")  # settings that may change while a training is stopped
TEACHER = "cross-encoder/ms-marco-MiniLM-L-6-v2"


def lasting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a training must go on with: all but FREE, in sections too."""
    kept = {key: value for key, value in settings.items() if key not in FREE}
    return {key: lasting(value) if isinstance(value, Mapping) else value for key, value in kept.items()}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The settings of one training."""

    steps: int = 0  # 0: once over the examples
    batch: int = 32  # lines a step, of all GPUs together
    nway: int = 2  # passages of a line
    lr: float = 1e-5
    warmup: int = 0  # steps
    decay: bool = True  # to 0 at the last step, along a line
    weight_decay: float = 0.0
    clip: float = 2.0  # length of the gradient
    parts: int = 1  # a batch is encoded in so many parts: memory against time, the same result
    dropout: float = 0.0
    seed: int = 12345
    validate_every: int = 0  # steps; 0: at the end alone
    save_every: int = 200  # steps
    in_batch: bool = True  # whether other questions' passages are negatives too
    temperature: float = 1.0  # of the teacher
    distil_weight: float = 1.0
    in_batch_weight: float = 1.0

    def __post_init__(self) -> None:
        """Raise LotteError for a number that no training can have."""
        require_bounds(self, above_0=("batch", "nway", "lr", "clip", "parts", "save_every", "temperature"))
        if self.nway < 2:
            raise LotteError(f"nway must be 2 or more, a positive and a negative, not {self.nway}")
        if not 0 <= self.dropout < 1:
            raise LotteError(f"dropout must be 0 or more and less than 1, not {self.dropout}")


_V1 = Fit(batch=32, nway=2, lr=3e-6, in_batch=False)
_CROSSENCODER = Fit(batch=32, nway=4, lr=2e-5, in_batch=False)
_DISTIL = Fit(batch=32, nway=64, lr=1e-5)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of ColBERTv2's training, step by step."""

    start: str = "bert-base-uncased"  # a folder, or a name on the Hugging Face hub
    start_seen: str = ""  # what the start was trained on, for the card: "MS MARCO; GooAQ"
    start_licence: str = ""  # for the card
    scratch: bool = False  # take the start's configuration and tokenizer only, and draw the weights
    projection: str = "own-or-random"  # the start's own, if it has one; or "own-or-principal", "random", "principal"
    dim: int = 0  # numbers in a vector; 0: as the start's own projection gives, and else DIM
    query_maxlen: int = 32
    doc_maxlen: int = 180
    precision: str = "bf16"  # or fp32
    device: str = "auto"
    seed: int = 12345
    limit: int = 0  # questions of one dataset at most; 0: all
    passages: int = 0  # passages of one dataset, right answers and others; 0: all. Right answers are always taken
    validation: int = 500  # questions kept from training, to choose the best checkpoint by
    validation_depth: int = 50  # passages that are put in order for each of them
    bm25_depth: int = 100  # passages of BM25 that negatives are drawn from
    v1_passes: int = 1  # over the questions
    v1: Fit = _V1
    teacher: str = TEACHER  # a cross-encoder; "": train one first
    teacher_start: str = ""  # what the trained teacher starts from; "": as the student
    teacher_maxlen: int = 180
    teacher_negatives: str = "bm25"  # or "mined": what v1 finds, which is what it will have to put in order
    teacher_passes: int = 1
    crossencoder: Fit = _CROSSENCODER
    rounds: int = 2  # of mining, scoring, distilling
    bits: int = 2  # of the index that is mined
    depth: int = 500  # passages of a question that negatives are drawn from
    scored: int = 0  # of these, how many the teacher scores, drawn at random; 0: all
    mined_questions: int = 0  # how many questions are mined a round, drawn at random; 0: all
    passes: int = 1  # over the mined questions
    distil: Fit = _DISTIL

    def __post_init__(self) -> None:
        """Raise LotteError for a word that names nothing, and for a number that no training can have."""
        for name, known in _WORDS.items():
            if getattr(self, name) not in known:
                raise LotteError(f"{name} is {' or '.join(map(repr, known))}, not {getattr(self, name)!r:.60}")
        if not re.fullmatch("auto|cpu|cuda(:[0-9]{1,3})?", self.device):
            raise LotteError(f"device is 'auto', 'cpu', 'cuda' or 'cuda:0', not {self.device!r:.60}")
        if not self.start:
            raise LotteError("start is a folder, or a name on the Hugging Face hub, and not empty")
        require_bounds(self, above_0=_ABOVE_0)


def paper() -> Recipe:
    """What the paper did, on four GPUs of 80 GB for five days.

    Source  Santhanam et al. 2022, section 3.2 and appendix F; Khattab & Zaharia 2020 for the first step
    """
    often: dict[str, Any] = {"dropout": 0.1, "save_every": 2000, "validate_every": 20_000}
    return Recipe(
        v1=replace(_V1, decay=False, **often),
        passes=16,  # 800,000 questions; 400,000 steps of 32 lines
        distil=replace(_DISTIL, steps=400_000, warmup=20_000, **often),
    )


def small() -> Recipe:
    """A training of a small transformer on one GPU in minutes, or on two cores in hours."""
    return Recipe(
        start="sentence-transformers/all-MiniLM-L6-v2",
        start_seen="Stack Exchange (titles, bodies, answers of 140 communities), GooAQ, MS MARCO, SQuAD, NQ and others",
        start_licence="Apache-2.0",
        projection="own-or-principal",
        teacher="",
        v1=Fit(batch=32, nway=2, lr=3e-5, warmup=50, validate_every=300, clip=2.0),
        crossencoder=Fit(batch=16, nway=4, lr=4e-5, warmup=50, validate_every=500, in_batch=False),
        teacher_negatives="mined",
        depth=50,
        scored=11,
        mined_questions=12_000,
        distil=Fit(batch=16, nway=8, lr=3e-5, warmup=30, validate_every=250),
        validation=300,
        validation_depth=30,
    )


RUNS: Mapping[str, Callable[[], Recipe]] = {"paper": paper, "small": small}


def changed(recipe: Recipe, options: Iterable[str]) -> Recipe:
    """Return a recipe with "key=value" settings changed; a training's settings are written v1.lr=2e-5.

    What the recipe says of its start is not true of another one: it goes, unless it is given too.

    Raises  LotteError for a key that does not exist, or a value of another type
    """
    pairs = [key_value.cut(pair) for pair in options]
    if "start" in dict(pairs):
        recipe = replace(recipe, start_seen="", start_licence="")
    for key, text in pairs:
        outer, dot, inner = key.partition(".")
        value: Any
        if dot and isinstance(part := getattr(recipe, outer, None), Fit):
            read = _value(key, Fit, inner, text)
            try:
                value = replace(part, **{inner: read})
            except LotteError as error:
                raise LotteError(f"{outer}.{error}") from None
        else:
            outer, value = key, _value(key, Recipe, key, text)
        recipe = replace(recipe, **{outer: value})
    return recipe


def _value(key: str, kind: type[Any], name: str, text: str | None) -> Any:
    types = get_type_hints(kind)
    if types.get(name) not in key_value.READ:
        known = [
            spelled
            for outer, type_ in get_type_hints(Recipe).items()
            for spelled in ([f"{outer}.{field.name}" for field in fields(Fit)] if type_ is Fit else [outer])
        ]
        hint = did_you_mean(key, known).rstrip() or f"docs/training.md has all {len(known)}"
        raise LotteError(f"training has no setting {shown(key)}; {hint}")
    return key_value.value(text, types[name], key)
