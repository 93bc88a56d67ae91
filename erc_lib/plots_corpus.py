"""Figures of conversations: what a corpus holds, how a simulated one came about, and what could be known about it.

As in :mod:`erc_lib.plots`, each function draws tables and arrays it is handed and returns its matplotlib object. Class c has the
same colour and marker in every figure of the book.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from erc_lib.errors import DataError
from erc_lib.plots import MARKERS, PALETTE, WIDTH

SOURCE_STYLES = {"self": ("-", "copied from oneself (inertia)"), "other": ("--", "copied from the other (contagion)")}


def class_share_bars(counts: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """How often each class occurs, in percent of each column: one group of bars per class (row), one bar per column of counts."""
    shares = 100 * counts / counts.sum()
    long = shares.rename_axis("class").rename_axis("of", axis=1).stack().rename("share").reset_index()
    ax = ax or plt.subplots(figsize=(WIDTH, 2.8), layout="constrained")[1]
    order = {"order": list(counts.index), "hue_order": list(counts.columns)}
    sns.barplot(long, x="class", y="share", hue="of", palette="colorblind", ax=ax, **order)
    ax.set(xlabel="", ylabel="share of utterances (%)")
    ax.legend(title="", fontsize=8)
    return ax


def count_histograms(counts: Mapping[str, Sequence[int]], *, unit: str, bins: int = 20) -> Figure:
    """One histogram per entry (shares of its dialogues, percent), its mean a dashed line. ``unit`` says what was counted."""
    if not counts:
        raise DataError("count_histograms: there is nothing to draw; hand it at least one list of counts")
    fig, axes = plt.subplots(1, len(counts), figsize=(WIDTH, 2.5), squeeze=False, layout="constrained")
    for number, (ax, (title, values)) in enumerate(zip(axes[0], counts.items(), strict=True)):
        values = np.asarray(values)
        # Whole counts: bins of whole width, their edges halfway between two counts.
        width = max(1, -(-(int(values.max()) - int(values.min()) + 1) // bins))
        edges = np.arange(values.min() - 0.5, values.max() + 0.5 + width, width)
        percent = np.full(len(values), 100 / len(values))
        ax.hist(values, bins=edges, weights=percent, color=PALETTE[number % 10], edgecolor="white")
        ax.axvline(values.mean(), color="black", ls="--", lw=1.2)
        ax.set(title=f"{title} (mean {values.mean():.1f})", xlabel=unit, ylabel="share of dialogues (%)" if not number else "")
    return fig


def transition_heatmaps(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """One panel per table of shares p(now | earlier), in percent: rows are the earlier emotion, columns the emotion now."""
    size = (WIDTH, 0.9 + 0.85 * WIDTH / max(len(panels), 2))
    fig, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    for ax, (title, shares) in zip(axes[0], panels.items(), strict=True):
        sns.heatmap(
            100 * shares, annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=100, square=True, cbar=False, annot_kws={"size": 8},
            ax=ax,
        )  # fmt: skip
        ax.set_title(title, fontsize=10)
        ax.set_xticklabels(ax.get_xticklabels(), rotation=45, ha="right")
        ax.set_yticklabels(ax.get_yticklabels(), rotation=0)
    return fig


def conversation(
    speakers: Sequence[int],
    labels: Sequence[int],
    label_names: Sequence[str],
    *,
    speaker_names: Sequence[str] = (),
    sources: Sequence[str] = (),
    distances: Sequence[int] = (),
    ax: Axes | None = None,
) -> Axes:
    """One dialogue of L turns from left to right, a lane per speaker; colour, marker and word tell the emotion.

    Args:
        sources: for a simulated dialogue, L of "prior", "self", "other"; a copied emotion gets an arrow from where it was copied.
        distances: L, how many turns back that was.
    """
    speakers, labels = np.asarray(speakers), np.asarray(labels)
    if len(speakers) != len(labels):
        raise DataError(f"conversation: {len(speakers)} speakers for {len(labels)} labels; each turn needs one of each")
    lanes = int(speakers.max()) + 1
    ax = ax or plt.subplots(figsize=(WIDTH, 1.1 + 0.75 * lanes), layout="constrained")[1]
    ax.plot(np.arange(1, len(labels) + 1), speakers, color="0.85", lw=1, zorder=0)
    for c in dict.fromkeys(labels.tolist()):
        turns = np.flatnonzero(labels == c)
        ax.plot(turns + 1, speakers[turns], MARKERS[c % 8], color=PALETTE[c % 10], ms=11, lw=0, zorder=3)
    for t, c in enumerate(labels.tolist()):
        ax.annotate(
            label_names[c], (t + 1, speakers[t]), (0, -17), textcoords="offset points", ha="center", fontsize=8,
            bbox={"fc": "white", "ec": "none", "pad": 0.8}, zorder=1,
        )  # fmt: skip
    for t, (source, back) in enumerate(zip(sources, distances, strict=True)):
        if source in SOURCE_STYLES:
            start, end = (t + 1 - int(back), speakers[t - int(back)]), (t + 1, speakers[t])
            bend = -0.45 if source == "self" else -0.15
            ax.add_patch(FancyArrowPatch(
                start, end, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=10, shrinkA=7, shrinkB=7,
                ls=SOURCE_STYLES[source][0], color="0.25", lw=1.2, zorder=2,
            ))  # fmt: skip
    for style, text in (SOURCE_STYLES[s] for s in SOURCE_STYLES if s in sources):
        ax.plot([], [], style, color="0.25", lw=1.2, label=text)
    if any(s in sources for s in SOURCE_STYLES):
        ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    ax.set_yticks(range(lanes), speaker_names or [f"speaker {k}" for k in range(lanes)])
    ax.set(xlabel="turn", ylabel="", ylim=(lanes - 0.4, -0.7), xlim=(0.4, len(labels) + 0.6))
    ax.set_xticks(range(1, len(labels) + 1, 1 + len(labels) // 25))
    ax.grid(False)
    return ax


def generative_story(*, ax: Axes | None = None) -> Axes:
    """The simulator as a picture: where a turn's emotion comes from, and its way through codes to vectors and a sentence."""
    ax = ax or plt.subplots(figsize=(WIDTH, 3.5), layout="constrained")[1]
    boxes = {  # name -> (x, y, text, colour)
        "own": (0.9, 3.0, "the speaker's own\nlast emotion", PALETTE[0]),
        "other": (0.9, 1.75, "the other's\nlast emotion", PALETTE[0]),
        "prior": (0.9, 0.5, "class prior", PALETTE[0]), "emotion": (3.4, 1.75, "emotion of\nthis turn", PALETTE[1]),
        "text": (5.9, 3.0, "text code\n(absolute or relative)", PALETTE[2]), "audio": (5.9, 1.75, "audio code", PALETTE[2]),
        "visual": (5.9, 0.5, "visual code", PALETTE[2]), "sentence": (8.8, 3.6, "sentence", PALETTE[4]),
        "x_text": (8.8, 2.7, "text vector", PALETTE[4]), "x_audio": (8.8, 1.75, "audio vector", PALETTE[4]),
        "x_visual": (8.8, 0.5, "visual vector", PALETTE[4]),
    }  # fmt: skip
    drawn = {
        name: ax.text(x, y, text, ha="center", va="center", fontsize=9, zorder=3,
                      bbox={"boxstyle": "round,pad=0.4", "fc": (*colour, 0.18), "ec": colour, "lw": 1.3})
        for name, (x, y, text, colour) in boxes.items()
    }  # fmt: skip
    arrows = [
        ("own", "emotion", "inertia"), ("other", "emotion", "contagion"), ("prior", "emotion", "otherwise"), ("own", "text", ""),
        ("emotion", "text", ""), ("emotion", "audio", "masked?\nconflict?"), ("emotion", "visual", ""),
        ("text", "sentence", "garbled?"), ("text", "x_text", ""), ("audio", "x_audio", "+ noise\n+ timbre"),
        ("visual", "x_visual", ""),
    ]  # fmt: skip
    for start, end, text in arrows:
        (x0, y0), (x1, y1) = boxes[start][:2], boxes[end][:2]
        ax.add_patch(FancyArrowPatch(
            (x0, y0), (x1, y1), patchA=drawn[start].get_bbox_patch(), patchB=drawn[end].get_bbox_patch(), arrowstyle="-|>",
            mutation_scale=11, color="0.35", lw=1.1, zorder=1, shrinkA=2, shrinkB=2,
        ))  # fmt: skip
        if text:
            ax.text(
                0.5 * (x0 + x1) + 0.05, 0.5 * (y0 + y1), text, ha="center", va="center", fontsize=8, style="italic", zorder=2,
                bbox={"fc": "white", "ec": "none", "pad": 1},
            )  # fmt: skip
    ax.set(xlim=(-0.2, 9.8), ylim=(0.0, 4.1))
    ax.axis("off")
    return ax


def labelled_points(
    panels: Mapping[str, tuple[np.ndarray, Sequence[int], Sequence[str]]],
    *,
    axis_labels: Mapping[str, tuple[str, str]],
    size: float = 4,
) -> Figure:
    """Scatter panels, each (N, 2) points with N group numbers and the groups' names; colour and marker tell the group.

    Args:
        panels: title -> (points, groups, names). axis_labels: title -> (x label, y label).
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 0.55 * WIDTH), squeeze=False, layout="constrained")
    for ax, (title, (points, groups, names)) in zip(axes[0], panels.items(), strict=True):
        groups = np.asarray(groups)
        if len(points) != len(groups):
            raise DataError(f"labelled_points: {title!r} has {len(points)} points for {len(groups)} groups")
        for g, name in enumerate(names):
            ax.plot(*points[groups == g].T, MARKERS[g % 8], color=PALETTE[g % 10], ms=size, alpha=0.75, lw=0, label=name)
        ax.set(title=title, xlabel=axis_labels[title][0], ylabel=axis_labels[title][1], aspect="equal")
        ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False, markerscale=1.5)
    return fig


def posterior_panels(posteriors: Mapping[str, np.ndarray], labels: Sequence[int], label_names: Sequence[str]) -> Figure:
    """Posteriors (L, C) of one dialogue, one panel each: dark = probable, ring = the truth, cross = something else is most probable."""
    labels = np.asarray(labels)
    fig, axes = plt.subplots(
        len(posteriors), 1, figsize=(WIDTH, 0.6 + (0.55 + 0.17 * len(label_names)) * len(posteriors)), squeeze=False, sharex=True,
        layout="constrained",
    )  # fmt: skip
    image = None
    for ax, (title, p) in zip(axes[:, 0], posteriors.items(), strict=True):
        p = np.asarray(p)
        if p.shape != (len(labels), len(label_names)):
            raise DataError(f"posterior_panels: {title!r} has the shape {p.shape}, not {(len(labels), len(label_names))}")
        extent = (0.5, len(labels) + 0.5, len(label_names) - 0.5, -0.5)
        image = ax.imshow(p.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", extent=extent)
        turns = np.arange(1, len(labels) + 1)
        ax.plot(turns, labels, "o", mfc="none", mec=PALETTE[1], mew=1.8, ms=9, lw=0)
        wrong = p.argmax(axis=1) != labels
        ax.plot(turns[wrong], p.argmax(axis=1)[wrong], "x", color=PALETTE[3], mew=2, ms=7, lw=0)
        ax.set_title(title, fontsize=10, loc="left")
        ax.set_yticks(range(len(label_names)), label_names, fontsize=8)
        ax.grid(False)
    axes[-1, 0].set_xlabel("turn")
    axes[-1, 0].set_xticks(range(1, len(labels) + 1, 1 + len(labels) // 25))
    if image is not None:
        fig.colorbar(image, ax=axes[:, 0], shrink=0.6, label="probability")
    return fig


def ceiling_dots(ceilings: pd.DataFrame, *, score: str = "accuracy", ax: Axes | None = None) -> Axes:
    """The best possible score of each set of modalities (a row, the best at the top), one marker per kind of context.

    Args:
        ceilings: columns modalities, context and ``score`` (fractions), as ``erc_lib.data.ceilings`` gives.
    """
    wide = 100 * ceilings.pivot(index="modalities", columns="context", values=score)
    wide = wide[list(dict.fromkeys(ceilings["context"]))]
    wide = wide.loc[wide.max(axis=1).sort_values(ascending=False, kind="stable").index]
    ax = ax or plt.subplots(figsize=(WIDTH, 0.9 + 0.33 * len(wide)), layout="constrained")[1]
    ax.hlines(range(len(wide)), wide.min(axis=1), wide.max(axis=1), color="0.8", lw=3, zorder=1)
    for number, context in enumerate(wide.columns):
        ax.plot(wide[context], range(len(wide)), MARKERS[number], color=PALETTE[number], ms=8, lw=0, alpha=0.85, label=context)
    ax.set_yticks(range(len(wide)), wide.index)
    ax.set(xlabel=f"best possible {score.replace('_', ' ')} (%)", ylabel="", ylim=(len(wide) - 0.5, -0.5))
    ax.legend(fontsize=8, loc="lower right")
    return ax
