"""What a command needs and this machine lacks: packages, checkpoints, a GPU, disk, memory, indexes of another format.

Nothing is fetched and no model is loaded: a check takes milliseconds. A finding is fine, missing, or a note on what
would only be quicker or nicer; what is missing comes with the command that gets it.
"""

import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from leaderboard import machine
from lotte import artifact, estimate
from lotte.errors import LotteError, unknown
from lotte.extras import EXTRAS
from lotte.home import home
from retrievers import index_meta, registry

State = Literal["ok", "missing", "note"]
COMMANDS: dict[str, tuple[str, ...]] = {  # what each needs whatever the retriever is
    "board": (),
    "build": (),
    "check": (),
    "date": (),
    "demo": ("colbert",),
    "describe": (),
    "eval": (),
    "export": (),
    "fetch": (),
    "index": (),
    "list": (),
    "publish": (),
    "search": (),
    "train": ("train",),
}
FURTHER = {  # what a part of a command needs
    "board": ("board", "plot"),
    "check": ("colbert",),
    "date": ("plot",),
    "describe": ("plot",),
    "eval": ("data", "board"),
    "export": ("train", "onnx", "qdrant", "lancedb"),
    "fetch": ("data",),
    "publish": ("colbert",),
}
RETRIEVERS = {  # the extra that each system needs; the others need none
    **dict.fromkeys(("colbert", "colbertv2", "hybrid"), "colbert"),
    **dict.fromkeys(("conv_knrm", "crossencoder", "doc2query", "duet", "knrm", "tct_colbert"), "train"),
    **dict.fromkeys(("ance", "cocondenser", "contriever", "dense", "dpr", "splade", "tasb"), "dense"),
}
ASKING = ("index", "search", "eval")  # commands that run a retriever
GB = 1e9
LITTLE_DISK, LITTLE_MEMORY = 5 * GB, 2 * GB  # below which a collection of some size does not fit


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: State
    what: str
    found: str
    do: str = ""  # the command that gets what is missing

    def row(self) -> dict[str, str]:
        """Return it as commands print it."""
        return {"state": self.state, "what": self.what, "found": self.found, "do": self.do}


def look(
    command: str = "", *, retriever: str = "", folders: Sequence[Path] = (), data: Path | None = None
) -> Iterator[Finding]:
    """Give what a command needs and whether it is here; without one, what all of them need.

    retriever  that is to be run
    folders    indexes that are to be opened

    Raises  UnknownNameError for a command or a retriever that is none
    """
    if command and command not in COMMANDS:
        raise unknown("command", command, COMMANDS)
    if retriever and ":" not in retriever and retriever not in registry.names():
        raise unknown("retriever", retriever, registry.names())
    yield Finding("ok", "python", f"{platform.python_version()}, {sys.executable}")
    yield from _packages(command, retriever)
    if retriever:
        yield from _checkpoint(retriever)
    yield from _machine()
    yield from _data(data or home())
    for folder in folders:
        yield _index(folder)


def _packages(command: str, retriever: str) -> Iterator[Finding]:
    """Give a line for each extra: those that are needed, and those that a part of the command needs."""
    needed = list(dict.fromkeys([*COMMANDS.get(command, ()), *filter(None, [RETRIEVERS.get(retriever, "")])]))
    every = dict.fromkeys(EXTRAS.values())
    further = FURTHER.get(command, () if command else every)
    if command in ASKING and not retriever:
        further = (*further, *dict.fromkeys(RETRIEVERS.values()))
    for extra in dict.fromkeys([*needed, *further]):
        packages = [name for name, brings in EXTRAS.items() if brings == extra]
        absent = [name for name in packages if find_spec(name) is None]
        state: State = "ok" if not absent else "missing" if extra in needed else "note"
        found = f"{', '.join(absent)} not installed" if absent else ", ".join(packages)
        yield Finding(state, f"extra {extra}", found, f"pip install 'lotte-bench[{extra}]'" if absent else "")


def _checkpoint(retriever: str) -> Iterator[Finding]:
    """Say whether the weights that a system takes unless it is told otherwise are on this disk."""
    if ":" in retriever or not (name := _default_checkpoint(retriever)):
        return
    if find_spec("huggingface_hub") is None:
        yield Finding(
            "missing", "checkpoint", f"{name}, which huggingface_hub fetches", "pip install 'lotte-bench[colbert]'"
        )
        return
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        yield Finding("ok", "checkpoint", f"{name} is in the cache")
    elif retriever == "colbertv2":
        found = f"{name} is not in the cache; where it cannot be fetched the small one that ships is taken"
        yield Finding("note", "checkpoint", found, f"hf download {name}")
    else:
        yield Finding(
            "missing",
            "checkpoint",
            f"{name} is not in the cache, and is fetched when it is used",
            f"hf download {name}",
        )


def _default_checkpoint(retriever: str) -> str:
    from importlib import import_module

    system = import_module(f"retrievers.systems.{retriever}")
    said = getattr(system, "CHECKPOINT", "") or getattr(system.retriever, "checkpoint", "")
    return said if isinstance(said, str) and said.count("/") == 1 else ""


def _machine() -> Iterator[Finding]:
    """Say what processor, memory, disk and GPU there are."""
    here = machine.machine()
    yield Finding("ok", "processor", f"{here['cpu']}, {here['cores']} cores")
    gpus = here["gpu"]
    yield Finding(
        "ok" if gpus else "note",
        "GPU",
        "; ".join(gpus) or "none: models run on the processor, ten times slower or more",
    )
    memory, room = estimate.free_memory(), estimate.free_disk(Path.cwd())
    if memory is not None:
        more = "" if memory > LITTLE_MEMORY else "close something, or take a larger machine"
        yield Finding("ok" if not more else "note", "memory", f"{memory / GB:.1f} GB free", more)
    more = "" if room > LITTLE_DISK else "make room, or work in a folder of another disk"
    yield Finding("ok" if not more else "note", "disk", f"{room / GB:.1f} GB free in {Path.cwd()}", more)


def _data(folder: Path) -> Iterator[Finding]:
    """Say which datasets are where the other commands look."""
    from leaderboard import catalogue

    names = catalogue.on_disk(folder) if folder.is_dir() else []
    found = f"{len(names):,} datasets in {folder}" if names else f"none in {folder}"
    yield Finding(
        "ok" if names else "note", "datasets", found, "" if names else "lotte fetch NAME, lotte build, or --data DIR"
    )


def _index(folder: Path) -> Finding:
    """Say whether an index opens, and how it is made again if it does not."""
    what = f"index {folder}"
    try:
        meta = index_meta.read(folder)
        index_meta.check_small(folder, meta)
    except LotteError as error:
        return Finding("missing", what, str(error), _again(folder))
    by = meta["recipe"]["retriever"]
    if "sizes" not in meta:
        return Finding("note", what, f"by {by}; older than the checks of every byte, and opens", _again(folder))
    documents = meta["corpus"]["documents"]
    return Finding("ok", what, f"by {by}, {documents:,} documents, format {meta['format']}")


def _again(folder: Path) -> str:
    """Return the command that makes an index again, as far as its meta.json says it."""
    meta = artifact.meta(folder) or {}
    recipe, corpus = meta.get("recipe"), meta.get("corpus")
    name = recipe.get("retriever", "NAME") if isinstance(recipe, dict) else "NAME"
    path = corpus.get("path") if isinstance(corpus, dict) else None
    return f"lotte index --retriever {name} {path or 'DATASET'} --out {folder}"
