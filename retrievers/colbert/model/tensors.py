"""The tensors of a file by name, as numpy arrays: safetensors mapped and not copied, and pickles with trust.

Matrices may be int8 with scales, as `writing` stores them; they are multiplied
out, and bfloat16 becomes float32. A file with a number that is not finite is
refused: it would give vectors that are not.
"""

import io
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte.errors import CorruptFileError, MismatchError, named, reason, shown
from lotte.extras import package
from lotte.parsing import json_of

LONGEST_NAME = 1_000  # characters of a text in a pickle of tensors
_PICKLES = 5  # in front of the numbers, in the format before torch 1.6
_HEAD = 1 << 20  # bytes in which the pickles of a few tensors end
SCALE = ".scale"  # name + SCALE: what an int8 tensor is multiplied with
_KINDS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}

Array = NDArray[Any]


def read(path: Path, *, trust: bool) -> dict[str, Array]:
    """Return the tensors of a file by name.

    Raises  CorruptFileError if it does not hold any, or numbers that are not finite
            UnavailableError for a pickle without torch
    """
    arrays = _restored(path, _safetensors(path) if path.suffix == ".safetensors" else _pickle(path, trust))
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not _finite(array):
            raise CorruptFileError(f"{path}: {named(name)} holds numbers that are not finite; fetch the file again")
    return arrays


def _safetensors(path: Path) -> dict[str, Array]:
    package("safetensors", "late interaction")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # the package has looked at every offset then
            pass
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            described: dict[str, Any] = json_of(file.read(size), path)
        none = path.stat().st_size == 8 + size
        content = np.empty(0, np.uint8) if none else np.memmap(path, np.uint8, "r", offset=8 + size)
    except (SafetensorError, CorruptFileError, OSError, ValueError) as error:
        raise CorruptFileError(f"{path} is not a file of safetensors ({reason(error)}); fetch it again") from None
    described.pop("__metadata__", None)
    arrays = {}
    for name, entry in described.items():
        if entry["dtype"] not in _KINDS:
            raise MismatchError(f"{path}: {named(name)} is of {entry['dtype']}; known are {', '.join(_KINDS)}")
        begin, end = entry["data_offsets"]
        array = content[begin:end].view(np.ndarray).view(_KINDS[entry["dtype"]]).reshape(entry["shape"])
        arrays[name] = (array.astype(np.uint32) << 16).view(np.float32) if entry["dtype"] == "BF16" else array
    return arrays


def require_pickles(path: Path) -> None:
    """Read the pickles that a .pt file of a few tensors begins with, without doing what they say.

    Raises  pickle.UnpicklingError for a text in them that is longer than a name can be, which torch refuses as well,
            but in a time that grows with the square of the text; nearly anything if they are not pickles
    """
    with ExitStack() as opened:
        file: Any = opened.enter_context(path.open("rb"))
        pickles = _PICKLES
        if zipfile.is_zipfile(path):
            archive = opened.enter_context(zipfile.ZipFile(file))
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            file, pickles = opened.enter_context(archive.open(name)), 1
        head = io.BytesIO(file.read(_HEAD))  # in memory, where a length without end costs nothing
    for _ in range(pickles):
        for _, text, _ in pickletools.genops(head):
            if isinstance(text, str) and len(text) > LONGEST_NAME:
                raise pickle.UnpicklingError(f"it has a name of {len(text):,} letters")


def _pickle(path: Path, trust: bool) -> dict[str, Array]:
    if not trust:
        raise MismatchError(f"{path} is a pickle, which is opened with `-o trust=true` only")
    torch = package("torch", f"{path.name}, a pickle,")
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # more than tensors in it, as in ColBERT v1's .dnn; it was trusted by hand
        loaded = torch.load(path, map_location="cpu", weights_only=False)
    except (OSError, RuntimeError, EOFError) as error:
        raise CorruptFileError(f"{path} is not a file of weights ({reason(error)})") from None
    loaded = loaded.get("model_state_dict", loaded) if isinstance(loaded, Mapping) else {}
    tensors = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise CorruptFileError(f"{path} holds no tensors by name")
    wider = {name: value.float() if value.dtype == torch.bfloat16 else value for name, value in tensors.items()}
    return {name: value.detach().numpy() for name, value in wider.items()}


def _restored(path: Path, arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays with each int8 one multiplied out, in float32.

    Codes (R, C) have scales (R, G): each of the G equal parts of a row is multiplied with its own.
    """
    for name in [name for name, array in arrays.items() if array.dtype == np.int8]:
        code_RC, scale_RG = arrays[name], arrays.pop(f"{name}{SCALE}", None)
        if scale_RG is None:
            raise CorruptFileError(f"{path} lacks the tensor {shown(name + SCALE)}, which its int8 {shown(name)} needs")
        code, scale = list(code_RC.shape), list(scale_RG.shape)
        if not (
            len(code) == len(scale) == 2
            and code[0] == scale[0]
            and scale[1]
            and code[1] % scale[1] == 0
            and scale_RG.dtype.kind == "f"
        ):
            raise CorruptFileError(
                f"{path}: the int8 {named(name)} is {shown(code)}, its {SCALE} {shown(scale)} of {scale_RG.dtype}; "
                "no match"
            )
        code_RGW = code_RC.reshape(*scale, code[1] // scale[1]).astype(np.float32)
        code_RGW *= scale_RG.astype(np.float32)[..., None]
        arrays[name] = code_RGW.reshape(code)
    return arrays


def _finite(array: Array) -> bool:
    """Return whether all numbers are finite: one pass, and no second array."""
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        # weights whose squares pass the largest float32 are looked at one by one
        return bool(np.isfinite(np.dot(flat, flat))) or bool(np.isfinite(flat).all())
