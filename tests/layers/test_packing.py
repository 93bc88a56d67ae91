from __future__ import annotations

import torch

from erc_lib.layers import CrossAttention, Packing

MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_packing_and_back_by_hand():
    x = torch.arange(12.0).reshape(2, 3, 2)
    packed = Packing(MASK).pack(x)
    assert packed.tolist() == [[0, 1], [2, 3], [6, 7]]
    assert Packing(MASK).unpack(packed).tolist() == [[[0, 1], [2, 3], [0, 0]], [[6, 7], [0, 0], [0, 0]]]
    whole = Packing(torch.ones_like(MASK))
    assert torch.equal(whole.unpack(whole.pack(x)), x) and whole.key_mask is None


def test_packed_attention_equals_padded_attention_with_gradients():
    torch.manual_seed(0)
    layer, packing = CrossAttention(8, 2), Packing(MASK)
    x, keys = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 3, 8)
    padded = layer(x, keys, keys, MASK[:, None, None, :])[MASK]
    packed = layer.packed(packing.pack(x), layer.key(keys), layer.value(keys), packing)
    assert torch.allclose(padded, packed, atol=1e-6)
    one, other = (torch.autograd.grad(y.square().sum(), x, retain_graph=True)[0] for y in (padded, packed))
    assert torch.allclose(one, other, atol=1e-5)
