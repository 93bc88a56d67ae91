"""Real utterances side by side, without padding, and back."""

from __future__ import annotations

import torch
from torch import Tensor


class Packing:
    """The N real positions of a padded batch.

    Layers that treat every utterance alone (projections, norms, feed-forward networks) work on (N, D) and waste nothing on padding;
    only attention needs the padded (B, L, D).

    Args:
        mask: BoolTensor (B, L), True = a real utterance.
    """

    def __init__(self, mask: Tensor) -> None:
        self.batch, self.length = mask.shape
        self.full = bool(mask.all())
        self.index = None if self.full else mask.flatten().nonzero()[:, 0]
        # Additive, for attention over keys: (B, 1, 1, L), -inf at padding. None where nothing is padded, which is faster.
        self.key_mask = None if self.full else torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, float("-inf"))[:, None, None, :]

    def pack(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (N, D)"""
        flat = x.flatten(0, 1)
        return flat if self.full else flat.index_select(0, self.index)

    def unpack(self, x: Tensor) -> Tensor:
        """(N, D) -> (B, L, D), zero where padded."""
        if not self.full:
            x = x.new_zeros(self.batch * self.length, x.shape[-1]).index_copy(0, self.index, x)
        return x.unflatten(0, (self.batch, self.length))
