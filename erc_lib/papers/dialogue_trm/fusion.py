"""Inter-modal emotion dynamics, Section 4.2, and the rivals of Table 5: representations of all modalities -> one vector per turn.

Every fusion is a module with ``width`` and ``forward(r, mask) -> (vectors, gates)``: r holds (B, L, D) of each modality, vectors is
(N, width) for the N real turns, and gates holds z (N, D) of each pair of modalities, empty where there is no multi-modal gate.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erc_lib.layers import context_window_mask
from erc_lib.papers.dialogue_trm.config import DialogueTRMConfig
from erc_lib.papers.dialogue_trm.gate import Gates
from erc_lib.papers.dialogue_trm.intra import transformer


class MGIF(nn.Module):
    """Multi-grained interactive fusion: gates (eq. 7-14), then a Transformer over eCLS and the gated vectors (eq. 15, 16).

    ``representation=False`` concatenates the gated vectors; ``prototype=False`` gives the representations to the Transformer as they are
    (Section 5.4, the last two rows of Table 5).
    """

    def __init__(self, config: DialogueTRMConfig, *, prototype: bool = True, representation: bool = True) -> None:
        super().__init__()
        modalities, d = config.modalities, config.model_dim
        self.gates_of_pairs = Gates(config) if prototype else None
        vectors = len(modalities) * (len(modalities) - 1) if prototype else len(modalities)
        self.transformer, self.width = None, vectors * d
        if representation:
            self.transformer, self.width = transformer(config, config.inter_layers, config.inter_heads), d
            self.e_cls = nn.Parameter(torch.randn(d) * 0.02)  # BERT's initialisation of its own [CLS]

    def forward(self, r: dict[str, Tensor], mask: Tensor) -> tuple[Tensor, dict[tuple[str, str], Tensor]]:
        turns = {m: x[mask] for m, x in r.items()}
        vectors, gates = (list(turns.values()), {}) if self.gates_of_pairs is None else self.gates_of_pairs(turns)
        if self.transformer is None:
            return torch.cat(vectors, dim=-1), gates
        sequence = torch.stack([self.e_cls.expand_as(vectors[0]), *vectors], dim=1)  # M_i, eq. 15: (N, 1 + vectors, D)
        return self.transformer(sequence)[:, 0], gates  # o_i, eq. 16


class Simple(nn.Module):
    """additive: the sum of the modalities' vectors; max_pooling: the largest entry at each place; concatenation: side by side."""

    def __init__(self, config: DialogueTRMConfig) -> None:
        super().__init__()
        self.kind = config.fusion
        self.width = config.model_dim * (len(config.dims) if self.kind == "concatenation" else 1)

    def forward(self, r: dict[str, Tensor], mask: Tensor) -> tuple[Tensor, dict]:
        turns = torch.stack([x[mask] for x in r.values()], dim=1)  # (N, M, D)
        if self.kind == "concatenation":
            return turns.flatten(1), {}
        return (turns.sum(dim=1) if self.kind == "additive" else turns.amax(dim=1)), {}


class CompactBilinear(nn.Module):
    """Multimodal compact bilinear pooling (Fukui et al. 2016): the outer product of the vectors, sketched.

    The count sketch of an outer product is the circular convolution of the count sketches, that is, the product of their Fourier
    transforms; signed square root and L2 norm follow, as there. Three modalities multiply three transforms.
    """

    def __init__(self, config: DialogueTRMConfig) -> None:
        super().__init__()
        self.width = config.bilinear_dim
        for m in config.modalities:  # random, fixed, part of a checkpoint
            self.register_buffer(f"place_{m}", torch.randint(self.width, (config.model_dim,)))
            self.register_buffer(f"sign_{m}", 2.0 * torch.randint(2, (config.model_dim,)) - 1)

    def forward(self, r: dict[str, Tensor], mask: Tensor) -> tuple[Tensor, dict]:
        product = None
        for m, x in r.items():
            signed = x[mask].float() * getattr(self, f"sign_{m}")
            sketch = signed.new_zeros(len(signed), self.width).index_add(1, getattr(self, f"place_{m}"), signed)
            transform = torch.fft.rfft(sketch)
            product = transform if product is None else product * transform
        pooled = torch.fft.irfft(product, n=self.width)
        # sqrt has an infinite slope at 0; the small number keeps it finite there.
        return F.normalize(pooled.sign() * (pooled.abs() + 1e-8).sqrt(), dim=-1), {}


class GMU(nn.Module):
    r"""Gated multimodal unit (Arevalo et al. 2017).

    Two modalities: :math:`h = z * \tanh(W_1 x_1) + (1 - z) * \tanh(W_2 x_2)` with :math:`z = \sigma(Z [x_1; x_2])`. More:
    :math:`h = \sum_m \sigma(Z_m [x_1; ...; x_M]) * \tanh(W_m x_m)`, a gate for each modality and no trade-off between them.
    """

    def __init__(self, config: DialogueTRMConfig) -> None:
        super().__init__()
        d, names = config.model_dim, config.modalities
        self.width = d
        self.mappings = nn.ModuleDict({m: nn.Linear(d, d, bias=False) for m in names})
        gates = names[:1] if len(names) == 2 else names
        self.weights = nn.ModuleDict({m: nn.Linear(len(names) * d, d, bias=False) for m in gates})

    def forward(self, r: dict[str, Tensor], mask: Tensor) -> tuple[Tensor, dict]:
        turns = {m: x[mask] for m, x in r.items()}
        together = torch.cat(list(turns.values()), dim=-1)
        z = [torch.sigmoid(gate(together)) for gate in self.weights.values()]
        if len(z) == 1:
            z.append(1 - z[0])
        return sum(gate * torch.tanh(self.mappings[m](x)) for gate, (m, x) in zip(z, turns.items(), strict=True)), {}


class MulT(nn.Module):
    """Directional cross-modal attention (Tsai et al. 2019): every modality asks every other one over the turns of the window.

    For each target, one cross-modal layer per source (pre-norm attention from target to source, then feed-forward, as MulT's blocks), the
    results of a target side by side, a self-attention layer over them, all targets side by side. It forces *context-dependent* settings on
    all modalities, which Section 5.4 holds against it. Causal here, with the window of eq. 3, so that it can stand in this model.
    """

    def __init__(self, config: DialogueTRMConfig) -> None:
        super().__init__()
        d, names = config.model_dim, config.modalities
        self.window = config.context_window
        self.sources = {m: [s for s in names if s != m] for m in names}
        self.cross = nn.ModuleDict({f"{m}_{s}": CrossModal(config) for m in names for s in self.sources[m]})
        wide = (len(names) - 1) * d
        self.within = nn.ModuleDict(
            {
                m: nn.TransformerEncoderLayer(wide, config.inter_heads, config.feedforward, config.dropout, batch_first=True, norm_first=True)
                for m in names
            }
        )
        self.width = len(names) * wide

    def forward(self, r: dict[str, Tensor], mask: Tensor) -> tuple[Tensor, dict]:
        hidden = ~context_window_mask(mask.shape[1], self.window).to(mask.device)
        targets = []
        for m, sources in self.sources.items():
            x = torch.cat([self.cross[f"{m}_{s}"](r[m], r[s], hidden) for s in sources], dim=-1)
            targets.append(self.within[m](x, src_mask=hidden))
        return torch.cat(targets, dim=-1)[mask], {}


class CrossModal(nn.Module):
    """One block of MulT: x + attention(norm x, norm y), then x + feed-forward(norm x)."""

    def __init__(self, config: DialogueTRMConfig) -> None:
        super().__init__()
        d = config.model_dim
        self.norm_x, self.norm_y, self.norm = (nn.LayerNorm(d) for _ in range(3))
        self.attention = nn.MultiheadAttention(d, config.inter_heads, config.dropout, batch_first=True)
        self.feedforward = nn.Sequential(nn.Linear(d, config.feedforward), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.feedforward, d))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, y: Tensor, hidden: Tensor) -> Tensor:
        keys = self.norm_y(y)
        x = x + self.drop(self.attention(self.norm_x(x), keys, keys, attn_mask=hidden, need_weights=False)[0])
        return x + self.drop(self.feedforward(self.norm(x)))


def fusion(config: DialogueTRMConfig) -> nn.Module:
    """The module that ``config.fusion`` names."""
    if config.fusion in ("mgif", "without_representation", "without_prototype"):
        return MGIF(config, prototype=config.fusion != "without_prototype", representation=config.fusion != "without_representation")
    return {"bilinear": CompactBilinear, "gmu": GMU, "mult": MulT}.get(config.fusion, Simple)(config)
