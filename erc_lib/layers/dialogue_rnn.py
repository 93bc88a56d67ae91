"""DialogueRNN (Majumder et al. 2019): a conversation as global, party and emotion states, batched over dialogues."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erc_lib.errors import ConfigError
from erc_lib.layers.dialogue_rnn_scan import DialogueScan
from erc_lib.precision import in_float32


class DialogueRNN(nn.Module):
    r"""Context of every turn, forward only or joined with a pass over the reversed dialogue.

    Args:
        input_dim: width of the turns' features.
        hidden_dim: width of every state and of the output.
        bidirectional: also read each dialogue from its end (reversed within its own length) and join by ``linear``: 2H -> H.
        attention: see :class:`DialogueRNNPass`.
        emotion_attention: attend over all emotion states at the end (DialogueRNN's BiDialogueRNN+Att).
        dropout: on the states inside the recurrence, as the released code of MultiEMO places it.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        *,
        bidirectional: bool = False,
        attention: Literal["simple", "general"] = "simple",
        emotion_attention: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.from_start = DialogueRNNPass(input_dim, hidden_dim, attention=attention, dropout=dropout)
        self.from_end = DialogueRNNPass(input_dim, hidden_dim, attention=attention, dropout=dropout) if bidirectional else None
        self.linear = nn.Linear(2 * hidden_dim, hidden_dim) if bidirectional else None
        self.match = nn.Linear(hidden_dim, hidden_dim, bias=False) if emotion_attention else None

    def forward(self, x: Tensor, speakers: Tensor, mask: Tensor) -> Tensor:
        """x (B, L, D), speakers LongTensor (B, L), mask BoolTensor (B, L) -> (B, L, H). What padded turns hold reaches no real turn."""
        states = self.from_start(x, speakers, mask)
        if self.from_end is not None:
            order = reversal(mask)
            turned = self.from_end(_take(x, order), speakers.gather(1, order), mask)
            states = self.linear(torch.cat([states, _take(turned, order) * mask[..., None]], dim=-1))
        if self.match is not None:
            scores = self.match(states) @ states.transpose(1, 2)
            states = scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(dim=-1) @ states
        return states


class DialogueRNNPass(nn.Module):
    r"""One direction of DialogueRNN, from the first turn to the last.

    At turn t with utterance u, its speaker's state q_s and the global states G = g_0 ... g_{t-1} so far:

    .. math::
        g_t = GRU_g([u, q_s], g_{t-1}), \quad c_t = \mathrm{softmax}(score(G))\, G, \quad
        q_s \leftarrow GRU_p([u, c_t], q_s), \quad e_t = GRU_e(q_s, e_{t-1})

    c is zero at the first turn, q of a party that has not spoken yet is zero, and the other parties' states stay as they are.
    One step per turn serves all dialogues: what u contributes to the gates is computed for every turn at once beforehand, and
    GRU_e, on which no other state depends, runs over the whole sequence afterwards.

    Args:
        input_dim: width of u.
        hidden_dim: width of g, q and e.
        attention: "simple": score(g) = w^T g (MultiEMO's released code); "general": score(g) = u_t^T W g (DialogueRNN's eq. 4).
        dropout: on g, q and e, inside the recurrence.

    Raises:
        ConfigError: an unknown attention.
    """

    def __init__(self, input_dim: int, hidden_dim: int, *, attention: Literal["simple", "general"] = "simple", dropout: float = 0.0) -> None:
        super().__init__()
        if attention not in ("simple", "general"):
            raise ConfigError(f"DialogueRNN: unknown attention {attention!r}; there are 'simple' and 'general'")
        self.hidden_dim, self.attention, self.dropout = hidden_dim, attention, dropout
        self.g_cell = nn.GRUCell(input_dim + hidden_dim, hidden_dim)
        self.p_cell = nn.GRUCell(input_dim + hidden_dim, hidden_dim)
        self.e_cell = nn.GRUCell(hidden_dim, hidden_dim)
        self.score = nn.Linear(hidden_dim, 1 if attention == "simple" else input_dim, bias=False)

    @in_float32
    def forward(self, x: Tensor, speakers: Tensor, mask: Tensor) -> Tensor:
        """x (B, L, D), speakers LongTensor (B, L), mask BoolTensor (B, L) -> emotion states e (B, L, H); padding changes no party."""
        if self.attention == "simple" and not (self.dropout and self.training):
            return self._emotions(self._scan(x, speakers, mask)).transpose(0, 1)
        return self._emotions(self._loop(x, speakers, mask)).transpose(0, 1)

    def _loop(self, x: Tensor, speakers: Tensor, mask: Tensor) -> Tensor:
        """The recurrence as it reads: q_s of every turn (L, B, H)."""
        batch, length, width = x.shape
        turns = x.transpose(0, 1)
        # What u contributes to both GRUs' gates, for all turns in one product each: (L, B, 3H).
        # unbind, not an index per step: the backward pass of an index would fill a zero tensor of all turns at every step.
        from_g, from_p = (F.linear(turns, cell.weight_ih[:, :width], cell.bias_ih).unbind() for cell in (self.g_cell, self.p_cell))
        w_gq, w_pc = self.g_cell.weight_ih[:, width:], self.p_cell.weight_ih[:, width:]
        rows, real, speaking = torch.arange(batch, device=x.device), mask.T[..., None].unbind(), speakers.T.unbind()
        parties = x.new_zeros(batch, int(speakers.max()) + 1, self.hidden_dim)
        g = x.new_zeros(batch, self.hidden_dim)
        history = _SimpleAttention(g) if self.attention == "simple" else _GeneralAttention(g)
        spoken = []
        for t, u in enumerate(turns.unbind()):
            q_s = parties[rows, speaking[t]]
            c = history.read(u)
            g = self._drop(_gru(from_g[t] + F.linear(q_s, w_gq), g, self.g_cell))
            q_new = self._drop(_gru(from_p[t] + F.linear(c, w_pc), q_s, self.p_cell))
            q_s = torch.where(real[t], q_new, q_s)
            spoken.append(q_s)
            parties = parties.index_put((rows, speaking[t]), q_s)
            history.add(g, self.score(g))
        return torch.stack(spoken)

    def _scan(self, x: Tensor, speakers: Tensor, mask: Tensor) -> Tensor:
        """The same values and gradients, faster: see :mod:`erc_lib.layers.dialogue_rnn_scan`."""
        width, turns = x.shape[2], x.transpose(0, 1)
        g, p = self.g_cell, self.p_cell
        from_g, from_p = (F.linear(turns, cell.weight_ih[:, :width], cell.bias_ih) for cell in (g, p))
        return DialogueScan.apply(
            from_g, from_p, previous_turn(speakers, mask).T + 1, mask.T[..., None], g.weight_ih[:, width:], g.weight_hh, g.bias_hh,
            p.weight_ih[:, width:], p.weight_hh, p.bias_hh, self.score.weight,
        )  # fmt: skip

    def _emotions(self, spoken: Tensor) -> Tensor:
        """q_s of every turn (L, B, H) -> e (L, B, H)."""
        cell = self.e_cell
        start = spoken.new_zeros(spoken.shape[1], self.hidden_dim)
        if not (self.dropout and self.training):
            weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
            return torch.gru(spoken, start[None], weights, True, 1, 0.0, self.training, False, False)[0]
        states, e = [], start
        for gates in F.linear(spoken, cell.weight_ih, cell.bias_ih).unbind():
            e = self._drop(_gru(gates, e, cell))
            states.append(e)
        return torch.stack(states)

    def _drop(self, state: Tensor) -> Tensor:
        return F.dropout(state, self.dropout, self.training) if self.dropout else state


class _SimpleAttention:
    """softmax(w^T g_i) g_i over the history as a running sum, so that a step costs the same however long the history is."""

    def __init__(self, zero: Tensor) -> None:
        self.zero, self.top = zero, None

    def add(self, g: Tensor, score: Tensor) -> None:
        if self.top is None:
            self.top, self.weight, self.sum = score.detach(), (score - score.detach()).exp(), None
            self.sum = self.weight * g
            return
        # The running maximum keeps exp() finite; it cancels in sum / weight, so no gradient flows through it.
        top = torch.maximum(self.top, score.detach())
        old, new = (self.top - top).exp(), (score - top).exp()
        self.weight, self.sum, self.top = self.weight * old + new, self.sum * old + new * g, top

    def read(self, u: Tensor) -> Tensor:
        return self.zero if self.top is None else self.sum / self.weight


class _GeneralAttention:
    """softmax(u_t^T W g_i) g_i over the history; O(L) per step."""

    def __init__(self, zero: Tensor) -> None:
        self.zero, self.states, self.keys = zero, [], []

    def add(self, g: Tensor, score: Tensor) -> None:
        self.states.append(g)
        self.keys.append(score)

    def read(self, u: Tensor) -> Tensor:
        if not self.states:
            return self.zero
        weights = (torch.stack(self.keys, dim=1) @ u[..., None]).softmax(dim=1)  # (B, t, 1)
        return (weights * torch.stack(self.states, dim=1)).sum(dim=1)


def _gru(from_input: Tensor, h: Tensor, cell: nn.GRUCell) -> Tensor:
    """One GRU step from gates already holding the input's part (B, 3H); the same formula as torch.nn.GRUCell."""
    r_in, z_in, n_in = from_input.chunk(3, dim=1)
    r_h, z_h, n_h = F.linear(h, cell.weight_hh, cell.bias_hh).chunk(3, dim=1)
    z = torch.sigmoid(z_in + z_h)
    n = torch.tanh(torch.addcmul(n_in, torch.sigmoid(r_in + r_h), n_h))
    return torch.lerp(n, h, z)


def previous_turn(speakers: Tensor, mask: Tensor) -> Tensor:
    """LongTensor (B, L): the turn at which the speaker of turn t spoke last before t, -1 = never. Padded turns count as nobody's."""
    length = speakers.shape[1]
    turn = torch.arange(length, device=speakers.device)
    earlier = (speakers[:, :, None] == speakers[:, None, :]) & mask[:, None, :] & (turn[:, None] > turn[None, :])
    return torch.where(earlier, turn, -1).amax(dim=2)


def reversal(mask: Tensor) -> Tensor:
    """LongTensor (B, L): position of the turn that comes t-th when each dialogue is read from its end; padding stays."""
    positions = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    return torch.where(mask, mask.sum(dim=1, keepdim=True) - 1 - positions, positions)


def _take(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order[..., None].expand_as(x))
