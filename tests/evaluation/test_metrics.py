"""Metrics against cases counted by hand and against a count written out class by class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_lib.errors import ConfigError, DataError
from erc_lib.evaluation import classification_metrics, confusion

LABELS = [0, 0, 0, 1, 1, 2]
PREDICTED = [0, 0, 1, 1, 2, 2]  # class 3 never occurs


def test_a_case_counted_by_hand():
    # class 0: 2 hits of 3, precision 1 -> F1 4/5; class 1: 1 of 2, precision 1/2 -> 1/2; class 2: 1 of 1, precision 1/2 -> 2/3
    scores = classification_metrics(LABELS, PREDICTED, 4)
    assert scores["f1"] == pytest.approx([4 / 5, 1 / 2, 2 / 3, 0])
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["weighted_f1"] == pytest.approx((3 * 4 / 5 + 2 * 1 / 2 + 1 * 2 / 3) / 6)
    assert scores["macro_f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3 + 0) / 4)  # over all four classes


def test_confusion_has_true_classes_as_rows():
    assert confusion(LABELS, PREDICTED, 4).tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    recall = confusion(LABELS, PREDICTED, 4, "recall")
    assert recall[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert recall.sum(axis=1).tolist() == pytest.approx([1, 1, 1, 0])
    precision = confusion(LABELS, PREDICTED, 4, "precision")
    assert precision[:, 1].tolist() == pytest.approx([1 / 2, 1 / 2, 0, 0])
    assert precision.sum(axis=0).tolist() == pytest.approx([1, 1, 1, 0])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_against_a_count_class_by_class(pairs):
    labels, predicted = zip(*pairs, strict=True)
    f1 = []
    for c in range(5):
        hits = sum(y == p == c for y, p in pairs)
        others = sum((y == c) + (p == c) for y, p in pairs)
        f1.append(2 * hits / others if others else 0.0)
    scores = classification_metrics(labels, predicted, 5)
    assert scores["f1"] == pytest.approx(f1)
    assert scores["weighted_f1"] == pytest.approx(sum(f1[y] for y in labels) / len(labels))


@pytest.mark.parametrize(
    ("labels", "predicted", "says"),
    [
        ([], [], "no utterance"),
        ([0, 1], [0], "2 labels but 1 predictions"),
        ([0, -100], [0, 0], r"labels\[1\] is -100"),
        ([0, 1], [0, 3], r"predicted\[1\] is 3"),
        ([[0, 1]], [[0, 1]], r"shape \(N,\)"),
        ([0, 1], [0.2, 0.8], "argmax"),
    ],
)
def test_bad_arrays_are_named(labels, predicted, says):
    with pytest.raises(DataError, match=says):
        classification_metrics(np.array(labels), np.array(predicted), 3)


def test_an_unknown_normalisation_is_named():
    with pytest.raises(ConfigError, match="'rows' is unknown"):
        confusion(LABELS, PREDICTED, 4, "rows")
