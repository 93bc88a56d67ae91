"""The bootstrap against a direct version that scores every drawn sample with scikit-learn, and against what must hold."""

from __future__ import annotations


import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from erc_lib.errors import ConfigError, DataError
from erc_lib.evaluation import bootstrap_interval, mean_and_spread, paired_bootstrap


def predictions(seed: int, dialogues: int = 25, classes: int = 4, right: float = 0.6, labels_seed: int = 0) -> pd.DataFrame:
    """Toy predictions; the labels depend on ``labels_seed`` alone, so that two models see the same utterances."""
    source = np.random.default_rng(labels_seed)
    lengths = source.integers(1, 12, dialogues)
    labels = source.choice(classes, size=lengths.sum(), p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    rng = np.random.default_rng(seed)
    predicted = np.where(rng.random(len(labels)) < right, labels, rng.integers(0, classes, len(labels)))
    return pd.DataFrame(
        {
            "dialogue": np.repeat([f"d{i:03d}" for i in range(dialogues)], lengths),
            "position": np.concatenate([np.arange(n) for n in lengths]),
            "label": labels,
            "predicted": predicted,
        }
    )


def slow_scores(frame: pd.DataFrame, metric: str, classes: int, samples: int, seed: int) -> np.ndarray:
    """Each sample written out as rows and scored by scikit-learn."""
    names = sorted(frame["dialogue"].unique())
    rows = {n: frame[frame["dialogue"] == n] for n in names}
    rng = np.random.default_rng(seed)
    scores = []
    for drawn in rng.integers(len(names), size=(samples, len(names))):
        sample = pd.concat([rows[names[i]] for i in drawn])
        y, p = sample["label"], sample["predicted"]
        if metric == "accuracy":
            scores.append(accuracy_score(y, p))
        elif metric.startswith("f1_"):
            scores.append(f1_score(y, p, labels=[int(metric[3:])], average="macro", zero_division=0))
        else:
            average = metric.removesuffix("_f1")
            scores.append(f1_score(y, p, labels=range(classes), average=average, zero_division=0))
    return np.array(scores)


@pytest.mark.parametrize("metric", ["weighted_f1", "macro_f1", "accuracy", "f1_0"])
def test_interval_against_scoring_every_sample(metric):
    frame = predictions(1, dialogues=9)
    slow = slow_scores(frame, metric, 4, samples=80, seed=3)
    shuffled = frame.sample(frac=1, random_state=0)  # the order of rows means nothing
    got = bootstrap_interval(shuffled, metric, classes=4, samples=80, seed=3, level=0.9)
    assert got == pytest.approx(tuple(np.quantile(slow, [0.05, 0.95])), abs=1e-12)


def test_paired_and_seeds_against_scoring_every_sample():
    a = [predictions(s, dialogues=8, right=0.7) for s in (1, 2)]
    b = [predictions(s, dialogues=8, right=0.5) for s in (3, 4, 5)]
    slow = [np.mean([slow_scores(f, "weighted_f1", 4, 60, 7) for f in frames], axis=0) for frames in (a, b)]
    difference = slow[0] - slow[1]
    got = paired_bootstrap(a, b, classes=4, samples=60, seed=7)
    assert (got["low"], got["high"]) == pytest.approx(tuple(np.quantile(difference, [0.025, 0.975])), abs=1e-12)
    whole = [np.mean([f1_score(f["label"], f["predicted"], average="weighted") for f in frames]) for frames in (a, b)]
    assert got["difference"] == pytest.approx(whole[0] - whole[1], abs=1e-12)
    beyond = min((difference <= 0).sum(), (difference >= 0).sum())
    assert got["p"] == pytest.approx(min(1, 2 * (beyond + 1) / 61))
    seeds = bootstrap_interval(a, classes=4, samples=60, seed=7)
    assert seeds == pytest.approx(tuple(np.quantile(slow[0], [0.025, 0.975])), abs=1e-12)


def test_a_model_against_itself_and_against_a_worse_one():
    good, bad = predictions(1, dialogues=80, right=0.9), predictions(2, dialogues=80, right=0.3)
    same = paired_bootstrap(good, good, classes=4, samples=200)
    assert same == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    forth, back = (paired_bootstrap(x, y, classes=4, samples=200) for x, y in ((good, bad), (bad, good)))
    assert forth["low"] > 0 and forth["p"] == pytest.approx(2 / 201)
    assert back["difference"] == pytest.approx(-forth["difference"])
    assert back["p"] == forth["p"]


def test_the_unit_is_the_dialogue():
    """Ten copies of each dialogue inside itself add utterances but no knowledge: the interval must not shrink."""
    frame = predictions(1, dialogues=30)
    copies = pd.concat([frame.assign(position=frame["position"] + 100 * i) for i in range(10)])
    assert bootstrap_interval(copies, classes=4) == pytest.approx(bootstrap_interval(frame, classes=4), abs=1e-12)
    every_utterance_alone = frame.assign(dialogue=[f"u{i:04d}" for i in range(len(frame))])
    assert bootstrap_interval(every_utterance_alone, classes=4) != bootstrap_interval(frame, classes=4)


def test_the_seed_decides():
    frame = predictions(1)
    assert bootstrap_interval(frame, classes=4, seed=5) == bootstrap_interval(frame, classes=4, seed=5)
    assert bootstrap_interval(frame, classes=4, seed=5) != bootstrap_interval(frame, classes=4, seed=6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="predicted"), "no column 'predicted'"),
        (lambda f: f.iloc[:0], "no utterance"),
        (lambda f: f.assign(label=f["label"].where(f.index != 3, 9)), "row 3: label is"),
        (lambda f: f.assign(predicted=f["predicted"].astype(float)), "not a whole number"),
        (lambda f: f.assign(split=["test", *["validation"] * (len(f) - 1)]), "mixes the splits"),
        (lambda f: pd.concat([f, f]), "stands there twice"),
    ],
)
def test_bad_frames_are_named(change, says):
    with pytest.raises(DataError, match=says):
        bootstrap_interval(change(predictions(1)), classes=4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.iloc[1:], "utterances; compare"),
        (lambda f: f.assign(dialogue=f["dialogue"].str.replace("d000", "x000")), "do not hold the same utterances"),
        (lambda f: f.assign(label=(f["label"] + 1) % 4), "label"),
    ],
)
def test_runs_on_other_utterances_are_not_compared(change, says):
    frame = predictions(1)
    with pytest.raises(DataError, match=says):
        paired_bootstrap(frame, change(frame), classes=4)
    with pytest.raises(DataError, match=says):
        bootstrap_interval([frame, change(frame)], classes=4)


def test_options_that_cannot_be_meant():
    frame = predictions(1)
    for options in ({"metric": "f1"}, {"metric": "f1_4"}, {"samples": 0}, {"level": 95}):
        with pytest.raises(ConfigError):
            bootstrap_interval(frame, **{"classes": 4, **options})


def test_mean_and_spread():
    assert mean_and_spread([0.5, 0.7]) == pytest.approx((0.6, np.sqrt(0.02)))  # ((0.1)^2 + (0.1)^2) / (2 - 1)
    mean, spread = mean_and_spread([0.5])
    assert mean == 0.5 and np.isnan(spread)
    for bad in ([], [0.5, float("nan")]):
        with pytest.raises(DataError):
            mean_and_spread(bad)


def dimensions(seed: int, dialogues: int = 9, agreement: float = 0.7) -> pd.DataFrame:
    """Toy predictions of two emotion dimensions; the labels do not depend on ``seed``, the second dimension is predicted worse."""
    source, rng = np.random.default_rng(0), np.random.default_rng(seed)
    lengths = source.integers(1, 12, dialogues)
    y = 3 + source.standard_normal((lengths.sum(), 2))
    p = np.array([agreement, 0.2]) * y + rng.standard_normal(y.shape)
    frame = pd.DataFrame({"dialogue": np.repeat([f"d{i}" for i in range(dialogues)], lengths)})
    frame["position"] = frame.groupby("dialogue").cumcount()
    return frame.assign(label_0=y[:, 0], label_1=y[:, 1], predicted_0=p[:, 0], predicted_1=p[:, 1])


def slow_correlations(frame: pd.DataFrame, samples: int, seed: int) -> np.ndarray:
    """(S, 2): every sample written out as rows and correlated by NumPy."""
    names = sorted(frame["dialogue"].unique())
    found = []
    for drawn in np.random.default_rng(seed).integers(len(names), size=(samples, len(names))):
        sample = pd.concat([frame[frame["dialogue"] == names[i]] for i in drawn])
        found.append([np.corrcoef(sample[f"label_{c}"], sample[f"predicted_{c}"])[0, 1] for c in (0, 1)])
    return np.array(found)


@pytest.mark.parametrize("metric", ["mean_pearson", "pearson_0", "pearson_1"])
def test_correlations_against_scoring_every_sample(metric):
    frame = dimensions(1)
    slow = slow_correlations(frame, 70, 3)
    slow = slow.mean(axis=1) if metric == "mean_pearson" else slow[:, int(metric[-1])]
    got = bootstrap_interval(frame.sample(frac=1, random_state=0), metric, classes=2, samples=70, seed=3)
    assert got == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=1e-10)


def test_paired_correlations_and_constants():
    good, bad = dimensions(1, dialogues=40, agreement=2.0), dimensions(2, dialogues=40, agreement=0.1)
    found = paired_bootstrap([good], [bad], "pearson_0", classes=2, samples=200)
    direct = [np.corrcoef(f["label_0"], f["predicted_0"])[0, 1] for f in (good, bad)]
    assert found["difference"] == pytest.approx(direct[0] - direct[1], abs=1e-10) and found["low"] > 0
    constant = good.assign(predicted_0=1e6 + 0.1)
    assert bootstrap_interval(constant, "pearson_0", classes=2, samples=20) == (0.0, 0.0)


def test_dimensions_of_other_runs_or_not_finite_are_refused():
    frame = dimensions(1)
    with pytest.raises(DataError, match="the runs do not hold the same utterances: dialogue 'd0', position 0, label_1 .* against"):
        paired_bootstrap(frame, frame.assign(label_1=frame["label_1"] + 1), "mean_pearson", classes=2)
    with pytest.raises(DataError, match="row 2: predicted_0 is .*nan.*, not a finite number"):
        bootstrap_interval(frame.assign(predicted_0=frame["predicted_0"].where(frame.index != 2)), "pearson_0", classes=2)
    with pytest.raises(DataError, match="no column 'label_2'; for mean_pearson it needs"):
        bootstrap_interval(frame, "mean_pearson", classes=3)
    with pytest.raises(ConfigError, match="unknown metric 'pearson_2'"):
        bootstrap_interval(frame, "pearson_2", classes=2)
