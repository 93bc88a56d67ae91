"""Extraction from clips: openSMILE per second of sound, MTCNN with its embedding per frame with one face, and memory over many clips.

    python benchmarks/extract.py [--clips 1000] [--json FILE]

One thread. Goals: at most 0.03 s per second of sound (ComParE_2016), at most 0.15 s per frame with one face (VisExtNet, vggface2; random weights take as
long as trained ones), memory flat over 1,000 clips.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from erc_lib.features.audio import AudioExtractor  # noqa: E402
from erc_lib.features.media import Piece, pictures, sound  # noqa: E402
from erc_lib.features.visual import FaceExtractor  # noqa: E402
from tests.features.film import film, portrait, tone  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000, help="over which memory is watched")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    process = psutil.Process()
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        face = portrait()
        frame = np.zeros((720, 1280, 3), np.uint8)  # MELD's clips are 1280 x 720
        frame[60 : 60 + face.shape[0], 300 : 300 + face.shape[1]] = face
        clip = film(Path(folder) / "clip.mp4", [np.roll(frame, 4 * i, axis=1) for i in range(75)], tone(3.0))

        audio = AudioExtractor("ComParE_2016")
        signal = sound([Piece(clip)])
        audio.of_signal(signal)  # what is loaded once
        began = time.perf_counter()
        for _ in range(10):
            audio.of_signal(np.tile(signal, 3))
        result["openSMILE ComParE_2016, s per second of sound"] = (time.perf_counter() - began) / (10 * 3 * len(signal) / 16000)

        faces = FaceExtractor("vggface2", "none", frames=20)
        faces([Piece(clip)])
        began = time.perf_counter()
        shown = pictures([Piece(clip)], 20)
        result["decoding, s per frame"] = (time.perf_counter() - began) / 20
        began = time.perf_counter()
        for _, picture in shown:
            faces._of_frame(picture, faces.find_faces(picture)[:1])
        result["MTCNN and embedding, s per frame with one face"] = (time.perf_counter() - began) / 20

        small = FaceExtractor("vggface2", "none", frames=1, longest_side=160)
        cheap = AudioExtractor("eGeMAPSv02")
        memory = []
        for i in range(options.clips):
            cheap([Piece(clip, 0.0, 0.5)]), small([Piece(clip, 0.0, 0.5)])
            if i in (options.clips // 10, options.clips - 1):
                memory.append(process.memory_info().rss / 2**20)
        result["memory after a tenth of the clips, MiB"], result[f"memory after {options.clips} clips, MiB"] = memory
    for name, value in result.items():
        print(f"{name:55} {value:9.4f}")
    if options.json:
        options.json.write_text(json.dumps({"machine": platform.processor() or platform.machine(), "threads": 1, "torch": torch.__version__, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
