"""The unpickler: what it admits comes out unchanged, anything else is refused before it runs."""

from __future__ import annotations

import builtins
import collections
import os
import pathlib
import pickle

import numpy as np
import pytest

from erc_lib.data.unpickle import load_pickle
from erc_lib.errors import DataError

PLAIN = {
    "a": [1, 2.5, None, True, 3 + 4j], "b": ({1, 2}, frozenset({3}), b"x", bytearray(b"y"), "\u2019"),
    "c": [slice(1, 2), range(3)],
}


def written(path: pathlib.Path, content: object, protocol: int) -> pathlib.Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_builtins_come_out_unchanged(tmp_path, protocol):
    assert load_pickle(written(tmp_path / "x.pkl", PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4), np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2), np.zeros((0, 3), dtype=np.float32), np.array([True, False]),
        np.array(["ab", "c"]), np.array([{"a": 1}, [2]], dtype=object), np.array([1, 2], dtype=">i2"),
    ],
    ids=["C", "F", "transposed", "empty", "bool", "str", "object", "big-endian"],
)
def test_arrays_come_out_as_pickle_itself_gives_them(tmp_path, protocol, array):
    path = written(tmp_path / "x.pkl", array, protocol)
    found, theirs = load_pickle(path), pickle.loads(path.read_bytes())
    assert found.dtype == theirs.dtype and found.shape == array.shape and found.tolist() == array.tolist()
    assert found.flags.writeable


def test_scalars_come_out_unchanged(tmp_path):
    found = load_pickle(written(tmp_path / "x.pkl", [np.float32(0.5), np.int64(3)], 4))
    assert found == [0.5, 3] and isinstance(found[0], np.float32)


class Calls:
    """Pickles into a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (lambda marker: Calls(os.mkdir, marker), "mkdir"),
        (lambda marker: Calls(os.system, f"mkdir {marker}"), "system"),
        (lambda marker: Calls(builtins.eval, f"__import__('os').mkdir({marker!r})"), "eval"),
        (lambda marker: Calls(builtins.getattr, "x", "upper"), "getattr"),
        (lambda marker: Calls(np.save, marker, [1]), "save"),
        (lambda marker: [1, {"deep": (Calls(os.mkdir, marker),)}], "mkdir"),
        (lambda marker: collections.OrderedDict(a=1), "collections.OrderedDict"),
        (lambda marker: pathlib.PurePosixPath("a"), "pathlib.PurePosixPath"),
        (lambda marker: np.array([Calls(os.mkdir, marker)], dtype=object), "mkdir"),
    ],
    ids=["mkdir", "system", "eval", "getattr", "numpy function", "nested", "OrderedDict", "path", "in an object array"],
)
def test_any_other_class_is_refused_and_never_called(tmp_path, protocol, content, name):
    marker = tmp_path / "marker"
    path = written(tmp_path / "bad.pkl", content(str(marker)), protocol)
    with pytest.raises(DataError) as caught:
        load_pickle(path)
    assert name in str(caught.value) and str(path) in str(caught.value) and "would run code" in str(caught.value)
    assert not marker.exists()


def test_the_name_of_an_admitted_function_in_another_module_is_refused(tmp_path):
    path = tmp_path / "bad.pkl"
    path.write_bytes(b"cevil\n_reconstruct\n.")
    with pytest.raises(DataError, match="evil._reconstruct"):
        load_pickle(path)


@pytest.mark.parametrize("content", [PLAIN, np.arange(20.0)], ids=["builtins", "array"])
def test_every_truncation_is_one_clear_error(tmp_path, content):
    whole = pickle.dumps(content, protocol=4)
    path = tmp_path / "cut.pkl"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="cut.pkl .*fetch it again"):
            load_pickle(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="nowhere.pkl does not exist"):
        load_pickle(tmp_path / "nowhere.pkl")


# Written by hand as Python 2 writes them: strings are bytes, arrays name numpy.core.
PYTHON_2_STRING = b"\x80\x02U\x04caf\xe9."
PYTHON_2_ARRAY = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    b"(K\x01(K\x02tcnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
    + np.array([-1.5, 2.25]).tobytes() + b"tb."
)


def test_pickles_of_python_2_need_latin1(tmp_path):
    path = tmp_path / "two.pkl"
    path.write_bytes(PYTHON_2_STRING)
    assert load_pickle(path, encoding="latin1") == "café"
    with pytest.raises(DataError, match="two.pkl holds strings of Python 2.*latin1"):
        load_pickle(path)
    path.write_bytes(PYTHON_2_ARRAY)
    assert load_pickle(path, encoding="latin1").tolist() == [-1.5, 2.25]
