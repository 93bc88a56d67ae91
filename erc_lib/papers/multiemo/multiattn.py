"""MultiAttn, Section 3.4: each modality asks the two others, layer after layer."""

from __future__ import annotations

import math
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from erc_lib.layers import CrossAttention, Packing, Part
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
        packed = {m: packing.pack(c) for m, c in contextual.items()}
        # The first ones are computed again: the backward pass reaches them last, when what the others kept is free.
        again = self._rows_again(packing, mask.device) if torch.is_grad_enabled() else 0
        fused: dict[str, list[Tensor]] = {m: [] for m in self.layers}
        for modality, (i, part) in product(self.layers, enumerate(packing.parts)):
            queries = packed[modality][i]
            partners = [packed[partner][i] for partner in self.partners[modality]]
            if again > 0:
                again -= part.rows
                out = checkpoint(self._branch, modality, queries, partners, part, use_reentrant=False)
            else:
                out = self._branch(modality, queries, partners, part)
            fused[modality].append(out)
        return {m: packing.unpack(parts) for m, parts in fused.items()}

    def _branch(self, modality: str, x: Tensor, partners: list[Tensor], part: Part) -> Tensor:
        """All layers of one branch on some dialogues (P, D) -> (P, D)."""
        for layer in self.layers[modality]:
            x = layer(x, partners, part)  # the output is the next layer's query; keys and values stay
        return x

    def _rows_again(self, packing: Packing, device: torch.device) -> int:
        """How many rows, counted once per branch, keep only c and are computed again in the backward pass."""
        limit = self.activation_memory
        if limit is None:
            limit = 0.1 if device.type == "cpu" else math.inf
        branch = next(iter(self.layers.values()))
        rows = len(self.layers) * sum(p.rows for p in packing.parts)
        kept = limit * 2**30 / (4 * len(branch) * branch[0].floats_per_row)
        return rows - int(min(kept, rows))


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

    def forward(self, x: Tensor, partners: list[Tensor], part: Part) -> Tensor:
        """x and the contextual features of each partner, packed (P, D) -> (P, D)."""
        values = [partners[1], partners[1]] if self.swap_values else partners  # eq. 2 prints the second partner's values in the first stage
        for attention, norm, keys, v in zip(self.attentions, self.attention_norms, partners, values, strict=True):
            attended = attention.packed(x, keys, v, part)
            x = norm(x + (attended if self.released_dropout else self._drop(attended)))  # eq. 5, 9
        hidden = self.feedforward_out(F.relu(self.feedforward_in(x), inplace=True))  # eq. 10, 11
        if self.released_dropout:
            hidden = self._drop(hidden)
        return self.feedforward_norm(x + self._drop(hidden))  # eq. 12

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

