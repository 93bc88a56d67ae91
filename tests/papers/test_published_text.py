"""Every typed cell of the papers' tables against the papers' text, where it is at hand (ERC_PAPERS, or beside the checkout)."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

import erc_lib.papers
from erc_lib.papers.published import published_results

ROOMS = Path(erc_lib.papers.__file__).parent
RESULTS = published_results()
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def paper_text(name: str) -> str:
    folder = Path(os.environ.get("ERC_PAPERS", Path(__file__).resolve().parents[3] / "shared" / "papers"))
    if not (folder / f"{name}.txt").exists():
        pytest.skip("the papers' text is not on this machine: set ERC_PAPERS to the folder that holds it")
    return (folder / f"{name}.txt").read_text(encoding="utf-8")


def typed_tables(paper: str) -> list[dict]:
    return yaml.safe_load((ROOMS / paper / "published.yaml").read_text(encoding="utf-8"))["tables"]


def squeezed(text: str) -> str:
    return re.sub(r"<[^>]*>|[\s$]", "", text)


def printed_cells(line: str, count: int) -> list[float | None]:
    """The last `count` cells of a line of text: numbers, None for a dash."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", re.sub(r"<[^>]*>|[*↓()]", " ", line))
    words = plain.split()[-count:]
    return [None if word in "-–" else float(word) if NUMBER.fullmatch(word) else word for word in words]


@pytest.mark.parametrize("paper", ["dimmn", "multiemo", "df_erc"])
def test_every_row_stands_in_the_paper(paper):
    """The text of these three keeps a row on one line: label and cells must be found together, in the table's order."""
    lines = paper_text(paper).splitlines()
    tables = typed_tables(paper)
    drops = next((t["rows"] for t in tables if "drops" in t["caption"]), {})
    compared = 0
    for table in tables:
        if table["rows"] is drops:
            continue
        start = 0
        for label, values in table["rows"].items():
            name = squeezed("+ Att" if label.endswith("+ Att") else label)
            if paper == "df_erc" and table["table"] == "2" and label in drops:      # printed as 66.36(↓ 1.92)
                values = [cell for pair in zip(values, drops[label]) for cell in pair]
            found = [i for i in range(start, len(lines))
                     if name in squeezed(lines[i]) and printed_cells(lines[i], len(values)) == values]
            assert found, f"{paper} table {table['table']}: no line of the paper holds {label} {values}"
            start, compared = found[0] + 1, compared + sum(value is not None for value in values)
    assert compared == (RESULTS["paper"] == paper).sum()


# DialogueTRM's text runs down the columns: (rows, columns) of each block in the order in which the text gives them.
BLOCKS = {
    "2": [(slice(0, 4), range(8)), (slice(4, 9), range(8)), (slice(9, 10), range(8))],
    "3": [(slice(0, 1), range(2)), (slice(1, 4), range(2)), (slice(4, 8), range(2))],
    "4": [(slice(0, 1), range(2)), (slice(6, 7), range(2)), (slice(1, 4), range(2)), (slice(7, 10), range(2)),
          (slice(4, 6), range(2)), (slice(10, 12), range(2))],
    "5": [(slice(i, i + 1), range(3)) for i in range(9)],
    "6": [(slice(0, 1), range(3)), (slice(1, 2), range(3)), (slice(0, 2), range(3, 6))],
}
REGIONS = {"2": ("Table 2: Main", "AVEC (Schuller"), "3": ("Table 3: Comparison", "ical emotions on"),
           "4": ("Table 4: Analysis", "The temporal aspect"), "5": ("Table 5: Fusion", "gain of our MGIF"),
           "6": ("Table 6: Performance", "Case Study")}


@pytest.mark.parametrize("table", REGIONS)
def test_every_number_of_dialogue_trm_stands_in_the_paper(table):
    """All decimals between a table's caption and the text after it, in order, are the typed ones and no others."""
    text = paper_text("dialogue_trm")
    start = text.index(REGIONS[table][0])
    region = text[start:text.index(REGIONS[table][1], start)]
    first, *more = [list(part["rows"].values()) for part in typed_tables("dialogue_trm") if part["table"] == table]
    typed = [cell for part in more for row in part for cell in row]       # Table 6: the counts stand in its header
    for rows, columns in BLOCKS[table]:
        typed += [row[column] for column in columns for row in first[rows] if row[column] is not None]
    decimals = r"-?\d+\.\d" if table == "5" else r"-?\d+\.\d+"              # Table 5's text glues the gain to the score: 68.60.5
    assert [float(number) for number in re.findall(decimals, region)] == typed
    assert len(typed) == ((RESULTS["paper"] == "dialogue_trm") & (RESULTS["table"] == table)).sum()
