from __future__ import annotations

import torch

from erc_lib.precision import in_float32


@in_float32
def kinds(x, *, views):
    return [x.dtype, *(v.dtype for v in views), (torch.ones(2, 2) @ torch.ones(2, 2)).dtype, torch.is_autocast_enabled("cpu")]


def test_half_precision_is_widened_and_autocast_pauses():
    half, double = torch.ones(1, dtype=torch.bfloat16), torch.ones(1, dtype=torch.float64)
    assert kinds(half, views=(double, half)) == [torch.float32, torch.float64, torch.float32, torch.float32, False]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert kinds(half, views=[half]) == [torch.float32, torch.float32, torch.float32, False]
        assert torch.is_autocast_enabled("cpu")
