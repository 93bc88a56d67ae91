"""Opening pickles from strangers: builtins and NumPy arrays, and nothing that runs code.

A pickle may name any importable function and have it called on loading. Here :meth:`Unpickler.find_class` answers to a closed
list; whatever else a file asks for is an error before anything of it is imported.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from erc_lib.errors import DataError

ADMITTED = (set, frozenset, list, dict, tuple, str, bytes, bytearray, int, float, complex, bool, slice, range)
BUILTINS = {c.__name__: c for c in ADMITTED}
BUILTINS["xrange"] = range  # its name up to protocol 2
ARRAY_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")


def _encode(text: str, encoding: str) -> bytes:
    """Stands in for ``_codecs.encode``, by which protocol 2 writes the bytes of an array."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _frombuffer(
    buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str, axes: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Stands in for NumPy's function of that name (protocol 5), whose own would be open to a pickle's changing its attributes."""
    flat = np.frombuffer(bytes(buffer), dtype=dtype)
    return flat.reshape(shape).transpose(axes).copy() if order == "K" else flat.reshape(shape, order=order).copy(order)


ARRAYS = {
    "ndarray": np.ndarray,
    "dtype": np.dtype,
    "_reconstruct": np._core.multiarray._reconstruct,
    "scalar": np._core.multiarray.scalar,
    "_frombuffer": _frombuffer,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BufferedIOBase, path: Path, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name in BUILTINS:
            return BUILTINS[name]
        if module in ARRAY_MODULES and name in ARRAYS:
            return ARRAYS[name]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise DataError(
            f"{self.path} asks for {module}.{name}, which is neither a builtin nor a NumPy array; it was not loaded, for "
            "loading it would run code of that file. "
            "Convert it to plain arrays where you trust it, or fetch the pinned file again"
        )


def load_pickle(path: str | Path, *, encoding: str = "ASCII") -> Any:
    """The content of a pickle file of builtins and NumPy arrays.

    Args:
        encoding: of strings written by Python 2; ``"latin1"`` for the published feature files of that age.

    Raises:
        DataError: naming the file and the class it asks for; or that it is no pickle, or is cut short.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _Unpickler(file, path, encoding).load()
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; fetch it (`erc data fetch`) or correct the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} holds strings of Python 2 that are not {encoding}; open it with encoding='latin1'") from error
    except Exception as error:  # a damaged stream can make the unpickler raise nearly anything
        raise DataError(f"{path} is no readable pickle or is cut short ({type(error).__name__}); fetch it again") from error
