"""DialogueRNN for one dialogue, turn by turn, with a dictionary of parties. Slow on purpose."""

from __future__ import annotations

import torch
from torch import Tensor

from erc_lib.layers.dialogue_rnn import DialogueRNNPass


def one_direction(model: DialogueRNNPass, x: Tensor, speakers: list[int]) -> Tensor:
    """x (L, D) -> e (L, H)."""
    zero = x.new_zeros(1, model.hidden_dim)
    g, e, parties, history, states = zero, zero, {}, [], []
    for u, speaker in zip(x, speakers, strict=True):
        u = u[None]
        q = parties.get(speaker, zero)
        if history:
            past = torch.cat(history)
            scores = model.score(past)[:, 0] if model.attention == "simple" else model.score(past) @ u[0]
            c = torch.softmax(scores, dim=0)[None] @ past
        else:
            c = zero
        g = model.g_cell(torch.cat([u, q], dim=1), g)
        parties[speaker] = model.p_cell(torch.cat([u, c], dim=1), q)
        e = model.e_cell(parties[speaker], e)
        history.append(g)
        states.append(e)
    return torch.cat(states)
