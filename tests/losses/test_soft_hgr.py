from __future__ import annotations

import numpy as np
import pytest
import torch

from erc_lib.errors import ConfigError
from erc_lib.losses import soft_hgr_loss
from tests.losses.test_swfc import golden
from tests.reference import losses as slow


def views(n: int = 9, d: int = 4, count: int = 3, seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=g, dtype=torch.float64) + i for i in range(count)]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("variant", "reference"), [("paper", slow.soft_hgr), ("released", slow.soft_hgr_released)])
def test_equals_the_equation_read_sample_by_sample(count, variant, reference):
    fast, by_hand = ([v.clone().requires_grad_() for v in views(count=count)] for _ in range(2))
    loss, expected = soft_hgr_loss(fast, variant=variant), reference(by_hand)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    for a, b in zip(fast, by_hand, strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-9)


def test_equals_the_released_code_with_gradients():
    d = golden("softhgr.npz")
    for i in range(2):
        modalities = [torch.tensor(d[f"case{i}_f_{m}"], requires_grad=True) for m in "tav"]
        loss = soft_hgr_loss(modalities, variant="released")
        loss.backward()
        assert abs(loss.item() - float(d[f"case{i}_loss"])) < 1e-5
        for x, m in zip(modalities, "tav", strict=True):
            assert np.abs(x.grad.numpy() - d[f"case{i}_grad_f_{m}"]).max() < 1e-5


def test_a_case_by_hand():
    # q = (1, -1), v = (2, -2): E[qv] = 2, var(q) = 2, var(v) = 8 -> -(2 - 8) = 6
    q, v = torch.tensor([[1.0], [-1.0]]), torch.tensor([[2.0], [-2.0]])
    assert soft_hgr_loss([q, v]).item() == pytest.approx(6.0)
    # A shift changes nothing, for the views are centred.
    assert soft_hgr_loss([q + 5, v - 3]).item() == pytest.approx(6.0)


def test_agreeing_views_of_moderate_size_cost_less_than_unrelated_ones():
    x, _, other = views(n=200)
    x, other = 0.5 * (x - x.mean(0)), 0.5 * (other - other.mean(0))
    assert soft_hgr_loss([x, x]) < soft_hgr_loss([x, other]) - 0.3


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_gradcheck(variant):
    inputs = [v.requires_grad_() for v in views(5, 3)]
    assert torch.autograd.gradcheck(lambda *x: soft_hgr_loss(x, variant=variant), inputs)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_one_utterance_gives_a_finite_loss(variant):
    x = [v.requires_grad_() for v in views(1)]
    loss = soft_hgr_loss(x, variant=variant)
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(v.grad).all() for v in x)


def test_the_order_of_views_does_not_matter():
    a, b, c = views()
    for variant in ("paper", "released"):
        assert soft_hgr_loss([a, b, c], variant=variant).item() == pytest.approx(soft_hgr_loss([c, a, b], variant=variant).item(), rel=1e-12)


def test_bad_arguments_say_what_to_do():
    a, b, _ = views()
    with pytest.raises(ConfigError, match="at least two"):
        soft_hgr_loss([a])
    with pytest.raises(ConfigError, match="one shape"):
        soft_hgr_loss([a, b[:3]])
    with pytest.raises(ConfigError, match="unknown variant"):
        soft_hgr_loss([a, b], variant="mine")
