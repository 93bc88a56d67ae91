"""How good are predicted emotion dimensions (valence, arousal, expectancy, power): Pearson's correlation, as DialogueTRM's Table 2 has it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from erc_lib.errors import DataError


def dimensional_metrics(labels: ArrayLike, predicted: ArrayLike) -> dict[str, float | list[float]]:
    """Scores of N predictions of C real numbers.

    Args:
        labels, predicted: (N, C), finite.

    Returns:
        ``{"mean_pearson", "mean_squared_error", "pearson": [C values]}``. A dimension without variance, in the labels or in the
        predictions, has no correlation; it counts as 0, which is what predicting a constant deserves.

    Raises:
        DataError: fewer than two utterances, unequal shapes, or a value that is not finite.
    """
    y, p = np.asarray(labels, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if y.ndim != 2 or y.shape != p.shape:
        raise DataError(f"labels and predictions must share one shape (N, C), not {y.shape} and {p.shape}")
    if len(y) < 2:
        raise DataError(f"a correlation needs at least two utterances, there are {len(y)}; is the split empty?")
    for name, values in (("labels", y), ("predicted", p)):
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{name}[{row}] is {values[row].tolist()}, which is not finite; leave padded utterances (NaN) out before measuring")
    centred_y, centred_p = y - y.mean(axis=0), p - p.mean(axis=0)
    spread = np.sqrt((centred_y**2).sum(axis=0) * (centred_p**2).sum(axis=0))
    # Rounding leaves a constant column with a spread of about 1e-16 of its size, which must not count as one.
    constant = (np.ptp(y, axis=0) == 0) | (np.ptp(p, axis=0) == 0)
    r = np.where(constant, 0.0, (centred_y * centred_p).sum(axis=0) / np.where(constant, 1.0, spread))
    return {"mean_pearson": float(r.mean()), "mean_squared_error": float(((y - p) ** 2).mean()), "pearson": r.tolist()}
