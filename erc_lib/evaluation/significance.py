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
DIMENSIONAL = ("mean_pearson",)  # and pearson_0, pearson_1, ...


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
        metric: ``"weighted_f1"``, ``"macro_f1"``, ``"accuracy"``, or ``"f1_3"`` for the F1 of class 3. Of emotion dimensions
            ``"mean_pearson"`` or ``"pearson_3"``; the columns are then label_0 .., predicted_0 ...
        classes: C, of classes or dimensions.  samples: S, how often n dialogues are drawn.  seed: of the draw.  level: mass inside the interval.

    Returns:
        (low, high), fractions.

    Raises:
        DataError: a column is missing, a class is outside 0 .. C-1, more than one split, or frames of different utterances.
    """
    _check_options(metric, classes, samples, level)
    scores = _mean_scores([_tidy(f, metric, classes, "frame") for f in _as_list(frame)], metric, classes, samples, seed)
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
    tidy_a = [_tidy(f, metric, classes, "frame_a") for f in _as_list(frame_a)]
    tidy_b = [_tidy(f, metric, classes, "frame_b") for f in _as_list(frame_b)]
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
    kind, _, number = metric.rpartition("_")
    if metric not in (*METRICS, *DIMENSIONAL) and not (kind in ("f1", "pearson") and number.isdigit() and int(number) < classes):
        raise ConfigError(
            f"unknown metric {metric!r}; use {', '.join(METRICS)} or f1_0 .. f1_{classes - 1}, of dimensions {DIMENSIONAL[0]} or "
            f"pearson_0 .. pearson_{classes - 1}"
        )
    if samples < 1 or not 0 < level < 1:
        raise ConfigError(f"samples must be at least 1 and level between 0 and 1, not {samples} and {level}")


def _is_dimensional(metric: str) -> bool:
    return "pearson" in metric


def _columns(kind: str, metric: str, classes: int) -> list[str]:
    return [f"{kind}_{c}" for c in range(classes)] if _is_dimensional(metric) else [kind]


def _tidy(frame: pd.DataFrame, metric: str, classes: int, name: str) -> pd.DataFrame:
    """dialogue, position, label(s), predicted; sorted by dialogue and position; checked."""
    wanted = [*_columns("label", metric, classes), *_columns("predicted", metric, classes)]
    missing = [c for c in ("dialogue", *wanted) if c not in frame.columns]
    if missing:
        raise DataError(f"{name} has no column {missing[0]!r}; for {metric} it needs those of predictions.parquet: dialogue, {', '.join(wanted)}")
    if frame.empty:
        raise DataError(f"{name} holds no utterance; is the split empty?")
    if "split" in frame.columns and frame["split"].nunique() > 1:
        splits = ", ".join(map(str, frame["split"].unique()))
        raise DataError(f"{name} mixes the splits {splits}; take one, for example frame[frame.split == 'test']")
    for column in wanted:
        values = frame[column]
        if _is_dimensional(metric):
            bad, must = ~np.isfinite(values.to_numpy(dtype=np.float64)), "a finite number"
        else:
            bad = ~(pd.api.types.is_integer_dtype(values) & values.between(0, classes - 1)).to_numpy(dtype=bool)
            must = f"a whole number in 0 .. {classes - 1}"
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{name}, row {row}: {column} is {values.iloc[row]!r}, not {must}")
    tidy = frame[["dialogue", *wanted]].reset_index(drop=True)
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
        for column in ("dialogue", "position", *(c for c in first if c.startswith("label"))):
            different = (first[column] != other[column]).to_numpy()
            if different.any():
                label = column if column.startswith("label") else "label"
                a, b = (f.iloc[int(different.argmax())] for f in (first, other))
                said = [f"dialogue {x.dialogue!r}, position {x.position}" + (f", {label} {x[label]}" if label in x else "") for x in (a, b)]
                raise DataError(f"the runs do not hold the same utterances: {said[0]} against {said[1]}; compare runs on the same corpus")


def _mean_scores(frames: list[pd.DataFrame], metric: str, classes: int, samples: int, seed: int) -> tuple[float, np.ndarray]:
    """Metric on the dialogues as they are, and (S,) on drawn ones; both the mean over ``frames`` (seeds)."""
    _same_utterances(frames)
    dialogue, _ = pd.factorize(frames[0]["dialogue"])  # frames are sorted, so codes follow the sorted names
    n = int(dialogue.max()) + 1
    drawn = draw_dialogues(n, samples, seed)
    counts = np.apply_along_axis(np.bincount, 1, drawn, minlength=n).astype(np.float64)  # (S, n)
    observed, scores = [], []
    gather, score = (_moments, _correlation) if _is_dimensional(metric) else (_confusions, _score)
    for frame in frames:
        sums = gather(frame, dialogue, n, classes)  # what a score needs of each dialogue, such that dialogues add up
        scores.append(score((counts @ sums.reshape(n, -1)).reshape(samples, *sums.shape[1:]), metric))
        observed.append(score(sums.sum(axis=0, keepdims=True), metric)[0])
    return float(np.mean(observed)), np.mean(scores, axis=0)


def _confusions(frame: pd.DataFrame, dialogue: np.ndarray, n: int, classes: int) -> np.ndarray:
    """(n, C, C): each dialogue's confusion matrix. Whole numbers, so sums of them are exact, whatever the number of threads."""
    cell = (dialogue * classes + frame["label"].to_numpy()) * classes + frame["predicted"].to_numpy()
    return np.bincount(cell, minlength=n * classes * classes).reshape(n, classes, classes).astype(np.float64)


def _moments(frame: pd.DataFrame, dialogue: np.ndarray, n: int, classes: int) -> np.ndarray:
    """(n, 6, C): each dialogue's sums of 1, y, p, y^2, p^2 and yp, of values that are centred once, which correlations do not notice."""
    y, p = (frame[[f"{kind}_{c}" for c in range(classes)]].to_numpy(dtype=np.float64) for kind in ("label", "predicted"))
    y, p = y - y.mean(axis=0), p - p.mean(axis=0)
    sums = np.zeros((n, 6, classes))
    np.add.at(sums, dialogue, np.stack([np.ones_like(y), y, p, y * y, p * p, y * p], axis=1))
    return sums


def _correlation(sums: np.ndarray, metric: str) -> np.ndarray:
    """(S,) Pearson's r from sums (S, 6, C); a dimension without variance counts as 0, as in :mod:`erc_lib.evaluation.dimensions`."""
    count, y, p, yy, pp, yp = np.moveaxis(sums, 1, 0)
    of_y, of_p = yy - y * y / count, pp - p * p / count
    # Rounding leaves a constant column a spread of about 1e-16 of its size, which must not count as one.
    varies, spread = (of_y > 1e-14 * yy) & (of_p > 1e-14 * pp), of_y * of_p
    r = np.where(varies, (yp - y * p / count) / np.sqrt(np.where(varies, spread, 1.0)), 0.0)
    return r.mean(axis=1) if metric == "mean_pearson" else r[:, int(metric.removeprefix("pearson_"))]


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
