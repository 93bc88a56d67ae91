"""Conversation memory, Section 3.3.3: a turn reads the global states of the conversation, several times over."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from erc_lib.layers import context_window_mask
from erc_lib.papers.dimmn.config import DIMMNConfig
from erc_lib.papers.dimmn.recurrent import GRU


class ConversationMemory(nn.Module):
    r"""R hops of reading (eq. 24-26), and between them a rewriting of the memories, M <- GRU_m(M), with one GRU_m for all.

    .. math::
        att^{(r)} = \mathrm{softmax}((M^{(r)})^T u_t^{(r)}),\quad m^{(r)} = M^{(r)} att^{(r)},\quad u_t^{(r+1)} = \tanh(m^{(r)} + u_t^{(r)})

    With ``memory_window`` every turn has a sequence of its own that GRU_m starts from zero: memory O(L W). Without, all turns of a dialogue
    share one, which they see up to themselves ("past"), up to the turn before ("before") or whole ("dialogue"), for the causal GRU_m makes
    the same of a beginning whatever follows: attention O(L^2), everything else O(L).
    """

    def __init__(self, config: DIMMNConfig) -> None:
        super().__init__()
        self.hops, self.reads, self.window = config.hops, config.memory, config.memory_window
        self.gru_m = GRU(config.model_dim, config.model_dim, reset=config.reset) if config.hops > 1 else None

    def forward(self, u: Tensor, s: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """u, s (B, L, D), mask (B, L) -> u^(R+1) (B, L, D), and att of each hop (R, B, L, S).

        S = L, columns are the turns whose states are read. With ``memory_window`` S is at most that: column j of turn t is the j-th of the
        memories it has, the oldest first.
        """
        if self.window is None:
            return self._read(u, s, self.visible(mask))
        b, length, d = u.shape
        turn = torch.arange(length, device=u.device)
        last = turn - int(self.reads == "before")  # turn t has the memories up to this one
        width = min(self.window, length)
        columns = (last - width + 1).clamp_min(0)[:, None] + turn[:width]  # (L, S)
        there = ((columns <= last[:, None]) & mask[:, :, None]).flatten(0, 1)[:, None]  # (B L, 1, S)
        memories = s[:, columns.clamp_max(length - 1)].flatten(0, 1)  # (B L, S, D)
        u, att = self._read(u.reshape(b * length, 1, d), memories, there)
        return u.reshape(b, length, d), att.reshape(self.hops, b, length, width)

    def visible(self, mask: Tensor) -> Tensor:
        """Bool (B, L, L): which memories a turn may read."""
        if self.reads == "dialogue":
            return mask[:, None, :].expand(-1, mask.shape[1], -1)
        seen = context_window_mask(mask.shape[1], mask.shape[1]).to(mask.device)
        if self.reads == "before":
            seen = seen & ~torch.eye(len(seen), dtype=torch.bool, device=mask.device)
        return seen & mask[:, None, :]

    def _read(self, u: Tensor, M: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """u (B, Q, D), M (B, S, D), seen (B, Q, S) -> u^(R+1) (B, Q, D) and att (R, B, Q, S); a turn that sees none reads zeros."""
        none = ~seen.any(dim=-1, keepdim=True)
        unseen = ~(seen | none)  # no softmax over an empty set: who sees none gets weights, and then zeros
        weights = []
        for hop in range(self.hops):
            if hop:
                M = self.gru_m(M)  # write
            att = (u @ M.transpose(1, 2)).masked_fill(unseen, float("-inf")).softmax(dim=-1).masked_fill(none, 0.0)  # eq. 24
            u = torch.tanh(att @ M + u)  # eq. 25, 26
            weights.append(att)
        return u, torch.stack(weights)
