"""The files of published tables: what is read from a good one, and one clear error for each way to damage it."""

from __future__ import annotations

from pathlib import Path

import pytest

from erc_lib.errors import ConfigError
from erc_lib.papers.published import read_published

GOOD = """
paper: toy
title: Toy
tables:
  - table: "1"
    caption: c
    place: p
    unit: percent
    columns: {A: [x, y], B: [x]}
    rows:
      first: [1, ~, -3.5]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "published.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_small_file_is_read_cell_by_cell(tmp_path):
    results, tables = read_published(write(tmp_path, GOOD), "toy")
    assert results.to_numpy().tolist() == [["toy", "1", "A", "first", "x", 1.0], ["toy", "1", "B", "first", "x", -3.5]]
    assert tables["note"].tolist() == ["", ""]


PART = GOOD[GOOD.index("  - table"):]


@pytest.mark.parametrize("text,message", [
    (GOOD.replace("[1, ~, -3.5]", "[1, ~]"), r"'first': 2 values for 3 columns"),
    (GOOD.replace("[1, ~, -3.5]", "[1, ~, 2, 3]"), r"'first': 4 values for 3 columns"),
    (GOOD.replace("[1, ~, -3.5]", "5"), r"'first': 5 values"),
    (GOOD.replace("~", "n/a"), r"'first': 'n/a' is not a number"),
    (GOOD.replace("~", "true"), r"'first': True is not a number"),
    (GOOD.replace("~", ".nan"), r"'first': nan is not a number"),
    (GOOD + "      first: [1, 2, 3]\n", r"'first' stands twice"),
    (GOOD + PART, r"row 'first': \(A, x\) stands twice"),
    (GOOD.replace("[x, y]", "[x, x]").replace("~", "2"), r"row 'first': \(A, x\) stands twice"),
    (GOOD.replace("first:", "7:"), r"7 is read as int"),
    (GOOD.replace('"1"', "1"), r"1 is read as int"),
    (GOOD.replace("unit:", "units:"), r"has .*units.*expected"),
    (GOOD.replace("{A: [x, y], B: [x]}", "[x]"), r"`columns` must map"),
    (GOOD[:GOOD.index("    rows")] + "    rows: {}\n", r"`rows` must map"),
    (GOOD.replace("paper: toy", "paper: joy"), r"`paper` is 'joy'"),
    (GOOD[:GOOD.index("tables")], r"`tables` must be"),
    ("[1, 2", r"not valid YAML"),
    ("just words", r"must be a mapping"),
])
def test_a_damaged_file_is_one_clear_error(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_published(path, "toy")
    assert str(path) in str(caught.value)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_published(tmp_path / "published.yaml", "toy")
