"""Figures of conversations hold what they were given: values read back from the drawn artists."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch

from erc_lib import plots_corpus as plots
from erc_lib.errors import DataError

NAMES = ("calm", "glad", "sad")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_class_bars_are_shares_of_each_column_in_the_given_order():
    ax = plots.class_share_bars(pd.DataFrame({"train": [6, 3, 1], "test": [0, 1, 3]}, index=NAMES))
    heights = [[bar.get_height() for bar in group] for group in ax.containers]
    assert heights[0] == pytest.approx([60, 30, 10]) and heights[1] == pytest.approx([0, 25, 75])
    assert [t.get_text() for t in ax.get_xticklabels()] == list(NAMES)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["train", "test"]


def test_histograms_count_every_dialogue_once_in_whole_bins():
    fig = plots.count_histograms({"a": [1, 2, 2, 5], "b": [10, 110]}, unit="turns")
    bars = [(round(b.get_x(), 3), round(b.get_width(), 3), b.get_height()) for b in fig.axes[0].patches if b.get_height()]
    assert bars == [(0.5, 1, 25), (1.5, 1, 50), (4.5, 1, 25)]
    assert sum(b.get_height() for b in fig.axes[1].patches) == pytest.approx(100)
    assert {b.get_width() for b in fig.axes[1].patches} == {6.0}  # 101 counts in at most 20 bins
    assert fig.axes[0].lines[0].get_xdata()[0] == 2.5 and "mean 2.5" in fig.axes[0].get_title()
    with pytest.raises(DataError, match="nothing to draw"):
        plots.count_histograms({}, unit="turns")


def test_transition_heatmap_writes_percent_row_by_row():
    shares = pd.DataFrame([[0.75, 0.25], [0.5, 0.5]], index=["a", "b"], columns=["a", "b"])
    ax = plots.transition_heatmaps({"own": shares}).axes[0]
    assert [t.get_text() for t in ax.texts] == ["75", "25", "50", "50"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]


def test_conversation_puts_each_turn_in_its_speakers_lane_with_its_emotion():
    sources, distances = ("prior", "prior", "self", "other"), (0, 0, 2, 1)
    ax = plots.conversation([0, 1, 0, 1], [2, 0, 2, 2], NAMES, sources=sources, distances=distances)
    points = {tuple(p) for line in ax.lines[1:] for p in line.get_xydata().tolist()}
    assert points == {(1, 0), (2, 1), (3, 0), (4, 1)}
    assert [t.get_text() for t in ax.texts] == ["sad", "calm", "sad", "sad"]
    arrows = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    assert [p._posA_posB for p in arrows] == [[(1, 0), (3, 0)], [(3, 0), (4, 1)]]
    assert len({p.get_linestyle() for p in arrows}) == 2
    assert [t.get_text() for t in ax.get_yticklabels()] == ["speaker 0", "speaker 1"]
    with pytest.raises(DataError, match="2 speakers for 3 labels"):
        plots.conversation([0, 1], [0, 1, 2], NAMES)


def test_generative_story_names_every_part():
    texts = " ".join(t.get_text() for t in plots.generative_story().texts)
    for part in ("inertia", "contagion", "class prior", "masked", "conflict", "timbre", "garbled", "sentence", "relative"):
        assert part in texts


def test_labelled_points_groups():
    points = np.arange(8.0).reshape(4, 2)
    fig = plots.labelled_points({"p": (points, [0, 1, 1, 0], ("x", "y"))}, axis_labels={"p": ("h", "v")})
    assert fig.axes[0].lines[1].get_xydata().tolist() == points[1:3].tolist()
    assert len({line.get_marker() for line in fig.axes[0].lines}) == 2
    with pytest.raises(DataError, match="'p' has 4 points for 2 groups"):
        plots.labelled_points({"p": (points, [0, 1], ("x", "y"))}, axis_labels={"p": ("h", "v")})


def test_posterior_panels_mark_the_truth_and_the_mistakes():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    ax = plots.posterior_panels({"alone": p}, [0, 1], NAMES).axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), p.T)
    assert ax.lines[0].get_xydata().tolist() == [[1, 0], [2, 1]]
    assert ax.lines[1].get_xydata().tolist() == [[2, 2]]
    with pytest.raises(DataError, match=r"'alone' has the shape \(2, 3\), not \(2, 2\)"):
        plots.posterior_panels({"alone": p}, [0, 1], NAMES[:2])


def test_ceiling_dots_sort_by_the_best_and_keep_the_order_of_contexts():
    alone, past = "utterance alone", "past only"
    rows = [("audio", alone, 0.6), ("audio", past, 0.61), ("text", alone, 0.5), ("text", past, 0.8)]
    ax = plots.ceiling_dots(pd.DataFrame(rows, columns=["modalities", "context", "accuracy"]))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["text", "audio"]
    assert [line.get_label() for line in ax.lines] == ["utterance alone", "past only"]
    assert ax.lines[1].get_xdata().tolist() == pytest.approx([80, 61])
