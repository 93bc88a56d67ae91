"""MultiAttn, Section 3.4: each modality asks the two others, layer after layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erc_lib.layers import CrossAttention, Packing
from erc_lib.papers.multiemo.config import MultiEMOConfig


class MultiAttn(nn.Module):
    """MultiAttn_text, MultiAttn_audio and MultiAttn_visual side by side.

    The query's modality comes first, then the others in the order text, audio, visual. With two modalities each has one
    partner and one attention stage; with one modality only the feed-forward stages remain (Table 3; the paper is silent).
    """

    def __init__(self, config: MultiEMOConfig) -> None:
        super().__init__()
        self.partners = {m: [other for other in config.modalities if other != m] for m in config.modalities}
        self.layers = nn.ModuleDict(
            {m: nn.ModuleList(MultiAttnLayer(config, len(self.partners[m])) for _ in range(config.layers)) for m in config.modalities}
        )

    def forward(self, contextual: dict[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
        """c of every modality (B, L, D), mask BoolTensor (B, L) of what may be attended to -> f of every modality (B, L, D)."""
        packing = Packing(mask)
        contextual = {m: packing.pack(c) for m, c in contextual.items()}
        keys_values = self._keys_and_values(contextual, packing)
        fused = {}
        for modality, layers in self.layers.items():
            x = contextual[modality]
            for layer in layers:
                x = layer(x, keys_values[layer], packing)  # the output is the next layer's query; keys and values stay
            fused[modality] = packing.unpack(x)
        return fused

    def _keys_and_values(self, contextual: dict[str, Tensor], packing: Packing) -> dict[nn.Module, list[tuple[Tensor, Tensor]]]:
        """K and V (B, L, D) of every stage of every layer, eq. 2 and 6.

        They depend on the contextual features alone, never on a layer's output, so all projections of one modality's features are
        one matrix product instead of 4 T small ones.
        """
        wanted: dict[str, list[nn.Linear]] = {m: [] for m in contextual}
        for modality, layers in self.layers.items():
            for layer in layers:
                for key, value, linear_k, linear_v in layer.sources(self.partners[modality]):
                    wanted[key].append(linear_k)
                    wanted[value].append(linear_v)
        projected: dict[nn.Module, Tensor] = {}
        for modality, linears in wanted.items():
            if linears:
                weight = torch.cat([linear.weight for linear in linears])
                bias = None if linears[0].bias is None else torch.cat([linear.bias for linear in linears])
                together = packing.unpack(F.linear(contextual[modality], weight, bias))
                projected.update(zip(linears, together.chunk(len(linears), dim=-1), strict=True))
        return {
            layer: [(projected[k], projected[v]) for _, _, k, v in layer.sources(self.partners[modality])]
            for modality, layers in self.layers.items()
            for layer in layers
        }


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

    def sources(self, partners: list[str]) -> list[tuple[str, str, nn.Linear, nn.Linear]]:
        """For each stage the modality of its keys, that of its values, and the two projections."""
        return [
            # eq. 2 prints the second partner's values in the first stage
            (partner, partners[1] if self.swap_values and stage == 0 else partner, attention.key, attention.value)
            for stage, (partner, attention) in enumerate(zip(partners, self.attentions, strict=True))
        ]

    def forward(self, x: Tensor, keys_values: list[tuple[Tensor, Tensor]], packing: Packing) -> Tensor:
        """x (N, D), the N utterances packed, and each stage's K and V (B, L, D) -> (N, D)."""
        for attention, norm, (k, v) in zip(self.attentions, self.attention_norms, keys_values, strict=True):
            attended = attention.packed(x, k, v, packing)
            x = norm(x + (attended if self.released_dropout else self._drop(attended)))  # eq. 5, 9
        hidden = self.feedforward_out(F.relu(self.feedforward_in(x)))  # eq. 10, 11
        if self.released_dropout:
            hidden = self._drop(hidden)
        return self.feedforward_norm(x + self._drop(hidden))  # eq. 12

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

