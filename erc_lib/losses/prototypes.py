"""One prototype per emotion: DF-ERC's prototype-based alignment (Li et al. 2023, Section 3.4, eq. 18, 19)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from erc_lib.errors import ConfigError


class PrototypeBank(nn.Module):
    r"""The mean of all vectors of each class so far, and a loss that keeps vectors within a margin of it.

    .. math::
        R^k \leftarrow \frac{R^k N^k + \sum_{m} \sum_{I_i = k} x^m_i}{N^k + M \cdot |\{i : I_i = k\}|}, \qquad
        L = \frac{1}{M N} \sum_{m, i} \max(\mathrm{MSE}(R^{I_i}, x^m_i) - \beta, 0)

    Prototypes and counts are buffers, so a checkpoint holds them; no gradient flows into them. A class that was never seen has no
    prototype, and no loss touches its vectors.

    Attributes:
        prototypes: (classes, dim). counts: (classes,), how many vectors each is the mean of.
    """

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        if classes < 1 or dim < 1:
            raise ConfigError(f"PrototypeBank needs at least one class and one dimension, not {classes} and {dim}")
        self.register_buffer("prototypes", torch.zeros(classes, dim))
        self.register_buffer("counts", torch.zeros(classes))

    @torch.no_grad()
    def update(self, x: Tensor, labels: Tensor) -> None:
        """Takes x (M, N, D) with labels LongTensor (N,) into the means (eq. 18)."""
        self._check(x, labels)
        labels, vectors = labels.repeat(len(x)), x.detach().flatten(0, 1).to(self.prototypes.dtype)
        counts = self.counts + torch.bincount(labels, minlength=len(self.counts)).to(self.counts.dtype)
        # The mean moves by the sum of the differences from it, which keeps its digits when counts grow large.
        moved = torch.zeros_like(self.prototypes).index_add_(0, labels, vectors - self.prototypes[labels])
        self.prototypes += moved / counts.clamp_min(1)[:, None]
        self.counts.copy_(counts)

    def loss(self, x: Tensor, labels: Tensor, margin: float, *, distance: Literal["mean", "sum"] = "mean") -> Tensor:
        """Eq. 19 with beta = ``margin``: a scalar, the mean over the M N vectors. ``distance``: the squared error's mean over the D numbers of a
        vector, or their sum (the squared Euclidean distance)."""
        self._check(x, labels)
        if margin < 0:
            raise ConfigError(f"PrototypeBank: a margin counts from 0, so it cannot be {margin}")
        if distance not in ("mean", "sum"):
            raise ConfigError(f"PrototypeBank: distance is 'mean' or 'sum', not {distance!r}")
        apart = (x.float() - self.prototypes[labels]).square().sum(dim=-1)  # (M, N)
        apart = apart / x.shape[-1] if distance == "mean" else apart
        return ((apart - margin).clamp_min(0) * (self.counts[labels] > 0)).sum() / max(apart.numel(), 1)

    @torch.no_grad()
    def reset(self) -> None:
        """Forgets all vectors, as at the beginning of training or of an epoch."""
        self.prototypes.zero_(), self.counts.zero_()

    def _check(self, x: Tensor, labels: Tensor) -> None:
        if x.dim() != 3 or x.shape[-1] != self.prototypes.shape[1] or labels.shape != x.shape[1:2]:
            raise ConfigError(
                f"PrototypeBank of width {self.prototypes.shape[1]}: x must be (M, N, {self.prototypes.shape[1]}) with labels (N,), "
                f"not {tuple(x.shape)} with {tuple(labels.shape)}"
            )
