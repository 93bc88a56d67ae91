"""The simulator: its frequencies are its parameters, its worlds are shared, its ceilings have the promised shape."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from erc_lib.data import SimulationConfig, ceilings, load_corpus, simulate, simulate_with_truth
from erc_lib.data.grammar import OPENERS, RELATIVE_CUES, TOPICS, cue_phrases, read_cue
from erc_lib.data.sampling import previous_turns
from erc_lib.errors import ConfigError, DataError


def flat(corpus, truths, split="train"):
    """(dialogue, truth, own, other) of every dialogue."""
    for d, truth in zip(corpus.split(split), truths[split], strict=True):
        yield d, truth, *previous_turns(d.speakers.numpy())


def assert_rate(hits, expected):
    """The mean of ``hits`` lies within four standard errors of ``expected``."""
    hits = np.asarray(hits, dtype=float)
    assert len(hits) > 200
    assert abs(hits.mean() - expected) < 4 * max((expected * (1 - expected) / len(hits)) ** 0.5, 1e-12), (hits.mean(), expected)


@pytest.fixture(scope="module")
def meld():
    return simulate_with_truth(SimulationConfig.meld(
        train=600, validation=0, test=0, inertia=0.25, contagion=0.15, text_relative=0.6, cue_garble=0.2, text={"conflict": 0.1}
    ))


def test_previous_turns_by_hand():
    own, other = previous_turns(np.array([0, 0, 1, 2, 1, 1, 0]))
    assert own.tolist() == [-1, 0, -1, -1, 2, 4, 1]
    assert other.tolist() == [-1, -1, 1, 2, 3, 3, 5]


def test_emotions_come_from_their_sources_as_often_as_configured(meld):
    own_hits, other_hits, prior = [], [], []
    for d, truth, own, other in flat(*meld):
        for t, source in enumerate(truth.source):
            back = t - int(truth.distance[t])
            if source == "prior":
                assert truth.distance[t] == 0
                prior.append(int(d.labels[t]))
            else:
                assert back == (own if source == "self" else other)[t] >= 0
                assert d.labels[back] == d.labels[t]
            if own[t] >= 0:
                own_hits.append(source == "self")
            if other[t] >= 0:
                other_hits.append(source == "other")
    assert_rate(own_hits, 0.25)
    assert_rate(other_hits, 0.15)
    for c, share in enumerate(meld[0].simulation.class_prior):
        assert_rate(np.array(prior) == c, share)


def test_every_turn_has_the_class_prior(meld):
    first = np.concatenate([d.labels[:1].numpy() for d in meld[0].train])
    late = np.concatenate([d.labels[4:5].numpy() for d in meld[0].train])
    for c, share in enumerate(meld[0].simulation.class_prior):
        assert_rate(first == c, share)
        assert_rate(late == c, share)


@pytest.mark.parametrize("modality", ["text", "audio", "visual"])
def test_masks_conflicts_and_codes(meld, modality):
    config = meld[0].simulation
    C, emission = config.classes, config.emission(modality)
    masked, conflict, offset, relative = [], [], [], []
    for d, truth, own, _ in flat(*meld):
        m, c = truth.masked[modality].numpy(), truth.conflict[modality].numpy()
        shown, code = truth.shown[modality].numpy(), truth.code[modality].numpy()
        labels = d.labels.numpy()
        assert not (m & c).any() and ((shown != labels) == c)[~m].all()
        masked += m.tolist()
        conflict += c[~m].tolist()
        offset += ((shown - labels) % C)[c].tolist()
        before = np.where(own >= 0, labels[own], config.label_names.index("neutral"))
        for t in range(len(d)):
            if m[t]:
                assert code[t] == config.code_count(modality)
            elif modality == "text" and truth.relative[t]:
                assert code[t] == C + (shown[t] - before[t]) % C
            else:
                assert code[t] == shown[t]
        relative += truth.relative.tolist()
    assert_rate(masked, 1 - emission.reliability)
    assert_rate(conflict, emission.conflict)
    assert_rate(relative, 0.6)
    counts = Counter(offset)
    assert set(counts) <= set(range(1, C)) and (len(offset) < 100 or max(counts.values()) < 3 * min(counts.values()))


@pytest.mark.parametrize("modality", ["text", "audio", "visual"])
def test_vectors_are_prototype_plus_timbre_plus_noise_in_a_rotated_world(meld, modality):
    corpus, truths = meld
    config = corpus.simulation
    rotation, K = config.rotation(modality), config.code_count(modality)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(len(rotation)), atol=1e-12)
    z = np.concatenate([d.features[modality].numpy() @ rotation for d in corpus.train])
    code = np.concatenate([t.code[modality].numpy() for t in truths["train"]])
    prototypes = np.vstack([config.emission(modality).signal * np.eye(K), np.zeros(K)])
    rest = z[:, :K] - prototypes[code]
    assert abs(rest.mean()) < 0.02 and abs(rest.std() - 1) < 0.02
    for k in np.flatnonzero(np.bincount(code) > 200):
        np.testing.assert_allclose(z[code == k, :K].mean(axis=0), prototypes[k], atol=5 / np.sqrt((code == k).sum()))
    # timbre: two turns of one speaker share it, two speakers do not
    same, different = [], []
    start = 0
    for d in corpus.train:
        n, s = z[start : start + len(d), K:], d.speakers
        start += len(d)
        if len(d) > 3:
            own, other = previous_turns(s.numpy())
            same += [(n[t] * n[own[t]]).mean() for t in range(len(d)) if own[t] >= 0]
            different += [(n[t] * n[other[t]]).mean() for t in range(len(d)) if other[t] >= 0]
    assert np.mean(same) == pytest.approx(1.0, abs=0.05) and np.mean(different) == pytest.approx(0.0, abs=0.05)


def test_sentences_carry_the_cue_and_nothing_else(meld):
    corpus, truths = meld
    names, C = corpus.label_names, corpus.classes
    garbled, opener_by_class = [], {c: Counter() for c in range(C)}
    for d, truth in zip(corpus.train, truths["train"], strict=True):
        for t, text in enumerate(d.texts):
            assert read_cue(text, names) == truth.cue[t]
            garbled.append(int(truth.cue[t] != truth.code["text"][t]))
            opener_by_class[int(d.labels[t])][text.split(",")[0] in {o.split(",")[0] for o in OPENERS if o}] += 1
    assert_rate(garbled, 0.2)
    for c in (0, 4):  # whether a sentence has an opener says nothing about the emotion
        assert_rate([1] * opener_by_class[c][True] + [0] * opener_by_class[c][False], 5 / 6)
    texts = " ".join(t for d in corpus.train for t in d.texts)
    assert all(topic in texts for topic in TOPICS)


def test_the_grammar_is_unambiguous():
    presets = (SimulationConfig.meld().label_names, SimulationConfig.iemocap().label_names)
    for names in (("neutral", "joy"), *presets, tuple("abcdefgh")):
        phrases = [p for options in cue_phrases(names) for p in options]
        assert len(set(phrases)) == len(phrases)
    assert len(RELATIVE_CUES) == 8
    with pytest.raises(DataError, match="would stand for two"):
        cue_phrases(("sad", "sadness"))
    with pytest.raises(DataError, match="other label_names"):
        read_cue("I feel furious about the car.", ("neutral", "joy"))


@pytest.mark.parametrize(("preset", "lengths", "mean", "deviation", "speakers"), [
    ("meld", (2, 33), 9.6, 5.8, range(2, 10)), ("iemocap", (8, 110), 49.2, 16.8, range(2, 3)),
])
def test_shape_of_the_presets(preset, lengths, mean, deviation, speakers):
    corpus = simulate(getattr(SimulationConfig, preset)(train=500, validation=3, test=4))
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (500, 3, 4)
    assert corpus.name == f"simulated-{preset}" and corpus.simulation.name == corpus.name
    size = np.array([len(d) for d in corpus.train])
    assert lengths[0] <= size.min() and size.max() <= lengths[1]
    assert abs(size.mean() - mean) < 4 * deviation / 500**0.5 and abs(size.std() - deviation) < 0.15 * deviation
    for d in corpus.train:
        numbers = d.speakers.tolist()
        assert len(set(numbers)) in speakers
        assert list(dict.fromkeys(numbers)) == list(range(len(set(numbers))))  # in the order of the first turn
        assert len(d.speaker_names) == len(set(numbers))
    if preset == "meld":
        many = Counter(int(d.speakers.max()) + 1 for d in corpus.train)
        assert max(many) >= 6 and many[2] > many[3] > many[4]
        assert corpus.label_names == ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
    else:
        assert corpus.label_names == ("happy", "sad", "neutral", "angry", "excited", "frustrated")
        assert_rate([a == b for d in corpus.train for a, b in zip(d.speakers[:-1], d.speakers[1:], strict=True)], 0.31)
    assert sum(corpus.simulation.class_prior) == pytest.approx(1)


def test_same_seed_same_corpus_other_seed_other_corpus_one_world():
    config = SimulationConfig.meld(train=6, validation=3, test=3, seed=5)
    first, again = simulate(config), simulate(config)
    other = simulate(SimulationConfig.meld(train=6, validation=3, test=3, seed=6))
    for split in ("train", "validation", "test"):
        for a, b in zip(first.split(split), again.split(split), strict=True):
            assert a.ids == b.ids and a.texts == b.texts
            assert torch.equal(a.labels, b.labels) and torch.equal(a.speakers, b.speakers)
            assert all(torch.equal(a.features[m], b.features[m]) for m in a.features)
    assert [d.texts for d in first.train] != [d.texts for d in other.train]
    assert [d.texts for d in first.train[:3]] != [d.texts for d in first.test]
    for m in ("text", "audio", "visual"):
        assert np.array_equal(config.rotation(m), SimulationConfig.meld(seed=99).rotation(m))
        assert not np.allclose(config.rotation(m), SimulationConfig.meld(world_seed=1).rotation(m))
    assert not np.allclose(config.rotation("audio"), config.rotation("visual"))


def test_fewer_dialogues_are_the_first_of_more():
    few, more = (simulate(SimulationConfig.iemocap(train=n, validation=0, test=n)) for n in (2, 4))
    assert [d.ids for d in few.train] == [d.ids for d in more.train[:2]]
    assert torch.equal(few.test[1].features["text"], more.test[1].features["text"])


def test_overrides_reach_the_corpus_by_name_too():
    corpus = load_corpus("simulated-iemocap", train=1, validation=1, test=1, seed=3, audio={"dim": 48})
    assert corpus.dims == {"text": 64, "audio": 48, "visual": 32}
    preset = SimulationConfig.iemocap()
    assert corpus.simulation.audio == preset.audio.model_copy(update={"dim": 48}) and corpus.simulation.text == preset.text
    with pytest.raises(ConfigError, match="inertai"):
        load_corpus("simulated-meld", inertai=0.1)


@pytest.mark.parametrize(("overrides", "complaint"), [
    ({"inertai": 0.1}, "Extra inputs"), ({"audio": {"dims": 3}}, "Extra inputs"),
    ({"inertia": 0.7, "contagion": 0.4}, "at most 1"),
    ({"inertia": -0.1}, "greater than or equal to 0"), ({"class_prior": (0.5, 0.5)}, "2 shares for 7"),
    ({"class_prior": (0.5, *[0.1] * 6)}, "must sum to 1"), ({"speaker_counts": (0.5, 0.4)}, "must sum to 1"),
    ({"audio": {"dim": 6}}, "7 classes need 7"), ({"text": {"dim": 13}}, "7 classes need 14"),
    ({"audio": {"noise": 0.0}}, "greater than 0"),
    ({"length_mean": 40}, "between length_min 2 and length_max 33"), ({"baseline": "bored"}, "none of the label_names"),
    ({"label_names": ("joy",) * 7, "baseline": None}, "a name twice"), ({"train": -1}, "greater than or equal to 0"),
    ({"name": "meld"}, "simulated"),
], ids=str)
def test_a_config_that_cannot_be_meant(overrides, complaint):
    with pytest.raises(ValidationError, match=complaint):
        SimulationConfig.meld(**overrides)
    with pytest.raises(ValidationError, match="frozen"):
        SimulationConfig.meld().seed = 3


@pytest.mark.parametrize(("preset", "test"), [("meld", 250), ("iemocap", 45)])
def test_the_presets_have_the_promised_ceilings(preset, test):
    corpus = simulate(getattr(SimulationConfig, preset)(train=0, validation=0, test=test, seed=20260))
    sets = [("text",), ("audio",), ("visual",), ("sentence",), ("text", "audio", "visual")]
    frame = ceilings(corpus, modality_sets=sets).pivot(index="modalities", columns="context", values="accuracy")
    whole, gain = frame["whole dialogue"], frame["whole dialogue"] - frame["utterance alone"]
    assert 0.78 <= whole["text + audio + visual"] <= 0.85
    assert whole["text"] > whole["audio"] + 0.1 and whole["audio"] > whole["visual"] + 0.01
    assert gain["text"] >= 0.15 and gain["sentence"] >= 0.12
    assert abs(gain["audio"]) <= 0.02 and abs(gain["visual"]) <= 0.02
    assert abs(whole["sentence"] - whole["text"]) < 0.03
