"""MultiAttn, Section 3.4: each modality asks the two others, layer after layer."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from erc_lib.layers import CrossAttention, Packing
from erc_lib.papers.multiemo.config import MultiEMOConfig


class MultiAttn(nn.Module):
    """MultiAttn_text, MultiAttn_audio and MultiAttn_visual side by side.

    The query's modality comes first, then the others in the order text, audio, visual. With two modalities each has one
    partner and one attention stage; with one modality only the feed-forward stages remain (Table 3; the paper is silent).
    """

    def __init__(self, config: MultiEMOConfig) -> None:
        super().__init__()
        self.activation_memory = config.activation_memory
        self.partners = {m: [other for other in config.modalities if other != m] for m in config.modalities}
        self.layers = nn.ModuleDict(
            {m: nn.ModuleList(MultiAttnLayer(config, len(self.partners[m])) for _ in range(config.layers)) for m in config.modalities}
        )

    def forward(self, contextual: dict[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
        """c of every modality (B, L, D), mask BoolTensor (B, L) of what may be attended to -> f of every modality (B, L, D)."""
        packing = Packing(mask)
        contextual = {m: packing.pack(c) for m, c in contextual.items()}
        again = self._computed_again(packing.rows, mask.device) if torch.is_grad_enabled() else 0
        fused, done = {}, 0
        for modality, layers in self.layers.items():
            x = contextual[modality]
            partners = [contextual[partner] for partner in self.partners[modality]]
            for layer in layers:  # the output is the next layer's query; keys and values stay
                x = layer(x, partners, packing) if done >= again else checkpoint(layer, x, partners, packing, use_reentrant=False)
                done += 1
            fused[modality] = packing.unpack(x)
        return fused

    def _computed_again(self, rows: int, device: torch.device) -> int:
        """How many layers keep their input alone and are computed again in the backward pass.

        They are the first ones: the backward pass reaches them last, when what the others kept is free again.
        """
        limit = self.activation_memory
        if limit is None:
            limit = 0.25 if device.type == "cpu" else math.inf
        layers = [layer for branch in self.layers.values() for layer in branch]
        kept = limit * 2**30 // (4 * max(rows, 1) * layers[0].floats_per_row)
        return max(len(layers) - int(min(kept, len(layers))), 0)


class MultiAttnLayer(nn.Module):
    """One layer of one branch: attend to each partner in turn, then a feed-forward network (eq. 2-12)."""

    def __init__(self, config: MultiEMOConfig, partners: int) -> None:
        super().__init__()
        d = config.model_dim
        self.attentions = nn.ModuleList(CrossAttention(d, config.heads, bias=config.attention_bias) for _ in range(partners))
        self.attention_norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(partners))
        self.feedforward_in = nn.Linear(d, config.feedforward)
        self.feedforward_out = nn.Linear(config.feedforward, d)
        self.feedforward_norm = nn.LayerNorm(d)
        self.swap_values = config.audio_stage_values == "printed" and partners == 2
        self.dropout = config.dropout
        self.released_dropout = config.dropout_placement == "released"
        # Kept for the backward pass: of each stage Q, K, V, each group's output, all of them joined, the sum and the norm; and of
        # eq. 10-12 the hidden layer, the sum and the norm.
        self.floats_per_row = (7 * partners + 2) * d + config.feedforward

    def forward(self, x: Tensor, partners: list[Tensor], packing: Packing) -> Tensor:
        """x and the contextual features of each partner, packed (P, D) -> (P, D)."""
        values = [partners[1], partners[1]] if self.swap_values else partners  # eq. 2 prints the second partner's values in the first stage
        for attention, norm, keys, v in zip(self.attentions, self.attention_norms, partners, values, strict=True):
            attended = attention.packed(x, keys, v, packing)
            x = norm(x + (attended if self.released_dropout else self._drop(attended)))  # eq. 5, 9
        hidden = self.feedforward_out(F.relu(self.feedforward_in(x), inplace=True))  # eq. 10, 11
        if self.released_dropout:
            hidden = self._drop(hidden)
        return self.feedforward_norm(x + self._drop(hidden))  # eq. 12

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

