"""How far can a score be trusted: spread over seeds, bootstrap intervals over dialogues, and two models compared.

Utterances of one dialogue are not independent (moods last, speakers stay), so the unit that is drawn again, with
replacement, is the *dialogue*. A percentile bootstrap (Efron and Tibshirani 1993, ch. 13) of n dialogues and S samples takes
the n confusion matrices (n, C, C) once and mixes them with the S x n drawn counts: one matrix product instead of S passes
over the utterances. Memory: O(S n + S C^2).

Several seeds of one model are given as a list of frames. Each sample then scores all seeds on the same drawn dialogues and takes
the mean over seeds: the interval speaks of that mean, for other dialogues of this kind, and not of other seeds
(their spread is :func:`mean_and_spread`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from erc_lib.errors import ConfigError, DataError

Frames = pd.DataFrame | Sequence[pd.DataFrame]
METRICS = ("weighted_f1", "macro_f1", "accuracy")


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1 in the denominator) over seeds; a single value has an unknown spread, NaN."""
    array = np.asarray(list(values), dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise DataError("mean_and_spread needs at least one value, one per seed")
    if not np.isfinite(array).all():
        raise DataError(f"value {int((~np.isfinite(array)).argmax())} is not finite: {array.tolist()}; was its run finished?")
    return float(array.mean()), float(array.std(ddof=1)) if array.size > 1 else float("nan")


def bootstrap_interval(
    frame: Frames,
    metric: str = "weighted_f1",
    *,
    classes: int,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of ``metric`` over dialogues.

    Args:
        frame: predictions of one split with the columns dialogue, label, predicted (and position, where there is one); or a list
            of such frames, one per seed, over the same utterances.
        metric: ``"weighted_f1"``, ``"macro_f1"``, ``"accuracy"``, or ``"f1_3"`` for the F1 of class 3.
        classes: C.  samples: S, how often n dialogues are drawn.  seed: of the draw.  level: mass inside the interval.

    Returns:
        (low, high), fractions.

    Raises:
        DataError: a column is missing, a class is outside 0 .. C-1, more than one split, or frames of different utterances.
    """
    _check_options(metric, classes, samples, level)
    scores = _mean_scores([_tidy(f, classes, "frame") for f in _as_list(frame)], metric, classes, samples, seed)
    return _interval(scores[1], level)


def paired_bootstrap(
    frame_a: Frames,
    frame_b: Frames,
    metric: str = "weighted_f1",
    *,
    classes: int,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, float]:
    """Is model a better than model b? Both are scored on the *same* drawn dialogues, so what is hard for both cancels.

    Args: as :func:`bootstrap_interval`; ``frame_a`` and ``frame_b`` may be lists of seeds, of different lengths.

    Returns:
        ``difference``: metric(a) - metric(b) on the dialogues as they are; ``low``, ``high``: its interval; ``p``: two-sided,
        twice the smaller share of samples in which the difference is on or beyond 0, with one added to both counts so that it is
        never 0 (Davison and Hinkley 1997, 4.2), at most 1.

    Raises:
        DataError: also when the two do not hold the same utterances with the same labels.
    """
    _check_options(metric, classes, samples, level)
    tidy_a = [_tidy(f, classes, "frame_a") for f in _as_list(frame_a)]
    tidy_b = [_tidy(f, classes, "frame_b") for f in _as_list(frame_b)]
    _same_utterances([*tidy_a, *tidy_b])
    observed_a, drawn_a = _mean_scores(tidy_a, metric, classes, samples, seed)
    observed_b, drawn_b = _mean_scores(tidy_b, metric, classes, samples, seed)
    difference = drawn_a - drawn_b
    low, high = _interval(difference, level)
    tail = min((difference <= 0).sum(), (difference >= 0).sum())
    return {
        "difference": float(observed_a - observed_b),
        "low": low,
        "high": high,
        "p": float(min(1.0, 2 * (tail + 1) / (samples + 1))),
    }


def draw_dialogues(dialogues: int, samples: int, seed: int) -> np.ndarray:
    """(S, n) whole numbers in 0 .. n-1: which dialogues each sample holds, in the order of their sorted names."""
    return np.random.default_rng(seed).integers(dialogues, size=(samples, dialogues))


def _as_list(frames: Frames) -> list[pd.DataFrame]:
    frames = [frames] if isinstance(frames, pd.DataFrame) else list(frames)
    if not frames:
        raise DataError("there is no run to measure: the list of prediction frames is empty")
    return frames


def _check_options(metric: str, classes: int, samples: int, level: float) -> None:
    of_class = metric.removeprefix("f1_")
    if metric not in METRICS and not (metric != of_class and of_class.isdigit() and int(of_class) < classes):
        raise ConfigError(f"unknown metric {metric!r}; use {', '.join(METRICS)} or f1_0 .. f1_{classes - 1}")
    if samples < 1 or not 0 < level < 1:
        raise ConfigError(f"samples must be at least 1 and level between 0 and 1, not {samples} and {level}")


def _tidy(frame: pd.DataFrame, classes: int, name: str) -> pd.DataFrame:
    """dialogue, position, label, predicted; sorted by dialogue and position; checked."""
    missing = [c for c in ("dialogue", "label", "predicted") if c not in frame.columns]
    if missing:
        raise DataError(f"{name} has no column {missing[0]!r}; it needs those of predictions.parquet: dialogue, label, predicted")
    if frame.empty:
        raise DataError(f"{name} holds no utterance; is the split empty?")
    if "split" in frame.columns and frame["split"].nunique() > 1:
        splits = ", ".join(map(str, frame["split"].unique()))
        raise DataError(f"{name} mixes the splits {splits}; take one, for example frame[frame.split == 'test']")
    for column in ("label", "predicted"):
        values = frame[column]
        bad = ~(pd.api.types.is_integer_dtype(values) & values.between(0, classes - 1)).to_numpy(dtype=bool)
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{name}, row {row}: {column} is {values.iloc[row]!r}, not a whole number in 0 .. {classes - 1}")
    tidy = frame[["dialogue", "label", "predicted"]].reset_index(drop=True)
    position = frame["position"].reset_index(drop=True) if "position" in frame.columns else tidy.groupby("dialogue").cumcount()
    tidy = tidy.assign(position=position).sort_values(["dialogue", "position"], kind="stable", ignore_index=True)
    twice = tidy.duplicated(["dialogue", "position"])
    if twice.any():
        row = tidy[twice].iloc[0]
        raise DataError(f"{name}: position {row.position} of dialogue {row.dialogue!r} stands there twice; pass one run, once")
    return tidy


def _same_utterances(frames: list[pd.DataFrame]) -> None:
    """DataError unless all hold the same utterances with the same labels."""
    first = frames[0]
    for other in frames[1:]:
        if len(first) != len(other):
            raise DataError(f"the runs hold {len(first)} and {len(other)} utterances; compare runs on one split of one corpus")
        for column in ("dialogue", "position", "label"):
            different = (first[column] != other[column]).to_numpy()
            if different.any():
                a, b = (f.iloc[int(different.argmax())] for f in (first, other))
                raise DataError(
                    f"the runs do not hold the same utterances: dialogue {a.dialogue!r}, position {a.position}, label {a.label} "
                    f"against dialogue {b.dialogue!r}, position {b.position}, label {b.label}; compare runs on the same corpus"
                )


def _mean_scores(frames: list[pd.DataFrame], metric: str, classes: int, samples: int, seed: int) -> tuple[float, np.ndarray]:
    """Metric on the dialogues as they are, and (S,) on drawn ones; both the mean over ``frames`` (seeds)."""
    _same_utterances(frames)
    dialogue, _ = pd.factorize(frames[0]["dialogue"])  # frames are sorted, so codes follow the sorted names
    n = int(dialogue.max()) + 1
    drawn = draw_dialogues(n, samples, seed)
    counts = np.apply_along_axis(np.bincount, 1, drawn, minlength=n).astype(np.float64)  # (S, n)
    observed, scores = [], []
    for frame in frames:
        cell = (dialogue * classes + frame["label"].to_numpy()) * classes + frame["predicted"].to_numpy()
        matrices = np.bincount(cell, minlength=n * classes * classes).reshape(n, classes * classes).astype(np.float64)
        # Counts are whole numbers far below 2^53, so this product is exact and does not depend on the number of threads.
        scores.append(_score((counts @ matrices).reshape(samples, classes, classes), metric))
        observed.append(_score(matrices.sum(axis=0).reshape(1, classes, classes), metric)[0])
    return float(np.mean(observed)), np.mean(scores, axis=0)


def _score(matrices: np.ndarray, metric: str) -> np.ndarray:
    """(S,) metric of confusion matrices (S, C, C); conventions as in :mod:`erc_lib.evaluation.metrics`."""
    hits = np.diagonal(matrices, axis1=1, axis2=2)  # (S, C)
    support, predicted = matrices.sum(axis=2), matrices.sum(axis=1)
    total = support.sum(axis=1)
    if metric == "accuracy":
        return hits.sum(axis=1) / total
    both = support + predicted
    f1 = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
    if metric == "weighted_f1":
        return (f1 * support).sum(axis=1) / total
    return f1.mean(axis=1) if metric == "macro_f1" else f1[:, int(metric.removeprefix("f1_"))]


def _interval(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
