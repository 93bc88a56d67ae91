"""Multiview fusion, Section 3.2: two attention networks over two modalities each, which lend each other their attention weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from erc_lib.papers.dimmn.config import LETTERS, DIMMNConfig


class AttentionNetwork(nn.Module):
    r"""How much a view's two columns weigh (eq. 1-4, 9-12).

    .. math:: temp = \tanh(W B), \qquad att = \mathrm{softmax}(w^T temp)

    with B (d, 2): two modalities at the first level, [F, f] of the level before at the others.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.W = nn.Linear(dim, dim, bias=False)
        self.w = nn.Linear(dim, 1, bias=False)

    def forward(self, B: Tensor) -> Tensor:
        """B (N, 2, D), its columns as rows -> att (N, 2), each row sums to 1."""
        return self.w(torch.tanh(self.W(B)))[..., 0].softmax(dim=-1)


class MultiviewFusion(nn.Module):
    """U (N, D) of N turns from their modalities (eq. 1-17).

    Three forms, by ``config``: two views that exchange their weights on ``levels`` levels; ``multiview=False``, each view by its own
    weights on one level; a pairing of single letters, concatenation.
    """

    def __init__(self, config: DIMMNConfig) -> None:
        super().__init__()
        d, self.views = config.model_dim, config.views
        self.project = nn.ModuleDict({m: nn.Linear(config.dims[m], d) for m in config.modalities})  # "their dimensions should be unified"
        self.levels = (config.levels if config.multiview else 1) if config.attentive else 0
        self.networks = nn.ModuleList(  # one pair for all levels, or one for each
            nn.ModuleList(AttentionNetwork(d) for _ in self.views) for _ in range(min(self.levels, 1) if config.share_levels else self.levels)
        )
        self.join = nn.Linear(len(self.views) * d, d)  # W^f, b^f

    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Features (N, D_m) of each modality -> U (N, D), and att (levels, 2, N, 2) of every level and view; None where none attends."""
        F = {letter: self.project[m](features[m]) for letter, m in LETTERS.items() if m in features}
        if not self.levels:
            return torch.tanh(self.join(torch.cat([F[view] for view in self.views], dim=-1))), None
        B_ta, B_va = (torch.stack([F[letter] for letter in view], dim=1) for view in self.views)  # B: (N, 2, D)
        att = []
        for level in range(self.levels):
            network_ta, network_va = self.networks[min(level, len(self.networks) - 1)]
            att_ta, att_va = network_ta(B_ta), network_va(B_va)
            att.append(torch.stack([att_ta, att_va]))
            F_ta, F_va = weighted(B_ta, att_ta), weighted(B_va, att_va)  # eq. 5, 6, 13, 14: each view by its own weights
            f_ta, f_va = weighted(B_ta, att_va), weighted(B_va, att_ta)  # eq. 7, 8, 15, 16: each guided by the other's
            B_ta, B_va = torch.stack([F_ta, f_ta], dim=1), torch.stack([F_va, f_va], dim=1)  # [F, f], what the next level reads
        return torch.tanh(self.join(torch.cat([F_ta, F_va], dim=-1))), torch.stack(att)  # eq. 17


def weighted(B: Tensor, att: Tensor) -> Tensor:
    """B (N, 2, D) and att (N, 2) -> B att^T (N, D), the columns' weighted sum."""
    return (att[..., None] * B).sum(dim=1)


def shares(att: Tensor) -> Tensor:
    """What all levels together come to: F^(H) = share * first column + (1 - share) * second, one number per view and turn.

    Every F and f is a weighted mean of its view's columns, so the next level's [F, f] lie on the line between the two modalities, and so does
    what that level makes of them.

    Args:
        att: (H, 2, N, 2), the attention of every level and view (``DIMMNOutput.view_attention``).

    Returns:
        (2, N), between 0 and 1: the share of each view's first modality, T and V with TA+VA.
    """
    found = []
    for own, other in ((0, 1), (1, 0)):
        first = att.new_tensor([1.0, 0.0]).expand(att.shape[2], 2)  # share of the first modality in each of the two columns
        for level in att[:-1]:
            first = torch.stack([(level[own] * first).sum(-1), (level[other] * first).sum(-1)], dim=-1)  # in F, in f
        found.append((att[-1, own] * first).sum(-1))
    return torch.stack(found)
