from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erc_lib.errors import DataError
from erc_lib.evaluation import range_analysis
from erc_lib.papers import published_results


def l4() -> pd.DataFrame:
    """The smallest orthogonal array: two levels, three factors, four trials."""
    return pd.DataFrame({"A": [1, 1, 2, 2], "B": [1, 2, 1, 2], "C": [1, 2, 2, 1], "y": [10.0, 12.0, 20.0, 26.0]})


def test_by_hand():
    found = range_analysis(l4(), ["A", "B", "C"], "y").set_index("factor")
    assert found.means["A"] == {1: 11.0, 2: 23.0} and found.means["B"] == {1: 15.0, 2: 19.0} and found.means["C"] == {1: 18.0, 2: 16.0}
    assert found.range.tolist() == [12.0, 4.0, 2.0] and found.best.tolist() == [2, 2, 1]


def test_an_effect_is_told_from_chance_and_chance_is_not():
    grid = pd.DataFrame([(h, k, (h + k) % 4) for h in range(4) for k in range(4)], columns=["H", "K", "L"])
    small = []
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(size=16)
        found = range_analysis(grid.assign(y=noise + 6 * (grid.H == 2)), ["H", "K", "L"], "y", permutations=400).set_index("factor")
        assert found.p["H"] < 0.01 and found.best["H"] == 2
        none = range_analysis(grid.assign(y=noise), ["H"], "y", permutations=400)
        small.append(none.p[0])
    assert 0.3 < np.mean(small) < 0.7, "without an effect p is spread evenly"


def test_the_papers_trials():
    printed = published_results().query("paper == 'dimmn' and table == '8'").pivot(index="row", columns="column", values="value")
    found = range_analysis(printed, ["H", "K", "L"], "Result(acc)").set_index("factor")
    assert found.means["H"][2.0] == pytest.approx((62.8 + 63.1 + 63.2 + 63.1) / 4) and found.best.to_dict() == {"H": 3, "K": 6, "L": 8}
    assert found.range.round(3).tolist() == [0.95, 0.6, 0.075]


def test_what_is_no_orthogonal_design_is_refused():
    with pytest.raises(DataError, match="A and B do not meet equally often"):
        range_analysis(l4().iloc[:3], ["A", "B"], "y")
    with pytest.raises(DataError, match="1 of 4 trials have no y"):
        range_analysis(l4().assign(y=[1, 2, None, 3]), ["A"], "y")
    with pytest.raises(DataError, match="no level of B"):
        range_analysis(l4().assign(B=[1, 2, None, 2]), ["A", "B"], "y")
