"""GRU_g and GRU_m, Sections 3.3.2 and 3.3.3: a gated recurrent unit as eq. 18-21 write it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from erc_lib.precision import in_float32


class GRU(nn.Module):
    r"""Gated recurrent unit over (B, T, D) from a zero state -> (B, T, H); causal, so padding at the end reaches nothing.

    .. math::
        up_k = \sigma(V_{up} x_k + W_{up} s_{k-1} + b_{up}),\quad r_k = \sigma(V_r x_k + W_r s_{k-1} + b_r), \\
        v_k = \tanh(V_h x_k + W_h (s_{k-1} \otimes r_k) + b_h),\quad s_k = (1 - up_k) \otimes v_k + up_k \otimes s_{k-1}

    Args:
        reset: "before": r multiplies the state before W_h does (eq. 20, Cho et al. 2014); "after": PyTorch's and cuDNN's order.
    """

    def __init__(self, input_dim: int, hidden_dim: int, *, reset: Literal["before", "after"] = "before") -> None:
        super().__init__()
        self.gru = nn.GRU(input_dim, hidden_dim, batch_first=True) if reset == "after" else None
        if self.gru is None:
            self.V = nn.Linear(input_dim, 3 * hidden_dim)  # the gates side by side: up, r, v
            self.W = nn.Linear(hidden_dim, 3 * hidden_dim, bias=False)
            for parameter in self.parameters():  # as PyTorch's GRU begins
                nn.init.uniform_(parameter, -(hidden_dim**-0.5), hidden_dim**-0.5)

    @in_float32
    def forward(self, x: Tensor) -> Tensor:
        if self.gru is not None:
            return self.gru(x)[0]
        hidden = self.W.in_features
        W_gates, W_h = (w.t() for w in self.W.weight.split([2 * hidden, hidden]))
        Vx_gates, Vx_h = self.V(x).split([2 * hidden, hidden], dim=-1)  # V x + b of all steps at once
        s, states = x.new_zeros(len(x), hidden), []
        for x_gates, x_h in zip(Vx_gates.unbind(1), Vx_h.unbind(1), strict=True):
            up, r = torch.sigmoid(torch.addmm(x_gates, s, W_gates)).chunk(2, dim=1)  # eq. 18, 19
            v = torch.tanh(torch.addmm(x_h, s * r, W_h))  # eq. 20
            s = torch.lerp(v, s, up)  # eq. 21
            states.append(s)
        return torch.stack(states, dim=1)
