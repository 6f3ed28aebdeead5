"""The settings that a training folder was started with: a training resumes only with these."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lotte import artifact
from lotte.errors import CorruptFileError, MismatchError, UnavailableError, named, writing
from lotte.parsing import json_object
from retrievers.training.settings import DIM, PairRecipe, completed, lasting

SETTINGS = "settings.json"


def settle(folder: Path, recipe: PairRecipe, *, new: bool) -> None:
    """Write the settings of a run, unless they are there.

    new  whether there is what it takes to begin one: datasets

    Raises  MismatchError if the folder was begun with other settings, UnavailableError if it was not, and is not new
    """
    settings = {key: value for key, value in asdict(recipe).items() if key != "device"}
    path = folder / SETTINGS
    if path.exists():
        begun = completed(_read(path), asdict(type(recipe)()))  # with settings that are newer than the run
        had, has = (_flat(lasting(_as_first_written(either))) for either in (begun, settings))
        if other := [key for key in has if had.get(key) != has[key]]:
            raise MismatchError(
                f"{folder} was begun with {_spelled(had, other)}, but is now given {_spelled(has, other)}"
                "; a training run resumes with the settings it was started with. Change it back, or name another --out"
            )
        if begun == settings:
            return
    elif not new:
        raise UnavailableError(f"{folder} holds no training yet: name the datasets to train on")
    with writing(folder):
        artifact.write_whole(path, artifact.readable(settings, ascii=True, sort=False))


def _read(path: Path) -> dict[str, Any]:
    try:
        return json_object(path)
    except CorruptFileError as error:
        raise CorruptFileError(f"{error}; name another --out, or write it again") from None


def _as_first_written(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as of trainings started before a start's projection was kept by default."""
    projection = str(settings["projection"]).removeprefix("own-or-")
    return {**settings, "projection": projection, "dim": settings["dim"] or DIM}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of sections as they are typed: v1.lr."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= (
            {f"{key}.{inner}": plain for inner, plain in value.items()} if isinstance(value, Mapping) else {key: value}
        )
    return flat


def _spelled(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(f"{key}={named(str(settings.get(key)))}" for key in keys[:3]) + more
