"""What keeps a store of hundreds of runs small: predictions in steps of 1/1024, and Parquet written for them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

STEPS = 1024  # to 1: three decimals, as fine as any figure shows, and what float16 holds exactly up to 2


def compact(predictions: pd.DataFrame) -> pd.DataFrame:
    """``predictions`` with ``p_0`` ... (float16) and ``predicted_0`` ... (float32) as multiples of 1/1024, and what else was measured as float16
    (eleven bits, three digits). Metrics are computed before; the store gives everything back as float32.

    Probabilities of an utterance keep their sum (1 stays exactly 1), and the largest stays that of the class in ``predicted``; for that one may
    move by up to two steps, where the nearest is half a step away. Dimensions move by half a step at most.
    """
    names = [c for c in predictions if re.fullmatch(r"p_\d+", str(c))]
    values = {c: np.round(predictions[c].to_numpy(np.float64) * STEPS) / STEPS for c in predictions if re.fullmatch(r"predicted_\d+", str(c))}
    if names:
        p = _apportioned(predictions[names].to_numpy(np.float64), predictions["predicted"].to_numpy())
        values |= dict(zip(names, p.T, strict=True))
    kept = {c: v.astype(np.float16 if c in names else np.float32) for c, v in values.items()}
    measured = [c for c in predictions.select_dtypes("floating") if not re.fullmatch(r"(p|predicted|label)_\d+", str(c))]
    return predictions.assign(**kept, **{c: predictions[c].astype(np.float16) for c in measured})


def widened(stored: pd.DataFrame) -> pd.DataFrame:
    """``stored`` with float32 in float16's place, so that nobody adds up in sixteen bits."""
    return stored.astype({c: np.float32 for c in stored.select_dtypes("float16")})


def _apportioned(p: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(N, C), rounded by largest remainders, so that rows keep their sums; where that ties the predicted class with another, one step moves over."""
    units = np.floor(p * STEPS)
    missing = np.round(p.sum(axis=1) * STEPS) - units.sum(axis=1)
    rank = np.argsort(np.argsort(units - p * STEPS, axis=1, kind="stable"), axis=1)  # 0: the largest remainder
    units += rank < missing[:, None]
    rows = np.arange(len(p))
    tied = (p.argmax(axis=1) == predicted) & (units.argmax(axis=1) != predicted)
    units[rows[tied], units.argmax(axis=1)[tied]] -= 1
    units[rows[tied], predicted[tied]] += 1
    return units / STEPS


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """``frame`` as Parquet, small and lossless: bytes of real numbers are grouped by their place before they are compressed, and what serves
    only larger files (statistics of each column, the schema a second and a third time) is left out."""
    real = [name for name in frame if pd.api.types.is_float_dtype(frame[name])]
    table = pyarrow.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    parquet.write_table(
        table, path, compression="brotli", compression_level=11, use_byte_stream_split=real, use_dictionary=[n for n in frame if n not in real],
        write_statistics=False, store_schema=False,
    )  # fmt: skip
