"""Attention masks; True = may attend."""

from __future__ import annotations

import torch
from torch import Tensor

from erc_lib.errors import ConfigError


def context_window_mask(length: int, window: int) -> Tensor:
    """BoolTensor (L, L): turn t may attend to itself and to the ``window`` turns before it (DialogueTRM, eq. 3).

    Raises:
        ConfigError: a negative window, or a length below 1.
    """
    _check_length(length)
    if window < 0:
        raise ConfigError(f"context_window_mask: the window counts past turns, so it cannot be {window}")
    turn = torch.arange(length)
    back = turn[:, None] - turn[None, :]
    return (back >= 0) & (back <= window)


def self_mask(length: int) -> Tensor:
    """BoolTensor (L, L): every turn may attend to itself alone (DialogueTRM, eq. 6)."""
    _check_length(length)
    return torch.eye(length, dtype=torch.bool)


def _check_length(length: int) -> None:
    if length < 1:
        raise ConfigError(f"a mask needs a length of at least 1, not {length}")
