"""Which epoch is reported. The one place where that is decided, on the validation set alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from erc_lib.errors import TrainingError

SELECTION = ("val_weighted_f1", "val_mean_pearson")  # of classes, of dimensions; a history has one of them

History = Sequence[Mapping[str, Any]] | pd.DataFrame


def select(history: History) -> int:
    """The epoch with the highest validation weighted F1, or mean Pearson's r of dimensions; of equals the earliest.

    Args:
        history: one row per epoch with the columns epoch and val_weighted_f1 or val_mean_pearson (a frame or a list of mappings).
    """
    rows = history.to_dict("records") if isinstance(history, pd.DataFrame) else list(history)
    if not rows:
        raise TrainingError("there is no epoch to select from: the training recorded none")
    column = next((c for c in SELECTION if c in rows[0]), SELECTION[0])
    return int(max(rows, key=lambda row: (row[column], -row["epoch"]))["epoch"])


def should_stop(history: History, patience: int | None) -> bool:
    """True when the last ``patience`` epochs brought nothing better than the selected one."""
    if patience is None or not len(history):
        return False
    last = history["epoch"].iloc[-1] if isinstance(history, pd.DataFrame) else history[-1]["epoch"]
    return int(last) - select(history) >= patience
