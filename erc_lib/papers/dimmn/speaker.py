"""Independent TCN, Section 3.3.1: every speaker's own turns, through one causal network that all speakers share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erc_lib.papers.dimmn.config import DIMMNConfig


class OwnTurns:
    """The turns of a batch regrouped: one row for each speaker of each dialogue, holding that speaker's turns in their order.

    ``gather`` and ``scatter`` are a copy by index each, however many speakers there are. All rows are as long as the longest, G T places: for a
    given number of speakers memory grows linearly with the length of dialogues. One who speaks half of the time among many who speak once
    is the worst case, in which it grows with the square.

    Args:
        speakers: LongTensor (B, L). mask: BoolTensor (B, L), True = a real turn.

    Attributes:
        rows: (dialogue, speaker) pairs, G. length: turns of the one who speaks most, T.
    """

    def __init__(self, speakers: Tensor, mask: Tensor) -> None:
        dialogue = torch.arange(len(mask), device=mask.device)[:, None].expand_as(mask)[mask]
        pair = dialogue * (int(speakers.max()) + 1) + speakers[mask]  # (N,): who, in which dialogue
        _, row, counts = torch.unique(pair, return_inverse=True, return_counts=True)
        order = torch.argsort(row, stable=True)  # turns of one row together, still in their order
        starts = counts.cumsum(0) - counts
        place = torch.empty_like(row)
        place[order] = torch.arange(len(row), device=row.device) - starts[row[order]]  # how many turns the speaker had before
        self.rows, self.length = len(counts), int(counts.max())
        self._index = row * self.length + place

    def gather(self, x: Tensor) -> Tensor:
        """x (N, D) of the real turns -> (G, T, D), zero after a speaker's last turn."""
        return x.new_zeros(self.rows * self.length, x.shape[-1]).index_copy(0, self._index, x).unflatten(0, (self.rows, self.length))

    def scatter(self, x: Tensor) -> Tensor:
        """x (G, T, D) -> (N, D), the turns in their places again."""
        return x.flatten(0, 1).index_select(0, self._index)


class TCN(nn.Module):
    """L residual blocks of causal convolutions with dilation 1, 2, 4, ... (Bai et al. 2018), (G, T, D) -> (G, T, D).

    A turn sees itself and earlier ones, :func:`receptive_field` of them.
    """

    def __init__(self, config: DIMMNConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config, dilation=2**i) for i in range(config.tcn_layers))

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)  # channels before time, as convolutions want it
        for block in self.blocks:
            x = block(x)
        return x.transpose(1, 2)


class Block(nn.Module):
    """x -> ReLU(x + convolutions(x)), each convolution followed by ReLU and dropout."""

    def __init__(self, config: DIMMNConfig, dilation: int) -> None:
        super().__init__()
        d, self.dilation = config.model_dim, dilation
        self.convolutions = nn.ModuleList(nn.Conv1d(d, d, config.kernel_size, dilation=dilation) for _ in range(config.tcn_convolutions))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for convolution in self.convolutions:
            y = self.drop(F.relu(self.causal(y, convolution)))
        return F.relu(x + y)

    def causal(self, x: Tensor, convolution: nn.Conv1d) -> Tensor:
        # Taps that reach back beyond the first turn of the longest row meet nothing but padding: they are left out, which changes no value.
        taps = min(convolution.kernel_size[0], 1 + (x.shape[-1] - 1) // self.dilation)
        x = F.pad(x, ((taps - 1) * self.dilation, 0))
        return F.conv1d(x, convolution.weight[..., -taps:], convolution.bias, dilation=self.dilation)


def receptive_field(kernel_size: int, layers: int, convolutions: int = 2) -> int:
    """Own turns that one output of the TCN can depend on, itself included: 1 + convolutions (K - 1) (2^L - 1)."""
    return 1 + convolutions * (kernel_size - 1) * (2**layers - 1)
