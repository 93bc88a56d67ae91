"""Two tables of the book's page on extraction: the extractors as the code knows them, and how fast they were measured to be."""

from __future__ import annotations

import json
from pathlib import Path

from erc_lib.features.audio import EMPTY, SETS
from erc_lib.features.backbones import BACKBONES
from erc_lib.cli_features import VISUAL

GOALS = {"openSMILE ComParE_2016, s per second of sound": "at most 0.03", "MTCNN and embedding, s per frame with one face": "at most 0.15"}


def extractors_table() -> str:
    """Option, width, what is looked at, weights and what an utterance without content gets, as a MyST table."""
    lines = [":::{list-table}", ":header-rows: 1", ":class: differences", ":widths: 22 8 34 20 16", "", "* - Option", "  - Width", "  - What it is", "  - `--weights download`", "  - Empty"]
    for name, (_, dims, used_by) in SETS.items():
        lines += [f"* - `--audio {name}`", f"  - {dims:,}", f"  - openSMILE's functionals; {used_by}", "  - needs none", f"  - {EMPTY.split(',')[0]}"]
    for option, backbone in VISUAL.items():
        kind = BACKBONES[backbone or "r3d_18"]
        what = "faces by MTCNN, each embedded; mean over faces and frames" if backbone else "16 whole frames by a 3D-CNN"
        lines += [f"* - `--visual {option}`", f"  - {kind.dims:,}", f"  - {what}" + (f". {kind.note}" if kind.note else ""), f"  - {kind.downloads or 'none there: give a file'}", f"  - {'zeros' if backbone else 'never'}"]
    return "\n".join([*lines, ":::", ""])


def speed_table(results: Path) -> str:
    """What ``benchmarks/extract.py`` measured last, with the goals."""
    found = json.loads(results.read_text(encoding="utf8"))
    lines = ["| Measured, one thread | | Goal |", "|---|---|---|"]
    for name, value in found.items():
        if isinstance(value, float):
            lines.append(f"| {name} | {value:.4g} | {GOALS.get(name, '')} |")
    return "\n".join([*lines, "", f"Machine: {found['machine']}, torch {found['torch']}.", ""])
