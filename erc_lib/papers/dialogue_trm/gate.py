"""Prototype dependency, Section 4.2.1: the multi-modal gate."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn

from erc_lib.papers.dialogue_trm.config import DialogueTRMConfig


class Gates(nn.Module):
    r"""GATE for every pair of modalities (eq. 7-14).

    .. math:: h_u = \tanh(W^U r_u),\; h_a = \tanh(W^A r_a),\; z = \sigma(W^Z [r_u; r_a]),\; h_{ua} = z * h_u,\; h_{au} = (1 - z) * h_a
    """

    def __init__(self, config: DialogueTRMConfig) -> None:
        super().__init__()
        d = config.model_dim
        self.pairs = list(combinations(config.modalities, 2))  # (u, a), (u, v), (a, v): the order of eq. 15
        # With shared mappings, both gates of a modality read the same W; otherwise each pair has its own.
        names = config.modalities if config.share_mappings else [f"{m}_{'_'.join(p)}" for p in self.pairs for m in p]
        self.mappings = nn.ModuleDict({name: nn.Linear(d, d, bias=False) for name in names})
        self.weights = nn.ModuleDict({"_".join(pair): nn.Linear(2 * d, d, bias=False) for pair in self.pairs})
        self.shared = config.share_mappings

    def forward(self, r: dict[str, Tensor]) -> tuple[list[Tensor], dict[tuple[str, str], Tensor]]:
        """r of each modality (..., D) -> h_ua, h_au, h_uv, h_vu, h_av, h_va (each (..., D)), and z of each pair."""
        gated, z = [], {}
        for pair in self.pairs:
            (one, other), name = pair, "_".join(pair)
            h_one, h_other = (torch.tanh(self.mappings[m if self.shared else f"{m}_{name}"](r[m])) for m in pair)  # eq. 7, 8
            z[pair] = torch.sigmoid(self.weights[name](torch.cat([r[one], r[other]], dim=-1)))  # eq. 9
            gated += [z[pair] * h_one, (1 - z[pair]) * h_other]  # eq. 10, 11
        return gated, z
