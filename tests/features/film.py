"""Small media files made for the tests: a photograph's face moved about, a tone or speech, and everything that can be wrong with a file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 44100


def portrait() -> np.ndarray:
    """A real photograph with one face, uint8 (H, W, 3): scikit-image's astronaut where it is installed, else the one that matplotlib ships."""
    try:
        from skimage.data import astronaut

        return np.ascontiguousarray(astronaut())
    except ImportError:
        from matplotlib.cbook import get_sample_data
        from PIL import Image

        return np.asarray(Image.open(get_sample_data("grace_hopper.jpg")).convert("RGB"))


def tone(seconds: float, hertz: float = 220.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def speech(folder: Path, seconds: float) -> np.ndarray:
    """espeak-ng's voice where it is installed, else a tone; float32 at 44.1 kHz."""
    if shutil.which("espeak-ng") is None:
        return tone(seconds)
    import soundfile

    subprocess.run(["espeak-ng", "-w", str(folder / "speech.wav"), "I cannot believe that you are really here"], check=True, capture_output=True)
    x, rate = soundfile.read(folder / "speech.wav", dtype="float32")
    x = np.interp(np.arange(0, len(x), rate / RATE), np.arange(len(x)), x).astype(np.float32)
    return np.resize(x, round(seconds * RATE))


def film(path: Path, pictures: Sequence[np.ndarray] = (), sound: np.ndarray | None = None, *, rate: int = 25, times: Sequence[float] = ()) -> Path:
    """Writes a media file of these pictures and this sound (float32 (N,) or (2, N) at 44.1 kHz). ``times``: when each picture is shown, in seconds."""
    with av.open(str(path), "w") as container:
        video = audio = None
        if len(pictures):
            video = container.add_stream("mpeg4", rate=rate)
            video.height, video.width, video.pix_fmt, video.gop_size = *pictures[0].shape[:2], "yuv420p", 12
            video.bit_rate = 4_000_000
            if len(times):
                video.codec_context.time_base = Fraction(1, 1000)
        if sound is not None:
            sound = np.atleast_2d(sound)
            audio = container.add_stream("aac", rate=RATE, layout="stereo" if len(sound) == 2 else "mono")
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if len(times):
                frame.pts, frame.time_base = round(1000 * times[i]), Fraction(1, 1000)
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode())
        if audio is not None:
            for i in range(0, sound.shape[1], 1024):
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, i : i + 1024]), format="fltp", layout="stereo" if len(sound) == 2 else "mono")
                frame.rate, frame.pts = RATE, i
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def grey(number: int, side: int = 64) -> np.ndarray:
    """A picture whose brightness is its number, so that one sees which frame came back."""
    return np.full((side, side, 3), number, np.uint8)
