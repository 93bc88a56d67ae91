"""The utterances of a batch side by side, with next to no padding, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# What one more group costs, in padded rows of the same time: a few calls per attention. Calls weigh more on an accelerator.
GROUP_COST = {"cpu": 12}
GROUP_COST_ELSEWHERE = 2000


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


class Packing:
    """The dialogues of a padded batch, sorted by length and laid one after another as rows (P, D), P a little more than the N utterances.

    Layers that treat every utterance alone (projections, norms, feed-forward networks) work on all rows at once. Attention needs whole
    dialogues: ``split`` gives them group by group as (dialogues, length, D), without a copy. Within a group shorter dialogues keep
    padded rows; what those hold is arbitrary and reaches no utterance.

    Args:
        mask: BoolTensor (B, L), True = a real utterance; real utterances come first in each row.

    Attributes:
        rows: P, how many rows there are.
        groups: in the order of the rows, longest dialogues first.
    """

    def __init__(self, mask: Tensor) -> None:
        self.batch, self.length = mask.shape
        device = mask.device
        lengths, order = mask.sum(dim=1).sort(descending=True, stable=True)
        cuts = _cut(lengths.tolist(), GROUP_COST.get(device.type, GROUP_COST_ELSEWHERE))
        self.groups, index, real = [], [], []
        for start, end in zip(cuts, cuts[1:], strict=False):
            longest = int(lengths[start])
            turn = torch.arange(longest, device=device)
            within = turn < lengths[start:end, None]
            index.append((order[start:end, None] * self.length + turn).flatten())
            real.append(within.flatten())
            key_mask = None if bool(within.all()) else torch.zeros(within.shape, device=device).masked_fill(~within, float("-inf"))
            self.groups.append(Group(end - start, longest, None if key_mask is None else key_mask[:, None, None, :]))
        self.index, real = torch.cat(index), torch.cat(real)  # where each row lies in the flattened batch
        self.rows = len(self.index)
        self.real = None if bool(real.all()) else real.nonzero()[:, 0]
        self.sizes = [g.dialogues * g.length for g in self.groups]

    def pack(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (P, D)"""
        return x.flatten(0, 1).index_select(0, self.index)

    def unpack(self, x: Tensor) -> Tensor:
        """(P, D) -> (B, L, D), zero where padded."""
        index = self.index
        if self.real is not None:
            x, index = x.index_select(0, self.real), index[self.real]
        return x.new_zeros(self.batch * self.length, x.shape[-1]).index_copy(0, index, x).unflatten(0, (self.batch, self.length))

    def split(self, x: Tensor) -> list[Tensor]:
        """(P, D) -> for each group (dialogues, length, D), views of the rows."""
        return [part.unflatten(0, (g.dialogues, g.length)) for part, g in zip(x.split(self.sizes), self.groups, strict=True)]

    def join(self, parts: list[Tensor]) -> Tensor:
        """What ``split`` gave -> (P, D)"""
        return torch.cat([part.flatten(0, 1) for part in parts]) if len(parts) > 1 else parts[0].flatten(0, 1)


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
