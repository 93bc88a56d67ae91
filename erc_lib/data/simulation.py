"""The simulated corpora: every parameter of the generative model, and the presets shaped like MELD and IEMOCAP.

The model of one dialogue (:mod:`erc_lib.data.sampling` draws it, :mod:`erc_lib.data.posterior` inverts it exactly). C is the
number of classes.

1. *Who speaks.* A length, a number of speakers and their order are drawn without looking at emotions, so they say nothing about
   them.
2. *Emotion dynamics.* Turn t takes its emotion from one source: with probability ``inertia`` the speaker's own last emotion, with
   ``contagion`` the emotion of the most recent turn by somebody else, otherwise a draw from ``class_prior``. A source that does
   not exist yet (a first turn) leaves its share to the prior. Hence *every* turn has exactly ``class_prior`` as its distribution.
3. *What a modality shows.* With probability ``reliability`` it shows an emotion, else nothing (masked: noise only). What it shows
   is the turn's emotion e, or with probability ``conflict`` another one, uniformly chosen. Modalities are independent given e.
4. *Its code.* Audio and visual: the shown emotion s itself. Text: s, or with probability ``text_relative`` the *difference*
   ``C + (s - p) mod C`` to the speaker's last emotion p, which says nothing definite to a reader who does not know p. A speaker
   who has not spoken yet counts as ``baseline`` (neutral).
5. *Its vector.* ``x = R z``: the first K coordinates of z (K = C, text: 2C) are ``signal`` times the unit vector of the code
   (zero when masked), the others the speaker's timbre, constant over the dialogue, N(0, ``timbre``²); all carry noise N(0,
   ``noise``²). R is a random rotation of the whole space, fixed by ``world_seed`` alone. Timbre and emotion lie in orthogonal
   directions with independent noise, so the timbre drops out of every posterior, while a model that sees only x has to find that
   out.
6. *Its sentence* (:mod:`erc_lib.data.grammar`): a cue for the text code of 4, replaced by another code's cue with probability
   ``cue_garble``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
MAX_CLASSES = 8
MODALITY_STREAM = {"text": 0, "audio": 1, "visual": 2}
MELD_LABELS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
IEMOCAP_LABELS = ("happy", "sad", "neutral", "angry", "excited", "frustrated")
# Shares over MELD's 13,708 utterances: 6436, 1636, 358, 1002, 2308, 361, 1607 (train + dev + test _sent_emo.csv,
# declare-lab/MELD).
MELD_PRIOR = (0.4695, 0.1194, 0.0261, 0.0731, 0.1684, 0.0263, 0.1172)
# Shares over IEMOCAP's 7,433 utterances: 648, 1084, 1708, 1103, 1041, 1849 (declare-lab/conv-emotion, COSMIC's split).
IEMOCAP_PRIOR = (0.0872, 0.1458, 0.2298, 0.1484, 0.1401, 0.2487)
# MELD's dialogues by number of speakers 2, 3, ..., 9: 643, 367, 171, 79, 33, 12, 3, 1 (its 123 with a single speaker left out).
MELD_SPEAKERS = (0.491, 0.280, 0.131, 0.060, 0.025, 0.009, 0.003, 0.001)


class Emission(BaseModel):
    """How one modality turns an emotion into a vector of ``dim`` numbers.

    Attributes:
        dim: width D of the vector; at least the K emotion directions (C; text 2C).
        signal: length of a code's prototype vector; two codes lie ``signal * sqrt(2)`` apart.
        noise: standard deviation of the noise in every direction.
        timbre: standard deviation of a speaker's constant offset in each of the D - K directions that carry no emotion.
        reliability: probability that the utterance shows anything; otherwise it is masked and emits noise (and timbre) only.
        conflict: probability that what it shows is another emotion, uniformly one of the C - 1 others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(ge=2, le=4096)
    signal: float = Field(ge=0.0, le=100.0)
    noise: float = Field(default=1.0, gt=0.0, le=100.0)
    timbre: float = Field(default=1.0, ge=0.0, le=100.0)
    reliability: Probability = 1.0
    conflict: Probability = 0.0


class TurnTaking(BaseModel):
    """How many dialogues there are, how long they are and who speaks when; frozen, and a misspelt field is an error.

    Attributes:
        name: name of the corpus; tables print it. It has to say "simulated".
        train, validation, test: dialogues in each split. A smaller count gives the first dialogues of a larger one.
        seed: of everything drawn per dialogue.
        world_seed: of the rotations R alone, so that corpora of different ``seed`` share one world and a model can move between
            them.
        length_min, length_max, length_mean, length_concentration: a length is ``length_min`` + a beta-binomial count of mean
            ``length_mean - length_min`` over ``length_max - length_min`` trials; the beta's parameters sum to
            ``length_concentration`` (smaller: lengths vary more).
        speaker_counts: shares of dialogues with 2, 3, ... speakers (sum 1). A dialogue of L turns has at most L speakers; all of
            them speak.
        keep_turn: probability that the speaker of the last turn goes on.
        reply: otherwise, probability that the last *other* speaker answers; else any of the others who have spoken, uniformly.
            Exempt are the turns at which a new speaker enters: the second at the first change of turn, the others uniformly
            after.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern="simulated")
    train: int = Field(default=60, ge=0)
    validation: int = Field(default=10, ge=0)
    test: int = Field(default=20, ge=0)
    seed: int = Field(default=0, ge=0)
    world_seed: int = Field(default=0, ge=0)
    length_min: int = Field(ge=1, le=1000)
    length_max: int = Field(ge=1, le=1000)
    length_mean: float = Field(ge=1.0, le=1000.0)
    length_concentration: float = Field(default=8.0, gt=0.0)
    speaker_counts: tuple[Probability, ...] = Field(default=(1.0,), min_length=1, max_length=8)
    keep_turn: Probability = 0.3
    reply: Probability = 1.0

    @model_validator(mode="after")
    def _lengths_and_speakers(self) -> Self:
        total = sum(self.speaker_counts)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"speaker_counts must sum to 1, not {total:.6f}")
        if not self.length_min <= self.length_mean <= self.length_max:
            raise ValueError(
                f"length_mean {self.length_mean:g} must lie between length_min {self.length_min} and length_max {self.length_max}"
            )
        return self

    @classmethod
    def _preset(cls, settings: dict[str, Any], overrides: dict[str, Any]) -> Self:
        merged = dict(settings)
        for key, value in overrides.items():
            # audio={"reliability": 0.5} changes that one number and keeps the preset's others.
            merged[key] = {**settings[key], **value} if key in MODALITY_STREAM and isinstance(value, dict) else value
        return cls(**merged)


class SimulationConfig(TurnTaking):
    """Every parameter of a simulated corpus (the module's docstring gives the model), besides those of :class:`TurnTaking`.

    Attributes:
        label_names: the C class names, 2 to 8.
        class_prior: C positive shares that sum to 1; the distribution of a turn's emotion when nothing is copied, and of every
            turn.
        inertia, contagion: probabilities of copying one's own last emotion and the last other speaker's; together at most 1.
        text_relative: probability that a text code is relative to the speaker's previous emotion.
        baseline: the class a speaker's first turn is relative to; None: a first turn is never relative.
        cue_garble: probability that a sentence carries the cue of another code (any of the 2C others, "no cue" included).
        text, audio, visual: the :class:`Emission` of each modality.
    """

    label_names: tuple[str, ...] = Field(min_length=2, max_length=MAX_CLASSES)
    class_prior: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...]
    inertia: Probability = 0.2
    contagion: Probability = 0.1
    text_relative: Probability = 0.5
    baseline: str | None = None
    cue_garble: Probability = 0.0
    text: Emission
    audio: Emission
    visual: Emission

    @model_validator(mode="after")
    def _consistent(self) -> SimulationConfig:
        classes = len(self.label_names)
        if len(set(self.label_names)) != classes:
            raise ValueError(f"label_names holds a name twice: {self.label_names}")
        if len(self.class_prior) != classes:
            raise ValueError(f"class_prior has {len(self.class_prior)} shares for {classes} label_names; give one for each")
        total = sum(self.class_prior)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"class_prior must sum to 1, not {total:.6f}")
        if self.inertia + self.contagion > 1 + 1e-12:
            raise ValueError(f"inertia + contagion must be at most 1, not {self.inertia + self.contagion:g}")
        if self.baseline is not None and self.baseline not in self.label_names:
            raise ValueError(f"baseline {self.baseline!r} is none of the label_names {', '.join(self.label_names)}")
        for modality in MODALITY_STREAM:
            dim, needed = self.emission(modality).dim, self.code_count(modality)
            if dim < needed:
                raise ValueError(f"{modality}.dim is {dim}, but {classes} classes need {needed} emotion directions")
        return self

    @property
    def baseline_class(self) -> int:
        """The number of ``baseline``, -1 for None."""
        return -1 if self.baseline is None else self.label_names.index(self.baseline)

    @property
    def classes(self) -> int:
        """C."""
        return len(self.label_names)

    def emission(self, modality: str) -> Emission:
        """The :class:`Emission` of ``"text"``, ``"audio"`` or ``"visual"``."""
        return {"text": self.text, "audio": self.audio, "visual": self.visual}[modality]

    def code_count(self, modality: str) -> int:
        """K: codes 0 .. C-1 name an emotion, C .. 2C-1 (text only) a difference. Code K is "nothing shown"."""
        return 2 * self.classes if modality == "text" else self.classes

    def rotation(self, modality: str) -> np.ndarray:
        """R, float64 (D, D) orthogonal, from ``world_seed`` alone; its first K columns span the emotion directions."""
        return random_rotation(self.world_seed, MODALITY_STREAM[modality], self.emission(modality).dim)

    @classmethod
    def meld(
        cls, *, train: int = 400, validation: int = 60, test: int = 120, seed: int = 0, **overrides: Any
    ) -> SimulationConfig:
        """Shaped like MELD: 7 emotions with its frequencies, 2 to 9 speakers, lengths of its mean 9.6 and standard deviation 5.8
        up to its 33.

        MELD's 123 dialogues of one speaker have no counterpart: a simulated dialogue has at least two turns and two speakers.
        ``keep_turn`` and ``reply`` are MELD's too (23 % of turns go on, 72 % of the others answer the last other speaker).
        Signal, reliability, conflict and dynamics are *not* estimated from MELD: they were set once so that the exact ceilings
        have the shape the chapter prints (:func:`erc_lib.data.ceilings`). Any field can be overridden, a modality by a dict of
        what changes.
        """
        settings = {
            "name": "simulated-meld", "label_names": MELD_LABELS, "class_prior": MELD_PRIOR,
            "train": train, "validation": validation, "test": test, "seed": seed,
            "length_min": 2, "length_max": 33, "length_mean": 9.6, "length_concentration": 5.2, "baseline": "neutral",
            "speaker_counts": MELD_SPEAKERS, "keep_turn": 0.23, "reply": 0.72, **MELD_EMISSIONS,
        }
        return cls._preset(settings, overrides)

    @classmethod
    def iemocap(
        cls, *, train: int = 60, validation: int = 10, test: int = 20, seed: int = 0, **overrides: Any
    ) -> SimulationConfig:
        """Shaped like IEMOCAP: 6 emotions with its frequencies, two speakers, lengths 8 to 110 of its mean 49.2 and standard
        deviation 16.8.

        31 % of turns go on with the same speaker, as there. The dynamics are weaker than IEMOCAP's (there 72 % of turns keep the
        speaker's own last emotion): with such inertia audio and visual would gain from context as much as text does, and the
        corpus could not separate the two. See :meth:`meld` for the rest.
        """
        settings = {
            "name": "simulated-iemocap", "label_names": IEMOCAP_LABELS, "class_prior": IEMOCAP_PRIOR,
            "train": train, "validation": validation, "test": test, "seed": seed,
            "length_min": 8, "length_max": 110, "length_mean": 49.2, "length_concentration": 8.6, "baseline": "neutral",
            "speaker_counts": (1.0,), "keep_turn": 0.31, "reply": 1.0, **IEMOCAP_EMISSIONS,
        }
        return cls._preset(settings, overrides)


# Set once by searching for ceilings of the wanted shape (class docstrings; tests/data/test_simulation.py holds the shape). A text
# that is almost always relative, and audio and video that are mostly masked, is what 47 % neutral leaves room for: the gap
# between knowing and not knowing the previous emotion has to be earned on the other half. cue_garble makes a sentence as telling
# as the text vector.
MELD_EMISSIONS: dict[str, Any] = {
    "inertia": 0.15, "contagion": 0.05, "text_relative": 0.98, "cue_garble": 0.06,
    "text": {"dim": 64, "signal": 3.8, "reliability": 0.77, "conflict": 0.01},
    "audio": {"dim": 32, "signal": 2.3, "reliability": 0.3, "conflict": 0.1},
    "visual": {"dim": 32, "signal": 2.0, "reliability": 0.16, "conflict": 0.1},
}
IEMOCAP_EMISSIONS: dict[str, Any] = {
    "inertia": 0.14, "contagion": 0.05, "text_relative": 0.62, "cue_garble": 0.06,
    "text": {"dim": 64, "signal": 3.4, "reliability": 0.88, "conflict": 0.05},
    "audio": {"dim": 32, "signal": 2.8, "reliability": 0.34, "conflict": 0.1},
    "visual": {"dim": 32, "signal": 2.4, "reliability": 0.28, "conflict": 0.15},
}


@lru_cache(maxsize=32)
def random_rotation(world_seed: int, stream: int, dim: int) -> np.ndarray:
    """A rotation drawn uniformly (Haar): Q of a Gaussian matrix, columns signed by R's diagonal. Read-only, for it is shared."""
    q, r = np.linalg.qr(np.random.default_rng([world_seed, stream, dim]).standard_normal((dim, dim)))
    rotation = q * np.sign(np.diag(r))
    rotation.setflags(write=False)
    return rotation
