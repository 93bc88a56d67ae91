"""Scores and means of groups of utterances, such as the quintiles of a quantity, with intervals over dialogues and seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from erc_lib.errors import DataError
from erc_lib.evaluation.significance import METRICS, _check_options, _confusions, _same_utterances, _score, _tidy, draw_dialogues


def quantile_groups(values: ArrayLike, groups: int) -> np.ndarray:
    """(N,) the group 0 .. groups-1 of each value: the lowest N / groups of them are group 0. Groups differ in size by one at most; of equal values the
    earlier ones stand lower.

    Raises:
        DataError: fewer values than groups, or one that is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if groups < 1 or len(values) < groups or not np.isfinite(values).all():
        raise DataError(f"quantile_groups: {groups} groups need as many finite values, not {int(np.isfinite(values).sum())} of {len(values)}")
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return rank * groups // len(values)


def group_intervals(
    frames: Sequence[pd.DataFrame], quantity: str = "weighted_f1", *, group: str = "group", classes: int, against: Sequence[pd.DataFrame] | None = None,
    samples: int = 1000, seed: int = 0, level: float = 0.95,
) -> pd.DataFrame:  # fmt: skip
    """A score, or the mean of a column, in each group of utterances, averaged over seeds.

    The interval is a percentile bootstrap over dialogues *and* seeds: every sample draws both, the same for all groups, so that neither an odd dialogue nor an odd
    seed passes for an effect. Where ``frames`` and ``against`` are as many, they are taken as pairs of one seed.

    Args:
        frames: predictions of one split, one frame per seed, over the same utterances; with the columns dialogue, label, predicted and ``group``
            (whole numbers from 0; a seed may group in its own way).
        quantity: ``"weighted_f1"``, ``"macro_f1"`` or ``"accuracy"`` of the group's utterances, or the name of a column to average.
        against: a second list of frames: the quantity is then the difference, ``frames`` minus these.

    Returns:
        One row per group: group, utterances (mean over seeds), value, low, high (samples in which a group is empty are left out).
        ``frame.attrs["draws"]``: (samples, groups), for intervals of what is computed from several groups.

    Raises:
        DataError: a column is missing, a group is empty or not a whole number, or frames hold different utterances.
    """
    _check_options(quantity if quantity in METRICS else METRICS[0], classes, samples, level)
    if not len(frames) or (against is not None and not len(against)):
        raise DataError("group_intervals: there is no run to measure: a list of frames is empty")
    lists = [list(frames)] + ([list(against)] if against is not None else [])
    count = 1 + max(_largest_group(f, group) for some in lists for f in some)
    checked = [[_tidy(f, METRICS[0], classes, "frame") for f in some] for some in lists]
    _same_utterances([f for some in checked for f in some])
    dialogue, _ = pd.factorize(checked[0][0]["dialogue"])
    n = int(dialogue.max()) + 1
    drawn = np.apply_along_axis(np.bincount, 1, draw_dialogues(n, samples, seed), minlength=n).astype(np.float64)
    weights = np.concatenate([np.ones((1, n)), drawn])  # first the dialogues as they are
    values, sizes = [], []
    for some, tidy in zip(lists, checked, strict=True):
        over_seeds = []
        for frame, sorted_ in zip(some, tidy, strict=True):
            by = ["dialogue", "position"] if "position" in frame else ["dialogue"]
            own = frame.sort_values(by, kind="stable", ignore_index=True)
            number = own[group].to_numpy(np.int64)
            if quantity in METRICS:
                sums = _confusions(sorted_, dialogue * count + number, n * count, classes).reshape(n, -1)
                matrices = (weights @ sums).reshape(-1, classes, classes)
                present = matrices.sum(axis=(1, 2)).reshape(-1, count)
                with np.errstate(invalid="ignore"):
                    found = np.where(present > 0, _score(matrices, quantity).reshape(-1, count), np.nan)
            else:
                if quantity not in own:
                    raise DataError(f"group_intervals: no column {quantity!r} in the frames; they have {', '.join(map(str, own.columns))}")
                if own[quantity].isna().any():
                    raise DataError(f"group_intervals: {int(own[quantity].isna().sum())} of {len(own)} values of {quantity!r} are missing; take the split of which it was measured")
                cell = dialogue * count + number
                one = np.bincount(cell, minlength=n * count).reshape(n, count)
                total = np.bincount(cell, weights=own[quantity].to_numpy(np.float64), minlength=n * count).reshape(n, count)
                present = weights @ one
                found = np.divide(weights @ total, present, out=np.full_like(present, np.nan), where=present > 0)
            if not present[0].all():
                raise DataError(f"group_intervals: group {int((present[0] == 0).argmax())} has no utterance; number the groups 0, 1, ... without gaps")
            sizes.append(present[0])
            over_seeds.append(found)
        stacked = np.stack(over_seeds)  # (seeds, 1 + samples, groups)
        chosen = np.random.default_rng([seed, 1]).integers(len(stacked), size=(samples, len(stacked)))
        drawn_seeds = stacked[chosen, np.arange(1, samples + 1)[:, None]].mean(axis=1)
        values.append(np.concatenate([stacked[:, 0].mean(axis=0)[None], drawn_seeds]))
    result = values[0] - values[1] if against is not None else values[0]
    low, high = np.nanquantile(result[1:], [(1 - level) / 2, (1 + level) / 2], axis=0)
    found = pd.DataFrame({"group": range(count), "utterances": np.mean(sizes, axis=0), "value": result[0], "low": low, "high": high})
    found.attrs["draws"] = result[1:]
    return found


def _largest_group(frame: pd.DataFrame, group: str) -> int:
    if group not in frame:
        raise DataError(f"group_intervals: no column {group!r} in the frames; add it, for instance by quantile_groups")
    numbers = frame[group]
    if not len(numbers) or not pd.api.types.is_integer_dtype(numbers) or numbers.min() < 0:
        raise DataError(f"group_intervals: {group!r} must hold whole numbers from 0")
    return int(numbers.max())
