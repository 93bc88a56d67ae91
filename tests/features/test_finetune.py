"""MultiEMO's text stage: its input against hand-written examples, what is learnt from what, and what the store gets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from erc_lib.data.conversation import Corpus, Dialogue
from erc_lib.errors import ConfigError, DataError
from erc_lib.features import finetune, tuning
from erc_lib.features.encoders import load_encoder
from erc_lib.features.finetune import FinetuneConfig, finetune_corpus
from erc_lib.features.segments import dialogue_inputs, speaker_names, three_segments
from erc_lib.features.store import FeatureStore, attach
from erc_lib.features.tuning import ContextNetwork, UtteranceNetwork, bucketed, sinusoids

QUICK = {
    "epochs": 2, "learning_rate": 5e-3, "batch_size": 16, "max_length": 40, "features": 16, "progress": False,
    "context_epochs": 3,
}
SPLITS = ("train", "validation", "test")


def talk(**changes) -> Dialogue:
    texts = ("happy sad.", "really?", "what you!", "no no no")
    speakers, labels = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1, 2, 0])
    return Dialogue(**{"id": "d", "speakers": speakers, "labels": labels, "texts": texts} | changes)


def written(encoder, *args, **kwargs) -> list[str]:
    return [" ".join(encoder.tokenizer.convert_ids_to_tokens(s)) for s in dialogue_inputs(encoder, *args, **kwargs)]


# --- the input ---------------------------------------------------------------------------------------------------------


def test_three_segments_as_written_by_hand(tiny):
    assert written(load_encoder(tiny), talk(speaker_names=("Anna", "Ben")), 64) == [
        "[CLS] [SEP] anna : happy sad . [SEP] ben : really ? anna : what you ! ben : no no no [SEP]",
        "[CLS] anna : happy sad . [SEP] ben : really ? [SEP] anna : what you ! ben : no no no [SEP]",
        "[CLS] anna : happy sad . ben : really ? [SEP] anna : what you ! [SEP] ben : no no no [SEP]",
        "[CLS] anna : happy sad . ben : really ? anna : what you ! [SEP] ben : no no no [SEP] [SEP]",
    ]


def test_speakers_without_names_are_numbered(tiny):
    assert written(load_encoder(tiny), talk(), 64)[3].endswith("[SEP] speaker 1 : no no no [SEP] [SEP]")
    assert speaker_names(talk()) == ["Speaker 0", "Speaker 1", "Speaker 0", "Speaker 1"]


def test_without_prefix_and_without_context(tiny):
    encoder = load_encoder(tiny)
    assert written(encoder, talk(), 64, prefix=False)[1] == "[CLS] happy sad . [SEP] really ? [SEP] what you ! no no no [SEP]"
    alone = written(encoder, talk(), 64, context=False)
    assert alone[:2] == ["[CLS] speaker 0 : happy sad . [SEP]", "[CLS] speaker 1 : really ? [SEP]"]
    assert written(encoder, talk(), 6, context=False)[0] == "[CLS] speaker 0 : happy [SEP]"


def test_the_far_ends_are_cut_and_the_current_utterance_stays(tiny):
    # third utterance: 5 tokens, past 9, future 5. In 16 tokens 7 are left: 4 for the past, 3 for the future.
    cut = written(load_encoder(tiny), talk(speaker_names=("Anna", "Ben")), 16)[2]
    assert cut == "[CLS] ben : really ? [SEP] anna : what you ! [SEP] ben : no [SEP]"


@pytest.mark.parametrize(("past", "current", "future", "limit", "expected"), [
    (6, 2, 6, 12, "[-3 -2 -1 | c0 c1 | f0 f1 f2 |"),  # even
    (6, 2, 6, 13, "[-4 -3 -2 -1 | c0 c1 | f0 f1 f2 |"),  # the odd token goes to the past
    (1, 2, 9, 13, "[-1 | c0 c1 | f0 f1 f2 f3 f4 f5 |"),  # each gets what the other leaves
    (9, 2, 1, 13, "[-6 -5 -4 -3 -2 -1 | c0 c1 | f0 |"),
    (9, 2, 0, 10, "[-4 -3 -2 -1 | c0 c1 | |"),
    (0, 2, 9, 10, "[| c0 c1 | f0 f1 f2 f3 |"),
    (5, 9, 5, 10, "[| c0 c1 c2 c3 c4 c5 | |"),  # alone too long: its end is cut
    (5, 6, 5, 10, "[| c0 c1 c2 c3 c4 c5 | |"),  # exactly fits
])
def test_how_past_and_future_share(past, current, future, limit, expected):
    names = {1: "[", 2: "|"} | {100 + i: f"-{past - i}" for i in range(past)} | {200 + i: f"c{i}" for i in range(current)}
    names |= {300 + i: f"f{i}" for i in range(future)}
    pieces = [[100 + i for i in range(past)], [200 + i for i in range(current)], [300 + i for i in range(future)]]
    got = three_segments(pieces, 1, limit, cls=1, sep=2)
    assert " ".join(names[t] for t in got).replace("[ ", "[") == expected
    assert len(got) <= limit


def test_the_input_knows_no_label(tiny):
    encoder = load_encoder(tiny)
    assert dialogue_inputs(encoder, talk(), 40) == dialogue_inputs(encoder, talk(labels=torch.tensor([2, 2, 0, 1])), 40)


# --- the networks ------------------------------------------------------------------------------------------------------


def test_utterance_network_is_a_layer_over_the_first_position(tiny):
    encoder = load_encoder(tiny)
    network = UtteranceNetwork(encoder, 8, 3, 0.5).eval()
    sequences = dialogue_inputs(encoder, talk(), 40)
    with torch.no_grad():
        c, logits = network(sequences)
        for i, s in enumerate(sequences):
            first = encoder.model(input_ids=torch.tensor([s])).last_hidden_state[0, 0]
            by_hand = network.fc.weight @ first + network.fc.bias
            torch.testing.assert_close(c[i], by_hand, atol=1e-5, rtol=0)
            scores = network.classifier.weight @ by_hand + network.classifier.bias
            torch.testing.assert_close(logits[i], scores, atol=1e-5, rtol=0)


def test_context_network_ignores_padding_and_knows_order():
    torch.manual_seed(0)
    network = ContextNetwork(5, 8, 3, 0.1, 2, 2).eval()
    a, b = torch.randn(3, 5), torch.randn(7, 5)
    with torch.no_grad():
        together = network([a, b])[0]
        torch.testing.assert_close(together, torch.cat([network([a])[0], network([b])[0]]), atol=1e-5, rtol=0)
        assert not torch.allclose(network([b.flip(0)])[0].flip(0), network([b])[0], atol=1e-2)


def test_sinusoids_by_hand():
    got = sinusoids(3, 4)
    assert got.shape == (3, 4)
    expected = [[np.sin(p), np.cos(p), np.sin(p / 100), np.cos(p / 100)] for p in range(3)]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_bucketed_visits_each_once_with_little_padding():
    lengths = torch.randint(1, 100, (1000,), generator=torch.Generator().manual_seed(0)).tolist()
    torch.manual_seed(0)
    plan = bucketed(lengths, 16)
    assert sorted(i for rows in plan for i in rows) == list(range(1000)) and max(len(rows) for rows in plan) == 16
    padded = sum(len(rows) * max(lengths[i] for i in rows) for rows in plan)
    assert sum(lengths) / padded > 0.85
    assert bucketed(lengths, 16) != plan


# --- training ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return FeatureStore(tmp_path / "features")


@pytest.mark.parametrize("settings", [
    {"paradigm": "one-stage", "epochs": 12, "learning_rate": 1e-2, "max_length": 12, "batch_size": 8, "prefix_speakers": False},
    {"paradigm": "two-stage", "epochs": 6, "context_epochs": 8, "context_learning_rate": 5e-3, "context_batch_size": 4},
    {
        "paradigm": "two-stage", "tune_utterances": False, "prefix_speakers": False,
        "context_epochs": 20, "context_learning_rate": 1e-2, "context_batch_size": 4,
    },
], ids=["one-stage", "two-stage", "two-stage frozen"])
def test_both_paradigms_learn_and_say_what_they_did(tiny, corpus, store, settings):
    stored = finetune_corpus(corpus, encoder=tiny, store=store, seed=1, **{**QUICK, **settings})
    card = stored.card
    assert card["name"] == f"{settings['paradigm']}/tiny/seed1" and card["paradigm"] == settings["paradigm"]
    assert stored.array.shape == (sum(len(d) for s in SPLITS for d in corpus.split(s)), 16)
    assert attach(corpus, "text", stored).dims == {"text": 16}
    assert card["validation_dialogues"] == [d.id for d in corpus.validation]
    assert "memorised" in card["warning"] and "validation" in card["selection"]
    assert len(card["stages"]) == (2 if settings["paradigm"] == "two-stage" and settings.get("tune_utterances", True) else 1)
    for stage in card["stages"]:
        scores = [row["validation_weighted_f1"] for row in stage["history"]]
        assert stage["best_epoch"] == 1 + scores.index(max(scores))
        assert all(0 <= row["test_weighted_f1"] <= 1 for row in stage["history"])
    last = [row["validation_weighted_f1"] for row in card["stages"][-1]["history"]]
    assert card["validation_weighted_f1"] == max(last) > 0.8  # chance: a third
    assert card["test_weighted_f1"] > 0.8


def test_stored_features_are_those_of_the_best_epoch(tiny, corpus, store, monkeypatch):
    """The classifier of the chosen epoch, applied to the stored features, gives the recorded score."""
    loops = []
    real = tuning.Loop.__init__
    monkeypatch.setattr(tuning.Loop, "__init__", lambda self, *a, **k: (loops.append(self), real(self, *a, **k))[1])
    stored = finetune_corpus(corpus, encoder=tiny, store=store, **QUICK | {"epochs": 4})
    network = loops[-1].network
    rows = dict(zip(stored.ids, stored.array, strict=True))
    x = torch.from_numpy(np.stack([rows[u] for d in corpus.validation for u in d.ids]))
    with torch.no_grad():
        predicted = network.classifier(x).argmax(dim=1)
    actual = torch.cat([d.labels for d in corpus.validation])
    assert f1_score(actual, predicted, average="weighted") == pytest.approx(stored.card["validation_weighted_f1"])


def test_only_train_labels_are_learnt_from(tiny, corpus, store):
    """Other test or validation labels change no feature (of several epochs, the latter may choose another)."""
    def relabelled(split: str) -> Corpus:
        other = [replace(d, labels=(d.labels + 1) % 3) for d in corpus.split(split)]
        return replace(corpus, **{split: other})

    one = {**QUICK, "epochs": 1}  # one epoch: there is no choice of an epoch to be made
    plain = finetune_corpus(corpus, encoder=tiny, store=store, name="plain", **one)
    test = finetune_corpus(relabelled("test"), encoder=tiny, store=store, name="test", **one)
    validation = finetune_corpus(relabelled("validation"), encoder=tiny, store=store, name="validation", **one)
    train = finetune_corpus(relabelled("train"), encoder=tiny, store=store, name="train", **one)
    np.testing.assert_array_equal(plain.array, test.array)
    np.testing.assert_array_equal(plain.array, validation.array)
    assert np.abs(plain.array - train.array).max() > 1e-3


def test_seeds(tiny, corpus, store):
    one = {**QUICK, "epochs": 1}
    torch.manual_seed(3)
    before = torch.get_rng_state()
    a = finetune_corpus(corpus, encoder=tiny, store=store, name="a", seed=0, **one)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    b = finetune_corpus(corpus, encoder=tiny, store=store, name="b", seed=0, **one)
    c = finetune_corpus(corpus, encoder=tiny, store=store, name="c", seed=1, **one)
    np.testing.assert_array_equal(a.array, b.array)
    assert np.abs(a.array - c.array).max() > 1e-3 and a.card["tuned_weights_sha256"] == b.card["tuned_weights_sha256"]


def test_the_callers_encoder_stays_as_it_was(tiny, corpus, store):
    encoder = load_encoder(tiny)
    before = {k: v.clone() for k, v in encoder.model.state_dict().items()}
    finetune_corpus(corpus, encoder=encoder, store=store, **QUICK | {"epochs": 1})
    assert all(torch.equal(v, before[k]) for k, v in encoder.model.state_dict().items())


def test_bfloat16(tiny, corpus, store):
    settings = QUICK | {"epochs": 6, "context_epochs": 8, "context_learning_rate": 5e-3, "context_batch_size": 4}
    stored = finetune_corpus(corpus, encoder=tiny, store=store, paradigm="two-stage", precision="bfloat16", **settings)
    assert stored.array.dtype == np.float32 and stored.card["validation_weighted_f1"] > 0.8
    assert stored.card["settings"]["precision"] == "bfloat16"


def test_stored_features_are_returned_and_never_silently_replaced(tiny, corpus, store, monkeypatch):
    first = finetune_corpus(corpus, encoder=tiny, store=store, **QUICK)
    with pytest.raises(ConfigError, match="made with other settings"):
        finetune_corpus(corpus, encoder=tiny, store=store, **QUICK | {"epochs": 1})
    relabelled = replace(corpus, train=[replace(d, labels=d.labels.flip(0)) for d in corpus.train])
    with pytest.raises(ConfigError, match="made with other corpus_sha256"):
        finetune_corpus(relabelled, encoder=tiny, store=store, **QUICK)
    other = finetune_corpus(corpus, encoder=tiny, store=store, overwrite=True, **QUICK | {"epochs": 1})
    assert other.card_hash != first.card_hash
    monkeypatch.setattr(finetune, "_train", lambda *a: pytest.fail("trained again"))
    assert finetune_corpus(corpus, encoder=tiny, store=store, **QUICK | {"epochs": 1}).card_hash == other.card_hash


@pytest.mark.parametrize("moment", ["step", "predict"])
def test_an_interruption_leaves_nothing(tiny, corpus, store, monkeypatch, moment):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning.Loop, moment, stop)
    with pytest.raises(KeyboardInterrupt):
        finetune_corpus(corpus, encoder=tiny, store=store, **QUICK)
    assert not store.root.exists()


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c.map(lambda d: replace(d, texts=("",) * len(d))), "no transcripts"),
    (lambda c: replace(c, validation=[]), "no validation dialogues"),
    (lambda c: c.map(lambda d: replace(d, labels=torch.zeros(len(d), 4))), "dimensions as labels"),
])
def test_corpora_that_cannot_be_used(tiny, corpus, store, change, message):
    with pytest.raises(DataError, match=message):
        finetune_corpus(change(corpus), encoder=tiny, store=store, **QUICK)
    assert not store.root.exists()


@pytest.mark.parametrize(("settings", "message"), [
    ({"epoch": 3}, "epoch: Extra inputs"),
    ({"paradigm": "three-stage"}, "paradigm"),
    ({"learning_rate": 0.0}, "learning_rate"),
    ({"precision": "fp8"}, "precision"),
    ({"max_length": 65}, "more than the 64 positions"),
    ({"paradigm": "two-stage", "features": 10}, "multiple of context_heads"),
])
def test_settings_that_cannot_be_meant(tiny, corpus, store, settings, message):
    with pytest.raises(ConfigError, match=message):
        finetune_corpus(corpus, encoder=tiny, store=store, **QUICK | settings)


def test_a_nan_loss_stops(tiny, corpus, store):
    with pytest.raises(DataError, match="loss is .* in epoch 1; lower the learning rate"):
        encoder = load_encoder(tiny)
        with torch.no_grad():
            next(encoder.model.parameters()).fill_(float("nan"))
        finetune_corpus(corpus, encoder=encoder, store=store, **QUICK)
    assert not store.root.exists()


def test_the_paper_settings_are_the_defaults():
    config = FinetuneConfig()
    assert (config.paradigm, config.features, config.prefix_speakers, config.precision) == ("one-stage", 256, True, "float32")
