"""Emotion over time: the figure shows the table, and the page stands alone and cannot be broken by what somebody said."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from erc_lib.errors import DataError
from erc_lib.plots_emotions import emotions_over_time, emotions_page, png_bytes


@pytest.fixture
def table():
    return pd.DataFrame({
        "turn": [1, 2, 3], "speaker": ["Anna", "<script>alert(1)</script>", "Anna"], "start": [0.0, 2.0, 5.0], "end": [2.0, 4.0, 6.0],
        "text": ["Hello & $x_1$", '"<b>no</b>"', "Oh."], "predicted": ["joy", "anger", "joy"], "p_joy": [0.75, 0.125, 0.5], "p_anger": [0.25, 0.875, 0.5],
    })  # fmt: skip


def test_the_figure(table):
    figure = emotions_over_time(table, title="a $ title")
    anna, other = figure.axes[:2]
    assert anna.get_title(loc="left") == "Anna" and [t.get_text() for t in anna.get_yticklabels()] == ["joy", "anger"]
    assert [len(ax.collections) for ax in (anna, other)] == [2, 1] and other.get_xlabel() == "time (s)"
    assert np.allclose(np.asarray(other.collections[0].get_array()).ravel(), [0.125, 0.875])
    assert [line.get_xydata()[0].tolist() for line in anna.lines] == [[1.0, 0.0], [5.5, 0.0]]
    png = png_bytes(figure)
    assert png.startswith(b"\x89PNG") and not plt.get_fignums()
    assert png_bytes(emotions_over_time(table, title="a $ title")) == png


def test_without_times_the_axis_is_the_turn(table):
    figure = emotions_over_time(table.assign(end=[2.0, np.nan, 6.0]))
    assert figure.axes[1].get_xlabel() == "turn" and figure.axes[1].lines[0].get_xydata()[0].tolist() == [2.0, 1.0]
    plt.close(figure)
    assert "turn 3, Anna: joy 50.0 % | Oh." in emotions_page(table.assign(start=np.nan), title="t", notes=[])


def test_the_page(table, tmp_path):
    page = emotions_page(table, title="A & B", notes=["simulated <only>"])
    assert "<script" not in page and "<b>" not in page and "simulated &lt;only&gt;" in page and "<title>A &amp; B</title>" in page
    assert page.count("<rect") == 2 + 3 * 2 and page.count("<circle") == 3 and page.count("<tr>") == 1 + 3
    assert re.search(r'<td class="p best">87.5</td>', page) and "turn 2, &lt;script&gt;" in page
    (tmp_path / "page.html").write_text(page)
    assert not re.search(r"(src|href)\s*=|url\(|@import|https?://", page)


def test_nothing_to_draw(table):
    for bad in (table.iloc[:0], table.drop(columns=["p_joy", "p_anger"])):
        with pytest.raises(DataError, match="no prediction to draw"):
            emotions_over_time(bad)
