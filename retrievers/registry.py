"""Retrievers by name: `bm25` is the dataclass in `retrievers/systems/bm25.py`, and its fields are its options.

"package.module:function" is somebody's own: a dataclass as well, or a function
with typed arguments that returns one.
"""

import ast
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import Parameter, Signature, signature
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, get_type_hints

from lotte import extras, key_value
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnknownNameError, shown, unknown
from retrievers import pipeline, systems
from retrievers.index_meta import AGAIN, META
from retrievers.options import is_name, with_name
from retrievers.retriever import Index, OpensDescribed, Retriever

if TYPE_CHECKING:
    from retrievers.index_folder import IndexFolder


def names() -> list[str]:
    """Return the names of the systems that ship, sorted."""
    return sorted(module.name for module in iter_modules(systems.__path__))


def summary(name: str) -> str:
    """Return the line that a system of ours says of itself: the first of its docstring, without importing it."""
    source = Path(systems.__path__[0], f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def load(name: str, options: Iterable[str] = ()) -> Retriever:
    """Return the recipe called `name`, with "key=value" options read by the types it declares.

    name  a file in `systems/`, or "package.module:function" for one that is not ours

    Raises  UnknownNameError if nobody has that name, LotteError for an option it cannot take
    """
    return make(name, read_options(name, options))


def read_options(name: str, options: Iterable[str]) -> dict[str, Any]:
    """Return "key=value" options read by the types that a recipe declares.

    Raises  UnknownNameError if nobody has that name, LotteError for an option it cannot take
    """
    types = _options(_recipe(name))
    chosen = {}
    for pair in options:
        key, text = key_value.cut(pair)
        if key not in types:
            raise LotteError(f"{name} has no option {key!r}; it takes {_signature(_recipe(name))}")
        chosen[key] = key_value.value(text, types[key], key, where=f"{name}: ")
    return chosen


def make(name: str, options: Mapping[str, Any]) -> Retriever:
    """Return the recipe called `name` with options that have their types already, as meta.json has them."""
    recipe = _recipe(name)
    try:
        made: Retriever = with_name(recipe(**options), name)
    except ValueError as error:  # of the right type, and out of range
        raise LotteError(f"{name}: {error}") from error
    except TypeError as error:
        raise LotteError(f"{name} takes {_signature(recipe)}: {error}") from error
    return made


def recorded(recipe: Mapping[str, Any], where: Path, name: str = "", options: Iterable[str] = ()) -> Retriever:
    """Return the recipe that an index says it was made by, with some options given anew.

    A file may ask for a system of `systems/` and for options it declares, of plain types, and for nothing else: code
    of others runs only if its name is given here too, and what is `SPOKEN` holds only if it is among the options.

    where  the file that says so

    Raises  LotteError if another name is given, or none where one is needed; CorruptFileError for what no recipe wrote
    """
    said = recipe["retriever"]
    ours = said in names()
    if not ours and ":" not in name:
        raise LotteError(
            f"{where} says the index was made by {shown(said)}, code from outside this package; if you trust it, "
            "name it: --retriever module:function"
        )
    if ours and name not in ("", said):
        raise MismatchError(f"{where} says the index was made by {shown(said)}, not by {name!r}")
    options = read_options(name or said, options) if options else {}
    kept = {key: value for key, value in recipe["options"].items() if key != "trust"}  # once it was written down
    if not ours:  # what its function does not ask for, it sets itself
        return make(name, {**_accepted(_recipe(name), kept), **options})
    types, naming = _options(_recipe(said)), _naming_stages(_recipe(said))
    for key, value in kept.items():
        if key not in types or type(value) not in ((int, float) if types[key] is float else (types[key],)):
            raise CorruptFileError(f"{where}: {said} has no option {shown(key, 40)}: {shown(value, 40)}; {AGAIN}")
        if key not in options and key in naming and (found := pipeline.spoken(value, key)):
            raise LotteError(
                f"{where} asks for {shown(found, 80)}, which is allowed only on the command line: -o {key}=..."
            )
    return make(said, {**kept, **options})


def maker(folder: "IndexFolder", name: str = "", options: Iterable[str] = ()) -> Retriever:
    """Return the recipe that made an index, with some options given anew. Raises as `recorded` does."""
    return recorded(folder.meta["recipe"], folder.path / META, name, options)


def open_index(folder: "IndexFolder", name: str = "", options: Iterable[str] = ()) -> Index:
    """Open an index with the recipe that made it; `meta.json` is not read again if the recipe `OpensDescribed`.

    Raises  as `recorded` and the recipe's `open` do
    """
    recipe = maker(folder, name, options)
    if isinstance(recipe, OpensDescribed):
        with suppress(CorruptFileError):  # a writer may have put other files in their place: `open` looks again
            return recipe.open_described(folder)
    return recipe.open(folder.path)


def takes(name: str, key: str) -> bool:
    """Whether the recipe has an option of that name."""
    return key in _options(_recipe(name))


def _options(recipe: Callable[..., Any]) -> dict[str, type]:
    types = get_type_hints(recipe)
    if isinstance(recipe, type) and is_dataclass(recipe):
        return {field.name: types[field.name] for field in fields(recipe) if field.init and not is_name(field)}
    return {key: kind for key, kind in types.items() if key != "return"}


def _naming_stages(recipe: Callable[..., Any]) -> set[str]:
    """Return the options that name other systems, or files."""
    if not (isinstance(recipe, type) and is_dataclass(recipe)):
        return set()
    return {field.name for field in fields(recipe) if field.metadata.get("stages")}


def _signature(recipe: Callable[..., Any]) -> Signature:
    """Return what a recipe takes, without the name of a dataclass, which nobody sets."""
    whole = signature(recipe)
    if not (isinstance(recipe, type) and is_dataclass(recipe)):
        return whole
    names = {field.name for field in fields(recipe) if is_name(field)}
    options = [option for key, option in whole.parameters.items() if key not in names]
    return whole.replace(parameters=options, return_annotation=Signature.empty)


def _accepted(recipe: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    taken = _signature(recipe).parameters
    if any(option.kind is Parameter.VAR_KEYWORD for option in taken.values()):
        return dict(options)
    return {key: value for key, value in options.items() if key in taken}


def _recipe(name: str) -> Callable[..., Any]:
    module, colon, function = name.partition(":")
    if not colon:
        if name not in names():
            raise unknown("retriever", name, names())
        module, function = f"{systems.__name__}.{name}", "retriever"
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise UnknownNameError(f"{name!r} names no retriever: write module:function, with Python's names")
    try:
        recipe: Callable[..., Any] = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if (package := extras.of(error)) and not colon:
            raise extras.lacking(package, name) from None
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and what it imports is not
        raise UnknownNameError(f"no module is named {error.name!r}, which --retriever {name} names") from None
    except AttributeError:
        raise UnknownNameError(f"module {module} has no {function!r}, which --retriever {name} names") from None
    return recipe
