"""How good are predicted classes: accuracy, weighted, macro and per-class F1, confusion. Functions of arrays, fractions 0 to 1.

Measured by scikit-learn. Two conventions matter when numbers are compared with a paper's: a class without a prediction
*and* without an utterance has F1 = 0 (``zero_division=0``), and the macro mean runs over **all** C classes of the corpus, not
over those that happen to occur. Weighted F1 weighs each class with its utterances (its support); absent classes do not move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from erc_lib.errors import ConfigError, DataError


def _checked(labels: Sequence[int], predicted: Sequence[int], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Both as int64 (N,), or one DataError that names the first bad place."""
    checked = []
    for name, values in (("labels", labels), ("predicted", predicted)):
        array = np.asarray(values)
        if array.ndim != 1:
            raise DataError(f"{name} must be one class per utterance, shape (N,), not {array.shape}; flatten without padding")
        if array.size and not np.issubdtype(array.dtype, np.integer):
            raise DataError(f"{name} must be whole numbers 0 .. {classes - 1}, not {array.dtype}; take the argmax first")
        bad = (array < 0) | (array >= classes)
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"{name}[{row}] is {array[row]}, outside 0 .. {classes - 1}; leave padded utterances (-100) out before measuring"
            )
        checked.append(array.astype(np.int64))
    if len(checked[0]) != len(checked[1]):
        raise DataError(f"{len(checked[0])} labels but {len(checked[1])} predictions; each utterance needs one of each")
    if not len(checked[0]):
        raise DataError("there is no utterance to measure on; is the split empty?")
    return checked[0], checked[1]


def classification_metrics(labels: Sequence[int], predicted: Sequence[int], classes: int) -> dict[str, float | list[float]]:
    """Scores of N predictions.

    Args:
        labels, predicted: (N,) whole numbers in 0 .. C-1.
        classes: C, also when some class does not occur.

    Returns:
        ``{"weighted_f1", "accuracy", "macro_f1", "f1": [C values]}``, fractions.

    Raises:
        DataError: nothing to measure, unequal lengths, or a class outside 0 .. C-1.
    """
    labels, predicted = _checked(labels, predicted, classes)
    names = list(range(classes))

    def f1(average):
        return f1_score(labels, predicted, labels=names, average=average, zero_division=0)

    return {
        "weighted_f1": float(f1("weighted")),
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1("macro")),
        "f1": [float(x) for x in f1(None)],
    }


def confusion(
    labels: Sequence[int],
    predicted: Sequence[int],
    classes: int,
    normalise: Literal["recall", "precision"] | None = None,
) -> np.ndarray:
    """Confusion matrix (C, C): row = true class, column = predicted class.

    Args:
        labels, predicted, classes: as in :func:`classification_metrics`.
        normalise: None counts utterances; ``"recall"`` divides each row by its sum (the diagonal is each class's recall);
            ``"precision"`` divides each column (the diagonal is the precision). A row or column without utterances stays 0.
    """
    options = {None: None, "recall": "true", "precision": "pred"}
    if normalise not in options:
        raise ConfigError(f"normalise={normalise!r} is unknown; use None, 'recall' (rows sum to 1) or 'precision' (columns)")
    labels, predicted = _checked(labels, predicted, classes)
    return confusion_matrix(labels, predicted, labels=list(range(classes)), normalize=options[normalise])
