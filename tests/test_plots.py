"""Figures hold what they were given: values read back from the drawn artists, not the pictures compared."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from erc_lib import plots
from erc_lib.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_confusion_shows_rows_or_columns_in_percent():
    frame = pd.DataFrame({"label": [0, 0, 0, 0, 1, 1], "predicted": [0, 0, 0, 1, 1, 0]})
    by_recall = [t.get_text() for t in plots.confusion_heatmap(frame, ["a", "b"]).texts]
    by_precision = [t.get_text() for t in plots.confusion_heatmap(frame, ["a", "b"], normalise="precision").texts]
    assert by_recall == ["75", "25", "50", "50"]
    assert by_precision == ["75", "50", "25", "50"]


def history():
    return pd.DataFrame({"epoch": [1, 2, 3], "train_total": [3.0, 2, 1], "val_total": [3.0, 2.5, 2.6], "val_weighted_f1": [0.1, 0.4, 0.3]})


def test_training_curves_draw_percent_and_mark_the_selected_epoch():
    left, right = plots.training_curves({"seed 0": history()}, chosen={"seed 0": 2}).axes
    assert right.lines[0].get_ydata().tolist() == pytest.approx([10, 40, 30])
    assert right.lines[1].get_xydata().tolist() == [pytest.approx([2, 40])]
    assert left.lines[0].get_ydata().tolist() == [3, 2, 1] and left.lines[1].get_linestyle() == "--"


def test_training_curves_name_an_unknown_term():
    with pytest.raises(ConfigError, match="no term 'swfc'; there are total"):
        plots.training_curves({"seed 0": history()}, terms=["swfc"])
    with pytest.raises(DataError, match="no history"):
        plots.training_curves({})


def test_validation_curves_draw_every_run_in_its_model_s_colour():
    ax = plots.validation_curves([("a", history()), ("a", history()), ("b", history())])
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    assert [line.get_ydata().tolist() for line in drawn] == [pytest.approx([10, 40, 30])] * 3
    assert drawn[0].get_color() == drawn[1].get_color() != drawn[2].get_color()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]
    with pytest.raises(DataError, match="no history"):
        plots.validation_curves([])


def test_tsne_keeps_apart_what_is_apart_and_repeats():
    rng = np.random.default_rng(0)
    x = np.vstack([rng.normal(0, 0.1, (12, 8)), rng.normal(5, 0.1, (12, 8))])
    xy = plots.tsne_coordinates(x, seed=3)
    between = np.linalg.norm(xy[:12].mean(0) - xy[12:].mean(0))
    within = max(np.linalg.norm(p - p.mean(0), axis=1).mean() for p in (xy[:12], xy[12:]))
    assert xy.shape == (24, 2) and between > 2 * within
    np.testing.assert_array_equal(xy, plots.tsne_coordinates(x, seed=3))
    with pytest.raises(DataError, match="at least 5 points"):
        plots.tsne_coordinates(x[:4])


def test_tsne_scatter_draws_each_class_with_its_own_marker():
    x = np.random.default_rng(0).normal(size=(20, 4))
    fig = plots.tsne_scatter({"before": x, "after": 2 * x}, np.arange(20) % 2, ["a", "b"])
    assert [ax.get_title() for ax in fig.axes] == ["before", "after"]
    assert [len(line.get_xdata()) for line in fig.axes[0].lines] == [10, 10]
    assert len({line.get_marker() for line in fig.axes[0].lines}) == 2
    with pytest.raises(DataError, match="19 points for 20 labels"):
        plots.tsne_scatter({"before": x[:19]}, np.arange(20) % 2, ["a", "b"])


def test_a_vector_is_folded_row_by_row_and_scaled_by_its_largest_magnitude():
    square = plots.folded(np.array([1.0, -4, 2, 0, 3]))
    np.testing.assert_allclose(square, [[0.25, -1, 0.5], [0, 0.75, np.nan]])
    assert plots.folded(np.zeros(4)).tolist() == [[0, 0], [0, 0]]


def test_feature_heatmaps_leave_a_missing_stage_empty():
    fig = plots.feature_heatmaps({"text": {"extracted": np.ones(9), "fused": -np.ones(4)}, "z": {"fused": np.ones(4)}})
    images = [[im.get_array() for im in ax.images] for ax in fig.axes[:4]]
    assert [len(i) for i in images] == [1, 1, 0, 1]
    assert (images[1][0] == -1).all()


def test_seed_intervals_show_each_seed_the_mean_and_the_interval():
    runs = pd.DataFrame({"model": ["A", "A", "B"], "weighted_f1": [0.5, 0.6, 0.4]})
    summary = pd.DataFrame({"model": ["A", "B"], "mean": [55.0, 40], "low": [50.0, 35], "high": [61.0, 45]})
    ax = plots.seed_intervals(runs, summary, lines={"ceiling": 80.0})
    assert ax.lines[0].get_xdata().tolist() == pytest.approx([50, 60]) and ax.lines[1].get_xdata().tolist() == [55]
    assert [c.get_segments()[0][:, 0].tolist() for c in ax.collections] == [[50, 61], [35, 45]]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["A", "B"]
    assert ax.get_legend().get_texts()[0].get_text() == "ceiling"


def test_a_setting_curve_shows_means_bands_and_seeds():
    curve = pd.DataFrame({"x": [2, 0], "mean": [50.0, 40], "low": [45.0, 35], "high": [55.0, 45], "seeds": [[49.0, 51], [40.0]]})
    ax = plots.setting_curve({"text": curve}, setting="K", score="F1", lines={"ceiling": 70.0})
    assert ax.lines[0].get_xdata().tolist() == [0, 2] and ax.lines[0].get_ydata().tolist() == [40, 50]
    assert sorted(y for line in ax.lines[1:3] for y in line.get_ydata()) == [40, 49, 51]
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"text", "ceiling"} and ax.get_xlabel() == "K"


def test_seed_intervals_of_dimensions_are_correlations():
    runs = pd.DataFrame({"model": ["A", "A"], "mean_pearson": [0.5, 0.6]})
    ax = plots.seed_intervals(runs, pd.DataFrame({"model": ["A"], "mean": [0.55], "low": [0.5], "high": [0.61]}))
    assert ax.lines[0].get_xdata().tolist() == [0.5, 0.6] and "Pearson" in ax.get_xlabel()


def test_selection_gain_marks_the_mean_of_each_corpus():
    ax = plots.selection_gain(pd.DataFrame({"corpus": ["x", "x", "y"], "gain": [1.0, 3, 0.5]}))
    diamonds = {line.get_xdata()[0] for line in ax.lines if line.get_marker() == "D"}
    assert diamonds == {2.0, 0.5}


def test_attention_heatmap_holds_the_weights():
    weights = np.array([[0.25, 0.75], [1, 0]])
    ax = plots.attention_heatmap(weights, query="text", key="audio")
    np.testing.assert_allclose(np.asarray(ax.collections[0].get_array()).reshape(2, 2), weights)
    assert "audio" in ax.get_xlabel() and "text" in ax.get_ylabel()
