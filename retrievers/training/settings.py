"""The settings of a whole training, by name: `paper` is as in the paper, `small` fits a laptop.

A run is a function that returns its settings; to try a variant, write another
one, or change single settings with `-o v1.lr=2e-5`. There are settings for ColBERT,
for ColBERTv2 and its teacher, and for TCT-ColBERT, with a common base.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, TypeVar, get_type_hints

from lotte import key_value
from lotte.errors import LotteError, did_you_mean, shown
from retrievers.training.bounds import require_bounds

DIM = 128  # numbers in a vector of a projection that training makes
_WORDS: Mapping[str, tuple[Any, ...]] = {
    "projection": ("own-or-random", "own-or-principal", "random", "principal"),
    "precision": ("bf16", "fp32"),
    "teacher_negatives": ("bm25", "mined"),
    "bits": (1, 2, 4, 8),
    "distil": ("triplet", "batch", "none"),
    "loss": ("kl", "margin_mse", "contrastive"),
    "scoring": ("maxsim", "xtr"),
    "model": ("knrm", "conv_knrm", "duet"),
}
_ABOVE_0 = (
    "query_maxlen", "doc_maxlen", "teacher_maxlen", "validation_depth", "bm25_depth", "v1_passes", "teacher_passes",
    "depth", "passes", "student_passes", "temperature",
)  # fmt: skip
FREE = ("parts", "validate_every", "save_every")  # settings that may change while a training is stopped
TEACHER = "cross-encoder/ms-marco-MiniLM-L-6-v2"
HYBRID = "hybrid"  # as a teacher: what a model and BM25 find together is better than what either does


def lasting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a training must go on with: all but FREE, in sections too."""
    kept = {key: value for key, value in settings.items() if key not in FREE}
    return {key: lasting(value) if isinstance(value, Mapping) else value for key, value in kept.items()}


def _require_words(settings: Any) -> None:
    """Raise LotteError for a setting that is a word, and none of those it may be."""
    for name, known in _WORDS.items():
        value = getattr(settings, name, known[0])
        if not is_dataclass(value) and value not in known:
            raise LotteError(f"{name} must be {' or '.join(map(repr, known))}, not {value!r:.60}")


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
    loss: str = "kl"  # from the teacher's scores: kl, margin_mse; or contrastive, which does not look at them
    scoring: str = "maxsim"  # or xtr: of the batch only the tokens count that a token of a question is nearest to
    xtr_k: int = 320  # how many tokens that is
    scale: float = 1.0  # the student's scores are multiplied by it, those of xtr are 1 at most
    gather: bool = False  # whether passages of all processes are in the batch, or those of each alone

    def __post_init__(self) -> None:
        """Raise LotteError for a word that names nothing, and for a number that no training can have."""
        _require_words(self)
        above_0 = ("batch", "nway", "lr", "clip", "parts", "save_every", "temperature", "xtr_k", "scale")
        require_bounds(self, above_0=above_0)
        if self.nway < 2:
            raise LotteError(f"nway must be 2 or more, a positive and a negative, not {self.nway}")
        if not 0 <= self.dropout < 1:
            raise LotteError(f"dropout must be 0 or more and less than 1, not {self.dropout}")


_V1 = Fit(batch=32, nway=2, lr=3e-6, in_batch=False)
_CROSSENCODER = Fit(batch=32, nway=4, lr=2e-5, in_batch=False)
_DISTIL = Fit(batch=32, nway=64, lr=1e-5)
_NET = Fit(batch=32, nway=2, lr=1e-3, warmup=50, validate_every=500, in_batch=False)
_STUDENT = Fit(batch=96, nway=2, lr=7e-6, weight_decay=0.01, clip=1.0)


def completed(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, in sections too, with the default of each that was not there yet when they were written."""
    return {**defaults, **settings} | {
        key: completed(settings[key], value)
        for key, value in defaults.items()
        if isinstance(value, Mapping) and isinstance(settings.get(key), Mapping)
    }


@dataclass(frozen=True, kw_only=True)
class PairRecipe:
    """The settings of what every training begins with: pairs, negatives, and ColBERT on triples."""

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
    mask_punctuation: bool = True  # whether punctuation gets no vector

    _may_be_0: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        """Raise LotteError for a word that names nothing, and for a number that no training can have."""
        _require_words(self)
        if not re.fullmatch("auto|cpu|cuda(:[0-9]{1,3})?", self.device):
            raise LotteError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:0', not {self.device!r:.60}")
        if not self.start:
            raise LotteError("start must be a folder or a name on the Hugging Face hub, and cannot be empty")
        above_0 = {name for name in _ABOVE_0 if hasattr(self, name)} - self._may_be_0
        require_bounds(self, above_0=sorted(above_0))


@dataclass(frozen=True, kw_only=True)
class ColBERTRecipe(PairRecipe):
    """The settings of ColBERT's training; its code keeps punctuation by default."""

    mask_punctuation: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe(PairRecipe):
    """The settings of ColBERTv2's training, step by step."""

    _may_be_0: ClassVar[frozenset[str]] = frozenset({"v1_passes"})

    teacher: str = TEACHER  # a cross-encoder; "": train one first; HYBRID: the last model and BM25
    bm25_weight: float = 0.4  # of BM25's scores beside the last model's own, if the teacher is HYBRID
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
    v1_passes: int = (
        1  # over the questions; 0: the start is a late-interaction checkpoint, and the rounds begin with it
    )


@dataclass(frozen=True, kw_only=True)
class TctRecipe(PairRecipe):
    """The settings of TCT-ColBERT's training: a ColBERT, and the student that it teaches while it trains."""

    mask_punctuation: bool = False
    teacher: str = ""  # a late-interaction checkpoint; "": v1 of this run
    distil: str = "batch"  # labels of the teacher for all passages of the batch; "triplet": for a line; "none": none
    temperature: float = 0.25  # the teacher's scores are divided by it
    gamma: float = 0.1  # the weight of the right passages themselves; that of the teacher is 1 - gamma
    student_passes: int = 1  # over the questions
    student: Fit = _STUDENT

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gamma > 1:
            raise LotteError(f"gamma must be from 0 to 1, not {self.gamma}")


@dataclass(frozen=True, kw_only=True)
class InteractionRecipe(PairRecipe):
    """The settings of a re-ranker over word vectors, which starts from no checkpoint."""

    model: str = "knrm"  # or conv_knrm, duet: what is trained
    dim: int = 300  # numbers in a word's vector
    passes: int = 1  # over the questions
    net: Fit = _NET


_OFTEN: dict[str, Any] = {"dropout": 0.1, "save_every": 2000, "validate_every": 20_000}  # in days of training
_PAPER_V1 = replace(_V1, decay=False, **_OFTEN)
_SMALL: dict[str, Any] = {
    "start": "sentence-transformers/all-MiniLM-L6-v2",
    "start_seen": "Stack Exchange (titles, bodies, answers of 140 communities), GooAQ, MS MARCO, SQuAD, NQ and others",
    "start_licence": "Apache-2.0",
    "projection": "own-or-principal",
    "v1": Fit(batch=32, nway=2, lr=3e-5, warmup=50, validate_every=300, clip=2.0),
    "validation": 300,
    "validation_depth": 30,
}


def paper() -> Recipe:
    """What the paper did, on four GPUs of 80 GB for five days.

    Source  Santhanam et al. 2022, section 3.2 and appendix F; Khattab & Zaharia 2020 for the first step
    """
    return Recipe(
        v1=_PAPER_V1,
        passes=16,  # 800,000 questions; 400,000 steps of 32 lines
        distil=replace(_DISTIL, steps=400_000, warmup=20_000, **_OFTEN),
    )


def small() -> Recipe:
    """A training of a small transformer on one GPU in minutes, or on two cores in hours."""
    return Recipe(
        **_SMALL,
        teacher="",
        crossencoder=Fit(batch=16, nway=4, lr=4e-5, warmup=50, validate_every=500, in_batch=False),
        teacher_negatives="mined",
        depth=50,
        scored=11,
        mined_questions=12_000,
        distil=Fit(batch=16, nway=8, lr=3e-5, warmup=30, validate_every=250),
    )


def colbert_paper() -> ColBERTRecipe:
    """What ColBERT's paper did: 200,000 steps of 32 triples.

    Source  Khattab & Zaharia 2020, arXiv:2004.12832, section 4.1
    """
    return ColBERTRecipe(v1=replace(_PAPER_V1, steps=200_000))


def colbert_small() -> ColBERTRecipe:
    """The same of a small transformer, on one GPU in minutes, or on two cores in an hour."""
    return ColBERTRecipe(**_SMALL)


def tct_paper() -> TctRecipe:
    """What TCT-ColBERT's paper and its release did: 160,000 steps of 96 triples, after the teacher's.

    Source  Lin et al. 2020, arXiv:2010.11386, section 4.1; castorini/tct_colbert
    """
    student = replace(_STUDENT, steps=160_000, warmup=10_000, **_OFTEN)
    return TctRecipe(doc_maxlen=150, v1=replace(_PAPER_V1, steps=200_000), student=student)


def tct_small() -> TctRecipe:
    """The same of a small transformer, on one GPU in minutes, or on two cores in hours."""
    student = Fit(batch=32, nway=2, lr=3e-5, warmup=50, validate_every=300, weight_decay=0.01, clip=1.0)
    return TctRecipe(**_SMALL, doc_maxlen=150, student=student)


def interaction(model: str) -> Mapping[str, Callable[[], PairRecipe]]:
    """The settings of a re-ranker over word vectors, by name: those of its paper, and those for two cores.

    Source  the learning rate of Xiong et al. 2017 and Dai et al. 2018; Mitra and Craswell 2019 for Duet's triples
    """
    return {
        "paper": lambda: InteractionRecipe(model=model, passes=10),
        "small": lambda: InteractionRecipe(model=model, dim=100, passes=2, validation=300, validation_depth=30),
    }


Made = TypeVar("Made", bound=PairRecipe)
RUNS: Mapping[str, Mapping[str, Callable[[], PairRecipe]]] = {  # what is trained -> name of settings
    "colbert": {"paper": colbert_paper, "small": colbert_small},
    "colbertv2": {"paper": paper, "small": small},
    "crossencoder": {"paper": paper, "small": small},
    "tct_colbert": {"paper": tct_paper, "small": tct_small},
    **{model: interaction(model) for model in _WORDS["model"]},
}


def changed(recipe: Made, options: Iterable[str]) -> Made:
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
            read = _value(key, Fit, inner, text, type(recipe))
            try:
                value = replace(part, **{inner: read})
            except LotteError as error:
                raise LotteError(f"{outer}.{error}") from None
        else:
            outer, value = key, _value(key, type(recipe), key, text)
        recipe = replace(recipe, **{outer: value})
    return recipe


def _value(key: str, kind: type[Any], name: str, text: str | None, recipe: type[Any] | None = None) -> Any:
    types = get_type_hints(kind)
    if types.get(name) not in key_value.READ:
        known = [
            spelled
            for outer, type_ in get_type_hints(recipe or kind).items()
            for spelled in ([f"{outer}.{field.name}" for field in fields(Fit)] if type_ is Fit else [outer])
        ]
        hint = did_you_mean(key, known).rstrip() or f"docs/training.md has all {len(known)}"
        raise LotteError(f"training has no setting {shown(key)}; {hint}")
    return key_value.value(text, types[name], key)
