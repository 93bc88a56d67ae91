"""The networks behind visual features, and where their weights come from.

Weights are the library's own download (``"download"``), a local file, or ``"none"``: random ones from a fixed seed, for tests and for trying a
pipeline out, marked in the card of everything they make.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from facenet_pytorch import InceptionResnetV1
from torch import Tensor, nn
from torchvision.models import DenseNet, ResNet101_Weights, densenet121, resnet101
from torchvision.models.densenet import DenseNet121_Weights
from torchvision.models.video import R3D_18_Weights, r3d_18

from erc_lib.errors import ConfigError, DataError

RANDOM_SEED = 0  # of weights="none"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
FACENET = ((127.5 / 255,) * 3, (128 / 255,) * 3)  # its (x - 127.5) / 128


@dataclass(frozen=True)
class Backbone:
    """A kind of network: side of its pictures in pixels, width of its vector, mean and deviation of its pictures' values (0 .. 1), and how to make it.

    ``build(download)`` returns the network without its classifier; with ``download`` it fetches the library's weights.
    """

    side: int
    dims: int
    scale: tuple[tuple[float, ...], tuple[float, ...]]
    build: Callable[[bool], nn.Module]
    downloads: str | None  # what ``weights="download"`` brings; None: the library has none
    note: str = ""


def _headless(network: nn.Module, head: str) -> nn.Module:
    setattr(network, head, nn.Identity())
    return network


BACKBONES = {
    "vggface2": Backbone(160, 512, FACENET, lambda d: InceptionResnetV1(pretrained="vggface2" if d else None).eval(), "facenet-pytorch, VGGFace2"),
    "resnet101": Backbone(
        224, 2048, IMAGENET, lambda d: _headless(resnet101(weights=ResNet101_Weights.IMAGENET1K_V2 if d else None), "fc"), "torchvision, ImageNet",
        "MultiEMO 3.3.3 has one trained on VGGFace2, of which no weights are in the library: give them as a file",
    ),
    "densenet121": Backbone(224, 1024, IMAGENET, lambda d: _headless(densenet121(weights=DenseNet121_Weights.IMAGENET1K_V1 if d else None), "classifier"), "torchvision, ImageNet"),
    "densenet342": Backbone(
        64, 342, IMAGENET, lambda d: _headless(DenseNet(growth_rate=12, block_config=(16, 16, 16), num_init_features=24), "classifier"), None,
        "342 numbers, as MMGCN's and DF-ERC's visual features have, are what DenseNet-BC of 100 layers and growth 12 ends in; DenseNet-121 ends in 1,024. Its weights (FER+) are in no library",
    ),
    "r3d_18": Backbone(112, 512, KINETICS, lambda d: _headless(r3d_18(weights=R3D_18_Weights.KINETICS400_V1 if d else None), "fc"), "torchvision, Kinetics-400"),
}  # fmt: skip


def load_backbone(name: str, weights: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network in evaluation mode, and what a card says of it: encoder, version, weights, weights_sha256.

    Args:
        weights: ``"download"``, a file (``.pt``/``.pth``/``.safetensors``: a state dict whose names are the network's; a classifier's entries are
            passed over), or ``"none"``.

    Raises:
        ConfigError: no such network, or nothing to download. DataError: a file that is missing, damaged or of another network, or a failed download.
    """
    if name not in BACKBONES:
        raise ConfigError(f"no visual backbone {name!r}; there are {', '.join(BACKBONES)}")
    kind, weights = BACKBONES[name], str(weights)
    if weights == "download":
        if kind.downloads is None:
            raise ConfigError(f"{name}: there are no weights to download; give a file of them, or weights='none' for random ones. {kind.note}")
        try:
            network, said = kind.build(True), kind.downloads
        except (OSError, RuntimeError) as error:
            raise DataError(f"{name}: its weights ({kind.downloads}) cannot be downloaded ({error}); fetch them where the internet is and give the file") from None
    else:
        state = torch.random.get_rng_state()
        torch.manual_seed(RANDOM_SEED)
        network = kind.build(False)
        torch.random.set_rng_state(state)
        said = "none: random, not a trained network"
        if weights != "none":
            _fill(network, name, Path(weights))
            said = Path(weights).name
    network = network.eval().requires_grad_(False)
    return network, {
        "encoder": name, "version": f"torchvision {torchvision.__version__}, torch {torch.__version__}", "weights": said, "weights_sha256": weights_hash(network), "note": kind.note or None,
    }  # fmt: skip


def _fill(network: nn.Module, name: str, path: Path) -> None:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)  # never unpickles anything but tensors
        found = found.get("state_dict", found)
        found = {k.removeprefix("module."): v for k, v in found.items()}
    except Exception as error:  # torch, pickle and safetensors have no exception in common
        raise DataError(f"{path}: no weights can be read from it ({type(error).__name__}: {error}); give a state dict as .pt or .safetensors") from None
    own = network.state_dict()
    missing = [k for k in own if k not in found]
    other = [k for k in own if k in found and found[k].shape != own[k].shape]
    if missing or other:
        first = missing[0] if missing else f"{other[0]} {tuple(found[other[0]].shape)}, not {tuple(own[other[0]].shape)}"
        raise DataError(f"{path} does not fit {name}: {len(missing)} of {len(own)} tensors are missing and {len(other)} have another shape, first {first}")
    network.load_state_dict({k: found[k] for k in own})


def weights_hash(network: nn.Module) -> str:
    """SHA-256 of all tensors of a network, by name: the same for the same weights, whatever file they came in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + str(tensor.dtype).encode() + str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def recorded(weights: str | Path) -> str:
    """Where weights came from, for a card: "download", "none", or a file's name without its folder, which is of this machine alone."""
    return str(weights) if str(weights) in ("download", "none") else Path(weights).name


def prepared(pictures: Tensor, kind: Backbone) -> Tensor:
    """uint8 (N, 3, H, W) -> float (N, 3, side, side), scaled as the network was trained."""
    mean, std = (torch.tensor(v)[:, None, None] for v in kind.scale)
    resized = nn.functional.interpolate(pictures.float() / 255, size=(kind.side, kind.side), mode="bilinear", align_corners=False, antialias=True)
    return (resized - mean) / std
