"""Groups of utterances against a loop that draws dialogues, joins their rows and scores them again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from erc_lib.errors import DataError
from erc_lib.evaluation import classification_metrics, group_intervals, quantile_groups
from erc_lib.evaluation.significance import draw_dialogues


def frame(seed: int, dialogues: int = 12, classes: int = 3, groups: int = 3) -> pd.DataFrame:
    truth, g = np.random.default_rng(99), np.random.default_rng(seed)
    lengths = truth.integers(3, 9, dialogues)
    rows = [(f"d{d:02}", p) for d, length in enumerate(lengths) for p in range(length)]
    label = truth.integers(classes, size=len(rows))
    predicted = np.where(g.random(len(rows)) < 0.6, label, g.integers(classes, size=len(rows)))
    made = pd.DataFrame(rows, columns=["dialogue", "position"]).assign(label=label, predicted=predicted, psi=g.normal(size=len(rows)))
    return made.assign(group=quantile_groups(made.psi, groups))


def slow(frames, quantity, classes, samples, seed):
    """(1 + samples, groups): the mean over seeds, dialogues and seeds as they are and drawn."""
    names = sorted(frames[0].dialogue.unique())
    draws = [range(len(names)), *draw_dialogues(len(names), samples, seed)]
    seeds = [range(len(frames)), *np.random.default_rng([seed, 1]).integers(len(frames), size=(samples, len(frames)))]
    rows = []
    for draw, chosen in zip(draws, seeds, strict=True):
        per_seed = []
        for f in (frames[i] for i in chosen):
            joined = pd.concat([f[f.dialogue == names[i]] for i in draw])
            parts = [joined[joined.group == k] for k in range(3)]
            if quantity == "psi":
                per_seed.append([p.psi.mean() for p in parts])
            else:
                per_seed.append([classification_metrics(p.label, p.predicted, classes)[quantity] for p in parts])
        rows.append(np.mean(per_seed, axis=0))
    return np.array(rows)


@pytest.mark.parametrize("quantity", ["weighted_f1", "macro_f1", "accuracy", "psi"])
def test_against_the_loop(quantity):
    frames, others = [frame(0), frame(1)], [frame(2), frame(3), frame(4)]
    shuffled = [f.sample(frac=1, random_state=0) for f in frames]  # the order of rows is of no account
    found = group_intervals(shuffled, quantity, classes=3, samples=60)
    expected = slow(frames, quantity, 3, 60, 0)
    assert np.allclose(found.value, expected[0]) and found.group.tolist() == [0, 1, 2]
    assert np.allclose(found.low, np.quantile(expected[1:], 0.025, axis=0)) and np.allclose(found.high, np.quantile(expected[1:], 0.975, axis=0))
    gap = group_intervals(frames, quantity, classes=3, samples=60, against=others)
    expected = expected - slow(others, quantity, 3, 60, 0)
    assert np.allclose(gap.value, expected[0]) and np.allclose(gap.low, np.quantile(expected[1:], 0.025, axis=0))
    assert found.utterances.sum() == pytest.approx(len(frames[0]))


def test_seeds_that_differ_widen_the_interval_and_pairs_are_kept_together():
    """Two seeds whose psi differ by 10: the mean is known to 5 either way. Against themselves they differ by nothing in every sample."""
    one = frame(0)
    frames = [one, one.assign(psi=one.psi + 10)]
    found = group_intervals(frames, "psi", classes=3)
    alone = group_intervals([one], "psi", classes=3)
    assert ((found.high - found.low) > 9).all() and ((alone.high - alone.low) < 3).all()
    gap = group_intervals(frames, "psi", classes=3, against=[f.assign(psi=f.psi - 1) for f in frames])
    assert np.allclose(gap[["value", "low", "high"]], 1)
    draws = found.attrs["draws"]
    assert draws.shape == (1000, 3) and np.allclose(np.quantile(draws[:, 0], 0.025), found.low[0])


def test_a_group_of_a_single_dialogue_is_missing_from_some_samples_and_has_an_interval_all_the_same():
    f = frame(0)
    f["group"] = (f.dialogue == "d03").astype(int)
    one = f[f.group == 1]
    for quantity in ("accuracy", "weighted_f1", "macro_f1"):
        found = group_intervals([f], quantity, classes=3, samples=200)
        expected = pytest.approx(classification_metrics(one.label, one.predicted, 3)[quantity])
        assert found.value[1] == expected and found.low[1] == expected and found.high[1] == expected


def test_quantile_groups():
    assert quantile_groups([5.0, 1.0, 3.0, 2.0], 2).tolist() == [1, 0, 1, 0]
    assert quantile_groups([0.0] * 5, 2).tolist() == [0, 0, 0, 1, 1]  # ties by order, sizes equal but for one
    assert np.bincount(quantile_groups(np.random.default_rng(0).normal(size=103), 5)).tolist() == [21, 21, 20, 21, 20]


@pytest.mark.parametrize(("change", "words"), [
    (lambda f: f.drop(columns="group"), "no column 'group'"),
    (lambda f: f.assign(group=f.group + 1), "group 0 has no utterance"),
    (lambda f: f.assign(group=0.5), "whole numbers from 0"),
    (lambda f: f.assign(label=f.label + 5), "label is"),
])  # fmt: skip
def test_bad_frames(change, words):
    with pytest.raises(DataError, match=words):
        group_intervals([change(frame(0))], classes=3)


def test_bad_arguments():
    with pytest.raises(DataError, match="no column 'omega'"):
        group_intervals([frame(0)], "omega", classes=3)
    with pytest.raises(DataError, match="not the same utterances|hold"):
        group_intervals([frame(0), frame(1, dialogues=11)], classes=3)
    with pytest.raises(DataError, match="a list of frames is empty"):
        group_intervals([], classes=3)
    with pytest.raises(DataError, match="1 of [0-9]+ values of 'psi' are missing"):
        group_intervals([frame(0).assign(psi=lambda f: f.psi.where(f.index != 3))], "psi", classes=3)
    with pytest.raises(DataError, match="5 groups need as many finite values, not 3 of 4"):
        quantile_groups([1, 2, 3, np.nan], 5)
