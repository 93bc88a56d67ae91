"""A simulated corpus of emotion *dimensions*, shaped like AVEC, with its exact ceiling: everything is linear and Gaussian.

The model of one dialogue; the four dimensions (valence, arousal, expectancy, power) are independent of one another.

1. *Who speaks*: as in :mod:`erc_lib.data.simulation`.
2. *Dynamics.* ``y_t = inertia y_own + contagion y_other + e_t``: the speaker's own last value, the last value of somebody else
   (0 where there is none yet), and fresh N(0, .) noise that keeps the variance at 1.
3. *What a modality shows.* Audio and visual: ``signal y_t``. Text: ``signal (y_t - relative y_own)``, the *change* since the speaker's
   last turn, so that its reader needs the turns before. ``signal`` is one number per dimension: a face may show valence and no arousal.
4. *Its vector.* ``x = R z``: the first four coordinates of z are what is shown, the others the speaker's timbre; all carry noise. R is
   a random rotation fixed by ``world_seed``.

The best prediction by mean squared error, and (in the long run) by Pearson's r, is the conditional mean E[y | x]. It is exact here: y and
what is shown are jointly Gaussian, so it is a linear system per dialogue and dimension (:func:`dimension_posteriors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.linalg import solve_triangular

from erc_lib.data.avec import LABEL_NAMES
from erc_lib.data.conversation import MODALITIES, SPLITS, Corpus, Dialogue
from erc_lib.data.posterior import CONTEXTS
from erc_lib.data.sampling import draw_speakers, previous_turns
from erc_lib.data.simulation import MODALITY_STREAM, Probability, TurnTaking, random_rotation
from erc_lib.errors import ConfigError, DataError

Four = tuple[float, float, float, float]


class DimensionalEmission(BaseModel):
    """How one modality shows the four dimensions in a vector of ``dim`` numbers; ``signal`` 0 = not at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(ge=4, le=4096)
    signal: Four
    noise: float = Field(default=1.0, gt=0, le=100)
    timbre: float = Field(default=1.0, ge=0, le=100)


class DimensionalConfig(TurnTaking):
    """Every parameter of the corpus, besides those of :class:`~erc_lib.data.simulation.TurnTaking`; the module's docstring gives the model.

    Attributes:
        inertia, contagion: weights of the own last and of the last other speaker's value; together at most 1.
        relative: weight of the own last value that the text leaves out; 1: the text shows changes alone.
    """

    inertia: Probability = 0.2
    contagion: Probability = 0.1
    relative: Probability = 1.0
    text: DimensionalEmission
    audio: DimensionalEmission
    visual: DimensionalEmission

    @model_validator(mode="after")
    def _stationary(self) -> DimensionalConfig:
        if self.inertia + self.contagion > 1 + 1e-12:
            raise ValueError(f"inertia + contagion must be at most 1, not {self.inertia + self.contagion:g}")
        return self

    def emission(self, modality: str) -> DimensionalEmission:
        """The :class:`DimensionalEmission` of ``"text"``, ``"audio"`` or ``"visual"``."""
        return {"text": self.text, "audio": self.audio, "visual": self.visual}[modality]

    @classmethod
    def avec(cls, *, train: int = 120, validation: int = 20, test: int = 40, seed: int = 0, **overrides: Any) -> DimensionalConfig:
        """Two speakers and some thirty turns, as a session of SEMAINE has; text tells valence and power, audio arousal, visual valence.

        Signals and dynamics are *not* estimated from AVEC: they were set once so that, by the exact ceilings, text gains much from the turns
        before (r 0.61 to 0.78) and audio and visual next to nothing.
        """
        settings = {
            "name": "simulated-avec", "train": train, "validation": validation, "test": test, "seed": seed,
            "length_min": 10, "length_max": 60, "length_mean": 30.0, "keep_turn": 0.1,
            "text": {"dim": 32, "signal": (3.0, 1.5, 2.0, 2.5)},
            "audio": {"dim": 32, "signal": (0.2, 1.2, 0.4, 0.4)},
            "visual": {"dim": 32, "signal": (1.0, 0.4, 0.3, 0.2)},
        }  # fmt: skip
        return cls._preset(settings, overrides)


def simulate_dimensions(config: DimensionalConfig) -> Corpus:
    """The corpus: features of all three modalities, labels FloatTensor (L, 4), speakers, no words. The same config gives the same corpus."""
    splits = {
        split: [
            _dialogue(config, f"{config.name}/{split}/{i}", np.random.default_rng([config.seed, number, i]))
            for i in range(getattr(config, split))
        ]
        for number, split in enumerate(SPLITS)
    }
    provenance = {"source": "simulated", "config": config.model_dump(mode="json")}
    return Corpus(config.name, label_names=LABEL_NAMES, simulation=config, provenance=provenance, **splits)


def _dialogue(config: DimensionalConfig, name: str, rng: np.random.Generator) -> Dialogue:
    speakers = draw_speakers(config, rng)
    mixing, shown = _mixing(config, speakers), _shown(config, speakers)
    y = mixing @ rng.standard_normal((len(speakers), 4))
    features = {}
    for m in MODALITIES:
        emission = config.emission(m)
        z = emission.noise * rng.standard_normal((len(speakers), emission.dim))
        z[:, :4] += shown[m] @ y * np.array(emission.signal)
        z[:, 4:] += (emission.timbre * rng.standard_normal((int(speakers.max()) + 1, emission.dim - 4)))[speakers]
        features[m] = torch.from_numpy((z @ _rotation(config, m).T).astype(np.float32))
    ids = tuple(f"{name}/{t}" for t in range(len(speakers)))
    texts = ("",) * len(speakers)
    return Dialogue(name, torch.from_numpy(speakers), torch.from_numpy(y.astype(np.float32)), features, texts, ids)


def _rotation(config: DimensionalConfig, modality: str) -> np.ndarray:
    return random_rotation(config.world_seed, MODALITY_STREAM[modality], config.emission(modality).dim)


def _mixing(config: DimensionalConfig, speakers: np.ndarray) -> np.ndarray:
    """(L, L) lower triangular: y of one dimension as a mixture of L independent N(0, 1), so its covariance is this times its transpose."""
    own, other = previous_turns(speakers)
    mixing = np.zeros((len(speakers), len(speakers)))
    for t in range(len(speakers)):
        copied = np.zeros(len(speakers))
        for weight, source in ((config.inertia, own[t]), (config.contagion, other[t])):
            if source >= 0:
                copied += weight * mixing[source]
        mixing[t] = copied
        mixing[t, t] = np.sqrt(max(1.0 - (copied**2).sum(), 0.0))
    return mixing


def _shown(config: DimensionalConfig, speakers: np.ndarray) -> dict[str, np.ndarray]:
    """Modality -> (L, L): what it shows of y, before ``signal``."""
    own, _ = previous_turns(speakers)
    identity = np.eye(len(speakers))
    change = identity.copy()
    spoke = np.flatnonzero(own >= 0)
    change[spoke, own[spoke]] -= config.relative
    return {"text": change, "audio": identity, "visual": identity}


def dimension_posteriors(
    corpus: Corpus, split: str, *, modalities: Sequence[str] | None = None, causal: bool = False, context: bool = True,
    window: int | Mapping[str, int] | None = None,
) -> list[torch.Tensor]:
    """E[y | x] (L, 4) of every dialogue, exact, from ``modalities`` (None: all).

    Args:
        causal: of turn t from turns up to t alone. context: False: from turn t alone. window: of turn t from itself and so many turns
            before; or modality -> how many, 0 where it stands for itself. (A stack of n layers whose masks let K turns through reaches n K.)

    Raises:
        ConfigError: a negative window. DataError: a corpus that was not simulated with dimensions.
    """
    modalities = tuple(modalities or MODALITIES)
    window = window if context else 0
    if isinstance(window, int):
        window = dict.fromkeys(modalities, window)
    if window is not None and (missing := [m for m in modalities if window.get(m, -1) < 0]):
        raise ConfigError(f"a window counts past turns, so that of {missing[0]} cannot be {window.get(missing[0])}; 0 means the turn alone")
    config = corpus.simulation
    if not isinstance(config, DimensionalConfig):
        raise DataError(f"corpus {corpus.name!r} is no simulated corpus of dimensions, so its best prediction is not known")
    return [_posterior(config, d, modalities, causal, window) for d in corpus.split(split)]


def _posterior(
    config: DimensionalConfig, dialogue: Dialogue, modalities: tuple[str, ...], causal: bool, window: Mapping[str, int] | None
) -> torch.Tensor:
    """E[y] (L, 4) of one dialogue, from the turns in each modality's ``window``, or without one from all of the past or of the dialogue."""
    speakers, length = dialogue.speakers.numpy(), len(dialogue)
    mixing, shown = _mixing(config, speakers), _shown(config, speakers)
    # Per dimension (4, ...), and observations turn by turn, so that the first t turns are a leading block of every matrix.
    z = np.stack([dialogue.features[m].double().numpy() @ _rotation(config, m)[:, :4] for m in modalities], axis=1)  # (L, M, 4)
    o = z.reshape(-1, 4).T
    H = np.stack([np.multiply.outer(config.emission(m).signal, shown[m]) for m in modalities], axis=2).reshape(4, -1, length)
    noise = np.tile([config.emission(m).noise ** 2 for m in modalities], length)
    with_y = H @ (mixing @ mixing.T)  # cov(o, y)
    S = with_y @ H.swapaxes(1, 2) + np.diag(noise)
    turn = np.repeat(np.arange(length), len(modalities))
    if window is not None:
        reach = np.tile([window[m] for m in modalities], length)
        found = np.zeros((length, 4))
        for t in range(length):
            rows = np.flatnonzero((turn <= t) & (turn >= t - reach))
            weights = np.linalg.solve(S[:, rows[:, None], rows], with_y[:, rows, t, None])[..., 0]
            found[t] = (weights * o[:, rows]).sum(axis=1)
        return torch.from_numpy(found)
    # S = L L^T; E[y] = (L^-1 cov)^T (L^-1 o), and the first rows of L^-1 belong to the first turns alone.
    factor = np.linalg.cholesky(S)
    weights, values = (np.stack([solve_triangular(f, x, lower=True) for f, x in zip(factor, right, strict=True)]) for right in (with_y, o))
    if causal:
        weights = weights * (turn[:, None] <= np.arange(length)[None, :])
    return torch.from_numpy(np.einsum("knl,kn->lk", weights, values))


def dimension_ceilings(corpus: Corpus, split: str = "test", modality_sets: Sequence[Sequence[str]] | None = None) -> pd.DataFrame:
    """Pearson's r of the best possible prediction, by evidence and by what of the dialogue may be used.

    Returns:
        One row per (modalities, context): columns modalities, context (as :func:`erc_lib.data.ceilings`), mean_pearson, and r of each dimension.
    """
    sets = modality_sets or [("text",), ("audio",), ("visual",), ("text", "audio"), ("text", "visual"), ("audio", "visual"), MODALITIES]
    if not corpus.split(split):
        raise DataError(f"corpus {corpus.name!r} has no {split} dialogues to compute a ceiling on; simulate some")
    labels = torch.cat([d.labels for d in corpus.split(split)]).double().numpy()
    rows = []
    for modalities in sets:
        for name in CONTEXTS:
            parts = dimension_posteriors(corpus, split, modalities=modalities, causal=name == "past only", context=name != "utterance alone")
            p = torch.cat(parts).numpy()
            # Where nothing is shown the best prediction is constant, and counts as 0 as in erc_lib.evaluation.
            r = [float(np.corrcoef(labels[:, k], p[:, k])[0, 1]) if np.ptp(p[:, k]) > 0 else 0.0 for k in range(4)]
            rows.append({"modalities": " + ".join(modalities), "context": name, "mean_pearson": float(np.mean(r)), **dict(zip(LABEL_NAMES, r, strict=True))})
    return pd.DataFrame(rows)
