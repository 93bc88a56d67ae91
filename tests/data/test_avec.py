from __future__ import annotations

import numpy as np
import pytest
import torch

from erc_lib.data import avec, load_corpus
from erc_lib.errors import ConfigError, DataError


def write(folder, labels, audio_rows=None, text_width=63):
    rows = len(labels)
    np.savetxt(folder / "utt_AVEC_emo.csv", labels, fmt="%d", delimiter=",")
    np.savetxt(folder / "uttAVEC_GeMAPS.csv", np.full((audio_rows or rows, 88), 0.5), delimiter=",")
    np.savetxt(folder / "uttAVEC_CSA.csv", np.arange(rows)[:, None] * np.ones(text_width), delimiter=",")


def test_labels_come_in_the_paper_s_order(tmp_path):
    write(tmp_path, [[0, 1, 2, 2], [1, 1, 0, 0]])
    converted = avec.read(tmp_path)
    assert [converted.utterances[f"label_{n}"].tolist() for n in avec.LABEL_NAMES] == [[2, 0], [0, 1], [1, 1], [2, 0]]
    assert converted.features["text"].shape == (2, 63) and converted.features["text"][1, 5] == 1 and converted.features["audio"].shape == (2, 88)


def test_splits_are_stretches():
    split = avec.split_of_windows(30).tolist()
    assert split == ["train"] * 18 + ["validation"] * 2 + ["test"] * 10


def test_bad_input(tmp_path):
    write(tmp_path, [[0, 1, 2, 2], [1, 3, 0, 0]])
    with pytest.raises(DataError, match="utt_AVEC_emo.csv, row 2: expectancy is 3; known are 0, 1 and 2"):
        avec.read(tmp_path)
    write(tmp_path, [[0, 1, 2, 2]], audio_rows=3)
    with pytest.raises(DataError, match="GeMAPS.csv has 3 rows for 1 utterances"):
        avec.read(tmp_path)
    write(tmp_path, [[0, 1, 2, 2]], text_width=60)
    with pytest.raises(DataError, match="CSA.csv"):
        avec.read(tmp_path)
    with pytest.raises(ConfigError, match="window must be"):
        load_corpus("avec", window=0)


def test_the_published_files(from_mirror):
    corpus = load_corpus("avec", window=20)
    assert sum(len(d) for s in ("train", "validation", "test") for d in corpus.split(s)) == 3262
    assert corpus.dims == {"text": 63, "audio": 88} and corpus.label_names == ("valence", "arousal", "expectancy", "power")
    first = corpus.train[0]
    assert first.labels.dtype == torch.float32 and first.labels[0].tolist() == [0, 2, 2, 2] and len(first) == 20
