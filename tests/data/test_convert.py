"""Conversions: made once, made anew when stale or damaged, and there entirely or not at all."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
import torch

from erc_lib.data import sources
from erc_lib.data.convert import COLUMNS, Converted, convert, number_speakers, to_corpus
from erc_lib.data.sources import PinnedFile, Source
from erc_lib.errors import ConfigError, DataError

ROWS = [
    ("train", "d1", "d1/0", "Ann", 0, "x"), ("train", "d1", "d1/1", "Bob", 1, "y"),
    ("train", "d2", "d2/0", "Bob", 1, ""), ("test", "d3", "d3/0", "Cy", 0, "z"),
]


class Reader:
    """Reads an invented corpus and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, folder):
        self.calls += 1
        assert (folder / "file").read_bytes() == b"hello\n"
        return Converted(pd.DataFrame(ROWS, columns=list(COLUMNS)), {"audio": np.arange(8, dtype=np.float32).reshape(4, 2)})


@pytest.fixture
def reader(tmp_path, monkeypatch):
    (tmp_path / "mirror/toy").mkdir(parents=True)
    (tmp_path / "mirror/toy/file").write_bytes(b"hello\n")
    monkeypatch.setenv("ERC_MIRROR", str(tmp_path / "mirror"))
    pin(monkeypatch, sha256="5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")
    return Reader()


def pin(monkeypatch, **kind) -> None:
    file = PinnedFile("toy/file", "http://127.0.0.1:9/file", **kind)
    monkeypatch.setattr(sources, "sources", lambda: {"toy": Source("toy", "a/b", "0" * 40, "free", "", (file,))})


def test_converted_once_and_loaded_alike(reader):
    first, provenance = convert("toy", "toy", 1, reader)
    again, same = convert("toy", "toy", 1, reader)
    assert reader.calls == 1 and provenance == same and provenance["repository"] == "a/b"
    pd.testing.assert_frame_equal(first.utterances, again.utterances)
    assert list(again.features) == ["audio"] and np.array_equal(first.features["audio"], again.features["audio"])


def test_a_new_reader_or_other_raw_files_convert_again(reader, monkeypatch):
    convert("toy", "toy", 1, reader)
    convert("toy", "toy", 2, reader)
    assert reader.calls == 2
    pin(monkeypatch, git_blob="ce013625030ba8dba906f756967f9e9ca394464a")  # pinned by another hash
    convert("toy", "toy", 2, reader)
    assert reader.calls == 3


@pytest.mark.parametrize("name", ["utterances.parquet", "features.safetensors", "card.json"])
@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_a_damaged_conversion_is_made_again(reader, data_folder, name, damage):
    first, provenance = convert("toy", "toy", 1, reader)
    path = data_folder / "converted/toy" / provenance["conversion"] / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.unlink()
    again, _ = convert("toy", "toy", 1, reader)
    assert reader.calls == 2
    pd.testing.assert_frame_equal(first.utterances, again.utterances)
    convert("toy", "toy", 1, reader)
    assert reader.calls == 2


def test_a_failing_reader_or_writer_leaves_nothing(reader, data_folder, monkeypatch):
    def fails(folder):
        raise DataError("row 3")

    with pytest.raises(DataError, match="row 3"):
        convert("toy", "toy", 1, fails)
    assert [p for p in (data_folder / "converted/toy").iterdir() if p.is_dir()] == []

    def disk_full(*arguments):
        raise OSError("no space left")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="no space left"):
        broken.setattr(os, "replace", disk_full)
        broken.setattr(sources, "fetch", lambda name: data_folder)
        convert("toy", "toy", 1, reader)
    assert [p for p in (data_folder / "converted/toy").iterdir() if p.is_dir()] == []


def test_rows_become_dialogues(reader):
    converted, provenance = convert("toy", "toy", 1, reader)
    corpus = to_corpus("toy", converted, ("no", "yes"), provenance)
    first, second = corpus.train
    assert (first.id, second.id, corpus.validation, corpus.test[0].id) == ("d1", "d2", [], "d3")
    assert first.speaker_names == ("Ann", "Bob") and first.features["audio"].tolist() == [[0, 1], [2, 3]]
    assert second.features["audio"].tolist() == [[4, 5]] and second.labels.tolist() == [1]
    # a dialogue owns its numbers: a view would take the corpus along when it is pickled
    assert first.features["audio"].untyped_storage().nbytes() == 16
    assert to_corpus("toy", Converted(converted.utterances.iloc[:0]), ("no", "yes"), {}).train == []


def test_speakers_are_numbered_by_their_first_turn():
    numbers, names = number_speakers(["c", "a", "c", "b", "a"])
    assert torch.equal(numbers, torch.tensor([0, 1, 0, 2, 1])) and names == ("c", "a", "b")


def test_a_source_of_another_name(reader):
    with pytest.raises(ConfigError, match="no source is named 'tox'; did you mean 'toy'"):
        convert("toy", "tox", 1, reader)
