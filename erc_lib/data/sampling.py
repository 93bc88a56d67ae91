"""Draws a simulated corpus from a :class:`~erc_lib.data.simulation.SimulationConfig`, with the truth behind every utterance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from erc_lib.data.conversation import MODALITIES, SPLITS, Corpus, Dialogue
from erc_lib.data.grammar import cue_phrases, sentence
from erc_lib.data.simulation import SimulationConfig, TurnTaking

SOURCES = ("prior", "self", "other")


@dataclass(frozen=True)
class Truth:
    """What the simulator knows about one dialogue of L utterances, for figures and tests; no model may see it.

    Attributes:
        masked: modality -> BoolTensor (L,), True = the utterance emitted noise only.
        conflict: modality -> BoolTensor (L,), True = it showed another emotion than the turn's (never where masked).
        shown: modality -> LongTensor (L,), the emotion shown (the turn's own where there is no conflict; meaningless where
            masked).
        code: modality -> LongTensor (L,), the code emitted; K (C, text: 2C) where masked.
        relative: BoolTensor (L,), True = the text code was relative to the speaker's previous emotion (also drawn where masked).
        cue: LongTensor (L,), the code whose cue the sentence carries: the text code unless garbled.
        source: L of ``"prior"``, ``"self"``, ``"other"``: where the emotion came from.
        distance: LongTensor (L,), turns back to the turn it was copied from; 0 for the prior.
    """

    masked: dict[str, Tensor]
    conflict: dict[str, Tensor]
    shown: dict[str, Tensor]
    code: dict[str, Tensor]
    relative: Tensor
    cue: Tensor
    source: tuple[str, ...]
    distance: Tensor


def simulate(config: SimulationConfig) -> Corpus:
    """A simulated corpus: features of all three modalities, sentences, labels, speakers. The same config gives the same corpus.

    ``corpus.simulation`` is ``config``, from which :func:`erc_lib.data.bayes_posteriors` computes the ceiling.
    """
    return simulate_with_truth(config)[0]


def simulate_with_truth(config: SimulationConfig) -> tuple[Corpus, dict[str, list[Truth]]]:
    """The corpus of :func:`simulate` and, for each split, the :class:`Truth` of each of its dialogues in the same order."""
    splits: dict[str, list[Dialogue]] = {}
    truths: dict[str, list[Truth]] = {}
    for number, split in enumerate(SPLITS):
        # One stream per dialogue: the first n dialogues of a split do not depend on how many are asked for.
        drawn = [
            _dialogue(config, f"{config.name}/{split}/{i}", np.random.default_rng([config.seed, number, i]))
            for i in range(getattr(config, split))
        ]
        splits[split] = [dialogue for dialogue, _ in drawn]
        truths[split] = [truth for _, truth in drawn]
    provenance = {"source": "simulated", "config": config.model_dump(mode="json")}
    return Corpus(config.name, label_names=config.label_names, simulation=config, provenance=provenance, **splits), truths


def previous_turns(speakers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of the L turns, the speaker's own last turn and the most recent turn by somebody else; -1 = none yet."""
    own, other = np.full(len(speakers), -1), np.full(len(speakers), -1)
    last: dict[int, int] = {}
    for t, speaker in enumerate(speakers.tolist()):
        own[t] = last.get(speaker, -1)
        other[t] = max((turn for who, turn in last.items() if who != speaker), default=-1)
        last[speaker] = t
    return own, other


def _dialogue(config: SimulationConfig, name: str, rng: np.random.Generator) -> tuple[Dialogue, Truth]:
    speakers = draw_speakers(config, rng)
    own, other = previous_turns(speakers)
    emotions, source, distance = _emotions(config, own, other, rng)
    previous = np.where(own >= 0, emotions[own], config.baseline_class)
    length = len(speakers)

    relative = (rng.random(length) < config.text_relative) & (previous >= 0)
    features, masked, conflict, shown, code = {}, {}, {}, {}, {}
    for m in MODALITIES:
        emission, codes = config.emission(m), config.code_count(m)
        masked[m] = rng.random(length) >= emission.reliability
        conflict[m] = (rng.random(length) < emission.conflict) & ~masked[m]
        # Adding 1 .. C-1 modulo C reaches each other emotion with the same probability.
        shown[m] = np.where(conflict[m], (emotions + rng.integers(1, config.classes, length)) % config.classes, emotions)
        code[m] = shown[m].copy()
        if m == "text":
            code[m][relative] = config.classes + (shown[m] - previous)[relative] % config.classes
        code[m][masked[m]] = codes
        z = emission.noise * rng.standard_normal((length, emission.dim))
        seen = np.flatnonzero(~masked[m])
        z[seen, code[m][seen]] += emission.signal
        timbre = emission.timbre * rng.standard_normal((int(speakers.max()) + 1, emission.dim - codes))
        z[:, codes:] += timbre[speakers]
        features[m] = torch.from_numpy((z @ config.rotation(m).T).astype(np.float32))

    garbled = rng.random(length) < config.cue_garble
    codes = 2 * config.classes + 1  # "nothing shown" is one of them
    cue = np.where(garbled, (code["text"] + rng.integers(1, codes, length)) % codes, code["text"])
    phrases = cue_phrases(config.label_names)
    texts = tuple(sentence(int(c), phrases, choice) for c, choice in zip(cue, rng.random((length, 3)), strict=True))

    tensors = {m: {k: torch.from_numpy(v) for k, v in d.items()} for m, d in
               {"masked": masked, "conflict": conflict, "shown": shown, "code": code}.items()}
    truth = Truth(
        **tensors, relative=torch.from_numpy(relative), cue=torch.from_numpy(cue), source=source,
        distance=torch.from_numpy(distance),
    )
    names = tuple(f"Speaker {chr(ord('A') + number)}" for number in range(int(speakers.max()) + 1))
    ids = tuple(f"{name}/{t}" for t in range(length))
    dialogue = Dialogue(name, torch.from_numpy(speakers), torch.from_numpy(emotions), features, texts, ids, names)
    return dialogue, truth


def draw_speakers(config: TurnTaking, rng: np.random.Generator) -> np.ndarray:
    """Int64 (L,): who speaks, numbered in the order of their first turn. Draws the length and the number of speakers too."""
    spread = config.length_max - config.length_min
    share = (config.length_mean - config.length_min) / spread if spread else 0.0
    if 0 < share < 1:
        share = rng.beta(share * config.length_concentration, (1 - share) * config.length_concentration)
    length = config.length_min + int(rng.binomial(spread, share))
    shares = np.array(config.speaker_counts) / sum(config.speaker_counts)
    count = min(length, 2 + int(rng.choice(len(shares), p=shares)))
    enters = np.zeros(length, dtype=bool)
    enters[0] = True
    if count > 1:
        # The second speaker comes in at the first change of turn, while there is still room for the others.
        latest = length - count + 1
        second = min(int(rng.geometric(1 - config.keep_turn)), latest) if config.keep_turn < 1 else latest
        enters[second] = True
        enters[second + 1 + rng.choice(length - second - 1, count - 2, replace=False)] = True
    going_on, replying, picks = rng.random((3, length))
    speakers = np.zeros(length, dtype=np.int64)
    answerer = -1  # the most recent speaker who is not the current one
    present = 1
    for t in range(1, length):
        now = int(speakers[t - 1])
        if enters[t]:
            following = present
            present += 1
        elif answerer < 0 or going_on[t] < config.keep_turn:
            following = now
        elif replying[t] < config.reply:
            following = answerer
        else:
            following = int(picks[t] * (present - 1))
            following += following >= now
        answerer = now if following != now else answerer
        speakers[t] = following
    return speakers


def _emotions(
    config: SimulationConfig, own: np.ndarray, other: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Emotions int64 (L,), where each came from, and how many turns back that was."""
    length = len(own)
    emotions = rng.choice(config.classes, length, p=np.array(config.class_prior) / sum(config.class_prior))
    u = rng.random(length)
    source = np.zeros(length, dtype=np.int64)
    source[(u < config.inertia) & (own >= 0)] = 1
    source[(u >= config.inertia) & (u < config.inertia + config.contagion) & (other >= 0)] = 2
    copied_from = np.where(source == 1, own, other)
    for t in np.flatnonzero(source):
        emotions[t] = emotions[copied_from[t]]
    distance = np.where(source > 0, np.arange(length) - copied_from, 0)
    return emotions.astype(np.int64), tuple(SOURCES[s] for s in source), distance
