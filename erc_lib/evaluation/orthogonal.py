"""The range analysis of an orthogonal design (DIMMN, Table 8): what each factor's levels are worth, averaged over all others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import f as f_distribution

from erc_lib.errors import DataError


def range_analysis(trials: pd.DataFrame, factors: Sequence[str], result: str) -> pd.DataFrame:
    """One row per factor: ``best`` (its level with the largest mean), ``range`` (largest minus smallest level mean), ``p``, ``means``.

    In an orthogonal design each level of a factor meets each level of the others equally often, so that the mean over the trials of a level
    averages over the other factors alike; it is the factor's own effect as far as effects add up. ``p``: of the F test of its means against
    what all factors' means leave unexplained (independent normal errors); NaN where they leave no degree of freedom.

    Args:
        trials: one row per trial: a column of levels for each factor, and ``result``.
        means: in the frame returned, level -> mean, a dict.

    Raises:
        DataError: the design is not orthogonal in two of the factors, or a level or a result is missing.
    """
    if trials[result].isna().any():
        raise DataError(f"range analysis: {int(trials[result].isna().sum())} of {len(trials)} trials have no {result}; run them first")
    if trials[list(factors)].isna().any(axis=None):
        raise DataError(f"range analysis: a trial has no level of {', '.join(f for f in factors if trials[f].isna().any())}; every trial needs one of each factor")
    for one, other in combinations(factors, 2):
        met = pd.crosstab(trials[one], trials[other])
        if met.to_numpy().min() != met.to_numpy().max():
            raise DataError(f"range analysis: the levels of {one} and {other} do not meet equally often, so the design is not orthogonal; add the missing trials")
    left, free = _unexplained(trials, factors, result)
    rows = []
    for factor in factors:
        means = trials.groupby(factor)[result].mean()
        explained = ((trials.groupby(factor)[result].transform("mean") - trials[result].mean()) ** 2).sum() / (len(means) - 1)
        p = float(f_distribution.sf(explained / (left / free), len(means) - 1, free)) if free > 0 and left > 0 else float("nan")
        rows.append((factor, means.idxmax(), float(np.ptp(means)), p, means.to_dict()))
    return pd.DataFrame(rows, columns=["factor", "best", "range", "p", "means"])


def residual_spread(trials: pd.DataFrame, factors: Sequence[str], result: str) -> float:
    """Standard deviation of what the level means of all ``factors`` together leave of the results; NaN without a degree of freedom."""
    left, free = _unexplained(trials, factors, result)
    return float(np.sqrt(left / free)) if free > 0 else float("nan")


def _unexplained(trials: pd.DataFrame, factors: Sequence[str], result: str) -> tuple[float, int]:
    """Sum of squares after the level means of an orthogonal design, and its degrees of freedom."""
    y = trials[result].astype(np.float64)
    fitted = y.mean() + sum(trials.assign(**{result: y}).groupby(f)[result].transform("mean") - y.mean() for f in factors)
    return float(((y - fitted) ** 2).sum()), len(y) - 1 - sum(trials[f].nunique() - 1 for f in factors)
