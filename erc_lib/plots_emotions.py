"""Emotion over time in one conversation: a figure, and a page that stands alone.

Both show one panel per speaker with a row per emotion, so an emotion is told by its place and not by a colour; a turn is a column
of cells, the darker the more probable, and a dot marks the emotion that was predicted.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from erc_lib.errors import DataError

WIDTH = 7.0  # inches, as erc_lib.plots
DEEP = np.array([1, 90, 150])  # the colour of probability 1; 0 is white


def emotions_over_time(table: pd.DataFrame, *, title: str = "") -> Figure:
    """The figure of a table as :func:`erc_lib.runs.predict.predict_turns` gives it.

    The axis is seconds if every turn has a start and an end, else the number of the turn.
    """
    labels, speakers, (starts, ends, axis) = _labels(table), list(dict.fromkeys(table["speaker"])), _extents(table)
    height = 0.8 + len(speakers) * (0.45 + 0.19 * len(labels))
    fig, axes = plt.subplots(len(speakers), 1, figsize=(WIDTH, height), sharex=True, squeeze=False, layout="constrained")
    mesh = None
    for ax, speaker in zip(axes[:, 0], speakers, strict=True):
        for row in np.flatnonzero(table["speaker"] == speaker):
            chances = table[[f"p_{n}" for n in labels]].iloc[row].to_numpy(dtype=float)
            mesh = ax.pcolormesh([starts[row], ends[row]], np.arange(len(labels) + 1) - 0.5, chances[:, None], cmap="Blues", vmin=0, vmax=1)
            ax.plot((starts[row] + ends[row]) / 2, labels.index(table["predicted"].iloc[row]), "o", ms=4, color="black", mec="white", mew=0.8)
        ax.set(ylim=(len(labels) - 0.5, -0.5), xlim=(starts.min(), ends.max()))
        ax.set_title(_plain(speaker), fontsize=9, loc="left")
        ax.set_yticks(range(len(labels)), [_plain(n) for n in labels], fontsize=8)
        ax.grid(False)
    axes[-1, 0].set_xlabel(axis)
    fig.colorbar(mesh, ax=axes, label="probability", aspect=30)
    if title:
        fig.suptitle(_plain(title), fontsize=9)
    return fig


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file, the same bytes for the same figure; closes it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)
    return file.getvalue()


def emotions_page(table: pd.DataFrame, *, title: str, notes: Sequence[str]) -> str:
    """The same figure as one HTML file with nothing outside it: a drawing whose cells say what they are, and the whole table.

    Args:
        notes: what the reader must know of the model, a sentence each; they stand above the drawing.
    """
    labels = _labels(table)
    head = "".join(f'<th scope="col">{escape(n)}</th>' for n in ("turn", "speaker", "time (s)", "what was said", "predicted", *labels))
    rows = "\n".join(_table_row(row, labels) for _, row in table.iterrows())
    said = "".join(f"<li>{escape(n)}</li>" for n in notes)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
body {{ font: 16px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 62rem; padding: 0 1rem; color: #1a1a1a; background: #fff; }}
.wide {{ overflow-x: auto; }}
svg text {{ font: 12px system-ui, sans-serif; fill: #1a1a1a; }}
table {{ border-collapse: collapse; font-size: 0.85rem; }}
caption {{ text-align: left; padding: 0.4rem 0; }}
th, td {{ padding: 0.2rem 0.5rem; text-align: left; vertical-align: top; border-bottom: 1px solid #ccc; }}
td.p {{ text-align: right; font-variant-numeric: tabular-nums; }}
td.best {{ font-weight: bold; }}
</style>
</head>
<body>
<h1>{escape(title)}</h1>
<ul>{said}</ul>
<p>One panel for each speaker, a row for each emotion; the darker a cell, the more probable. A dot marks the predicted emotion. Point at a cell to read it; the table below holds the same numbers.</p>
<div class="wide" tabindex="0" role="region" aria-label="Drawing of the emotions over time">
{_drawing(table, labels)}
</div>
<div class="wide" tabindex="0" role="region" aria-label="Table of the probabilities">
<table>
<caption>Probability of each emotion in percent, turn by turn</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
</body>
</html>
"""


def _labels(table: pd.DataFrame) -> list[str]:
    labels = [c.removeprefix("p_") for c in table.columns if c.startswith("p_")]
    if not labels or not len(table):
        raise DataError("there is no prediction to draw: the table needs a row for each turn and a column p_<label> for each emotion")
    return labels


def _extents(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, str]:
    """Left and right edge of every turn (L,), and what the axis is."""
    if table[["start", "end"]].notna().all(axis=None):
        return table["start"].to_numpy(dtype=float), table["end"].to_numpy(dtype=float), "time (s)"
    turn = table["turn"].to_numpy(dtype=float)
    return turn - 0.5, turn + 0.5, "turn"


def _plain(text: str) -> str:
    """Text as matplotlib must not read it as mathematics."""
    return text.replace("$", r"\$")


def _drawing(table: pd.DataFrame, labels: list[str]) -> str:
    speakers, (starts, ends, axis) = list(dict.fromkeys(table["speaker"])), _extents(table)
    left, cell, gap = 20 + 7 * max(map(len, labels)), 15, 26
    width = max(520, 16 * len(table))
    panel = cell * len(labels) + gap
    height = panel * len(speakers) + 36
    low, scale = starts.min(), width / (ends.max() - starts.min())
    parts = [f'<svg role="img" aria-label="Emotion over time; the table below holds the same numbers" width="{left + width + 10}" height="{height}">']
    for p, speaker in enumerate(speakers):
        top = p * panel + gap
        parts.append(f'<text x="{left}" y="{top - 6}" font-weight="bold">{escape(speaker)}</text>')
        parts += [f'<text x="{left - 6}" y="{top + cell * k + 12}" text-anchor="end">{escape(n)}</text>' for k, n in enumerate(labels)]
        parts.append(f'<rect x="{left}" y="{top}" width="{width}" height="{cell * len(labels)}" fill="none" stroke="#bbb"/>')
        for row in np.flatnonzero(table["speaker"] == speaker):
            turn = table.iloc[row]
            x, w = left + (starts[row] - low) * scale, (ends[row] - starts[row]) * scale
            for k, name in enumerate(labels):
                chance = float(turn[f"p_{name}"])
                red, green, blue = np.round(255 + (DEEP - 255) * chance).astype(int)
                told = escape(f"turn {turn['turn']}, {speaker}: {name} {100 * chance:.1f} % | {turn['text']}")
                parts.append(f'<rect x="{x:.1f}" y="{top + cell * k}" width="{w:.1f}" height="{cell}" fill="rgb({red},{green},{blue})"><title>{told}</title></rect>')
            k = labels.index(turn["predicted"])
            parts.append(f'<circle cx="{x + w / 2:.1f}" cy="{top + cell * k + cell / 2}" r="3.5" fill="#000" stroke="#fff"/>')
    ticks = np.unique(np.linspace(low, ends.max(), 6).round()) if axis != "turn" else np.unique(np.linspace(1, len(table), min(6, len(table))).round())
    for tick in ticks:
        if low <= tick <= ends.max():
            parts.append(f'<text x="{left + (tick - low) * scale:.1f}" y="{height - 20}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{left + width / 2:.1f}" y="{height - 4}" text-anchor="middle">{axis}</text></svg>')
    return "\n".join(parts)


def _table_row(row: pd.Series, labels: list[str]) -> str:
    times = "" if pd.isna(row["start"]) else f"{row['start']:.1f}" + ("" if pd.isna(row["end"]) else f" to {row['end']:.1f}")
    cells = [f'<th scope="row">{row["turn"]}</th>', *(f"<td>{escape(str(x))}</td>" for x in (row["speaker"], times, row["text"], row["predicted"]))]
    cells += [f'<td class="p{" best" * (n == row["predicted"])}">{100 * row[f"p_{n}"]:.1f}</td>' for n in labels]
    return f"<tr>{''.join(cells)}</tr>"
