from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from erc_lib.errors import DataError
from erc_lib.evaluation import range_analysis, residual_spread
from erc_lib.papers import published_results


def l4() -> pd.DataFrame:
    """The smallest orthogonal array: two levels, three factors, four trials."""
    return pd.DataFrame({"A": [1, 1, 2, 2], "B": [1, 2, 1, 2], "C": [1, 2, 2, 1], "y": [10.0, 12.0, 20.0, 26.0]})


def test_by_hand():
    found = range_analysis(l4(), ["A", "B", "C"], "y").set_index("factor")
    assert found.means["A"] == {1: 11.0, 2: 23.0} and found.means["B"] == {1: 15.0, 2: 19.0} and found.means["C"] == {1: 18.0, 2: 16.0}
    assert found.range.tolist() == [12.0, 4.0, 2.0] and found.best.tolist() == [2, 2, 1]
    assert found.p.isna().all(), "three factors use up all degrees of freedom"
    # Two factors: C's sum of squares, 4 (1)^2 = 4, is the residual with one degree of freedom; A's is 4 (6)^2 = 144, so F = 36.
    two = range_analysis(l4(), ["A", "B"], "y").set_index("factor")
    assert two.p["A"] == pytest.approx(2 * t_distribution.sf(6.0, 1)) and residual_spread(l4(), ["A", "B"], "y") == pytest.approx(2.0)


def test_an_effect_is_told_from_chance_and_chance_is_not():
    grid = pd.DataFrame([(h, k, (h + k) % 4) for h in range(4) for k in range(4)], columns=["H", "K", "L"])
    small = []
    for seed in range(80):
        noise = np.random.default_rng(seed).normal(size=16)
        found = range_analysis(grid.assign(y=noise + 6 * (grid.H == 2)), ["H", "K", "L"], "y").set_index("factor")
        assert found.p["H"] < 0.01 and found.best["H"] == 2
        none = range_analysis(grid.assign(y=noise), ["H"], "y")
        small.append(none.p[0])
    assert 0.35 < np.mean(small) < 0.65, "without an effect p is spread evenly"


def test_the_papers_trials():
    printed = published_results().query("paper == 'dimmn' and table == '8'").pivot(index="row", columns="column", values="value")
    found = range_analysis(printed, ["H", "K", "L"], "Result(acc)").set_index("factor")
    assert found.means["H"][2.0] == pytest.approx((62.8 + 63.1 + 63.2 + 63.1) / 4) and found.best.to_dict() == {"H": 3, "K": 6, "L": 8}
    assert found.range.round(3).tolist() == [0.95, 0.6, 0.075]
    y = printed["Result(acc)"].to_numpy()
    dummies = {f: np.stack([(printed[f] == v).to_numpy(float) for v in sorted(printed[f].unique())[1:]], axis=1) for f in "HKL"}

    def left(factors: str) -> float:
        """Residual sum of squares of a regression on indicator variables."""
        x = np.column_stack([np.ones(16), *(dummies[f] for f in factors)])
        return float(((y - x @ np.linalg.lstsq(x, y)[0]) ** 2).sum())

    for f, without in (("H", "KL"), ("K", "HL"), ("L", "HK")):
        ratio = ((left(without) - left("HKL")) / 3) / (left("HKL") / 6)
        assert found.p[f] == pytest.approx(f_distribution.sf(ratio, 3, 6), rel=1e-6)
    assert residual_spread(printed, ["H", "K", "L"], "Result(acc)") == pytest.approx((left("HKL") / 6) ** 0.5)


def test_what_is_no_orthogonal_design_is_refused():
    with pytest.raises(DataError, match="A and B do not meet equally often"):
        range_analysis(l4().iloc[:3], ["A", "B"], "y")
    with pytest.raises(DataError, match="1 of 4 trials have no y"):
        range_analysis(l4().assign(y=[1, 2, None, 3]), ["A"], "y")
    with pytest.raises(DataError, match="no level of B"):
        range_analysis(l4().assign(B=[1, 2, None, 2]), ["A", "B"], "y")
