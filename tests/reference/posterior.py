"""The posterior of a simulated dialogue by enumeration: every emotion sequence times every code sequence.

The dialogue's vectors are one Gaussian in the full, rotated space (timbre included, as the covariance between turns of one
speaker). Slow, and read off the description of the generative model rather than off its code.
"""

from __future__ import annotations

from functools import reduce
from itertools import product

import numpy as np


def enumerate_posterior(config, speakers, vectors, cues=None, causal=False):
    """(L, C). ``vectors``: modality -> (L, D); ``cues``: the L codes the sentences name, or None."""
    if causal:  # what is known at turn t is the dialogue that stops there
        return np.stack([
            enumerate_posterior(
                config, speakers[: t + 1], {m: x[: t + 1] for m, x in vectors.items()}, None if cues is None else cues[: t + 1]
            )[t]
            for t in range(len(speakers))
        ])
    likelihoods = {m: code_sequence_likelihood(config, m, speakers, vectors.get(m), cues if m == "text" else None)
                   for m in ("text", "audio", "visual") if m in vectors or (m == "text" and cues is not None)}
    total = np.zeros((len(speakers), len(config.label_names)))
    for emotions in product(range(len(config.label_names)), repeat=len(speakers)):
        p = prior_probability(config, speakers, emotions)
        for m, likelihood in likelihoods.items():
            per_turn = [code_distribution(config, m, e, previous(speakers, emotions, t)) for t, e in enumerate(emotions)]
            p *= (reduce(np.multiply.outer, per_turn).ravel() * likelihood).sum()
        for t, e in enumerate(emotions):
            total[t, e] += p
    return total / total.sum(axis=1, keepdims=True)


def previous(speakers, emotions, t):
    """The speaker's last emotion before turn t, or None."""
    earlier = [emotions[i] for i in range(t) if speakers[i] == speakers[t]]
    return earlier[-1] if earlier else None


def prior_probability(config, speakers, emotions):
    """p(emotions) of the dynamics, one factor per turn."""
    p = 1.0
    for t, e in enumerate(emotions):
        own = previous(speakers, emotions, t)
        others = [emotions[i] for i in range(t) if speakers[i] != speakers[t]]
        left, turn = 1.0, 0.0
        if own is not None:
            turn += config.inertia * (own == e)
            left -= config.inertia
        if others:
            turn += config.contagion * (others[-1] == e)
            left -= config.contagion
        p *= turn + left * config.class_prior[e]
    return p


def code_distribution(config, modality, emotion, own):
    """p(code) of one utterance by walking through every branch; the last entry is "nothing shown"."""
    C = len(config.label_names)
    settings = getattr(config, modality)
    p = np.zeros((2 * C if modality == "text" else C) + 1)
    p[-1] = 1 - settings.reliability
    if own is None and config.baseline is not None:
        own = config.label_names.index(config.baseline)
    for shown in range(C):
        share = settings.reliability * (1 - settings.conflict if shown == emotion else settings.conflict / (C - 1))
        if modality == "text" and own is not None:
            p[shown] += share * (1 - config.text_relative)
            p[C + (shown - own) % C] += share * config.text_relative
        else:
            p[shown] += share
    return p


def code_sequence_likelihood(config, modality, speakers, x, cues):
    """p(vectors and cues | codes) for every sequence of codes, flat in the order of ``itertools.product``, up to a constant."""
    settings, L = getattr(config, modality), len(speakers)
    codes = len(code_distribution(config, modality, 0, None))
    sequences = np.array(list(product(range(codes), repeat=L)))
    likelihood = np.ones(len(sequences))
    if x is not None:
        R, D = config.rotation(modality), settings.dim
        prototypes = np.vstack([settings.signal * R[:, : codes - 1].T, np.zeros(D)])
        nuisance = R[:, codes - 1 :] @ R[:, codes - 1 :].T
        same = np.equal.outer(speakers, speakers)
        covariance = settings.noise**2 * np.eye(L * D) + settings.timbre**2 * np.kron(same, nuisance)
        residual = np.asarray(x, dtype=float).reshape(1, L * D) - prototypes[sequences].reshape(len(sequences), L * D)
        log_p = -0.5 * (residual * np.linalg.solve(covariance, residual.T).T).sum(axis=1)
        likelihood *= np.exp(log_p - log_p.max())
    if cues is not None:
        right = sequences == np.asarray(cues)
        likelihood *= np.where(right, 1 - config.cue_garble, config.cue_garble / (codes - 1)).prod(axis=1)
    return likelihood


def enumerate_alone(config, dialogues):
    """[(L, C)] for dialogues given as (speakers, vectors): from one utterance's vectors, a turn drawn at random from all."""
    C = len(config.label_names)
    pairs = {}  # (emotion, previous emotion or None) -> probability
    for speakers, _ in dialogues:
        for emotions in product(range(C), repeat=len(speakers)):
            for t, e in enumerate(emotions):
                key = (e, previous(speakers, emotions, t))
                pairs[key] = pairs.get(key, 0.0) + prior_probability(config, speakers, emotions)
    out = []
    for speakers, vectors in dialogues:
        p = np.zeros((len(speakers), C))
        for t in range(len(speakers)):
            likelihoods = {m: code_sequence_likelihood(config, m, speakers[t : t + 1], x[t : t + 1], None)
                           for m, x in vectors.items()}
            for (e, own), prior in pairs.items():
                p[t, e] += prior * np.prod([code_distribution(config, m, e, own) @ f for m, f in likelihoods.items()])
        out.append(p / p.sum(axis=1, keepdims=True))
    return out
