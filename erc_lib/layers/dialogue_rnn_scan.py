"""The same recurrence as ``DialogueRNNPass`` with "simple" attention, with its backward pass written out.

Autograd keeps some forty nodes per turn and adds every turn's share to each weight's gradient. Written out, a turn needs three matrix
products in each direction, and each weight's gradient is one product over all turns at the end. Tests hold the values and the gradients to
the readable loop in ``dialogue_rnn.py``, which stays the definition.

Symbols: a GRU's gates r, z and candidate n; "in" is what the input contributes to them, "hid" what the state does.
M_t is the largest score before turn t; sums of exp(score) are kept relative to exp(M_t), so that they never overflow.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class DialogueScan(Function):
    """(from_g, from_p, before, real, weights ...) -> q_s of every turn (L, B, H).

    Args (of ``apply``):
        from_g, from_p: (L, B, 3H), what the utterances contribute to the gates of GRU_g and GRU_p, input biases included.
        before: LongTensor (L, B), 1 + the turn at which this turn's speaker spoke last, 0 = never.
        real: BoolTensor (L, B, 1); a padded turn leaves its speaker's state as it is.
        w_gq, w_gg, b_g: GRU_g's weights for q (3H, H) and g (3H, H), and its hidden bias (3H,).
        w_pc, w_pq, b_p: GRU_p's weights for c and q, and its hidden bias.
        w_s: (1, H), the attention's scores.
    """

    @staticmethod
    def forward(ctx, from_g, from_p, before, real, w_gq, w_gg, b_g, w_pc, w_pq, b_p, w_s):
        length, batch, three = from_g.shape
        h = three // 3
        rows = torch.arange(batch, device=from_g.device)
        from_q = torch.cat([w_gq, w_pq]).T  # q enters GRU_g as an input and GRU_p as the state: one product for both
        to_gg, to_pc = w_gg.T, w_pc.T
        spoken = from_g.new_zeros(length + 1, batch, h)  # [0]: the state of who has not spoken
        g = from_g.new_zeros(length + 1, batch, h)
        c, q = from_g.new_zeros(length, batch, h), from_g.new_empty(length, batch, h)
        gates = [from_g.new_empty(length, batch, 4 * h) for _ in range(2)]  # r, z, n, and the state's part of n
        score = from_g.new_empty(length, batch, 1)
        top, weight = from_g.new_empty(length + 1, batch, 1), from_g.new_zeros(length + 1, batch, 1)
        summed = from_g.new_zeros(batch, h)
        for t in range(length):
            torch.index_select(spoken.flatten(0, 1), 0, before[t] * batch + rows, out=q[t])
            both = q[t] @ from_q
            _gru_forward(from_g[t] + both[:, :three], torch.addmm(b_g, g[t], to_gg), g[t], gates[0][t], g[t + 1])
            if t:
                torch.div(summed, weight[t], out=c[t])
            _gru_forward(torch.addmm(from_p[t], c[t], to_pc), both[:, three:] + b_p, q[t], gates[1][t], spoken[t + 1])
            torch.where(real[t], spoken[t + 1], q[t], out=spoken[t + 1])
            score[t] = g[t + 1] @ w_s.T
            if t == 0:
                top[1], weight[1], summed = score[0], 1.0, g[1].clone()
            else:
                torch.maximum(top[t], score[t], out=top[t + 1])
                old, new = (top[t] - top[t + 1]).exp_(), (score[t] - top[t + 1]).exp_()
                weight[t + 1] = weight[t] * old + new
                summed = torch.addcmul(summed * old, new, g[t + 1])
        ctx.save_for_backward(before, real, w_gq, w_gg, w_pc, w_pq, w_s, g, c, q, *gates, score, top, weight)
        return spoken[1:].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):
        before, real, w_gq, w_gg, w_pc, w_pq, w_s, g, c, q, gates_g, gates_p, score, top, weight = ctx.saved_tensors
        length, batch, h = q.shape
        rows = torch.arange(batch, device=q.device)
        to_q = torch.cat([w_gq, w_pq])
        d_spoken = torch.cat([q.new_zeros(1, batch, h), d_out])  # gathers what later turns of the same speaker send back
        flat = d_spoken.flatten(0, 1)
        d_in_g, d_hid_g, d_in_p, d_hid_p = (q.new_empty(length, batch, 3 * h) for _ in range(4))
        d_score = q.new_zeros(length, batch, 1)
        d_g = q.new_zeros(batch, h)  # of g_t, from g_{t+1}
        # Sums over the later turns t' of dc / Z and (c . dc) / Z, relative to exp(M): every attention weight's share at once.
        sum_dc, sum_cdc = q.new_zeros(batch, h), q.new_zeros(batch, 1)
        for t in range(length - 1, -1, -1):
            # g_t is read by the contexts of later turns: dL/dg_t = exp(s_t) sum_dc + dL/ds_t w_s
            if t + 1 < length:
                e = (score[t] - top[t + 1]).exp_()
                d_score[t] = e * ((g[t + 1] * sum_dc).sum(1, keepdim=True) - sum_cdc)
                d_g = torch.addcmul(d_g, e, sum_dc) + d_score[t] * w_s
            d_state = torch.where(real[t], d_spoken[t + 1], 0)
            d_q = _gru_backward(d_state, gates_p[t], q[t], d_in_p[t], d_hid_p[t])
            d_q = torch.where(real[t], d_q, d_spoken[t + 1])
            d_c = d_in_p[t] @ w_pc
            if t:
                shrink = (top[t] - top[t + 1]).exp_() if t + 1 < length else None
                if shrink is not None:
                    sum_dc, sum_cdc = sum_dc * shrink, sum_cdc * shrink
                sum_dc = sum_dc + d_c / weight[t]
                sum_cdc = sum_cdc + (c[t] * d_c).sum(1, keepdim=True) / weight[t]
            d_g = _gru_backward(d_g, gates_g[t], g[t], d_in_g[t], d_hid_g[t]).addmm_(d_hid_g[t], w_gg)
            d_q = torch.addmm(d_q, torch.cat([d_in_g[t], d_hid_p[t]], 1), to_q)
            flat.index_add_(0, before[t] * batch + rows, d_q)

        def product(left: Tensor, right: Tensor) -> Tensor:
            return left.flatten(0, 1).T @ right.flatten(0, 1)

        return (
            d_in_g, d_in_p, None, None, product(d_in_g, q), product(d_hid_g, g[:-1]), d_hid_g.sum((0, 1)),
            product(d_in_p, c), product(d_hid_p, q), d_hid_p.sum((0, 1)), product(d_score, g[1:]),
        )  # fmt: skip


def _gru_forward(inputs: Tensor, hidden: Tensor, state: Tensor, gates: Tensor, out: Tensor) -> None:
    """Writes the next state (B, H) to ``out`` and r, z, n and the state's part of n to ``gates`` (B, 4H)."""
    h = state.shape[1]
    rz, n = gates[:, : 2 * h], gates[:, 2 * h : 3 * h]
    torch.add(inputs[:, : 2 * h], hidden[:, : 2 * h], out=rz)
    rz.sigmoid_()
    gates[:, 3 * h :] = hidden[:, 2 * h :]
    torch.addcmul(inputs[:, 2 * h :], rz[:, :h], hidden[:, 2 * h :], out=n)
    n.tanh_()
    torch.lerp(n, state, rz[:, h:], out=out)


def _gru_backward(d_next: Tensor, gates: Tensor, state: Tensor, d_in: Tensor, d_hid: Tensor) -> Tensor:
    """Writes the gradients of the gates' inputs to ``d_in`` and ``d_hid`` (B, 3H); returns the state's own share z * d_next."""
    h = state.shape[1]
    r, z, n, hidden_n = gates.split(h, dim=1)
    d_n = d_next * (1 - z) * (1 - n * n)
    d_in[:, 2 * h :] = d_n
    torch.mul(d_n, r, out=d_hid[:, 2 * h :])
    d_hid[:, :h] = d_n * hidden_n * r * (1 - r)
    d_hid[:, h : 2 * h] = d_next * (state - n) * z * (1 - z)
    d_in[:, : 2 * h] = d_hid[:, : 2 * h]
    return d_next * z
