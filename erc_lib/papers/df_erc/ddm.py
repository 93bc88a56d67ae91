"""Dual-level disentanglement, Section 3.2: what is a modality's own, and what is an utterance's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from erc_lib.papers.df_erc.config import DFERCConfig


def mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    """Two linear layers with a ReLU between; the paper says "MLP" of each and gives the last width alone."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))


class Disentanglement(nn.Module):
    """t = [t^s; t^m; t^u] of every modality (eq. 2, 4, 6-8), from raw features (N, D_m).

    Without a level its part is left out, as the row "- DDM" of Table 2, where t is t^s.
    """

    def __init__(self, config: DFERCConfig) -> None:
        super().__init__()
        d = config.disentangled_dim
        self.project = None
        widths = dict(config.dims)
        if config.equalise == "features":
            self.project = nn.ModuleDict({m: nn.Linear(width, config.fusion_dim) for m, width in config.dims.items()})
            widths = dict.fromkeys(widths, config.fusion_dim)
        self.modality = nn.ModuleDict({m: mlp(w, d, d) for m, w in widths.items()}) if config.modality_level else None
        self.utterance = nn.ModuleDict({m: mlp(w, d, d) for m, w in widths.items()}) if config.utterance_level else None
        self.widths = {m: w + d * (config.modality_level + config.utterance_level) for m, w in widths.items()}

    def forward(self, raw: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Raw features of each modality -> t, a, v, and by level what the losses and figures see: "raw", "modality", "utterance" (M, N, D)."""
        if self.project is not None:
            raw = {m: self.project[m](x) for m, x in raw.items()}
        levels: dict[str, dict[str, Tensor]] = {"raw": raw}
        if self.modality is not None:
            levels["modality"] = {m: self.modality[m](x) for m, x in raw.items()}  # eq. 2
        if self.utterance is not None:
            levels["utterance"] = {m: self.utterance[m](x) for m, x in raw.items()}  # eq. 4
        joined = {m: torch.cat([level[m] for level in levels.values()], dim=-1) for m in raw}  # eq. 6-8
        return joined, {name: torch.stack(list(level.values())) for name, level in levels.items() if name != "raw"}
