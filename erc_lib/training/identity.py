"""Seeds, devices, and what makes two trainings the same one."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from erc_lib.data import SPLITS, Corpus
from erc_lib.errors import ConfigError
from erc_lib.training.config import TrainingConfig
from erc_lib.training.scoring import modalities_of


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch (CPU and GPUs). Call it before building a model, whose first weights it decides."""
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed must lie in 0 .. 2^32 - 1, not {seed}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seed_streams(seed: int) -> torch.Generator:
    """Seeds the global generators for dropout and returns the generator of the data order.

    Both differ from the stream that :func:`seed_everything` with the same seed gave the model's first weights, else the first
    dropout masks would repeat the numbers the weights were made from; and a model that draws more does not change the order.
    """
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed must lie in 0 .. 2^32 - 1, not {seed}")
    dropout, order = (int(x) for x in np.random.SeedSequence(seed).generate_state(2))
    seed_everything(dropout)
    return torch.Generator().manual_seed(order)


def accelerator_for(device: str, mixed_precision: str) -> Accelerator:
    """An Accelerator on ``"cpu"``, ``"cuda"`` or ``"auto"`` (a GPU when there is one)."""
    if device not in ("cpu", "cuda", "auto"):
        raise ConfigError(f"device={device!r} is unknown; use 'cpu', 'cuda' or 'auto' (CUDA_VISIBLE_DEVICES says which GPU)")
    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise ConfigError("device='cuda', but torch sees no GPU; use device='cpu' or 'auto'")
    on_gpu = gpu and device != "cpu"
    if mixed_precision == "fp16" and not on_gpu:
        raise ConfigError("mixed_precision='fp16' needs a GPU; on a CPU use 'no' or 'bf16'")
    # accelerate keeps one state per process and refuses another device or precision; one process trains many runs here.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=not on_gpu, mixed_precision=mixed_precision)
    if accelerator.num_processes != 1:
        raise ConfigError("fit trains in one process; spread several runs over processes with erc_lib.runs.run_many instead")
    return accelerator


def training_identity(model: nn.Module, corpus: Corpus, config: TrainingConfig, seed: int, device: str) -> dict[str, Any]:
    """JSON-able; equal for two calls of ``fit`` exactly when one may go on from the other's checkpoint."""
    settings = getattr(model, "config", None)
    return {
        "seed": seed,
        "device": device,
        "training": config.model_dump(mode="json"),
        "model": {
            "class": f"{type(model).__module__}.{type(model).__qualname__}",
            "config": settings.model_dump(mode="json") if hasattr(settings, "model_dump") else repr(settings),
            "state": {name: [str(x.dtype), *x.shape] for name, x in model.state_dict().items() if isinstance(x, torch.Tensor)},
        },
        "corpus": {"name": corpus.name, "sha256": corpus_digest(corpus, modalities_of(model))},
    }


def corpus_digest(corpus: Corpus, modalities: list[str] | None = None) -> str:
    """sha256 over everything a model can see of the corpus: ids, texts, speakers, labels and the features of ``modalities``."""
    digest = hashlib.sha256(repr(corpus.label_names).encode())
    for split in SPLITS:
        digest.update(split.encode())
        for d in corpus.split(split):
            digest.update(repr((d.id, d.ids, d.texts)).encode())
            used = sorted(d.features if modalities is None else modalities)
            for tensor in (d.speakers, d.labels, *(d.features[m] for m in used)):
                digest.update(repr((str(tensor.dtype), tuple(tensor.shape))).encode())
                digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
