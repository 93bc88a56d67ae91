"""Reading CSV files with errors that name the file, the row and the remedy.

Rows are counted as a spreadsheet counts them: the first one of the file, header or not, is row 1.
The standard library's reader is used, for pandas fills up a row that was cut short and so hides that it was.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from erc_lib.errors import DataError

REMEDY = "fetch the file again (`erc data fetch`) or correct it"


def read_table(path: Path, columns: Sequence[str], *, header: bool = True) -> pd.DataFrame:
    """The named columns of a UTF-8 CSV file, all as strings, one row per row of data.

    Without a ``header`` in the file, ``columns`` names what stands there from left to right, and there must be just as many.
    Raises DataError for a missing file, another encoding, a missing column, or a row that is cut short or too long.
    """
    rows = _rows(path)
    names = rows.pop(0) if header else list(columns)
    missing = [c for c in columns if c not in names]
    if missing:
        raise DataError(f"{path}, row 1: no column {missing[0]!r}; there are {', '.join(names)}; {REMEDY}")
    _check_widths(path, rows, len(names), header)
    wanted = [names.index(c) for c in columns]
    return pd.DataFrame([[row[i] for i in wanted] for row in rows], columns=list(columns), dtype=object)


def read_matrix(path: Path, width: int) -> np.ndarray:
    """A headerless CSV file of numbers as float64 (N, width); raises DataError for another width or anything not finite."""
    rows = _rows(path)
    _check_widths(path, rows, width, header=False)
    try:
        values = np.array(rows, dtype=object).astype(np.float64)
    except ValueError:
        values = np.array([[_number(field) for field in row] for row in rows])
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = map(int, bad[0])
        raise DataError(
            f"{path}, row {row_number(row, False)}, column {column + 1}: {rows[row][column]!r} is no finite number; {REMEDY}"
        )
    return values


def whole_numbers(table: pd.DataFrame, column: str, path: Path, *, header: bool = True) -> np.ndarray:
    """A column of :func:`read_table` as int64 (N,); raises DataError naming the row of the first that is no whole number."""
    values = np.array([_number(field) for field in table[column]])
    bad = ~np.isfinite(values) | (values != np.floor(values))
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{path}, row {row_number(row, header)}: {column} is {table[column].iloc[row]!r}, no whole number; {REMEDY}"
        )
    return values.astype(np.int64)


def row_number(index: int, header: bool = True) -> int:
    """The row of a spreadsheet on which data row ``index`` (from 0) stands."""
    return index + (2 if header else 1)


def _rows(path: Path) -> list[list[str]]:
    """All rows of a file, at least one; empty ones at its end are left out."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, strict=True))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; {REMEDY}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason}); {REMEDY}") from error
    except csv.Error as error:
        raise DataError(f"{path} is cut short or no CSV file ({error}); {REMEDY}") from error
    while rows and not rows[-1]:
        rows.pop()
    if not rows:
        raise DataError(f"{path} is empty; {REMEDY}")
    return rows


def _check_widths(path: Path, rows: list[list[str]], width: int, header: bool) -> None:
    for k, row in enumerate(rows):
        if len(row) != width:
            raise DataError(f"{path}, row {row_number(k, header)}: {len(row)} columns instead of {width}; {REMEDY}")


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        return float("nan")
