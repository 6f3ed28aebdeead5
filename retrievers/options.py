"""A retriever's options and its name, as its dataclass declares them.

The fields are the options, and one of them, `NAME`, says what `--retriever`
opens an index with: `bm25` for one of `systems/`, `module:function` for anybody
else's.
"""

import copy
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NAME = {"name": True}  # metadata of a recipe's field that is its name, and no option
SEARCH_TIME = {"search_time": True}  # of one that says how to search: any value opens any index
SPOKEN = {"search_time": True, "spoken": True}  # given each time; neither written to an index nor read from one
KEPT = {**SPOKEN, "kept": True}  # of one that says where work is kept: no answer depends on it, no record has it
OURS = "retrievers.systems."
_ASKED_BY: dict[type, str] = {}  # the name by which a user's class without a name field was last loaded


def recipe_of(recipe: "DataclassInstance") -> dict[str, Any]:
    """Return a recipe's name and its options, as meta.json has them."""
    spoken = {field.name for field in fields(recipe) if field.metadata.get("spoken")}
    options = {key: value for key, value in options_of(recipe).items() if key not in spoken}
    return {"retriever": name_of(recipe), "options": options}


def options_of(recipe: object) -> dict[str, Any]:
    """Return the options of a recipe: all its fields but the name; none if it is not a dataclass."""
    if not is_dataclass(recipe) or isinstance(recipe, type):
        return {}
    options = asdict(recipe)
    if field := _name_field(type(recipe)):
        del options[field]
    return options


def recorded_options(recipe: object) -> dict[str, Any]:
    """Return the options of a recipe that a result may depend on, as a record has them."""
    options = options_of(recipe)
    kept = {field.name for field in fields(recipe) if field.metadata.get("kept")} if options else ()  # type: ignore[arg-type]
    return {key: value for key, value in options.items() if key not in kept}


def name_of(recipe: "DataclassInstance") -> str:
    """Return what `--retriever` opens an index of a recipe with.

    The name of a system of ours is believed of a class of ours only: another one that has it has inherited it.
    """
    field, maker = _name_field(type(recipe)), type(recipe)
    name = str(getattr(recipe, field)) if field else _ASKED_BY.get(maker, "")
    return name if ":" in name or (name and maker.__module__.startswith(OURS)) else _class_name(maker)


def with_name(recipe: Any, name: str) -> Any:
    """Return a recipe under the name it was loaded by, "module:function"; one of `systems/` has its name already."""
    if ":" not in name or name.startswith(OURS) or not is_dataclass(recipe) or isinstance(recipe, type):
        return recipe
    if (field := _name_field(type(recipe))) is None:
        _ASKED_BY[type(recipe)] = name
        return recipe
    recipe = copy.copy(recipe)  # not `replace`: somebody's class may have an __init__ of its own
    object.__setattr__(recipe, field, name)
    return recipe


def is_name(field: Field[Any]) -> bool:
    """Return whether a field is a system's name and no option of it."""
    return bool(field.metadata.get("name"))


@cache
def _name_field(maker: "type[DataclassInstance]") -> str | None:
    return next((field.name for field in fields(maker) if is_name(field)), None)


def _class_name(maker: type) -> str:
    module = maker.__module__
    return module.removeprefix(OURS) if module.startswith(OURS) else f"{module}:{maker.__qualname__}"


def spelled(recipe: Mapping[str, Any]) -> str:
    """Return a recipe as one would write it, without options that are "", a rule in words.

    >>> spelled({"retriever": "bm25", "options": {"b": 0.4, "k1": 0.9}})
    'bm25(b=0.4, k1=0.9)'
    """
    options = ", ".join(f"{key}={value}" for key, value in sorted(recipe["options"].items()) if value != "")
    return f"{recipe['retriever']}({options})"


def goes_by(recipe: "DataclassInstance", name: str) -> bool:
    """Whether an index under that name may be of this recipe: its name, that of its class, any of its class's module.

    An older index has the last two: the module's name was all that it said of somebody's class.
    """
    maker = type(recipe)
    return name in (name_of(recipe), _class_name(maker)) or name.startswith(f"{maker.__module__}:")


def build_options(recorded: Mapping[str, Any], recipe: "DataclassInstance") -> dict[str, Any]:
    """Return a recipe without the options that only say how to search.

    An option that was not there yet when the recipe was recorded has its default.
    """
    kept = [field for field in fields(recipe) if not is_name(field)]
    search_time = {field.name for field in kept if field.metadata.get("search_time")}
    options = {field.name: field.default for field in kept if field.default is not MISSING} | recorded["options"]
    options = {key: value for key, value in options.items() if key not in search_time}
    return {**recorded, "options": options}
