"""Reading CSV files with errors that name the file, the row and the remedy.

Rows are counted as a spreadsheet counts them: the first line of the file, header or not, is row 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from erc_lib.errors import DataError

REMEDY = "fetch the file again (`erc data fetch`) or correct it"


def read_table(path: Path, columns: Sequence[str], *, header: bool = True) -> pd.DataFrame:
    """The named columns of a UTF-8 CSV file, all as strings, one row per line of data.

    Without a ``header`` in the file, ``columns`` names what stands there from left to right, and there must be just as many.
    Raises DataError for a missing file, another encoding, a missing column or a row cut short.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", header=0 if header else None)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; {REMEDY}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}: {error.reason}); {REMEDY}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} is empty, cut short or no CSV file ({str(error).strip()}); {REMEDY}") from error
    if header:
        missing = [c for c in columns if c not in table.columns]
        if missing:
            raise DataError(f"{path}, row 1: no column {missing[0]!r}; there are {', '.join(map(str, table.columns))}; {REMEDY}")
    elif table.shape[1] != len(columns):
        raise DataError(f"{path}, row 1: {table.shape[1]} columns instead of {len(columns)} ({', '.join(columns)}); {REMEDY}")
    else:
        table.columns = list(columns)
    # A short row is filled up with NaN, which `keep_default_na=False` keeps apart from an empty field.
    short = table.isna().any(axis=1).to_numpy()
    if short.any():
        raise DataError(f"{path}, row {row_number(int(short.argmax()), header)}: the row is cut short; {REMEDY}")
    return table.loc[:, list(columns)]


def read_matrix(path: Path, width: int) -> np.ndarray:
    """A headerless CSV file of numbers as float64 (N, width); raises DataError for another width or anything not finite."""
    try:
        table = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; {REMEDY}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is empty, cut short or no CSV file ({str(error).strip()}); {REMEDY}") from error
    if table.shape[1] != width:
        raise DataError(f"{path}, row 1: {table.shape[1]} columns instead of {width}; {REMEDY}")
    short = table.isna().any(axis=1).to_numpy()
    if short.any():
        raise DataError(f"{path}, row {row_number(int(short.argmax()), False)}: fewer than {width} columns; {REMEDY}")
    values = table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = map(int, bad[0])
        raise DataError(
            f"{path}, row {row_number(row, False)}, column {column + 1}: {table.iat[row, column]!r} is no finite number; {REMEDY}"
        )
    return values


def whole_numbers(table: pd.DataFrame, column: str, path: Path, *, header: bool = True) -> np.ndarray:
    """A column of :func:`read_table` as int64 (N,); raises DataError naming the row of the first that is no whole number."""
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    bad = ~np.isfinite(values) | (values != np.floor(values))
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{path}, row {row_number(row, header)}: {column} is {table[column].iloc[row]!r}, no whole number; {REMEDY}")
    return values.astype(np.int64)


def row_number(index: int, header: bool = True) -> int:
    """The row of a spreadsheet on which data row ``index`` (from 0) stands."""
    return index + (2 if header else 1)
