"""The utterances of a batch side by side, with next to no padding, and back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

# What one more group costs, in padded rows of the same time: a few calls per attention. Calls weigh more on an accelerator.
GROUP_COST = {"cpu": 12}
GROUP_COST_ELSEWHERE = 2000
# Rows of one part: on a CPU enough for its matrix products, and few enough that what a layer leaves behind stays small.
PART_ROWS = {"cpu": 1024}


@dataclass(frozen=True)
class Group:
    """Dialogues of similar length, padded to the longest of them.

    Attributes:
        dialogues: how many.
        length: of the longest.
        key_mask: additive, for attention over keys: (dialogues, 1, 1, length), -inf at padding. None where nothing is padded, which is faster.
    """

    dialogues: int
    length: int
    key_mask: Tensor | None


@dataclass(frozen=True)
class Part:
    """Some groups, one after another: the utterances that go through a layer together.

    Layers that treat every utterance alone (projections, norms, feed-forward networks) work on all rows at once. Attention needs whole
    dialogues: ``split`` gives them group by group, without a copy. What padded rows hold is arbitrary and reaches no utterance.
    """

    groups: tuple[Group, ...]

    @property
    def sizes(self) -> list[int]:
        """Rows of each group."""
        return [g.dialogues * g.length for g in self.groups]

    @property
    def rows(self) -> int:
        """Rows of all groups, P."""
        return sum(self.sizes)

    def split(self, x: Tensor) -> list[Tensor]:
        """(P, D) -> for each group (dialogues, length, D), views of the rows."""
        return [rows.unflatten(0, (g.dialogues, g.length)) for rows, g in zip(x.split(self.sizes), self.groups, strict=True)]

    def join(self, groups: list[Tensor]) -> Tensor:
        """What ``split`` gave -> (P, D)"""
        return torch.cat([x.flatten(0, 1) for x in groups]) if len(groups) > 1 else groups[0].flatten(0, 1)


class Packing:
    """The dialogues of a padded batch, sorted by length and laid one after another as rows, little more than there are utterances.

    Args:
        mask: BoolTensor (B, L), True = a real utterance; real utterances come first in each row.

    Attributes:
        parts: the rows in portions, longest dialogues first. No dialogue lies in two of them, so each can go its way alone.
    """

    def __init__(self, mask: Tensor) -> None:
        self.batch, self.length = mask.shape
        device = mask.device
        lengths, order = mask.sum(dim=1).sort(descending=True, stable=True)
        cuts = _cut(lengths.tolist(), GROUP_COST.get(device.type, GROUP_COST_ELSEWHERE))
        groups, index, real = [], [], []
        for start, end in pairwise(cuts):
            longest = int(lengths[start])
            turn = torch.arange(longest, device=device)
            within = turn < lengths[start:end, None]
            index.append((order[start:end, None] * self.length + turn).flatten())
            real.append(within.flatten())
            mask_of_keys = torch.zeros(within.shape, device=device).masked_fill(~within, float("-inf"))[:, None, None, :]
            groups.append(Group(end - start, longest, None if bool(within.all()) else mask_of_keys))
        self.parts = _portion(groups, PART_ROWS.get(device.type))
        self._index, real = torch.cat(index), torch.cat(real)  # where each row lies in the flattened batch
        self._real = None if bool(real.all()) else real.nonzero()[:, 0]

    def pack(self, x: Tensor) -> list[Tensor]:
        """(B, L, D) -> for each part (P, D)"""
        return list(x.flatten(0, 1).index_select(0, self._index).split([p.rows for p in self.parts]))

    def unpack(self, parts: list[Tensor]) -> Tensor:
        """For each part (P, D) -> (B, L, D), zero where padded."""
        x, index = torch.cat(parts), self._index
        if self._real is not None:
            x, index = x.index_select(0, self._real), index[self._real]
        return x.new_zeros(self.batch * self.length, x.shape[-1]).index_copy(0, index, x).unflatten(0, (self.batch, self.length))


def padded(x: Tensor, mask: Tensor) -> Tensor:
    """(N, D) of the real utterances, as ``x[mask]`` gives them -> (B, L, D), zero where padded."""
    return x.new_zeros(*mask.shape, x.shape[-1]).masked_scatter(mask[..., None], x)


def _portion(groups: list[Group], rows: int | None) -> list[Part]:
    """Groups, in order, in parts of at most ``rows`` rows where that can be (None: all together)."""
    parts: list[list[Group]] = []
    for group in groups:
        if not parts or (rows is not None and Part((*parts[-1], group)).rows > rows):
            parts.append([])
        parts[-1].append(group)
    return [Part(tuple(p)) for p in parts]


def _cut(lengths: list[int], group_cost: int) -> list[int]:
    """Where to cut lengths (longest first) into groups, so that the rows, with ``group_cost`` for each group, are fewest."""
    # Dynamic programming: cost[j] is the least for the first j dialogues, start[j] where their last group begins.
    changes = [i for i, n in enumerate(lengths) if i == 0 or n != lengths[i - 1]]  # a cut between equal lengths saves nothing
    cost, start = {0: 0}, {}
    for end in [*changes[1:], len(lengths)]:
        cost[end], start[end] = min((cost[s] + (end - s) * lengths[s] + group_cost, s) for s in changes if s < end)
    cuts = [len(lengths)]
    while cuts[-1]:
        cuts.append(start[cuts[-1]])
    return cuts[::-1]
