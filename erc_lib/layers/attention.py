"""Multi-head cross-attention: queries from one sequence, keys and values from another."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from erc_lib.errors import ConfigError
from erc_lib.layers.packing import Part


class CrossAttention(nn.Module):
    r"""Multi-head attention with queries from x and keys and values from other sequences (MultiEMO, eq. 2-4 and 6-8).

    .. math:: A_h = \mathrm{softmax}(Q_h K_h^T / \sqrt{D / H})\, V_h, \qquad MH = \mathrm{Cat}(A_1, ..., A_H) W^O

    The heads' projections lie side by side in one matrix; `scaled_dot_product_attention` never stores the (L, L) weights.

    Raises:
        ConfigError: a width that the number of heads does not divide.
    """

    def __init__(self, dim: int, heads: int, *, bias: bool = False) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"CrossAttention: width {dim} is not divisible by {heads} heads")
        self.heads = heads
        self.query = nn.Linear(dim, dim, bias=bias)
        self.key = nn.Linear(dim, dim, bias=bias)
        self.value = nn.Linear(dim, dim, bias=bias)
        self.output = nn.Linear(dim, dim, bias=bias)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, L, D), keys and values (B, S, D), mask Bool broadcastable to (B, 1, L, S), True = may attend -> (B, L, D)."""
        return self.output(self._attend(self.query(x), self.key(keys), self.value(values), mask))

    def packed(self, x: Tensor, keys: Tensor, values: Tensor, part: Part) -> Tensor:
        """The same for packed dialogues, each attending to itself: x, keys, values (P, D) -> (P, D)."""
        q, k, v = (part.split(y) for y in (self.query(x), self.key(keys), self.value(values)))
        masks = (None if g.key_mask is None else g.key_mask.to(k[0].dtype) for g in part.groups)
        return self.output(part.join([self._attend(*group) for group in zip(q, k, v, masks, strict=True)]))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        attended = F.scaled_dot_product_attention(self._split(q), self._split(k), self._split(v), attn_mask=mask)
        return attended.transpose(1, 2).flatten(2)

    def weights(self, x: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
        """The attention weights (B, H, L, S), for figures; the forward pass never builds them."""
        q, k = self._split(self.query(x)), self._split(self.key(keys))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        return (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(dim=-1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, L, D) -> (B, H, L, D / H)
