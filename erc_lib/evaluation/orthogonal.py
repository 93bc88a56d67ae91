"""The range analysis of an orthogonal design (DIMMN, Table 8): what each factor's levels are worth, averaged over all others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from erc_lib.errors import DataError


def range_analysis(trials: pd.DataFrame, factors: Sequence[str], result: str, *, permutations: int = 5000, seed: int = 0) -> pd.DataFrame:
    """One row per factor: ``best`` (its level with the largest mean), ``range`` (largest minus smallest level mean), ``p``, ``means``.

    In an orthogonal design each level of a factor meets each level of the others equally often, so that the mean over the trials of a level
    holds all else equal. ``p``: the share of random reorderings of the results over the trials that give a range as large; a factor without
    any effect has a range too.

    Args:
        trials: one row per trial: a column of levels for each factor, and ``result``.
        means: in the frame returned, level -> mean, a dict.

    Raises:
        DataError: the design is not orthogonal in two of the factors, or a result is missing.
    """
    if trials[result].isna().any():
        raise DataError(f"range analysis: {int(trials[result].isna().sum())} of {len(trials)} trials have no {result}; run them first")
    if trials[list(factors)].isna().any(axis=None):
        raise DataError(f"range analysis: a trial has no level of {', '.join(f for f in factors if trials[f].isna().any())}; every trial needs one of each factor")
    for one, other in combinations(factors, 2):
        met = pd.crosstab(trials[one], trials[other])
        if met.to_numpy().min() != met.to_numpy().max():
            raise DataError(f"range analysis: the levels of {one} and {other} do not meet equally often, so the design is not orthogonal; add the missing trials")
    y = trials[result].to_numpy(np.float64)
    shuffled = np.random.default_rng(seed).permuted(np.tile(y, (permutations, 1)), axis=1)
    rows = []
    for factor in factors:
        levels = sorted(trials[factor].unique())
        member = np.stack([(trials[factor] == level).to_numpy() / (trials[factor] == level).sum() for level in levels], axis=1)  # (trials, levels)
        means, chance = y @ member, np.ptp(shuffled @ member, axis=1)
        p = (1 + np.sum(chance >= np.ptp(means) - 1e-12)) / (1 + permutations)
        rows.append((factor, levels[int(means.argmax())], np.ptp(means), p, dict(zip(levels, means.tolist(), strict=True))))
    return pd.DataFrame(rows, columns=["factor", "best", "range", "p", "means"])
