"""The ceiling: equal to enumeration, blind to nuisance, calibrated, and honest about what it cannot do."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from erc_lib.data import (
    Corpus, Dialogue, SimulationConfig, bayes_posteriors, ceilings, simulate, simulate_with_truth, two_speaker,
)
from erc_lib.errors import DataError
from tests.reference.posterior import enumerate_alone, enumerate_posterior

SUBSETS = [c for size in (1, 2, 3) for c in combinations(("text", "audio", "visual"), size)]
SUBSETS += [("sentence",), ("sentence", "text"), ("audio", "sentence")]


def small(length=4, **overrides):
    """Three classes and every complication at once: masks, conflicts, relative text, garbled cues, timbre."""
    settings = dict(
        name="simulated-small", label_names=("neutral", "joy", "anger"), class_prior=(0.5, 0.2, 0.3),
        train=0, validation=0, test=2,
        length_min=length, length_max=length, length_mean=length, inertia=0.3, contagion=0.2, text_relative=0.6, cue_garble=0.2,
        text=dict(dim=8, signal=2.0, timbre=1.5, reliability=0.8, conflict=0.1),
        audio=dict(dim=5, signal=1.5, noise=1.3, timbre=2.0, reliability=0.7, conflict=0.2),
        visual=dict(dim=4, signal=1.0, reliability=0.6, conflict=0.3),
    )
    return SimulationConfig(**{**settings, **overrides})


def assert_equals_enumeration(config, modalities, causal):
    corpus, truth = simulate_with_truth(config)
    found = bayes_posteriors(corpus, "test", modalities=modalities, causal=causal)
    for dialogue, known, p in zip(corpus.test, truth["test"], found, strict=True):
        vectors = {m: dialogue.features[m].numpy() for m in modalities if m != "sentence"}
        cues = known.cue.numpy() if "sentence" in modalities else None
        expected = enumerate_posterior(config, dialogue.speakers.numpy(), vectors, cues, causal)
        np.testing.assert_allclose(p.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("modalities", SUBSETS, ids="+".join)
def test_two_speakers_equal_enumeration(modalities, causal):
    assert_equals_enumeration(small(baseline="joy", seed=len(modalities)), modalities, causal)


@pytest.mark.parametrize("overrides", [
    dict(baseline=None), dict(inertia=0.0, contagion=0.6), dict(inertia=0.9, contagion=0.1), dict(text_relative=1.0),
    dict(keep_turn=1.0), dict(keep_turn=0.0),
    dict(speaker_counts=(0.0, 1.0), reply=0.3), dict(speaker_counts=(0.0, 0.0, 1.0), reply=0.5),
], ids=str)
def test_other_dynamics_and_more_speakers_equal_enumeration(overrides):
    for causal in (False, True):
        assert_equals_enumeration(small(length=5, seed=3, **{"test": 2, **overrides}), ("text", "audio"), causal)


def test_one_turn_and_one_speaker():
    assert_equals_enumeration(small(length=1), ("text", "audio", "visual"), False)
    assert_equals_enumeration(small(length=3, keep_turn=1.0), ("text", "visual"), False)


@pytest.mark.parametrize("modalities", [("text",), ("audio",), ("text", "visual")], ids="+".join)
def test_an_utterance_alone_equals_enumeration(modalities):
    config = small(length_min=2, length_max=4, length_mean=3, test=4, baseline="neutral")
    corpus = simulate(config)
    dialogues = [(d.speakers.tolist(), {m: d.features[m].numpy() for m in modalities}) for d in corpus.test]
    expected = enumerate_alone(config, dialogues)
    for p, q in zip(bayes_posteriors(corpus, "test", modalities=modalities, context=False), expected, strict=True):
        np.testing.assert_allclose(p.numpy(), q, atol=2e-6)


def test_an_utterance_alone_does_not_see_its_neighbours():
    corpus = simulate(small(length=5, test=3))
    before = bayes_posteriors(corpus, "test", context=False)
    changed = replace(corpus, test=[
        replace(d, features={m: torch.cat([x[:-1], -x[-1:]]) for m, x in d.features.items()}) for d in corpus.test
    ])
    for p, q in zip(before, bayes_posteriors(changed, "test", context=False), strict=True):
        torch.testing.assert_close(p[:-1], q[:-1])


def test_causal_does_not_see_the_future_and_agrees_at_the_last_turn():
    corpus = simulate(small(length=5, test=5))
    causal, whole = bayes_posteriors(corpus, "test", causal=True), bayes_posteriors(corpus, "test")
    changed = replace(corpus, test=[
        replace(d, features={m: torch.cat([x[:3], torch.zeros_like(x[3:])]) for m, x in d.features.items()}) for d in corpus.test
    ])
    for a, b, c in zip(causal, whole, bayes_posteriors(changed, "test", causal=True), strict=True):
        torch.testing.assert_close(a[:3], c[:3])
        torch.testing.assert_close(a[-1], b[-1])
    assert any(not torch.allclose(a, b, atol=1e-3) for a, b in zip(causal, whole, strict=True))


def test_timbre_does_not_move_the_posterior():
    base = SimulationConfig.iemocap(train=0, validation=0, test=2)
    loud = SimulationConfig.iemocap(
        train=0, validation=0, test=2, text={"timbre": 20.0}, audio={"timbre": 20.0}, visual={"timbre": 0.0}
    )
    quiet, noisy = simulate(base), simulate(loud)
    assert not torch.allclose(quiet.test[0].features["audio"], noisy.test[0].features["audio"])
    for p, q in zip(bayes_posteriors(quiet, "test"), bayes_posteriors(noisy, "test"), strict=True):
        torch.testing.assert_close(p, q, atol=1e-3, rtol=0)  # float32 features of size 20 round at about 1e-6 x 20 x signal


def test_without_signal_the_posterior_is_the_prior_and_with_plenty_it_is_the_label():
    mute = simulate(small(length=5, **{m: dict(dim=8, signal=0.0) for m in ("text", "audio", "visual")}))
    for p in bayes_posteriors(mute, "test"):
        torch.testing.assert_close(p, torch.tensor([0.5, 0.2, 0.3]).expand(5, 3))
    # From text alone this takes the whole chain of differences, back to the baseline.
    clear = simulate(small(length=5, baseline="joy", **{m: dict(dim=8, signal=30.0) for m in ("text", "audio", "visual")}))
    for modality in ("text", "audio"):
        for d, p in zip(clear.test, bayes_posteriors(clear, "test", modalities=(modality,)), strict=True):
            assert torch.equal(p.argmax(1), d.labels) and p.max(1).values.min() > 0.999


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"context": False}, {"modalities": ("text",)}], ids=str)
def test_posteriors_are_calibrated(options):
    corpus = simulate(SimulationConfig.meld(train=0, validation=0, test=150, seed=11))
    p = torch.cat(bayes_posteriors(corpus, "test", **options))
    right = (p.argmax(1) == torch.cat([d.labels for d in corpus.test])).float()
    confidence = p.max(1).values
    torch.testing.assert_close(p.sum(1), torch.ones(len(p)))
    assert abs(float((right - confidence).mean())) < 3 * float(right.std()) / len(p) ** 0.5
    sure = confidence > 0.9
    if sure.sum() > 50:
        assert abs(float((right - confidence)[sure].mean())) < 0.03


def test_more_evidence_never_costs_log_loss_and_ceilings_has_a_row_for_each():
    frame = ceilings(simulate(SimulationConfig.iemocap(train=0, validation=0, test=10, seed=4)))
    assert list(frame.columns) == ["modalities", "context", "accuracy", "weighted_f1", "mean_log_loss"]
    assert len(frame) == 8 * 3
    loss = frame.pivot(index="modalities", columns="context", values="mean_log_loss")
    assert (loss["whole dialogue"] <= loss["past only"] + 0.02).all()
    assert (loss["past only"] <= loss["utterance alone"] + 0.02).all()
    whole = loss["whole dialogue"]
    assert whole["text + audio + visual"] < min(whole["text + audio"], whole["text + visual"], whole["audio + visual"])


def test_two_speaker_keeps_the_dyads_and_their_ceiling():
    corpus = simulate(SimulationConfig.meld(train=5, validation=5, test=30))
    pairs = two_speaker(corpus)
    kept = [d for d in corpus.test if d.speakers.max() < 2]
    assert 0 < len(kept) < 30 and [d.id for d in pairs.test] == [d.id for d in kept]
    every = dict(zip([d.id for d in corpus.test], bayes_posteriors(corpus, "test"), strict=True))
    for d, p in zip(pairs.test, bayes_posteriors(pairs, "test"), strict=True):
        torch.testing.assert_close(p, every[d.id])


def test_what_cannot_be_computed_is_said():
    corpus = simulate(small())
    with pytest.raises(DataError, match="not simulated"):
        bayes_posteriors(replace(corpus, simulation=None), "test")
    with pytest.raises(DataError, match="no split 'dev'"):
        bayes_posteriors(corpus, "dev")
    for wrong in [(), ("smell",), ("text", "text")]:
        with pytest.raises(DataError, match="modalities must be"):
            bayes_posteriors(corpus, "test", modalities=wrong)
    with pytest.raises(DataError, match="no audio features"):
        bayes_posteriors(corpus.only(("text",)), "test", modalities=("audio",))
    with pytest.raises(DataError, match="has no features"):
        bayes_posteriors(corpus.map(lambda d: d.only(())), "test")
    with pytest.raises(DataError, match="9 wide, the simulator's 8"):
        bayes_posteriors(corpus.map(lambda d: d.with_features("text", torch.zeros(len(d), 9))), "test")
    with pytest.raises(DataError, match="not a sentence of the simulator's grammar"):
        bayes_posteriors(corpus.map(lambda d: replace(d, texts=("Hello.",) * len(d))), "test", modalities=("sentence",))
    with pytest.raises(DataError, match="no validation dialogues"):
        ceilings(corpus, "validation")


def test_none_means_the_features_there_are():
    corpus = simulate(small())
    fewer = bayes_posteriors(corpus.only(("text", "visual")), "test")
    for p, q in zip(fewer, bayes_posteriors(corpus, "test", modalities=("visual", "text")), strict=True):
        torch.testing.assert_close(p, q)


def test_a_dialogue_too_intertwined_is_refused_and_a_long_dyad_is_not():
    config = SimulationConfig.meld()
    speakers = torch.arange(9).repeat(2)
    features = {m: torch.zeros(18, config.emission(m).dim) for m in ("text", "audio", "visual")}
    round_table = Dialogue("round-table", speakers, torch.zeros(18, dtype=torch.long), features)
    corpus = Corpus("simulated-meld", [], [], [round_table], config.label_names, simulation=config)
    with pytest.raises(DataError, match=r"'round-table' has 9 speakers .* 7\^9 states"):
        bayes_posteriors(corpus, "test")
    long = simulate(SimulationConfig.iemocap(train=0, validation=0, test=1, length_min=600, length_max=600, length_mean=600))
    (p,) = bayes_posteriors(long, "test")
    assert p.shape == (600, 6) and torch.isfinite(p).all()
