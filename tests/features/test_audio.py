"""openSMILE's sets: widths, finiteness, and what silence, a click and a file without sound give."""

from __future__ import annotations

import numpy as np
import pytest

from erc_lib.errors import ConfigError, DataError
from erc_lib.features.audio import SETS, AudioExtractor
from erc_lib.features.media import Piece
from tests.features.film import film, grey, speech


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    return film(folder / "clip.mp4", [grey(9)] * 50, speech(folder, 2.0))


@pytest.mark.parametrize("name", SETS)
def test_widths_and_the_same_twice(clip, name):
    extractor = AudioExtractor(name)
    vector, remark = extractor([Piece(clip)])
    assert vector.shape == (SETS[name][1],) == (extractor.dims,) and vector.dtype == np.float32 and np.isfinite(vector).all() and remark == ""
    assert np.array_equal(vector, AudioExtractor(name)([Piece(clip)])[0])
    assert name in extractor.card()["extractor"] or SETS[name][0] in extractor.card()["extractor"]


def test_compare_has_6373_and_is10_1582():
    assert SETS["ComParE_2016"][1] == 6373 and SETS["IS10"][1] == 1582 and SETS["eGeMAPSv02"][1] == 88


def test_pitch_is_heard():
    """eGeMAPS' first number is the mean pitch in semitones over 27.5 Hz: an octave is 12 of them."""
    t = np.arange(16000) / 16000
    low, high = (AudioExtractor("eGeMAPSv02").of_signal((0.3 * np.sin(2 * np.pi * hertz * t)).astype(np.float32))[0][0] for hertz in (110, 220))
    assert high - low == pytest.approx(12, abs=0.5)


@pytest.mark.parametrize("seconds", [0.001, 0.03, 0.1, 1.0])
def test_silence_and_clicks_are_finite(seconds):
    for signal in (np.zeros(max(1, round(seconds * 16000)), np.float32), np.random.default_rng(0).normal(0, 0.1, max(1, round(seconds * 16000))).astype(np.float32)):
        vector, remark = AudioExtractor("eGeMAPSv02").of_signal(signal)
        assert np.isfinite(vector).all() and remark == ""


def test_what_is_not_finite_is_an_error(monkeypatch):
    """A twentieth of a second is too short for openSMILE, which then answers NaN; without the padding it would be noticed."""
    monkeypatch.setattr("erc_lib.features.audio.SHORTEST", 0.0)
    with pytest.warns(UserWarning, match="too short"), pytest.raises(DataError, match="signal: openSMILE's eGeMAPSv02 gave .* not finite"):
        AudioExtractor("eGeMAPSv02").of_signal(np.zeros(400, np.float32))


def test_a_film_without_sound_is_zeros_and_says_so(tmp_path):
    vector, remark = AudioExtractor()([Piece(film(tmp_path / "mute.mp4", [grey(1)] * 5))])
    assert vector.shape == (6373,) and not vector.any() and remark == "no sound"


def test_bad_input(tmp_path):
    with pytest.raises(ConfigError, match="no set of audio features 'Compare'; there are ComParE_2016"):
        AudioExtractor("Compare")
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(DataError, match="no media file"):
        AudioExtractor("eGeMAPSv02")([Piece(tmp_path / "a.wav")])
