"""Contribution-aware fusion, Section 3.3, and what Table 2 puts in its place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erc_lib.papers.df_erc.config import DFERCConfig
from erc_lib.papers.df_erc.ddm import mlp


@dataclass
class Fused:
    """h (N, D), h^f of eq. 16; logits (M, N, C) of the teachers (eq. 10) and contributions (M, N), omega (eq. 12), None without them."""

    h: Tensor
    logits: Tensor | None = None
    contributions: Tensor | None = None


class Fusion(nn.Module):
    """t, a, v -> h^f.

    contribution: each modality weighed by how sure its student expects its teacher to be of the truth (eq. 10-16). sum: weights of 1
    ("- CFM"). attention: a self-attention layer over the modalities of an utterance, then their sum ("+ Att").
    """

    def __init__(self, config: DFERCConfig, widths: dict[str, int]) -> None:
        super().__init__()
        self.equal = None
        self.width = next(iter(widths.values()))
        if config.equalise == "representations":
            self.width = config.fusion_dim
            self.equal = nn.ModuleDict({m: nn.Linear(w, config.fusion_dim) for m, w in widths.items()})
        self.teacher = self.student = self.attention = None
        if config.fusion == "contribution":
            hidden = config.disentangled_dim
            self.teacher = nn.ModuleDict({m: mlp(w, hidden, config.classes) for m, w in widths.items()})  # MLP^q
            self.student = nn.ModuleDict({m: mlp(w, hidden, 1) for m, w in widths.items()})  # MLP^p
        elif config.fusion == "attention":
            self.attention = nn.MultiheadAttention(self.width, 1, batch_first=True)

    def forward(self, x: dict[str, Tensor]) -> Fused:
        vectors = x if self.equal is None else {m: self.equal[m](y) for m, y in x.items()}
        stacked = torch.stack(list(vectors.values()))  # (M, N, D)
        if self.attention is not None:
            turns = stacked.transpose(0, 1)
            return Fused(self.attention(turns, turns, turns, need_weights=False)[0].sum(dim=1))
        if self.student is None:
            return Fused(stacked.sum(dim=0))
        logits = torch.stack([self.teacher[m](y) for m, y in x.items()])  # eq. 10
        omega = torch.sigmoid(torch.stack([self.student[m](y)[..., 0] for m, y in x.items()]))  # eq. 12
        return Fused((omega[..., None] * stacked).sum(dim=0), logits, omega)  # eq. 16
