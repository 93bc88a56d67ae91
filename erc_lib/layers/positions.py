"""Where in a dialogue a turn stands."""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoids(length: int, dim: int, like: Tensor) -> Tensor:
    """Positions as sines and cosines (Vaswani et al. 2017, 3.5), (L, D), on the device and in the dtype of ``like``."""
    position = torch.arange(length, device=like.device, dtype=like.dtype)[:, None]
    rates = torch.exp(torch.arange(0, dim, 2, device=like.device, dtype=like.dtype) * (-9.210340371976184 / dim))  # ln 10000
    return torch.stack([torch.sin(position * rates), torch.cos(position * rates)], dim=-1).flatten(1)[:, :dim]
