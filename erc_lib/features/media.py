"""Pictures and sound out of media files, a piece at a time: PyAV decodes, nothing is held that was not asked for.

Times are seconds from the beginning of a file. An utterance is a list of :class:`Piece`, for a realigned one may be joined from several files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from erc_lib.errors import DataError

SOUND_RATE = 16000  # Hz, what every extractor of sound gets
JUMP = 2.0  # s: a picture further ahead than this is sought, a nearer one decoded up to


@dataclass(frozen=True)
class Piece:
    """A stretch of a media file. ``end`` None: to its end.

    Raises:
        DataError: it begins before 0, or ends where or before it begins.
    """

    path: Path
    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        if not self.start >= 0 or (self.end is not None and self.end <= self.start):
            lasts = "" if self.end is None else f", so it lasts {self.end - self.start:g} s"
            raise DataError(f"{self.path}: a piece from {self.start:g} to {self.end if self.end is not None else 'its end'} s{lasts}; mend its times")


@dataclass(frozen=True)
class Media:
    """What a file holds: seconds (of its longest stream), pictures_end (when its last picture ends), frame_rate (pictures per second on average, 0 without
    any), sound (whether there is any)."""

    seconds: float
    pictures_end: float
    frame_rate: float
    sound: bool


def probe(path: Path | str) -> Media:
    """What is in a media file, by its header; where that names no length, by its packets, none of which is decoded.

    Raises:
        DataError: it is missing, no media file or damaged.
    """
    with _opened(path) as container:
        origin = _origin(container)
        video = container.streams.video[0] if container.streams.video else None
        seconds = _seconds(container, video, origin) if video is not None else 0.0
        sound = _seconds(container, container.streams.audio[0], origin) if container.streams.audio else 0.0
        if not max(seconds, sound) and container.duration:
            seconds = sound = container.duration / 1e6
        if not max(seconds, sound):  # a stream that was never closed, as browsers record
            ends = [float((p.pts + (p.duration or 0)) * p.time_base) - origin for p in container.demux() if p.pts is not None]
            seconds = sound = max(ends, default=0.0)
        rate = float(video.average_rate or 0) if video is not None else 0.0
        return Media(max(seconds, sound), seconds or sound, rate, bool(container.streams.audio))


def _origin(container: av.container.InputContainer) -> float:
    """The time that counts as 0, for pictures and sound alike: where the file itself begins."""
    return (container.start_time or 0) / 1e6


def _seconds(container: av.container.InputContainer, stream: av.stream.Stream, origin: float) -> float:
    """When a stream ends, counted from the file's beginning; 0 where its header does not say."""
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin if stream.duration else 0.0


def length(pieces: Sequence[Piece]) -> float:
    """Seconds of an utterance, its pieces joined; a piece that names no end lasts as long as its file."""
    return sum((p.end if p.end is not None else probe(p.path).seconds) - p.start for p in pieces)


def pictures(pieces: Sequence[Piece], count: int) -> list[tuple[float, np.ndarray]]:
    """``count`` pictures at equal steps over the joined pieces, as MultiEMO samples them (3.3.3: a step of frames / 20).

    Fewer than ``count`` frames give each of them once.

    Returns:
        (time within the utterance, uint8 (H, W, 3) in RGB) in their order.

    Raises:
        DataError: no picture in a file, or none that can be decoded.
    """
    spans, total, frames = [], 0.0, 0
    for piece in pieces:
        media = probe(piece.path)
        if not media.frame_rate:
            raise DataError(f"{piece.path} has no pictures, only sound; leave out --visual for it, or give a video")
        end = media.pictures_end or float("inf")
        seconds = min(piece.end if piece.end is not None else end, end) - piece.start
        if not 0 < seconds < float("inf"):
            raise DataError(f"{piece.path}: the piece begins at {piece.start:g} s, but the pictures of the file end at {media.pictures_end:g} s; mend its times")
        spans.append((piece, total, seconds))
        total += seconds
        frames += max(1, round(seconds * media.frame_rate))
    times = [(i + 0.5) * total / min(count, frames) for i in range(min(count, frames))]  # the middle of each step
    found: list[tuple[float, np.ndarray]] = []
    for piece, begin, seconds in spans:
        wanted = [t for t in times if begin <= t < begin + seconds]
        found += [(t, picture) for t, picture in zip(wanted, _pictures_at(piece.path, [piece.start + t - begin for t in wanted]), strict=False)]
    if not found:
        raise DataError(f"{pieces[0].path}: no picture can be decoded; the file is damaged")
    return found


def _pictures_at(path: Path, times: Sequence[float]) -> Iterator[np.ndarray]:
    """The picture shown at each of the rising ``times``; after the last one, the last one."""
    if not times:
        return
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        origin = _origin(container)

        def shown(frame: av.VideoFrame) -> float:
            return float(frame.time or 0) - origin

        current = following = None
        decoded = _decoded(container, stream, path)
        for time in times:
            if time > JUMP and (current is None or time - shown(current) > JUMP) and (following is None or shown(following) <= time):
                container.seek(int((time + origin) / stream.time_base), stream=stream, backward=True)
                current, decoded = None, _decoded(container, stream, path)
                following = next(decoded, None)
            elif current is None:
                following = next(decoded, None)
            while following is not None and (current is None or shown(following) <= time):  # a picture lasts until the next one is shown
                current, following = following, next(decoded, None)
            if current is None:
                return
            yield current.to_ndarray(format="rgb24")


def _decoded(container: av.container.InputContainer, stream: av.stream.Stream, path: Path) -> Iterator[av.VideoFrame]:
    """The frames of a stream; where it is damaged further on, those before. DataError if there is none."""
    any_ = False
    try:
        for frame in container.decode(stream):
            any_ = True
            yield frame
    except av.FFmpegError as error:
        if not any_:
            raise DataError(f"{path}: no picture can be decoded ({error}); the file is damaged") from None


def sound(pieces: Sequence[Piece]) -> np.ndarray:
    """float32 (N,) in -1 .. 1 at 16 kHz, all channels mixed into one, the pieces joined; empty where the files hold no sound at all.

    Raises:
        DataError: a file that cannot be decoded.
    """
    parts = [_sound_of(piece) for piece in pieces]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _sound_of(piece: Piece) -> np.ndarray:
    with _opened(piece.path) as container:
        if not container.streams.audio:
            return np.zeros(0, np.float32)
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        resampler = av.AudioResampler(format="fltp", rate=SOUND_RATE)  # channels stay apart: FFmpeg's own mix is louder than either of them
        origin = _origin(container)
        if piece.start > JUMP:
            container.seek(int((piece.start + origin) / stream.time_base), stream=stream, backward=True)
        chunks: list[np.ndarray] = []
        first = None
        try:
            for frame in container.decode(stream):
                at = float(frame.time or 0) - origin
                first = at if first is None else first
                if piece.end is not None and at >= piece.end:
                    break
                chunks += [f.to_ndarray().mean(axis=0) for f in resampler.resample(frame)]
            chunks += [f.to_ndarray().mean(axis=0) for f in resampler.resample(None)]
        except av.FFmpegError as error:
            if not chunks:
                raise DataError(f"{piece.path}: its sound cannot be decoded ({error}); the file is damaged") from None
        if not chunks:
            return np.zeros(0, np.float32)
        samples = np.concatenate(chunks).astype(np.float32)
        skip = max(0, round((piece.start - first) * SOUND_RATE))
        keep = None if piece.end is None else max(skip, skip + round((piece.end - max(piece.start, first)) * SOUND_RATE))
        return samples[skip:keep]


@contextmanager
def _opened(path: Path | str) -> Iterator[av.container.InputContainer]:
    try:
        container = av.open(str(path))
    except (OSError, av.FFmpegError) as error:
        kind = "is not there" if not Path(path).exists() else f"is no media file, or a damaged one ({getattr(error, 'strerror', None) or error})"
        raise DataError(f"{path} {kind}") from None
    with container:
        if not container.streams.video and not container.streams.audio:
            raise DataError(f"{path} holds neither pictures nor sound")
        yield container
