from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from erc_lib.errors import ConfigError
from erc_lib.losses import swfc_loss
from tests.reference import losses as slow

SETTINGS = [(0.8, 0.8, 2.0), (0.3, 0.0, 0.0), (1.4, 1.2, 0.5), (0.5, 1.1, 2.4)]


def sample(n: int = 14, d: int = 5, classes: int = 4, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=torch.float64), torch.randint(classes, (n,), generator=g)


def golden(name: str) -> dict:
    for folder in (os.environ.get("ERC_GOLDEN"), Path(__file__).resolve().parents[3] / "shared" / "golden"):
        if folder and (Path(folder) / name).exists():
            return dict(np.load(Path(folder) / name))
    pytest.skip("values computed with the released code are not on this machine: set ERC_GOLDEN to their folder")


@pytest.mark.parametrize(("temperature", "alpha", "gamma"), SETTINGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_equation_read_anchor_by_anchor(temperature, alpha, gamma, seed):
    z, labels = sample(seed=seed)
    fast, by_hand = z.clone().requires_grad_(), z.clone().requires_grad_()
    loss = swfc_loss(fast, labels, temperature=temperature, alpha=alpha, gamma=gamma)
    expected = slow.swfc(by_hand, labels, temperature, alpha, gamma)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    assert torch.allclose(fast.grad, by_hand.grad, atol=1e-9)


@pytest.mark.parametrize(("temperature", "alpha", "gamma"), SETTINGS)
def test_the_released_variant_equals_its_loop(temperature, alpha, gamma):
    z, labels = sample()
    counts = torch.tensor([10, 3, 40, 7])
    loss = swfc_loss(z, labels, temperature=temperature, alpha=alpha, gamma=gamma, variant="released", class_counts=counts)
    assert loss.item() == pytest.approx(slow.swfc_released(z, labels, temperature, alpha, gamma, counts).item(), rel=1e-9)


def test_equals_the_released_code_with_gradients():
    d = golden("swfc_iemocap.npz")
    for i, case in enumerate(json.loads(str(d["config_json"]))["cases"]):
        z = torch.tensor(d[f"case{i}_features"], requires_grad=True)
        loss = swfc_loss(
            z, torch.tensor(d[f"case{i}_labels"]), temperature=case["temp_param"], alpha=case["sample_weight_param"],
            gamma=case["focus_param"], variant="released", class_counts=torch.tensor(d["class_counts"]),
        )
        loss.backward()
        assert abs(loss.item() - float(d[f"case{i}_loss"])) < 1e-5
        assert np.abs(z.grad.numpy() - d[f"case{i}_grad_features"]).max() < 1e-5


def test_a_case_by_hand():
    # Three unit vectors at tau = 1: anchors 0 and 1 share a label, 2 is alone. Similarities: 0.1 = 0, 0.2 = -1, 1.2 = 0.
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    s0 = 1 / (1 + math.exp(-1))  # exp(0) / (exp(0) + exp(-1))
    s1 = 1 / 2  # exp(0) / (exp(0) + exp(0))
    expected = -(3 / 2) ** 2 * ((1 - s0) * math.log(s0) + (1 - s1) * math.log(s1))
    loss = swfc_loss(z, torch.tensor([0, 0, 1]), temperature=1.0, alpha=2.0, gamma=1.0)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_groups_keep_pairs_within_a_dialogue():
    z, labels = sample()
    groups = torch.tensor([0] * 6 + [1] * 8)
    loss = swfc_loss(z, labels, temperature=0.8, alpha=0.8, gamma=2.0, groups=groups)
    assert loss.item() == pytest.approx(slow.swfc(z, labels, 0.8, 0.8, 2.0, groups).item(), rel=1e-9)
    assert loss.item() != pytest.approx(swfc_loss(z, labels, temperature=0.8, alpha=0.8, gamma=2.0).item(), rel=1e-3)


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("n", [1, 3])
def test_without_any_positive_pair_it_is_zero_and_differentiable(variant, n):
    z = torch.randn(n, 4, requires_grad=True)
    loss = swfc_loss(z, torch.arange(n), temperature=0.8, alpha=0.8, gamma=2.0, variant=variant, class_counts=torch.ones(n))
    loss.backward()
    assert loss.item() == 0 and torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_gradcheck(variant):
    z, labels = sample(7, 3, 3)
    z.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: swfc_loss(x, labels, temperature=0.8, alpha=0.8, gamma=2.0, variant=variant, class_counts=torch.tensor([4, 2, 9])), z
    )


def test_large_features_stay_finite():
    z, labels = sample()
    z = (z * 1e3).requires_grad_()
    loss = swfc_loss(z, labels, temperature=0.1, alpha=0.8, gamma=2.0)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()


def test_the_order_of_samples_does_not_matter():
    z, labels = sample()
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(3))
    settings = {"temperature": 0.8, "alpha": 0.8, "gamma": 2.0}
    assert swfc_loss(z[order], labels[order], **settings).item() == pytest.approx(swfc_loss(z, labels, **settings).item(), rel=1e-12)


def test_a_class_absent_from_training_has_no_infinite_weight():
    z, labels = sample()
    loss = swfc_loss(z, labels, temperature=0.8, alpha=1.0, gamma=2.0, variant="released", class_counts=torch.tensor([5, 0, 4, 4]))
    assert torch.isfinite(loss)


def test_bad_arguments_say_what_to_do():
    z, labels = sample()
    with pytest.raises(ConfigError, match="temperature must be positive"):
        swfc_loss(z, labels, temperature=0, alpha=1, gamma=1)
    with pytest.raises(ConfigError, match="class_counts"):
        swfc_loss(z, labels, temperature=1, alpha=1, gamma=1, variant="released")
    with pytest.raises(ConfigError, match="unknown variant"):
        swfc_loss(z, labels, temperature=1, alpha=1, gamma=1, variant="mine")
