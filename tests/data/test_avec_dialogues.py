"""conv-emotion's AVEC pickles: files of exactly that layout, and every way in which they can be wrong."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from erc_lib.data import avec_dialogues, load_corpus
from erc_lib.data.sources import find_source
from erc_lib.errors import ConfigError, DataError

SIZES = {"d1": 3, "d2": 2, "d3": 4}


def content(k: int = 1, **changes) -> tuple:
    """File k: the label of utterance i of dialogue d is k + i / 10."""
    parts = {
        "ids": {d: [f"{d}_{i}" for i in range(n)] for d, n in SIZES.items()},
        "speakers": {d: ["user" if i % 2 == 0 else "op" for i in range(n)] for d, n in SIZES.items()},
        "labels": {d: [k + i / 10 for i in range(n)] for d, n in SIZES.items()},
        "text": {d: [np.full(4, i) for i in range(n)] for d, n in SIZES.items()},
        "audio": {d: [np.full(3, i) for i in range(n)] for d, n in SIZES.items()},
        "visual": {d: [np.full(2, i) for i in range(n)] for d, n in SIZES.items()},
        "sentences": {d: ["hello"] * n for d, n in SIZES.items()},
        "train": {"d1", "d2"}, "test": ["d3"],
    } | changes  # fmt: skip
    return tuple(parts.values())


def write(folder, **changed_fourth):
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(1, 5):
        data = content(k, **(changed_fourth if k == 4 else {}))
        (folder / f"AVEC_features_{k}.pkl").write_bytes(pickle.dumps(data, protocol=2))


def test_the_four_files_become_one_table(tmp_path):
    write(tmp_path)
    converted = avec_dialogues.read(tmp_path)
    table = converted.utterances
    assert table["split"].tolist() == ["train"] * 5 + ["test"] * 4
    assert table["id"].tolist()[:4] == ["d1/d1_0", "d1/d1_1", "d1/d1_2", "d2/d2_0"]
    assert table["speaker"].tolist()[:3] == ["user", "agent", "user"]
    row = table.iloc[2]
    assert [row[f"label_{n}"] for n in ("valence", "arousal", "expectancy", "power")] == pytest.approx([1.2, 2.2, 3.2, 4.2])
    assert {m: x.shape for m, x in converted.features.items()} == {"text": (9, 4), "audio": (9, 3), "visual": (9, 2)}
    assert converted.features["visual"][2].tolist() == [2, 2]


def test_as_a_corpus_with_a_validation_set_from_training(tmp_path, data_folder, monkeypatch):
    """Files of the right names in the right folder; the pins are those of the real ones, so they are taken out of the way."""
    folder = data_folder / "raw" / avec_dialogues.SOURCE / avec_dialogues.FOLDER
    write(folder)
    monkeypatch.setattr("erc_lib.data.sources.PinnedFile.hash_of", lambda self, file: self.pin)
    corpus = load_corpus("avec-dialogues", seed=1)
    assert [len(corpus.split(s)) for s in ("train", "validation", "test")] == [1, 1, 1]
    assert corpus.dims == {"text": 4, "audio": 3, "visual": 2}
    assert corpus.test[0].labels.shape == (4, 4) and corpus.test[0].labels.dtype == torch.float32
    assert corpus.test[0].speakers.tolist() == [0, 1, 0, 1] and corpus.test[0].speaker_names == ("user", "agent")
    assert corpus.provenance["validation_dialogues"][0] in ("d1", "d2")
    assert len(corpus.provenance["files"]) == 4  # of the source's files, AVEC's alone


def test_the_source_s_other_files_are_not_fetched():
    files = find_source(avec_dialogues.SOURCE).below(avec_dialogues.FOLDER).files
    assert [f.path.rsplit("/")[-1] for f in files] == [f"AVEC_features_{k}.pkl" for k in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"d1": [1, 2, 3], "d2": [1], "d3": [1] * 4}}, "AVEC_features_4.pkl, dialogue 'd2' has 2 ids, 2 speakers, 2 sentences, 1 labels"),
        ({"labels": {"d1": [1, float("nan"), 3], "d2": [1, 2], "d3": [1] * 4}}, "dialogue 'd1', utterance 1: the label is not a finite number"),
        ({"ids": {"d1": ["x", "y", "z"], "d2": ["a", "b"], "d3": list("abcd")}}, "other utterances or speakers than in AVEC_features_1.pkl"),
        ({"audio": {"d1": [], "d3": []}}, "dialogue 'd2' has no audio"),
        ({"labels": {"d1": ["x", 2, 3], "d2": [1, 2], "d3": [1] * 4}}, "dialogue 'd1': the labels are no rows of numbers"),
        ({"test": 3}, "is not a tuple of 7 dictionaries"),
    ],
)
def test_a_file_that_differs_is_named(tmp_path, changes, message):
    write(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        avec_dialogues.read(tmp_path)


def test_bad_features_and_twice_named_dialogues(tmp_path):
    for k in range(1, 5):
        (tmp_path / f"AVEC_features_{k}.pkl").write_bytes(pickle.dumps(content(k, audio={d: [np.zeros(3)] for d in SIZES})))
    with pytest.raises(DataError, match=r"dialogue 'd1': audio features of shape \(1, 3\) for 3 utterances"):
        avec_dialogues.read(tmp_path)
    for k in range(1, 5):
        (tmp_path / f"AVEC_features_{k}.pkl").write_bytes(pickle.dumps(content(k, test=["d3", "d1"])))
    with pytest.raises(DataError, match="'d1' stands in train and again in test"):
        avec_dialogues.read(tmp_path)


def test_sentences_may_be_left_out_and_ragged_features_are_refused(tmp_path):
    for k in range(1, 5):
        (tmp_path / f"AVEC_features_{k}.pkl").write_bytes(pickle.dumps(content(k, sentences={d: [] for d in SIZES})))
    assert set(avec_dialogues.read(tmp_path).utterances["text"]) == {""}
    for k in range(1, 5):
        (tmp_path / f"AVEC_features_{k}.pkl").write_bytes(pickle.dumps(content(k, text={d: [[0.0] * (i + 1) for i in range(n)] for d, n in SIZES.items()})))
    with pytest.raises(DataError, match="dialogue 'd1': the text features are no rows of numbers of one length"):
        avec_dialogues.read(tmp_path)


def test_where_they_are_to_be_had_is_said(monkeypatch):
    with pytest.raises(ConfigError, match="has no files in 'nowhere'"):
        find_source(avec_dialogues.SOURCE).below("nowhere")
    monkeypatch.setattr("erc_lib.data.sources.ADDRESS", "http://127.0.0.1:9")
    find_source.__globals__["sources"].cache_clear()
    monkeypatch.setattr("erc_lib.data.download.time.sleep", lambda seconds: None)
    try:
        with pytest.raises(DataError, match="AVEC_features_1.pkl cannot be downloaded.*or set ERC_MIRROR to a folder that holds conv-emotion-features"):
            load_corpus("avec-dialogues")
    finally:
        find_source.__globals__["sources"].cache_clear()
    with pytest.raises(ConfigError, match="seed must be"):
        load_corpus("avec-dialogues", seed=-1)
