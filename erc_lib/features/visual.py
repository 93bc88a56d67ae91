"""Pictures into vectors: faces found by MTCNN and embedded (VisExtNet, DenseNet), or whole clips by a 3D-CNN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from facenet_pytorch import MTCNN
from torch import Tensor
from torchvision.transforms.functional import resize

from erc_lib.errors import ConfigError
from erc_lib.features.backbones import BACKBONES, load_backbone, prepared, recorded, weights_hash
from erc_lib.features.media import Piece, pictures

FRAMES = 20  # MultiEMO 3.3.3
CLIP_FRAMES = 16  # what r3d_18 was trained on
MARGIN = 0.1  # of a face's longer side, added around it before it is cut out
FACES = ("average", "largest", "concatenate")
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


class FaceExtractor:
    """VisExtNet (MultiEMO 3.3.3): every face of some frames, a vector per face, a vector per frame, their mean.

    Args:
        backbone: ``"vggface2"`` or ``"resnet101"`` (MultiEMO), ``"densenet342"``, ``"densenet121"`` (DF-ERC, MMGCN).
        weights: ``"download"``, a file or ``"none"`` (:mod:`erc_lib.features.backbones`).
        frames: how many, at equal steps; a shorter clip gives all it has.
        faces: what becomes of several faces in one frame. ``"average"``: their mean (as MultiEMO's released program), ``"largest"``, or
            ``"concatenate"`` (as its paper says): the ``most_faces`` largest side by side, zeros where there are fewer.
        longest_side: pictures are made smaller than that before faces are sought; None: never.
        name: in the feature store; default: told from the arguments.

    A frame without a face is left out of the mean, an utterance without any is zeros.

    Raises:
        ConfigError: an unknown backbone or way to join faces, or a number below 1.
    """

    modality = "visual"

    def __init__(
        self, backbone: str = "vggface2", weights: str = "download", *, frames: int = FRAMES, faces: Literal["average", "largest", "concatenate"] = "average",
        most_faces: int = 4, longest_side: int | None = 640, name: str = "",
    ) -> None:  # fmt: skip
        if backbone not in BACKBONES or backbone == "r3d_18":
            raise ConfigError(f"no face backbone {backbone!r}; there are {', '.join(b for b in BACKBONES if b != 'r3d_18')}")
        if faces not in FACES:
            raise ConfigError(f"faces is {faces!r}; use {', '.join(FACES)}")
        for what, value in (("frames", frames), ("most_faces", most_faces), ("longest_side", longest_side or 1)):
            if value < 1:
                raise ConfigError(f"{what} must be at least 1, not {value}")
        self.backbone, self.weights, self.frames, self.faces, self.most_faces, self.longest_side = backbone, weights, frames, faces, most_faces, longest_side
        joined = {"average": "", "largest": "-largest", "concatenate": f"-concatenate{most_faces}"}[faces]
        kind = "visextnet" if backbone in ("vggface2", "resnet101") else "faces"
        self.name = name or f"{kind}-{backbone}{joined}{f'-{frames}frames' if frames != FRAMES else ''}{_of_weights(weights)}"
        self.dims = BACKBONES[backbone].dims * (most_faces if faces == "concatenate" else 1)

    @cached_property
    def _loaded(self) -> tuple[torch.nn.Module, dict[str, Any]]:
        return load_backbone(self.backbone, self.weights)

    @cached_property
    def _detector(self) -> MTCNN:
        return MTCNN(keep_all=True, device="cpu")

    def __call__(self, pieces: Sequence[Piece], boxes: Mapping[int, Box] | None = None, frame_rate: float | None = None) -> tuple[np.ndarray, str]:
        """float32 (D,) and a remark: ``"no face"`` where the vector is zeros for want of one.

        Args:
            boxes: number of a frame of the joined pieces -> where the speaker's face is; faces are then not sought, and only these frames are looked at.
            frame_rate: frames per second by which ``boxes`` counts.

        Raises:
            DataError: a file without pictures, or one that cannot be decoded. ConfigError: boxes without a frame rate.
        """
        if boxes is not None and not frame_rate:
            raise ConfigError("boxes count frames, so give their frame_rate too")
        per_frame = []
        for time, picture in pictures(pieces, self.frames):
            if boxes is not None:
                box = boxes.get(round(time * frame_rate - 0.5))
                found = np.array([box] if box is not None else []).reshape(-1, 4)
            else:
                found = self.find_faces(picture)
            if len(found):
                per_frame.append(self._of_frame(picture, found))
        if not per_frame:
            return np.zeros(self.dims, np.float32), "no face"
        return np.mean(per_frame, axis=0, dtype=np.float64).astype(np.float32), ""

    def find_faces(self, picture: np.ndarray) -> np.ndarray:
        """Boxes (F, 4) of the faces in uint8 (H, W, 3), left, top, right, bottom in its pixels, the largest first."""
        height, width = picture.shape[:2]
        shrink = min(1.0, (self.longest_side or max(height, width)) / max(height, width))
        small = picture
        if shrink < 1:
            small = resize(torch.from_numpy(picture).permute(2, 0, 1), [round(height * shrink), round(width * shrink)], antialias=True).permute(1, 2, 0).numpy()
        found, _ = self._detector.detect(np.ascontiguousarray(small))
        if found is None:
            return np.zeros((0, 4))
        found = np.asarray(found, np.float64).reshape(-1, 4) / shrink
        return found[np.argsort(-(found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1]), kind="stable")]

    def _of_frame(self, picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """One vector (D,) of the faces of one frame, largest first."""
        wanted = boxes[: {"average": len(boxes), "largest": 1, "concatenate": self.most_faces}[self.faces]]
        kind, network = BACKBONES[self.backbone], self._loaded[0]
        cut = torch.cat([prepared(self._cut_out(picture, box), kind) for box in wanted])
        with torch.inference_mode():
            vectors = network(cut).numpy()
        if self.faces == "concatenate":
            return np.pad(vectors.ravel(), (0, self.dims - vectors.size))
        return vectors.mean(axis=0)

    @staticmethod
    def _cut_out(picture: np.ndarray, box: Sequence[float]) -> Tensor:
        """uint8 (1, 3, h, w): the face and :data:`MARGIN` around it, within the picture."""
        height, width = picture.shape[:2]
        margin = MARGIN * max(box[2] - box[0], box[3] - box[1])
        left, top = (int(max(0, v - margin)) for v in box[:2])
        right, bottom = (int(min(most, np.ceil(v + margin))) for v, most in zip(box[2:], (width, height), strict=True))
        return torch.from_numpy(np.ascontiguousarray(picture[top : max(bottom, top + 1), left : max(right, left + 1)])).permute(2, 0, 1)[None]

    def card(self) -> dict[str, Any]:
        """For :meth:`erc_lib.features.store.FeatureStore.save`."""
        known = dict(self._loaded[1])
        version = known.pop("version")
        detector = weights_hash(self._detector)
        return {
            **known, "extractor": f"faces by MTCNN, {self.backbone}", "version": f"facenet-pytorch {installed('facenet-pytorch')}, {version}", "units": "the network's last vector before its classifier",
            "empty": "zeros, for an utterance without a face; frames without a face are left out of the mean", "sampling": f"{self.frames} frames at equal steps", "faces": self.faces,
            "most_faces": self.most_faces if self.faces == "concatenate" else None, "longest_side": self.longest_side, "margin": MARGIN, "detector_sha256": detector,
            "recipe": {"faces": {"backbone": self.backbone, "weights": recorded(self.weights), "frames": self.frames, "faces": self.faces, "most_faces": self.most_faces, "longest_side": self.longest_side}},
        }  # fmt: skip


class ClipExtractor:
    """Whole frames of a clip by a 3D-CNN, r3d_18 (MultiEMO's "w/o VisExtNet", DialogueTRM, DIMMN): 16 frames at equal steps, one vector of 512.

    Args: as of :class:`FaceExtractor`. A clip of fewer frames repeats its last one.
    """

    modality = "visual"

    def __init__(self, weights: str = "download", *, name: str = "") -> None:
        self.weights = weights
        self.name = name or f"r3d_18{_of_weights(weights)}"
        self.dims = BACKBONES["r3d_18"].dims

    @cached_property
    def _loaded(self) -> tuple[torch.nn.Module, dict[str, Any]]:
        return load_backbone("r3d_18", self.weights)

    def __call__(self, pieces: Sequence[Piece]) -> tuple[np.ndarray, str]:
        """float32 (512,) and an empty remark. DataError: no pictures, or none that can be decoded."""
        shown = [picture for _, picture in pictures(pieces, CLIP_FRAMES)]
        shown += [shown[-1]] * (CLIP_FRAMES - len(shown))
        frames = torch.cat([prepared(torch.from_numpy(p).permute(2, 0, 1)[None], BACKBONES["r3d_18"]) for p in shown])
        with torch.inference_mode():
            return self._loaded[0](frames.transpose(0, 1)[None])[0].numpy(), ""

    def card(self) -> dict[str, Any]:
        """For :meth:`erc_lib.features.store.FeatureStore.save`."""
        return {
            **self._loaded[1], "extractor": "r3d_18 on whole frames", "units": "the network's last vector before its classifier", "empty": "never empty: a clip has pictures, or it fails",
            "sampling": f"{CLIP_FRAMES} frames at equal steps", "recipe": {"clip": {"weights": recorded(self.weights)}},
        }  # fmt: skip


def _of_weights(weights: str | Path) -> str:
    """What weights add to the name of features, so that those of one network do not replace those of another."""
    return {"download": "", "none": "-random"}.get(str(weights), f"-{Path(weights).stem}")
