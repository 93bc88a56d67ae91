"""The feature store: what goes in comes out, by id; what is damaged, incomplete or of another draw is refused with one clear
line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from erc_lib import paths
from erc_lib.errors import DataError
from erc_lib.features import store as store_module
from erc_lib.features.store import FeatureStore, StoredFeatures, attach, card_hash, text_fingerprints

CARD = {"extractor": "test", "version": "1", "units": "none", "empty": "zeros"}


@pytest.fixture
def features(corpus):
    """Ids in reverse of the corpus' order, and rows that say whose they are."""
    ids = [u for split in ("train", "validation", "test") for d in corpus.split(split) for u in d.ids][::-1]
    return ids, np.random.default_rng(0).normal(size=(len(ids), 5)).astype(np.float32)


def saved(root, features, **changes):
    ids, array = features
    return FeatureStore(root).save(**{
        "corpus": "simulated-tiny", "modality": "audio", "name": "a/b", "ids": ids, "array": array, "card": CARD} | changes)


def test_what_is_saved_is_loaded_and_listed(tmp_path, features):
    written = saved(tmp_path, features, card={**CARD, "pooling": "mean", "sampling": "16 kHz"})
    read = FeatureStore(tmp_path).load("simulated-tiny", "audio", "a/b")
    assert read.ids == tuple(features[0]) and read.array.dtype == np.float32
    np.testing.assert_array_equal(read.array, features[1])
    assert read.card == written.card and read.card_hash == written.card_hash
    assert read.card["dims"] == 5 and read.card["count"] == len(features[0])
    assert {"extractor", "version", "encoder", "revision", "weights_sha256", "units", "pooling", "paradigm", "sampling", "empty",
            "corpus", "commit", "sha256"} <= set(read.card)
    assert FeatureStore(tmp_path).list() == [read.card]
    assert FeatureStore(tmp_path / "nothing").list() == []


def test_default_root_is_below_erc_data(tmp_path, monkeypatch):
    monkeypatch.setenv("ERC_DATA", str(tmp_path))
    assert FeatureStore().root == tmp_path / "features" == paths.features_root()


def test_a_tensor_is_stored_as_float32(tmp_path, features):
    written = saved(tmp_path, features, array=torch.from_numpy(features[1]).double())
    assert written.array.dtype == np.float32


def test_card_hash_names_the_content_not_the_time(tmp_path, features):
    one = saved(tmp_path / "1", features)
    card = one.card
    assert card_hash({**card, "created": "later", "commit": "other", "seconds": 3}) == one.card_hash
    assert card_hash({**card, "version": "2"}) != one.card_hash
    assert saved(tmp_path / "2", features).card_hash == one.card_hash
    other = saved(tmp_path / "3", (features[0], features[1] + 1))
    assert other.card_hash != one.card_hash


def test_attach_joins_by_id(tmp_path, corpus, features):
    ids, array = features
    joined = attach(corpus, "audio", saved(tmp_path, features))
    assert joined.dims == {"audio": 5}
    for split in ("train", "validation", "test"):
        for before, after in zip(corpus.split(split), joined.split(split), strict=True):
            assert after.ids == before.ids and torch.equal(after.labels, before.labels)
            for u, row in zip(after.ids, after.features["audio"], strict=True):
                np.testing.assert_array_equal(row.numpy(), array[ids.index(u)])
    assert "audio" not in corpus.train[0].features


def test_attach_passes_over_ids_the_corpus_lacks(tmp_path, corpus, features):
    part = replace(corpus, train=corpus.train[:2])
    assert attach(part, "audio", saved(tmp_path, features)).dims == {"audio": 5}


def test_attach_refuses_missing_ids(corpus, features):
    ids, array = features
    first = corpus.train[0].ids[0]
    keep = [i for i, u in enumerate(ids) if u not in (first, corpus.test[0].ids[0], corpus.test[0].ids[1])]
    with pytest.raises(DataError, match=rf"'{first}' and 2 more .*extract"):
        attach(corpus, "audio", StoredFeatures(tuple(ids[i] for i in keep), array[keep], {"name": "a"}))


@pytest.mark.parametrize(("change", "message"), [
    (lambda ids, x: (ids, np.where(np.arange(len(x))[:, None] == 3, np.nan, x), {}), "NaN or infinity at utterance '{3}'"),
    (lambda ids, x: (ids, np.where(np.arange(len(x))[:, None] == 4, np.inf, x), {}), "NaN or infinity at utterance '{4}'"),
    (lambda ids, x: ([ids[1], *ids[1:]], x, {}), "'{1}' twice"),
    (lambda ids, x: (ids, x, {"dims": 7}), "5 wide, but their card says 7"),
    (lambda ids, x: (ids[:-1], x, {}), "one row for each id"),
    (lambda ids, x: (ids, x, {"modality": "visual"}), "cannot be attached as audio"),
])
def test_attach_refuses_bad_features(corpus, features, change, message):
    ids, array = features
    changed, x, card = change(ids, array)
    expected = message.format(*ids) if "{" in message else message
    with pytest.raises(DataError) as caught:
        attach(corpus, "audio", StoredFeatures(tuple(changed), np.asarray(x, dtype=np.float32), card))
    assert expected in str(caught.value)


def test_attach_refuses_features_of_other_texts(corpus, features):
    ids, array = features
    everyone = [d for split in ("train", "validation", "test") for d in corpus.split(split)]
    text = {u: t for d in everyone for u, t in zip(d.ids, d.texts, strict=True)}
    prints = text_fingerprints([text[u] for u in ids])
    attach(corpus, "text", StoredFeatures(tuple(ids), array, {}, prints))
    redrawn = corpus.map(lambda d: replace(d, texts=("something else", *d.texts[1:])) if d.id == "validation/0" else d)
    with pytest.raises(DataError, match="'validation/0/0' had another text"):
        attach(redrawn, "text", StoredFeatures(tuple(ids), array, {}, prints))


@pytest.mark.parametrize(("changes", "message"), [
    ({"card": {"extractor": "x", "version": "1", "units": "none"}}, "lacks empty"),
    ({"name": "../outside"}, "cannot be the name"),
    ({"name": "/etc"}, "cannot be the name"),
    ({"corpus": ""}, "cannot be the corpus"),
    ({"modality": "smell"}, "no modality 'smell'"),
    ({"ids": ["a"]}, "one row for each id"),
])
def test_save_refuses_and_writes_nothing(tmp_path, features, changes, message):
    with pytest.raises(DataError, match=message):
        saved(tmp_path, features, **changes)
    assert not list(tmp_path.rglob("*.*"))


def test_load_refuses_what_is_absent_and_names_what_is_there(tmp_path, features):
    saved(tmp_path, features)
    with pytest.raises(DataError, match=r"no audio features 'c' of 'simulated-tiny'.*there are: a/b\. Extract"):
        FeatureStore(tmp_path).load("simulated-tiny", "audio", "c")


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "swap"])
def test_a_damaged_file_is_noticed(tmp_path, features, damage):
    stored = saved(tmp_path, features)
    path = tmp_path / "simulated-tiny" / "audio" / "a/b" / stored.card["file"]
    blob = bytearray(path.read_bytes())
    if damage == "flip":
        blob[-3] ^= 1
        path.write_bytes(blob)
    elif damage == "truncate":
        path.write_bytes(blob[: len(blob) // 2])
    elif damage == "remove":
        path.unlink()
    else:
        other = saved(tmp_path / "other", (features[0], features[1] + 1))
        path.write_bytes((tmp_path / "other" / "simulated-tiny" / "audio" / "a/b" / other.card["file"]).read_bytes())
    with pytest.raises(DataError, match="extract the features again"):
        FeatureStore(tmp_path).load("simulated-tiny", "audio", "a/b")


def test_a_damaged_card_is_noticed(tmp_path, features):
    saved(tmp_path, features)
    path = tmp_path / "simulated-tiny" / "audio" / "a/b" / "card.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match="card.json cannot be read"):
        FeatureStore(tmp_path).load("simulated-tiny", "audio", "a/b")


def test_a_card_edited_to_another_width_is_refused(tmp_path, features):
    saved(tmp_path, features)
    path = tmp_path / "simulated-tiny" / "audio" / "a/b" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dims": 6}))
    with pytest.raises(DataError, match="card says 6"):
        FeatureStore(tmp_path).load("simulated-tiny", "audio", "a/b")


@pytest.mark.parametrize("interrupted", ["array", "card"])
def test_an_interrupted_save_leaves_the_earlier_features(tmp_path, features, monkeypatch, interrupted):
    before = saved(tmp_path, features)
    real = store_module.os.replace

    def replace_until(source, target):
        if (interrupted == "card") == str(target).endswith("card.json"):
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(store_module.os, "replace", replace_until)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path, (features[0], features[1] + 1))
    monkeypatch.undo()
    read = FeatureStore(tmp_path).load("simulated-tiny", "audio", "a/b")
    np.testing.assert_array_equal(read.array, before.array)
    assert not list(tmp_path.rglob(".writing-*"))


def test_replacing_leaves_one_file(tmp_path, features):
    saved(tmp_path, features)
    saved(tmp_path, (features[0], features[1] + 1))
    read = FeatureStore(tmp_path).load("simulated-tiny", "audio", "a/b")
    np.testing.assert_array_equal(read.array, features[1] + 1)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
