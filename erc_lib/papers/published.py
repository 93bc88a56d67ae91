"""Every number of the four papers' tables, as printed: `published_results()`.

Each room holds one `published.yaml`:

    paper: multiemo
    title: ...
    tables:
      - table: "1"                 # the paper's number; a table of two parts (say, results and drops) stands twice
        caption: ...
        place: Section 5.1         # section, and the page where the text shows it
        unit: ...                  # of the values
        note: ...                  # optional: errors of the paper, doubts of the transcription
        columns: {IEMOCAP: [Acc, W-F1], MELD: [Acc, W-F1]}     # dataset -> its columns, left to right
        rows:
          a label: [1.0, 2.0, ~, 4.0]     # one value per column over all datasets; ~ is a dash or an empty cell

Numbers are never corrected here: what is wrong in a paper stands in the note of its table.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from erc_lib.errors import ConfigError

PAPERS = ("dialogue_trm", "dimmn", "multiemo", "df_erc")
RESULT_COLUMNS = ["paper", "table", "dataset", "row", "column", "value"]
TABLE_COLUMNS = ["paper", "table", "dataset", "caption", "place", "unit", "note"]
_KEY = RESULT_COLUMNS[:-1]
_TABLE_FIELDS = {"table", "caption", "place", "unit", "columns", "rows"}


def published_results() -> pd.DataFrame:
    """Every number of the tables of DialogueTRM, DIMMN, MultiEMO and DF-ERC, in the papers' order.

    Columns `paper` ("dialogue_trm", "dimmn", "multiemo", "df_erc"), `table` ("1", ...), `dataset` ("IEMOCAP", "MELD", "AVEC"),
    `row` and `column` as printed, `value` (float): scores in percent as printed; other units are named by `published_tables()`.
    A cell without a number has no row. (paper, table, dataset, row, column) is unique. Raises ConfigError for a damaged file.
    """
    return _load()[0].copy()


def published_tables() -> pd.DataFrame:
    """What each table is: paper, table, dataset, caption, place (section, page), unit, note; one row per part and dataset."""
    return _load()[1].copy()


@lru_cache(maxsize=1)
def _load() -> tuple[pd.DataFrame, pd.DataFrame]:
    results, tables = [], []
    for paper in PAPERS:
        some_results, some_tables = read_published(Path(__file__).parent / paper / "published.yaml", paper)
        results.append(some_results)
        tables.append(some_tables)
    return pd.concat(results, ignore_index=True), pd.concat(tables, ignore_index=True)


def read_published(path: str | Path, paper: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One room's tables from its file: (results, tables) with the columns of `published_results` and `published_tables`.

    Raises ConfigError, naming file, table and row, for a missing or unreadable file, a missing or unknown field, a row with too
    many or too few values, a value that is not a number, and a key that stands twice.
    """
    path = Path(path)
    document = _parse(path)
    if document.get("paper") != paper:
        raise ConfigError(f"{path}: `paper` is {document.get('paper')!r}, expected {paper!r}: set it to the name of the room")
    if not isinstance(document.get("tables"), list):
        raise ConfigError(f"{path}: `tables` must be a list of tables")
    results, tables, seen = [], [], set()
    for number, table in enumerate(document["tables"], 1):
        where = f"{path}: entry {number} of `tables`"
        _check_fields(table, where)
        where = f"{path}: table {table['table']}"
        cells = [(dataset, column) for dataset, columns in table["columns"].items() for column in columns]
        for label, values in table["rows"].items():
            for (dataset, column), value in zip(cells, _numbers(values, len(cells), f"{where}, row {label!r}")):
                key = (paper, table["table"], dataset, label, column)
                if key in seen:
                    raise ConfigError(f"{where}, row {label!r}: ({dataset}, {column}) stands twice: give it a name of its own")
                seen.add(key)
                if value is not None:
                    results.append((*key, value))
        for dataset in table["columns"]:
            described = (table[field] for field in ("caption", "place", "unit"))
            tables.append((paper, table["table"], dataset, *described, table.get("note", "")))
    return pd.DataFrame(results, columns=RESULT_COLUMNS), pd.DataFrame(tables, columns=TABLE_COLUMNS)


def published_value(paper: str, table: str, dataset: str, row: str, column: str) -> float:
    """One printed number.

    Raises:
        ConfigError: there is no such cell, or the paper leaves it empty.
    """
    t = published_results()
    found = t[(t["paper"] == paper) & (t["table"] == table) & (t["dataset"] == dataset) & (t["row"] == row) & (t["column"] == column)]["value"]
    if len(found) != 1:
        raise ConfigError(f"{paper}: table {table} for {dataset} has {len(found)} numbers at {row!r}, {column!r}; see published_results()")
    return float(found.iloc[0])


def _check_fields(table: Any, where: str) -> None:
    """The fields of one table, and that every name in it is text."""
    if not isinstance(table, dict) or not _TABLE_FIELDS <= set(table) <= _TABLE_FIELDS | {"note"}:
        found = sorted(map(str, table)) if isinstance(table, dict) else table
        raise ConfigError(f"{where}: has {found}, expected the fields {sorted(_TABLE_FIELDS)} and at most `note` beside them")
    columns, rows = table["columns"], table["rows"]
    if not (isinstance(columns, dict) and columns and all(isinstance(names, list) and names for names in columns.values())):
        raise ConfigError(f"{where}: `columns` must map each dataset to the list of its columns")
    if not (isinstance(rows, dict) and rows):
        raise ConfigError(f"{where}: `rows` must map each label to the list of its values")
    texts = [table["table"], *columns, *(name for names in columns.values() for name in names), *rows]
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(f"{where}: {text!r} is read as {type(text).__name__}: put this name in quotes")


def _numbers(values: Any, count: int, where: str) -> list[float | None]:
    """The values of one row as floats, None for an empty cell."""
    if not isinstance(values, list) or len(values) != count:
        found = len(values) if isinstance(values, list) else values
        raise ConfigError(f"{where}: {found} values for {count} columns: write one value per column, ~ for a dash")
    for value in values:
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ConfigError(f"{where}: {value!r} is not a number: write the printed number, or ~ for a dash")
    return [None if value is None else float(value) for value in values]


def _parse(path: Path) -> dict:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): reinstall the package, the file is part of it") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    except ConfigError as error:     # of the loader below, which does not know the file
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping with `paper`, `title` and `tables`")
    return document


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader lets a key that stands twice win silently; here it is an error, for a row would vanish unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise ConfigError(f"line {key_node.start_mark.line + 1}: {key!r} stands twice: give each row its own name")
            seen.add(key)
        return super().construct_mapping(node, deep)
