"""The simulated corpus of dimensions: its moments, and its exact ceiling against conditioning written out turn by turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from erc_lib.data import DimensionalConfig, dimension_ceilings, dimension_posteriors, load_corpus, simulate_dimensions
from erc_lib.data.sampling import previous_turns
from erc_lib.data.simulation import MODALITY_STREAM, random_rotation
from erc_lib.errors import ConfigError, DataError


def small(**options) -> DimensionalConfig:
    return DimensionalConfig.avec(**{"train": 2, "validation": 1, "test": 2, "length_max": 12, "length_mean": 11.0, **options})


def slow_posterior(config, dialogue, modalities, seen, by_modality=False) -> np.ndarray:
    """E[y_t | what turns seen(t) show], by following the recursion with coefficient vectors of the fresh noises, then the normal equations."""
    speakers = dialogue.speakers.numpy()
    own, other = previous_turns(speakers)
    L = len(dialogue)
    y = np.zeros((L, L))  # y_t as a combination of L unit noises
    for t in range(L):
        for weight, j in ((config.inertia, own[t]), (config.contagion, other[t])):
            if j >= 0:
                y[t] += weight * y[j]
        y[t, t] = (1 - y[t] @ y[t]) ** 0.5
    found = np.zeros((L, 4))
    for k in range(4):
        shown, noise, value, owner = [], [], [], []
        for t in range(L):
            for m in modalities:
                emission = config.emission(m)
                owner.append(m)
                what = y[t] - (config.relative * y[own[t]] if m == "text" and own[t] >= 0 else 0)
                rotation = random_rotation(config.world_seed, MODALITY_STREAM[m], emission.dim)
                shown.append(emission.signal[k] * what)
                noise.append(emission.noise**2)
                value.append(float(dialogue.features[m][t].double().numpy() @ rotation[:, k]))
        shown, noise, value = np.array(shown), np.array(noise), np.array(value)
        for t in range(L):
            at = np.arange(L).repeat(len(modalities))
            rows = np.array([i for i in range(len(at)) if at[i] in (seen(t, owner[i]) if by_modality else seen(t))])
            S = shown[rows] @ shown[rows].T + np.diag(noise[rows])
            found[t, k] = (y[t] @ shown[rows].T) @ np.linalg.solve(S, value[rows])
    return found


@pytest.mark.parametrize("modalities", [("text",), ("audio", "visual"), ("text", "audio", "visual")])
@pytest.mark.parametrize(("options", "seen"), [
    ({"context": False}, lambda t, L: [t]), ({"window": 2}, lambda t, L: range(max(0, t - 2), t + 1)), ({"causal": True}, lambda t, L: range(t + 1)), ({}, lambda t, L: range(L)),
])  # fmt: skip
def test_the_posterior_against_conditioning_written_out(modalities, options, seen):
    corpus = simulate_dimensions(small(contagion=0.3, relative=0.8))
    for d, p in zip(corpus.test, dimension_posteriors(corpus, "test", modalities=modalities, **options), strict=True):
        slow = slow_posterior(corpus.simulation, d, modalities, lambda t, L=len(d): list(seen(t, L)))
        np.testing.assert_allclose(p.numpy(), slow, atol=1e-5)


def test_each_modality_may_have_a_window_of_its_own():
    """The paper's setting: text sees two turns back, audio and visual their own turn."""
    corpus, window = simulate_dimensions(small()), {"text": 2, "audio": 0, "visual": 0}
    for d, p in zip(corpus.test, dimension_posteriors(corpus, "test", window=window), strict=True):
        slow = slow_posterior(corpus.simulation, d, tuple(window), lambda t, m: range(max(0, t - window[m]), t + 1), by_modality=True)
        np.testing.assert_allclose(p.numpy(), slow, atol=1e-5)


def test_values_have_variance_one_and_the_dynamics_asked_for():
    corpus = simulate_dimensions(DimensionalConfig.avec(train=400, validation=0, test=0, inertia=0.5, contagion=0.0))
    y = torch.cat([d.labels for d in corpus.train])
    assert y.mean(0).abs().max() < 0.03 and (y.var(0) - 1).abs().max() < 0.05
    pairs = []
    for d in corpus.train:
        own, _ = previous_turns(d.speakers.numpy())
        pairs += [(d.labels[t], d.labels[own[t]]) for t in np.flatnonzero(own >= 0)]
    now, before = (torch.stack(x) for x in zip(*pairs, strict=True))
    assert ((now * before).mean(0) - 0.5).abs().max() < 0.03


def test_no_other_prediction_correlates_better():
    """The conditional mean against the least-squares reader of all coordinates of one turn, fitted on the test turns themselves."""
    corpus = simulate_dimensions(DimensionalConfig.avec(train=0, validation=0, test=150))
    y = torch.cat([d.labels for d in corpus.test]).double().numpy()
    x = torch.cat([torch.cat([d.features[m] for m in ("text", "audio", "visual")], dim=1) for d in corpus.test]).double().numpy()
    fitted = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    table = dimension_ceilings(corpus, "test", [("text", "audio", "visual")]).set_index("context")
    r = np.mean([np.corrcoef(y[:, k], fitted[:, k])[0, 1] for k in range(4)])
    assert r == pytest.approx(table.loc["utterance alone", "mean_pearson"], abs=0.02)
    assert table.loc["utterance alone", "mean_pearson"] < table.loc["past only", "mean_pearson"] < table.loc["whole dialogue", "mean_pearson"]


def test_the_preset_has_the_shape_that_is_claimed():
    """Text gains much from the past, audio and visual next to nothing."""
    corpus = load_corpus("simulated-avec", train=1, validation=1, test=60)
    table = dimension_ceilings(corpus).pivot(index="modalities", columns="context", values="mean_pearson")
    gain = table["past only"] - table["utterance alone"]
    assert gain["text"] > 0.12 and max(gain["audio"], gain["visual"], gain["audio + visual"]) < 0.02


def test_a_dimension_that_nothing_shows_counts_as_0_and_an_empty_split_is_refused():
    corpus = load_corpus("simulated-avec", train=0, validation=0, test=10, text={"signal": [3.0, 0.0, 2.0, 2.5]})
    table = dimension_ceilings(corpus, "test", [("text",)])
    assert (table["arousal"] == 0).all() and (table["valence"] > 0.3).all() and table["mean_pearson"].notna().all()
    with pytest.raises(DataError, match="has no train dialogues to compute a ceiling on"):
        dimension_ceilings(corpus, "train")


def test_repeatable_and_extended_by_more_dialogues():
    a, b = (load_corpus("simulated-avec", train=n, validation=1, test=1, seed=5) for n in (2, 3))
    assert all(torch.equal(x.labels, y.labels) and torch.equal(x.features["text"], y.features["text"]) for x, y in zip(a.train, b.train, strict=False))
    assert not torch.equal(a.train[0].labels[:5], load_corpus("simulated-avec", train=1, validation=1, test=1, seed=6).train[0].labels[:5])
    assert a.name == "simulated-avec" and a.label_names == ("valence", "arousal", "expectancy", "power") and a.dims == {"text": 32, "audio": 32, "visual": 32}


def test_bad_input():
    with pytest.raises(ConfigError, match="inertia \\+ contagion must be at most 1, not 1.2"):
        load_corpus("simulated-avec", inertia=0.6, contagion=0.6)
    with pytest.raises(ConfigError, match="inerta"):
        load_corpus("simulated-avec", inerta=0.6)
    with pytest.raises(ConfigError, match="speaker_counts must sum to 1"):
        load_corpus("simulated-avec", speaker_counts=[0.5])
    with pytest.raises(ConfigError, match="that of text cannot be -1"):
        dimension_posteriors(load_corpus("simulated-avec", train=1, validation=1, test=1), "test", window=-1)
    with pytest.raises(DataError, match="'simulated-meld' is no simulated corpus of dimensions"):
        dimension_posteriors(load_corpus("simulated-meld", train=1, validation=1, test=1), "test")
