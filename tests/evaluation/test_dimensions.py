from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from erc_lib.errors import DataError
from erc_lib.evaluation import dimensional_metrics


def test_equals_scipy_per_dimension():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(50, 4))
    p = y * [1, -2, 0.1, 0] + rng.normal(size=(50, 4))
    scores = dimensional_metrics(y, p)
    expected = [pearsonr(y[:, c], p[:, c]).statistic for c in range(4)]
    assert scores["pearson"] == pytest.approx(expected) and scores["mean_pearson"] == pytest.approx(np.mean(expected))
    assert scores["mean_squared_error"] == pytest.approx(((y - p) ** 2).mean())


def test_by_hand_and_constants_count_as_zero():
    y = np.array([[0.0, 1, 5], [1, 2, 5], [2, 3, 5]])
    p = np.array([[1.0, 7, 1], [3, 7, 2], [5, 7, 3]])
    scores = dimensional_metrics(y, p)
    assert scores["pearson"] == [1.0, 0.0, 0.0] and scores["mean_pearson"] == pytest.approx(1 / 3)
    assert dimensional_metrics(y, -p)["pearson"][0] == -1.0


def test_bad_input():
    with pytest.raises(DataError, match="share one shape"):
        dimensional_metrics(np.zeros((3, 4)), np.zeros((3, 2)))
    with pytest.raises(DataError, match="at least two"):
        dimensional_metrics(np.zeros((1, 4)), np.zeros((1, 4)))
    with pytest.raises(DataError, match=r"labels\[1\] is \[nan\]"):
        dimensional_metrics([[0.0], [np.nan], [1.0]], np.zeros((3, 1)))
