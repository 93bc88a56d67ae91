"""DIMMN's equations as obvious loops: one turn, one speaker, one number at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def multiview(B_ta: Tensor, B_va: Tensor, weights: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, list]:
    """Eq. 1-16 of one turn. B_ta, B_va (d, 2); ``weights``: (W_ta, w_ta, W_va, w_va) of each level -> F_ta, F_va (d,), attention by level."""
    seen = []
    for W_ta, w_ta, W_va, w_va in weights:
        att_ta = torch.softmax(w_ta @ torch.tanh(W_ta @ B_ta), dim=0)
        att_va = torch.softmax(w_va @ torch.tanh(W_va @ B_va), dim=0)
        seen.append((att_ta, att_va))
        F_ta, F_va = B_ta @ att_ta, B_va @ att_va
        f_ta, f_va = B_ta @ att_va, B_va @ att_ta
        B_ta, B_va = torch.stack([F_ta, f_ta], dim=1), torch.stack([F_va, f_va], dim=1)
    return F_ta, F_va, seen


def tcn(turns: list[Tensor], blocks: list[tuple[int, list[tuple[Tensor, Tensor]]]]) -> list[Tensor]:
    """One speaker's turns (d,), in order, through blocks of (dilation, [(weight (d, d, K), bias (d,))])."""
    for dilation, convolutions in blocks:
        y = turns
        for weight, bias in convolutions:
            size = weight.shape[-1]
            out = []
            for t in range(len(y)):
                total = bias.clone()
                for k in range(size):
                    back = t - (size - 1 - k) * dilation
                    if back >= 0:
                        total = total + weight[:, :, k] @ y[back]
                out.append(torch.relu(total))
            y = out
        turns = [torch.relu(x + z) for x, z in zip(turns, y, strict=True)]
    return turns


def gru(xs: list[Tensor], V: Tensor, b: Tensor, W: Tensor) -> list[Tensor]:
    """Eq. 18-21 from a zero state; rows of V (3H, D), b (3H,), W (3H, H): update, reset, candidate."""
    (V_up, V_r, V_h), (b_up, b_r, b_h), (W_up, W_r, W_h) = V.chunk(3), b.chunk(3), W.chunk(3)
    s, states = torch.zeros(W.shape[1], dtype=V.dtype), []
    for x in xs:
        up = torch.sigmoid(V_up @ x + W_up @ s + b_up)
        r = torch.sigmoid(V_r @ x + W_r @ s + b_r)
        v = torch.tanh(V_h @ x + W_h @ (s * r) + b_h)
        s = (1 - up) * v + up * s
        states.append(s)
    return states


def memory(u: Tensor, M: list[Tensor], hops: int, write) -> tuple[Tensor, list[Tensor]]:
    """Eq. 24-26 of one turn: u (d,), its memories, ``write`` what GRU_m makes of a list of them -> u^(R+1), weights of each hop."""
    seen = []
    for hop in range(hops):
        if hop and M:
            M = write(M)
        if not M:
            u = torch.tanh(u)
            seen.append(torch.zeros(0))
            continue
        att = torch.softmax(torch.stack([m @ u for m in M]), dim=0)
        u = torch.tanh(sum(a * m for a, m in zip(att, M, strict=True)) + u)
        seen.append(att)
    return u, seen
