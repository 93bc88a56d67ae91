from __future__ import annotations

import numpy as np
import pandas as pd

from erc_lib.runs.compact import STEPS, compact, widened, write_parquet


def frame(p: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"predicted": p.argmax(axis=1), **{f"p_{c}": column for c, column in enumerate(p.T)}})


def test_probabilities_stay_probabilities_of_the_same_prediction():
    p = np.random.default_rng(0).dirichlet(np.full(7, 0.3), 5000)
    p[:50, :2] = p[:50, :2].mean(axis=1, keepdims=True) + np.array([0.0, 1e-6])  # nearly tied, the second ahead
    p /= p.sum(axis=1, keepdims=True)
    stored = compact(frame(p))
    assert (stored.dtypes.iloc[1:] == np.float16).all()
    q = widened(stored)[[f"p_{c}" for c in range(7)]].to_numpy()
    assert q.dtype == np.float32 and (q * STEPS == np.round(q * STEPS)).all()
    assert (q.sum(axis=1) == 1).all() and (q >= 0).all() and (q.argmax(axis=1) == stored["predicted"]).all()
    assert np.abs(q - p).max() <= 2 / STEPS and np.abs(q - p).mean() < 0.5 / STEPS


def test_by_hand():
    """0.5 and a half step, 0.5 less a half step: the remainder goes to one of them, and the predicted one stays ahead."""
    q = compact(frame(np.array([[0.5 - 0.5 / STEPS, 0.5 + 0.5 / STEPS]])))
    assert q["p_0"].tolist() == [0.5 - 1 / STEPS] and q["p_1"].tolist() == [0.5 + 1 / STEPS]


def test_predicted_dimensions_are_rounded_and_labels_are_not():
    stored = compact(pd.DataFrame({"label_0": [1 / 3], "predicted_0": [-1 / 3]}))
    assert stored["label_0"].tolist() == [1 / 3] and stored["predicted_0"].tolist() == [np.float32(-341 / 1024)]


def test_twice_is_once():
    once = compact(frame(np.random.default_rng(1).dirichlet(np.ones(6), 500)))
    pd.testing.assert_frame_equal(compact(once), once)


def test_parquet_gives_back_what_was_written(tmp_path):
    g = np.random.default_rng(2)
    frame_ = pd.DataFrame({"split": ["test"] * 300, "dialogue": [f"d{i // 9}" for i in range(300)], "position": g.integers(9, size=300), "x": g.normal(size=300), "y": g.normal(size=300).astype(np.float32)})
    frame_.loc[5, "x"] = np.nan
    write_parquet(frame_, tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "f.parquet"), frame_)


def test_what_was_measured_keeps_three_digits_and_its_gaps(tmp_path):
    measured = pd.DataFrame({"split": ["validation", "test"], "label": [0, 1], "p_0": [0.25, 0.75], "p_1": [0.75, 0.25], "predicted": [1, 0], "psi": [np.nan, -0.4123]})
    stored = compact(measured)
    assert stored["psi"].dtype == np.float16 and np.isnan(stored["psi"][0]) and abs(stored["psi"][1] + 0.4123) < 2e-4
    write_parquet(stored, tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "p.parquet"), stored)
