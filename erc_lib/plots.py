"""Figures: each function draws what runs and evaluation hand it and returns its matplotlib object. Nothing is trained or read here.

Colours are seaborn's colour-blind-safe palette; numbers on axes are percent where a score is meant. Widths suit a page of 700 px.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from erc_lib.errors import ConfigError, DataError
from erc_lib.evaluation import confusion

PALETTE = sns.color_palette("colorblind")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # a second sign beside the colour, for readers who cannot tell colours apart
WIDTH = 7.0  # inches, at 100 dpi the width of a page


def use_book_style() -> None:
    """Fonts and grid of every figure of the book."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", rc={"figure.dpi": 100, "savefig.dpi": 100, "font.size": 10})


# Results of runs


def confusion_heatmap(
    predictions: pd.DataFrame,
    label_names: Sequence[str],
    *,
    normalise: Literal["recall", "precision"] = "recall",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Confusion matrix in percent: rows are true classes, columns predicted ones.

    Args:
        predictions: columns label and predicted; several seeds may stand below each other, their counts are added.
        normalise: "recall": each row sums to 100, the diagonal is recall; "precision": each column, the diagonal is precision.
    """
    shares = 100 * confusion(predictions["label"], predictions["predicted"], len(label_names), normalise=normalise)
    ax = ax or plt.subplots(figsize=(0.62 * WIDTH, 0.55 * WIDTH), layout="constrained")[1]
    sns.heatmap(
        shares, annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=100, square=True, xticklabels=label_names, yticklabels=label_names,
        cbar_kws={"label": f"share of the {'true' if normalise == 'recall' else 'predicted'} class (%)", "shrink": 0.8},
        annot_kws={"size": 8}, ax=ax,
    )  # fmt: skip
    ax.set(xlabel="predicted", ylabel="true", title=title or f"normalised by {normalise}")
    ax.set_xticklabels(ax.get_xticklabels(), rotation=40, ha="right")
    ax.set_yticklabels(ax.get_yticklabels(), rotation=0)
    return ax


def training_curves(histories: Mapping[str, pd.DataFrame], *, terms: Sequence[str] = (), chosen: Mapping[str, int] | None = None) -> Figure:
    """Loss terms (left) and validation weighted F1 (right) over epochs, one line per history; the selected epoch has a mark.

    Colours tell terms apart at the left, or the histories where there is a single term.

    Args:
        histories: label -> a run's history.
        terms: those of the objective drawn at the left, training solid and validation dashed; none: "total".
        chosen: label -> selected epoch.
    """
    if not histories:
        raise DataError("training_curves: there is no history to draw")
    terms = list(terms) or ["total"]
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9), layout="constrained")
    first = next(iter(histories.values()))
    for number, term in enumerate(terms):
        if f"train_{term}" not in first:
            known = ", ".join(c[6:] for c in first if c.startswith("train_"))
            raise ConfigError(f"training_curves: the history has no term {term!r}; there are {known}")
        for which, h in enumerate(histories.values()):
            color = PALETTE[(which if len(terms) == 1 else number) % 10]
            left.plot(h["epoch"], h[f"train_{term}"], color=color, lw=1.2)
            left.plot(h["epoch"], h[f"val_{term}"], color=color, lw=1.2, ls="--")
        if len(terms) > 1:
            left.plot([], [], color=PALETTE[number], label=term.replace("_", " "))
    left.plot([], [], color="0.4", label="training"), left.plot([], [], color="0.4", ls="--", label="validation")
    left.set(xlabel="epoch", ylabel="loss per utterance" if len(terms) > 1 else f"{terms[0].replace('_', ' ')} per utterance")
    left.legend(fontsize=8)
    for number, (label, h) in enumerate(histories.items()):
        right.plot(h["epoch"], 100 * h["val_weighted_f1"], color=PALETTE[number % 10], label=label, lw=1.2)
        if chosen and label in chosen:
            row = h[h["epoch"] == chosen[label]].iloc[0]
            right.plot(row["epoch"], 100 * row["val_weighted_f1"], MARKERS[number % 8], color=PALETTE[number % 10], ms=7)
    right.set(xlabel="epoch", ylabel="validation weighted F1 (%)")
    right.legend(fontsize=8)
    return fig


def validation_curves(histories: Sequence[tuple[str, pd.DataFrame]], *, ax: Axes | None = None) -> Axes:
    """Validation weighted F1 over epochs, one line per run; runs of one model share a colour.

    Args:
        histories: (model, history) of each run, as many per model as there are seeds.
    """
    if not histories:
        raise DataError("validation_curves: there is no history to draw")
    ax = ax or plt.subplots(figsize=(WIDTH, 2.9), layout="constrained")[1]
    table = pd.concat([h[["epoch", "val_weighted_f1"]].assign(model=model, run=i) for i, (model, h) in enumerate(histories)])
    table["val_weighted_f1"] *= 100
    sns.lineplot(
        table, x="epoch", y="val_weighted_f1", hue="model", style="model", units="run", estimator=None, ax=ax, palette=PALETTE[: table["model"].nunique()], lw=1.2,
    )  # fmt: skip
    ax.set(xlabel="epoch", ylabel="validation weighted F1 (%)")
    ax.legend(fontsize=8, title=None)
    return ax


def seed_intervals(runs: pd.DataFrame, summary: pd.DataFrame, *, lines: Mapping[str, float] | None = None, ax: Axes | None = None) -> Axes:
    """One row per model: a small dot per seed, a large one for the mean, a bar for its 95 % interval over dialogues.

    Args:
        runs: columns model and weighted_f1 (fractions), or mean_pearson, one row per run, as ``tables.runs_frame`` gives.
        summary: columns model, mean, low, high (percent, or correlations), as ``tables.runs_summary`` gives; its order is the figure's.
        lines: label -> value, drawn vertically: a ceiling, a published value.
    """
    ax = ax or plt.subplots(figsize=(WIDTH, 0.9 + 0.42 * len(summary)), layout="constrained")[1]
    metric, unit, title = ("mean_pearson", 1, "test mean Pearson's r") if "mean_pearson" in runs else ("weighted_f1", 100, "test weighted F1 (%)")
    for y, row in enumerate(summary.itertuples()):
        ax.hlines(y, row.low, row.high, color=PALETTE[0], lw=5, alpha=0.35)
        seeds = unit * runs.loc[runs["model"] == row.model, metric]
        ax.plot(seeds, np.full(len(seeds), y), "o", color="0.35", ms=3.5, zorder=3)
        ax.plot(row.mean, y, "D", color=PALETTE[0], ms=7, zorder=4)
    for number, (label, value) in enumerate((lines or {}).items(), 1):
        ax.axvline(value, color=PALETTE[number], ls=("--", ":", "-.")[number % 3], lw=1.5, label=label)
    if lines:
        ax.legend(fontsize=8, loc="lower left")
    ax.set_yticks(range(len(summary)), summary["model"])
    ax.set(xlabel=title, ylabel="", ylim=(len(summary) - 0.5, -0.5))
    return ax


def setting_curve(
    curves: Mapping[str, pd.DataFrame], *, setting: str, score: str, lines: Mapping[str, float] | None = None, ax: Axes | None = None
) -> Axes:
    """A score against a setting: mean, the band of its 95 % interval over dialogues, and a small dot per seed.

    Args:
        curves: label -> columns x, mean, low, high, and ``seeds``, a list of scores for each x, all in the unit of the axis.
        setting, score: the axes' titles. lines: label -> score, drawn horizontally: a ceiling, a published value.
    """
    ax = ax or plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")[1]
    for (label, curve), color, marker in zip(curves.items(), PALETTE, "osD^vPX", strict=False):
        curve = curve.sort_values("x")
        ax.fill_between(curve["x"], curve["low"], curve["high"], color=color, alpha=0.2, lw=0)
        ax.plot(curve["x"], curve["mean"], marker=marker, ms=5, color=color, label=label)
        for x, seeds in zip(curve["x"], curve["seeds"], strict=True):
            ax.plot([x] * len(seeds), seeds, ".", color=color, ms=3, alpha=0.6)
    for number, (label, value) in enumerate((lines or {}).items()):
        ax.axhline(value, color="0.3", ls=("--", ":", "-.")[number % 3], lw=1.3, label=label)
    ax.set(xlabel=setting, ylabel=score)
    ax.legend(fontsize=8)
    return ax


def selection_gain(gains: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What selecting on the test set would have added: one dot per run, and each corpus' mean.

    Args:
        gains: columns corpus and gain (percentage points), as ``tables.selection_gain`` gives.
    """
    corpora = list(dict.fromkeys(gains["corpus"]))
    ax = ax or plt.subplots(figsize=(WIDTH, 1.0 + 0.45 * len(corpora)), layout="constrained")[1]
    sns.stripplot(gains, x="gain", y="corpus", order=corpora, color=PALETTE[1], size=4.5, jitter=0.2, alpha=0.7, ax=ax)
    for y, corpus in enumerate(corpora):
        mean = gains.loc[gains["corpus"] == corpus, "gain"].mean()
        ax.plot(mean, y, "D", color="black", ms=7, zorder=4)
    ax.axvline(0, color="0.4", lw=1)
    ax.set(xlabel="best test epoch minus selected epoch (points of weighted F1)", ylabel="")
    return ax


# What a model holds


def tsne_coordinates(x: np.ndarray, *, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """t-SNE of (N, D) in two dimensions, (N, 2), deterministic; the perplexity is lowered where N is small."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or len(x) < 5:
        raise DataError(f"t-SNE needs at least 5 points (N, D), not {x.shape}")
    return TSNE(perplexity=min(perplexity, (len(x) - 1) / 3), init="pca", random_state=seed).fit_transform(x)


def tsne_scatter(
    panels: Mapping[str, np.ndarray], labels: Sequence[int], label_names: Sequence[str], *, seed: int = 0, perplexity: float = 30.0
) -> Figure:
    """One t-SNE panel per (N, D) array of the same N utterances, coloured and marked by class."""
    labels = np.asarray(labels)
    fig, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.4 if len(panels) > 1 else 4.4), squeeze=False, layout="constrained")
    for ax, (title, x) in zip(axes[0], panels.items(), strict=True):
        if len(x) != len(labels):
            raise DataError(f"tsne_scatter: {title!r} has {len(x)} points for {len(labels)} labels")
        xy = tsne_coordinates(x, seed=seed, perplexity=perplexity)
        for c, name in enumerate(label_names):
            of_class = labels == c
            ax.plot(*xy[of_class].T, MARKERS[c % 8], color=PALETTE[c % 10], ms=4, alpha=0.8, lw=0, label=name)
        ax.set(title=title, xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=len(label_names), fontsize=8)
    return fig


def feature_heatmaps(vectors: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """One utterance as MultiEMO's Figure 6 shows it: row = modality, column = stage, each vector folded into a square of its values.

    Args:
        vectors: row title -> column title -> (D,). A vector is divided by its largest magnitude, so that stages can be
            compared by their pattern; a stage that a row does not have stays empty.
    """
    columns = list(dict.fromkeys(c for row in vectors.values() for c in row))
    fig, axes = plt.subplots(
        len(vectors), len(columns), figsize=(WIDTH, 0.35 + 1.55 * len(vectors)), squeeze=False, layout="constrained"
    )  # fmt: skip
    image = None
    for ax, stage in zip(axes[0], columns, strict=True):
        ax.set_title(stage, fontsize=9)
    for row, (name, stages) in zip(axes, vectors.items(), strict=True):
        for ax, stage in zip(row, columns, strict=True):
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            if stage not in stages:
                ax.spines[:].set_visible(False)
                continue
            image = ax.imshow(folded(stages[stage]), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
        row[0].set_ylabel(name)
    if image is not None:
        fig.colorbar(image, ax=axes, shrink=0.8, label="value / largest magnitude")
    return fig


def folded(vector: np.ndarray) -> np.ndarray:
    """(D,) -> the smallest nearly square (R, S) with R S >= D that holds it row by row, divided by its largest magnitude; NaN fills the rest."""
    vector = np.asarray(vector, dtype=np.float64)
    columns = int(np.ceil(np.sqrt(len(vector))))
    rows = -(-len(vector) // columns)
    square = np.full(rows * columns, np.nan)
    square[: len(vector)] = vector / max(np.abs(vector).max(), 1e-12)
    return square.reshape(rows, columns)


def attention_heatmap(weights: np.ndarray, *, query: str, key: str, title: str = "", ax: Axes | None = None, colorbar: bool = True) -> Axes:
    """Attention weights (L, S): row = the turn that asks, column = the turn that answers; rows sum to 1."""
    ax = ax or plt.subplots(figsize=(0.55 * WIDTH, 0.5 * WIDTH), layout="constrained")[1]
    sns.heatmap(np.asarray(weights), cmap="viridis", vmin=0, square=True, cbar=colorbar, cbar_kws={"label": "weight", "shrink": 0.7}, xticklabels=4, yticklabels=4, ax=ax)
    ax.set(xlabel=f"turn ({key} keys)", ylabel=f"turn ({query} queries)", title=title)
    return ax
