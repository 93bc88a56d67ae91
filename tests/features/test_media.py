"""Decoding: which picture is shown when, how long sound is, and what is wrong with a file."""

from __future__ import annotations

import numpy as np
import pytest

from erc_lib.errors import DataError
from erc_lib.features.media import Piece, length, pictures, probe, sound
from tests.features.film import film, grey, tone


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def clip(folder):
    """Ten seconds, 25 frames each, brightness = 2 per second's tenth; a tone of 220 Hz."""
    return film(folder / "clip.mp4", [grey(i) for i in range(250)], tone(10))


def shown(piece, count):
    return [(round(t, 3), int(round(p.mean()))) for t, p in pictures([piece], count)]


def test_what_a_file_holds(clip, folder):
    media = probe(clip)
    assert media.seconds == pytest.approx(10, abs=0.1) and media.frame_rate == 25 and media.sound
    assert not probe(film(folder / "silent.mp4", [grey(1)] * 5)).sound and probe(film(folder / "sound.m4a", sound=tone(1))).frame_rate == 0


def test_frames_at_equal_steps_are_those_of_their_times(clip):
    """20 frames of 250: the middle of each 12.5; MPEG-4 may be a grey or two off."""
    for (t, brightness), i in zip(shown(Piece(clip), 20), range(20), strict=True):
        assert t == pytest.approx((i + 0.5) * 10 / 20, abs=0.05) and abs(brightness - int(t * 25)) <= 2


def test_seeking_finds_the_same_frames_as_reading_on(clip):
    """Three frames of ten seconds are sought, two hundred are read one after another."""
    few, many = shown(Piece(clip), 3), dict(shown(Piece(clip), 250))
    for t, brightness in few:
        assert abs(brightness - many[min(many, key=lambda u: abs(u - t))]) <= 2


def test_a_piece_gives_the_frames_within_it(clip):
    found = shown(Piece(clip, 4.0, 6.0), 4)
    assert [t for t, _ in found] == [0.25, 0.75, 1.25, 1.75]
    assert all(abs(b - int((4 + t) * 25)) <= 2 for t, b in found)


def test_pieces_of_several_files_are_one_utterance(clip, folder):
    other = film(folder / "other.mp4", [grey(200)] * 50, tone(2))
    pieces = [Piece(clip, 0.0, 2.0), Piece(other)]
    assert length(pieces) == pytest.approx(4, abs=0.1)
    found = [round(p.mean()) for _, p in pictures(pieces, 8)]
    assert len(found) == 8 and all(b < 60 for b in found[:4]) and all(abs(b - 200) <= 3 for b in found[4:])
    assert len(sound(pieces)) == pytest.approx(4 * 16000, abs=1700)


def test_one_frame_and_fewer_than_asked(folder):
    one = film(folder / "one.mp4", [grey(77)])
    (only,) = pictures([Piece(one)], 20)
    assert only[1].mean() == pytest.approx(77, abs=2)
    assert len(pictures([Piece(film(folder / "seven.mp4", [grey(i * 30) for i in range(7)]))], 20)) == 7


def test_sound_is_16_khz_mono_and_cut_where_it_should_be(clip):
    whole = sound([Piece(clip)])
    assert whole.dtype == np.float32 and len(whole) == pytest.approx(160000, abs=1700) and np.abs(whole).max() < 1
    part = sound([Piece(clip, 5.0, 7.5)])
    assert len(part) == 40000
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
    assert np.argmax(spectrum) * 16000 / len(part) == pytest.approx(220, abs=1)
    # The same stretch, cut out of the whole. AAC's frames begin where they begin, so a hundredth of a second may be off.
    lag = np.argmax(np.correlate(whole[79000:121000], part[:20000], "valid")) - 1000
    assert abs(lag % (16000 / 220)) < 10 or abs(lag % (16000 / 220) - 16000 / 220) < 10


def test_a_film_without_sound_gives_none_and_a_sound_without_film_says_so(folder):
    assert len(sound([Piece(film(folder / "mute.mp4", [grey(1)] * 5))])) == 0
    with pytest.raises(DataError, match="has no pictures, only sound"):
        pictures([Piece(film(folder / "only.m4a", sound=tone(1)))], 5)


def test_a_clip_of_305_seconds_is_read_at_its_ends_without_being_held(folder):
    import tracemalloc

    long = film(folder / "long.mp4", [grey(i % 250, 16) for i in range(305 * 5)], tone(305), rate=5)
    tracemalloc.start()
    found = pictures([Piece(long)], 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 20 and found[-1][0] == pytest.approx(305 * 19.5 / 20, abs=0.5) and peak < 5e6
    assert len(sound([Piece(long, 300.0, 302.0)])) == 32000


@pytest.mark.parametrize(("make", "words"), [
    (lambda f: f / "nowhere.mp4", "is not there"),
    (lambda f: (f / "text.mp4", (f / "text.mp4").write_text("I am no film"))[0], "is no media file, or a damaged one"),
    (lambda f: (f / "empty.mp4", (f / "empty.mp4").write_bytes(b""))[0], "is no media file, or a damaged one"),
])  # fmt: skip
def test_files_that_are_none(folder, make, words):
    with pytest.raises(DataError, match=words):
        pictures([Piece(make(folder))], 5)
    with pytest.raises(DataError, match=words):
        sound([Piece(make(folder))])


def test_a_truncated_file_gives_what_is_whole_or_one_error(clip, folder):
    whole = film(folder / "whole.mkv", [grey(i) for i in range(100)], tone(4))
    cut = folder / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 1 <= len(pictures([Piece(cut)], 20)) <= 20 and 0 < len(sound([Piece(cut)])) < 64000
    no_index = folder / "cut.mp4"
    no_index.write_bytes(clip.read_bytes()[:2000])
    with pytest.raises(DataError, match="damaged"):
        pictures([Piece(no_index)], 5)


@pytest.mark.parametrize(("start", "end"), [(-1.0, 2.0), (2.0, 2.0), (3.0, 1.5), (float("nan"), 1.0)])
def test_a_piece_must_have_a_length(clip, start, end):
    with pytest.raises(DataError, match="mend its times"):
        Piece(clip, start, end)


def test_a_piece_beyond_the_end(clip):
    with pytest.raises(DataError, match="begins at 20 s, but the pictures of the file end at 10"):
        pictures([Piece(clip, 20.0, 21.0)], 5)
    assert len(sound([Piece(clip, 20.0, 21.0)])) == 0


def test_pictures_that_begin_late_keep_their_time_beside_the_sound(folder):
    """Sound from 0, pictures from 3 s on, one a tenth of a second: what is seen at 4 s is what is heard at 4 s."""
    late = film(folder / "late.mkv", [grey(i) for i in range(0, 100, 2)], tone(8), times=[3 + i / 10 for i in range(50)])
    for t, brightness in shown(Piece(late, 4.0, 6.0), 4):
        assert abs(brightness - 20 * (4 + t - 3)) <= 3, t
    signal = np.concatenate([tone(4, 220), tone(4, 880)])
    heard = sound([Piece(film(folder / "both.mkv", [grey(i) for i in range(50)], signal, times=[3 + i / 10 for i in range(50)]), 4.5, 5.5)])
    assert np.argmax(np.abs(np.fft.rfft(heard))) * 16000 / len(heard) == pytest.approx(880, abs=3)


def test_a_picture_is_shown_until_the_next_one_whatever_the_rate(folder):
    """Variable frame rate: brightness 10 from 0 s, 60 from 2 s, 200 from 7 s to 8 s."""
    slides = film(folder / "slides.mkv", [grey(10), grey(60), grey(200), grey(200)], times=[0, 2, 7, 8])
    for t in (0.5, 1.9, 2.1, 4.0, 6.9, 7.5):
        (only,) = pictures([Piece(slides, t - 0.01, t + 0.01)], 1)
        assert only[1].mean() == pytest.approx(10 if t < 2 else 60 if t < 7 else 200, abs=3), t


def test_pictures_are_taken_where_there_are_any_though_the_sound_goes_on(folder):
    short = film(folder / "short.mp4", [grey(4 * i) for i in range(50)], tone(10))
    found = shown(Piece(short), 10)
    assert found[-1][0] < 2 and len({b for _, b in found}) == 10


def test_stereo_is_the_mean_of_its_channels(folder):
    left, right = tone(1.0, 220), tone(1.0, 220)
    both, one = (sound([Piece(film(folder / f"{name}.m4a", sound=x))]) for name, x in (("both", np.stack([left, right])), ("one", np.stack([left, 0 * right]))))
    mono = sound([Piece(film(folder / "mono.m4a", sound=left))])
    level = lambda x: np.sqrt(np.mean(x[2000:14000] ** 2))  # noqa: E731
    assert level(both) == pytest.approx(level(mono), rel=0.03) and level(one) == pytest.approx(level(mono) / 2, rel=0.05)


def test_a_file_that_names_no_length(folder):
    """A stream that was never closed, as a browser records it: Matroska through a pipe has no duration in its header."""
    import io

    import av

    whole = film(folder / "closed.mkv", [grey(i) for i in range(50)], tone(2))
    pipe = io.BytesIO()
    with av.open(str(whole)) as source, av.open(pipe, "w", format="matroska", options={"live": "1"}) as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    (folder / "live.mkv").write_bytes(pipe.getvalue())
    assert probe(folder / "live.mkv").seconds == pytest.approx(2, abs=0.2)
    assert len(pictures([Piece(folder / "live.mkv")], 5)) == 5 and len(sound([Piece(folder / "live.mkv")])) > 30000
