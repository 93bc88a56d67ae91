from __future__ import annotations

import itertools

import pytest
import torch

from erc_lib.layers import CrossAttention, Packing
from erc_lib.layers import packing as module
from erc_lib.layers.packing import _cut

MASK = torch.tensor([[True, False, False], [True, True, True], [True, True, False]])


def test_packing_by_hand(monkeypatch):
    x = torch.arange(18.0).reshape(3, 3, 2)
    monkeypatch.setitem(module.GROUP_COST, "cpu", 0)  # a group for every length
    packing = Packing(MASK)
    (part,) = packing.parts
    assert [(g.dialogues, g.length, g.key_mask) for g in part.groups] == [(1, 3, None), (1, 2, None), (1, 1, None)]
    (packed,) = packing.pack(x)
    assert packed.tolist() == [[6, 7], [8, 9], [10, 11], [12, 13], [14, 15], [0, 1]]
    assert [group.shape for group in part.split(packed)] == [(1, 3, 2), (1, 2, 2), (1, 1, 2)]
    assert torch.equal(part.join(part.split(packed)), packed)
    assert packing.unpack([packed]).tolist() == [[[0, 1], [0, 0], [0, 0]], [[6, 7], [8, 9], [10, 11]], [[12, 13], [14, 15], [0, 0]]]


def test_parts_hold_as_many_rows_as_allowed(monkeypatch):
    x = torch.arange(18.0).reshape(3, 3, 2)
    monkeypatch.setitem(module.GROUP_COST, "cpu", 0)
    for rows, expected in ((6, [6]), (5, [5, 1]), (4, [3, 3]), (1, [3, 2, 1])):
        monkeypatch.setitem(module.PART_ROWS, "cpu", rows)
        packing = Packing(MASK)
        assert [part.rows for part in packing.parts] == [len(p) for p in packing.pack(x)] == expected
        assert torch.equal(packing.unpack(packing.pack(x)), x * MASK[..., None])


def test_similar_lengths_share_a_group():
    x = torch.arange(18.0).reshape(3, 3, 2)
    packing = Packing(MASK)  # 12 rows would be saved by no cut here
    (part,) = packing.parts
    (group,) = part.groups
    assert (group.dialogues, group.length, part.rows) == (3, 3, 9)
    assert torch.equal(group.key_mask.isfinite()[:, 0, 0], MASK[[1, 2, 0]])
    assert torch.equal(packing.unpack(packing.pack(x)), x * MASK[..., None])
    whole = Packing(torch.ones_like(MASK))
    assert torch.equal(whole.unpack(whole.pack(x)), x) and whole.parts[0].groups[0].key_mask is None


@pytest.mark.parametrize("seed", range(5))
def test_the_cut_is_the_best_of_all_cuts(seed):
    lengths = torch.randint(1, 30, (9,), generator=torch.Generator().manual_seed(seed)).sort(descending=True).values.tolist()

    def cost(cuts):
        return sum((b - a) * lengths[a] + 12 for a, b in itertools.pairwise(cuts))

    every = ([0, *inner, 9] for n in range(9) for inner in itertools.combinations(range(1, 9), n))
    cuts = _cut(lengths, 12)
    assert cuts[0] == 0 and cuts[-1] == 9 and cost(cuts) == min(map(cost, every))


def test_packed_attention_equals_padded_attention_with_gradients(monkeypatch):
    for group_cost, part_rows in ((0, 100), (0, 1), (2, 100), (100, 100)):
        monkeypatch.setitem(module.GROUP_COST, "cpu", group_cost)
        monkeypatch.setitem(module.PART_ROWS, "cpu", part_rows)
        torch.manual_seed(0)
        layer, packing = CrossAttention(8, 2), Packing(MASK)
        x, keys, values = (torch.randn(3, 3, 8, requires_grad=True) for _ in range(3))
        padded = layer(x, keys, values, MASK[:, None, None, :]) * MASK[..., None]
        parts = zip(packing.pack(x), packing.pack(keys), packing.pack(values), packing.parts, strict=True)
        packed = packing.unpack([layer.packed(*part) for part in parts])
        assert torch.allclose(padded, packed, atol=1e-6)
        one, other = (torch.autograd.grad(y.square().sum(), (x, keys, values)) for y in (padded, packed))
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))
