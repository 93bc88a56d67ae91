"""The ceiling of a simulated corpus: the exact posterior of every label under the model that drew it. No model can beat it.

The emotion of turn t depends on two earlier turns, the speaker's own last one and the most recent one by somebody else; so does
the text code (on the speaker's own). Who speaks when is observed and says nothing about emotions. Exact inference therefore has
to remember, between turns, only the emotions of those turns that a later turn still refers to: with two speakers the *pair of
their last emotions* (C² states, forward-backward over that pair); with P speakers at most C^P. Nothing is approximated; a
dialogue that would need more than ``MAX_STATES`` is refused.

In a vector the first K rotated coordinates are independent of the timbre's, so the likelihood of a code k against "nothing shown"
is ``exp((signal * z_k - signal² / 2) / noise²)`` and everything else cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from erc_lib.data.conversation import MODALITIES, SPLITS, Corpus, Dialogue
from erc_lib.data.grammar import read_cue
from erc_lib.data.sampling import previous_turns
from erc_lib.data.simulation import SimulationConfig
from erc_lib.errors import DataError

MAX_STATES = 7**7
EVIDENCE = (*MODALITIES, "sentence")
CONTEXTS = ("utterance alone", "past only", "whole dialogue")


def bayes_posteriors(
    corpus: Corpus, split: str, *, modalities: Sequence[str] | None = None, causal: bool = False, context: bool = True
) -> list[Tensor]:
    """The exact posterior of every label of a split of a simulated corpus.

    Args:
        corpus: of :func:`erc_lib.data.simulate`, its features untouched.
        split: "train", "validation" or "test".
        modalities: the evidence used, from "text", "audio", "visual" (the vectors) and "sentence" (the cue in the text; it is
            about the same code as the text vector, which is accounted for when both are used). None: the vectors the dialogues
            have.
        causal: True = from this turn and those before it; False = from the whole dialogue.
        context: False = from this utterance alone, not even knowing who spoke before or how often: a turn drawn at random from
            the split. ``causal`` is then moot.

    Returns:
        For each dialogue a FloatTensor (L, C); rows sum to 1.

    Raises:
        DataError: the corpus is not simulated; evidence that is unknown or missing, or whose width is not the simulator's; a
            dialogue of so many intertwined speakers that exact inference needs more than ``MAX_STATES`` states.
    """
    config = corpus.simulation
    if not isinstance(config, SimulationConfig):
        raise DataError(f"corpus {corpus.name!r} is not simulated, so its ceiling is unknown; only simulate() draws such corpora")
    dialogues = corpus.split(split)
    if modalities is not None:
        modalities = (modalities,) if isinstance(modalities, str) else tuple(modalities)
        if not modalities or len(set(modalities)) != len(modalities) or not set(modalities) <= set(EVIDENCE):
            raise DataError(f"modalities must be one or more of {', '.join(EVIDENCE)}, each once, not {modalities}")
    channels = _channels(config)
    evidence = [_evidence(config, channels, d, tuple(d.features) if modalities is None else modalities) for d in dialogues]
    if context:
        posteriors = [_dialogue_posterior(config, d, seen, causal) for d, seen in zip(dialogues, evidence, strict=True)]
    else:
        prior = _pair_prior(config, dialogues)
        posteriors = [np.einsum("ep,lep->le", prior, seen) for seen in evidence]
    return [torch.from_numpy(p / p.sum(axis=1, keepdims=True)).float() for p in posteriors]


def two_speaker(corpus: Corpus) -> Corpus:
    """``corpus`` with its dialogues of at most two speakers alone; their ceilings are computed as before."""
    kept = {s: [d for d in corpus.split(s) if int(d.speakers.unique().numel()) <= 2] for s in SPLITS}
    return replace(corpus, **kept)


def ceilings(corpus: Corpus, split: str = "test", modality_sets: Sequence[Sequence[str]] | None = None) -> pd.DataFrame:
    """Accuracy and weighted F1 of the best possible prediction, by evidence and by what of the dialogue may be used.

    Args:
        corpus: simulated. split: which dialogues to score.
        modality_sets: the evidence of each row block; None: every subset of text, audio, visual, and the sentence alone.

    Returns:
        One row per (modalities, context): columns modalities ("text + audio"), context ("utterance alone", "past only",
        "whole dialogue"), accuracy, weighted_f1 (fractions), mean_log_loss (nats per utterance).
    """
    from sklearn.metrics import accuracy_score, f1_score  # a second to import, which corpora alone need not wait for

    if modality_sets is None:
        modality_sets = [c for size in (1, 2, 3) for c in combinations(MODALITIES, size)] + [("sentence",)]
    dialogues = corpus.split(split)
    if not dialogues:
        raise DataError(f"corpus {corpus.name!r} has no {split} dialogues to compute a ceiling on; simulate some")
    labels = torch.cat([d.labels for d in dialogues]).numpy()
    rows = []
    for modalities in modality_sets:
        for name in CONTEXTS:
            causal, context = name == "past only", name != "utterance alone"
            p = torch.cat(bayes_posteriors(corpus, split, modalities=modalities, causal=causal, context=context)).double().numpy()
            predicted = p.argmax(axis=1)
            rows.append({
                "modalities": " + ".join(modalities), "context": name,
                "accuracy": float(accuracy_score(labels, predicted)),
                "weighted_f1": float(f1_score(labels, predicted, average="weighted", zero_division=0)),
                "mean_log_loss": float(-np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-300)).mean()),
            })
    return pd.DataFrame(rows)


def _channels(config: SimulationConfig) -> dict[str, np.ndarray]:
    """modality -> p(code | emotion, speaker's previous emotion), float64 (C, C + 1, K + 1).

    Previous emotion C = has not spoken yet, code K = nothing shown.
    """
    C = config.classes
    channels = {}
    for m in MODALITIES:
        emission, codes = config.emission(m), config.code_count(m)
        shown = np.full((C, C), emission.conflict / (C - 1))
        np.fill_diagonal(shown, 1 - emission.conflict)
        q = np.zeros((C, C + 1, codes + 1))
        for previous in range(C + 1):
            reference = previous if previous < C else config.baseline_class
            rho = config.text_relative if m == "text" and reference >= 0 else 0.0
            q[:, previous, :C] = emission.reliability * (1 - rho) * shown
            if rho:
                q[:, previous, C + (np.arange(C) - reference) % C] = emission.reliability * rho * shown
        q[:, :, codes] = 1 - emission.reliability
        channels[m] = q
    return channels


def _code_likelihoods(config: SimulationConfig, dialogue: Dialogue, name: str) -> np.ndarray:
    """Log-likelihood of each code given one kind of evidence, float64 (L, K + 1), up to a constant per turn."""
    if name == "sentence":
        codes = 2 * config.classes + 1
        cue = np.array([read_cue(text, config.label_names) for text in dialogue.texts])
        p = np.full((len(dialogue), codes), config.cue_garble / (codes - 1))
        p[np.arange(len(dialogue)), cue] = 1 - config.cue_garble
        with np.errstate(divide="ignore"):
            return np.log(p)
    if name not in dialogue.features:
        raise DataError(f"dialogue {dialogue.id!r} has no {name} features; name other modalities or simulate the corpus again")
    emission, codes = config.emission(name), config.code_count(name)
    x = dialogue.features[name].double().numpy()
    if x.shape[1] != emission.dim:
        raise DataError(
            f"dialogue {dialogue.id!r}: its {name} features are {x.shape[1]} wide, the simulator's {emission.dim}: they are not "
            "the simulated ones, so their likelihood is unknown. Use the corpus of simulate(), or for encoded sentences "
            'modalities=("sentence",)'
        )
    z = x @ config.rotation(name)[:, :codes]
    return np.pad((emission.signal * z - emission.signal**2 / 2) / emission.noise**2, ((0, 0), (0, 1)))


def _evidence(
    config: SimulationConfig, channels: dict[str, np.ndarray], dialogue: Dialogue, modalities: Sequence[str]
) -> np.ndarray:
    """Likelihood of each turn's evidence by its emotion and the speaker's last one: float64 (L, C, C + 1), largest 1 per turn."""
    if not modalities:
        raise DataError(f"dialogue {dialogue.id!r} has no features; simulate the corpus again, or name the modalities to use")
    by_code: dict[str, np.ndarray] = {}
    for name in modalities:
        channel = "text" if name == "sentence" else name  # the sentence and the text vector tell of one and the same code
        by_code[channel] = by_code.get(channel, 0.0) + _code_likelihoods(config, dialogue, name)
    total = np.zeros((len(dialogue), config.classes, config.classes + 1))
    for channel, log_p in by_code.items():
        p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        with np.errstate(divide="ignore"):
            total += np.log(np.einsum("epk,lk->lep", channels[channel], p))
    return np.exp(total - total.max(axis=(1, 2), keepdims=True))


def _transition(config: SimulationConfig, has_own: bool, has_other: bool) -> np.ndarray:
    """p(emotion | own last, other's last): (C, C or 1, C or 1), an axis of 1 where that turn does not exist."""
    C, prior = config.classes, np.array(config.class_prior) / sum(config.class_prior)
    inertia, contagion = config.inertia * has_own, config.contagion * has_other
    p = np.zeros((C, C if has_own else 1, C if has_other else 1)) + ((1 - inertia - contagion) * prior)[:, None, None]
    if has_own:
        p += inertia * np.eye(C)[:, :, None]
    if has_other:
        p += contagion * np.eye(C)[:, None, :]
    return p


def _dialogue_posterior(config: SimulationConfig, dialogue: Dialogue, evidence: np.ndarray, causal: bool) -> np.ndarray:
    """Unnormalised posterior (L, C) of every turn: forward-backward over the emotions of the turns still referred to.

    Args:
        evidence: (L, C, C + 1) of :func:`_evidence`.
    """
    state, factors = _chain(config, dialogue, evidence)
    forward, joints = np.ones(()), []
    for t, (axes, factor) in enumerate(factors):
        keep = sorted({*state[t + 1], t})
        joint = _product(state[t], forward, axes, factor, keep)  # p(this and the remembered emotions, evidence so far)
        if not joint.sum() > 0:
            raise DataError(
                f"utterance {dialogue.ids[t]!r} is impossible under the simulator it is said to come from; "
                "were its features or speakers changed?"
            )
        joints.append((keep, joint / joint.sum()))
        forward = _product(*joints[-1], [], np.ones(()), state[t + 1])
    if causal:
        return np.stack([_product(keep, joint, [], np.ones(()), [t]) for t, (keep, joint) in enumerate(joints)])
    out, backward = np.zeros((len(dialogue), config.classes)), np.ones(())
    for t in range(len(dialogue) - 1, -1, -1):
        out[t] = _product(*joints[t], state[t + 1], backward, [t])
        backward = _product(*factors[t], state[t + 1], backward, state[t])
        backward = backward / backward.max()
    return out


def _pair_prior(config: SimulationConfig, dialogues: Sequence[Dialogue]) -> np.ndarray:
    """p(emotion, speaker's previous emotion) of a turn drawn at random from ``dialogues`` before anything is seen: (C, C + 1)."""
    C = config.classes
    total = np.zeros((C, C + 1))
    for dialogue in dialogues:
        state, factors = _chain(config, dialogue, np.ones((len(dialogue), C, C + 1)))
        own, _ = previous_turns(dialogue.speakers.numpy())
        forward = np.ones(())
        for t, (axes, factor) in enumerate(factors):
            if own[t] >= 0:
                total[:, :C] += _product(state[t], forward, axes, factor, [t, int(own[t])])
            else:
                total[:, C] += _product(state[t], forward, axes, factor, [t])
            forward = _product(state[t], forward, axes, factor, state[t + 1])
    return total / total.sum()


def _chain(
    config: SimulationConfig, dialogue: Dialogue, evidence: np.ndarray
) -> tuple[list[list[int]], list[tuple[list[int], np.ndarray]]]:
    """The turns remembered before each of turns 0 .. L, and each turn's factor over itself and the two turns it refers to."""
    C = config.classes
    own, other = previous_turns(dialogue.speakers.numpy())
    live = _live_turns(own, other)
    widest = max(len(turns | {t}) for t, turns in enumerate(live[1:]))  # the table held after turn t
    if C**widest > MAX_STATES:
        raise DataError(
            f"dialogue {dialogue.id!r} has {int(dialogue.speakers.max()) + 1} speakers who return so often that its exact "
            f"posterior needs {C}^{widest} states (at most {MAX_STATES}); leave it out, for example with two_speaker(corpus)"
        )
    factors = []
    for t in range(len(dialogue)):
        seen = evidence[t][:, :C, None] if own[t] >= 0 else evidence[t][:, C:, None]
        axes = [t] + [int(s) for s in (own[t], other[t]) if s >= 0]
        factors.append((axes, (_transition(config, own[t] >= 0, other[t] >= 0) * seen).reshape((C,) * len(axes))))
    return [sorted(turns) for turns in live], factors


def _live_turns(own: np.ndarray, other: np.ndarray) -> list[set[int]]:
    """Entry t of L + 1: the turns before t that turn t or a later one refers to."""
    last_use: dict[int, int] = {}
    for t, turns in enumerate(zip(own.tolist(), other.tolist(), strict=True)):
        last_use |= {s: t for s in turns if s >= 0}
    return [{s for s, use in last_use.items() if s < t <= use} for t in range(len(own) + 1)]


def _product(a_axes: list[int], a: np.ndarray, b_axes: list[int], b: np.ndarray, keep: list[int]) -> np.ndarray:
    """Product of two tables over turns, summed over all turns but ``keep``."""
    number = {turn: i for i, turn in enumerate(dict.fromkeys([*a_axes, *b_axes]))}
    return np.einsum(a, [number[x] for x in a_axes], b, [number[x] for x in b_axes], [number[x] for x in keep])
