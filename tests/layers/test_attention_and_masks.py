from __future__ import annotations

import pytest
import torch

from erc_lib.errors import ConfigError
from erc_lib.layers import CrossAttention, context_window_mask, self_mask


def by_hand(layer: CrossAttention, x, keys, values, mask):
    """Eq. 2-4 for one dialogue, head by head and turn by turn."""
    heads, size = layer.heads, x.shape[-1] // layer.heads
    q, k, v = layer.query(x), layer.key(keys), layer.value(values)
    rows = []
    for t in range(len(x)):
        parts = []
        for h in range(heads):
            cut = slice(h * size, (h + 1) * size)
            allowed = [s for s in range(len(keys)) if mask is None or mask[s]]
            scores = torch.stack([q[t, cut] @ k[s, cut] / size**0.5 for s in allowed]).softmax(0)
            parts.append(sum(w * v[s, cut] for w, s in zip(scores, allowed, strict=True)))
        rows.append(layer.output(torch.cat(parts)))
    return torch.stack(rows)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_attention_head_by_head(bias, masked):
    torch.manual_seed(0)
    layer = CrossAttention(8, 2, bias=bias)
    x, keys, values = torch.randn(4, 8), torch.randn(5, 8), torch.randn(5, 8)
    mask = torch.tensor([True, True, False, True, False]) if masked else None
    result = layer(x[None], keys[None], values[None], None if mask is None else mask[None, None, None])
    assert torch.allclose(result[0], by_hand(layer, x, keys, values, mask), atol=1e-6)


def test_weights_are_those_the_forward_pass_uses():
    torch.manual_seed(0)
    layer = CrossAttention(8, 2)
    x, keys = torch.randn(1, 4, 8), torch.randn(1, 5, 8)
    mask = torch.tensor([[[[True, False, True, True, True]]]])
    weights = layer.weights(x, keys, mask)
    assert weights.shape == (1, 2, 4, 5) and torch.allclose(weights.sum(-1), torch.ones(1, 2, 4)) and (weights[..., 1] == 0).all()
    values = layer.value(keys).unflatten(-1, (2, 4)).transpose(1, 2)
    assert torch.allclose(layer.output((weights @ values).transpose(1, 2).flatten(2)), layer(x, keys, keys, mask), atol=1e-6)


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match="not divisible by 3 heads"):
        CrossAttention(8, 3)


def test_context_window_mask_by_hand():
    assert context_window_mask(4, 1).tolist() == [
        [True, False, False, False], [True, True, False, False], [False, True, True, False], [False, False, True, True],
    ]  # fmt: skip
    assert torch.equal(context_window_mask(5, 0), self_mask(5))
    assert torch.equal(context_window_mask(5, 9), torch.ones(5, 5).tril().bool())
    with pytest.raises(ConfigError, match="window"):
        context_window_mask(4, -1)
    with pytest.raises(ConfigError, match="length"):
        self_mask(0)
