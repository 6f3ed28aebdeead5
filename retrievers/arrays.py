"""The arrays of an index, memory-mapped from `.npy` files; an error names a file of another format or shape."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte.errors import CorruptFileError, reason
from retrievers.index_meta import AGAIN


def npy(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file, read where it lies, without executing anything.

    Raises  CorruptFileError if the file is missing, is not whole, or holds no numbers
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise CorruptFileError(f"{path} is missing from the index; {AGAIN}") from None
    except Exception as error:  # a header is read as Python source is, which noise ends in nearly any error
        raise CorruptFileError(f"{path} is not a complete .npy file ({reason(error)}); {AGAIN}") from None
    if not isinstance(array, np.ndarray) or array.dtype.hasobject:
        raise CorruptFileError(f"{path} is not a .npy file of numbers; {AGAIN}")
    return array


def mapped(path: Path, kind: Any = None, *shape: int | None) -> Any:
    """Return an array of ours, as `npy` does.

    kind   what its numbers are; None: whatever they are
    shape  how long each axis is; None: as it comes

    Raises  CorruptFileError as `npy`, or if it is another array
    """
    array = npy(path)
    if not array.flags.c_contiguous:
        raise CorruptFileError(f"{path} holds no numbers row by row; {AGAIN}")
    if kind is not None:
        expect(path, array, kind, *shape)
    return array


def expect(path: Path, array: NDArray[Any], kind: Any, *shape: int | None) -> None:
    """Raise CorruptFileError if an array holds other numbers, or has another shape; None is an axis of any length."""
    lengths = zip(array.shape, shape, strict=False)
    if array.dtype != kind or array.ndim != len(shape) or any(want not in (None, have) for have, want in lengths):
        wanted = f"{np.dtype(kind)} ({', '.join('any' if one is None else str(one) for one in shape)})"
        raise CorruptFileError(f"{path}: expected {wanted}, found {array.dtype} {array.shape}; {AGAIN}")


def spans(path: Path, numbers: NDArray[Any], last: int) -> None:
    """Raise CorruptFileError if numbers do not begin with 0 and end with `last`; what is between is not read."""
    if not len(numbers) or numbers[0] != 0 or numbers[-1] != last:
        raise CorruptFileError(f"{path}: the numbers do not go from 0 to {last:,}; {AGAIN}")


def rises(path: Path, numbers: NDArray[Any], last: int) -> None:
    """Raise CorruptFileError if numbers do not rise from 0 to `last`."""
    spans(path, numbers, last)
    if (np.diff(numbers) < 0).any():
        raise CorruptFileError(f"{path}: the numbers do not rise from 0 to {last:,}; {AGAIN}")
