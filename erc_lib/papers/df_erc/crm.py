"""Context refusion, Section 3.4: the more an utterance's modalities disagree, the more of its context is let in."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from erc_lib.layers import modality_consistency, padded
from erc_lib.losses import PrototypeBank
from erc_lib.papers.df_erc.config import DFERCConfig
from erc_lib.papers.df_erc.ddm import mlp


class ContextRefusion(nn.Module):
    """h^f (N, D) -> h^e (N, D'), eq. 17-22.

    refusion: context weighed by 1 - psi. full, zero: by 1, by 0 ("- CRM"). attention: a self-attention layer over the dialogue in place
    of the weighed context ("+ Att"). With one modality psi is undefined and context has its full weight.

    Attributes:
        bank: the prototypes of eq. 18, None where there is no refusion. epoch_over: whether the next update opens an epoch.
    """

    def __init__(self, config: DFERCConfig, width: int, widths: dict[str, int]) -> None:
        super().__init__()
        self.kind, self.weigh = config.context, config.weigh
        self.align = self.bank = None
        if config.context == "refusion":
            self.align = nn.ModuleDict({m: mlp(w, config.aligned_dim, config.aligned_dim) for m, w in widths.items()})  # MLP^r
            self.bank = PrototypeBank(config.classes, config.aligned_dim)
        self.per_epoch = config.prototypes == "epoch"
        self.register_buffer("epoch_over", torch.zeros((), dtype=torch.bool))  # in a checkpoint, so that a resumed run begins its epoch alike
        self.lstm = nn.LSTM(width, config.lstm_hidden, batch_first=True, bidirectional=True) if config.context != "attention" else None
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True) if config.context == "attention" else None
        self.width = width + (width if self.lstm is None else 2 * config.lstm_hidden)

    def train(self, mode: bool = True) -> ContextRefusion:
        """As of any module; a validation (``eval``) ends an epoch."""
        if not mode:
            self.epoch_over.fill_(True)
        return super().train(mode)

    def forward(self, h: Tensor, x: dict[str, Tensor], mask: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """h^f (N, D), t/a/v (N, D_m), mask (B, L) -> h^e (N, D'), psi (N,), aligned x (M, N, D_x); None where they do not exist."""
        aligned = None if self.align is None else torch.stack([self.align[m](y) for m, y in x.items()])  # eq. 17
        psi = modality_consistency(aligned) if aligned is not None and len(aligned) > 1 else None  # eq. 20
        weight = torch.ones_like(h[:, :1]) if psi is None else (1 - psi)[:, None]
        if self.kind == "zero":
            weight = torch.zeros_like(weight)
        before = h * weight if self.weigh == "input" else h  # footnote 1
        context = self._context(before, mask)  # eq. 21
        return torch.cat([h, context if self.weigh == "input" else context * weight], dim=-1), psi, aligned  # eq. 22

    def _context(self, h: Tensor, mask: Tensor) -> Tensor:
        turns = padded(h, mask)
        if self.lstm is None:
            return self.attention(turns, turns, turns, key_padding_mask=~mask, need_weights=False)[0][mask]
        packed = pack_padded_sequence(turns, mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1])[0][mask]

    @torch.no_grad()
    def remember(self, aligned: Tensor, labels: Tensor) -> None:
        """Takes a training batch into the prototypes (eq. 18)."""
        if self.per_epoch and bool(self.epoch_over):
            self.bank.reset()
        self.epoch_over.fill_(False)
        self.bank.update(aligned, labels)
