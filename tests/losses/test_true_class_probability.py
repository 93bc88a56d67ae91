from __future__ import annotations

import math

import pytest
import torch

from erc_lib.errors import ConfigError
from erc_lib.losses import true_class_probability_losses
from tests.reference import df_erc as slow


def case(m=3, n=5, c=4):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(m, n, c, generator=g, dtype=torch.float64).requires_grad_()
    contributions = torch.rand(m, n, generator=g, dtype=torch.float64).requires_grad_()
    return logits, contributions, torch.randint(c, (n,), generator=g)


def test_against_the_loop():
    logits, contributions, labels = case()
    found = true_class_probability_losses(logits, contributions, labels)
    assert [x.item() for x in found] == pytest.approx(slow.true_class_probability_losses(logits, contributions, labels), abs=1e-9)


def test_by_hand():
    """One modality, one utterance, two classes with odds 3 : 1."""
    logits = torch.tensor([[[math.log(3.0), 0.0]]])
    l_p, l_q = true_class_probability_losses(logits, torch.tensor([[0.25]]), torch.tensor([0]))
    assert l_p.item() == pytest.approx(-math.log(0.75)) and l_q.item() == pytest.approx(0.25)


def test_the_teacher_is_a_target_for_its_student():
    logits, contributions, labels = case()
    l_p, l_q = true_class_probability_losses(logits, contributions, labels)
    assert torch.autograd.grad(l_q, logits, allow_unused=True, retain_graph=True)[0] is None
    assert torch.autograd.grad(l_p, contributions, allow_unused=True)[0] is None
    assert (torch.autograd.grad(l_q, contributions)[0] != 0).any()


def test_gradcheck_of_each_by_its_own_input():
    logits, contributions, labels = case(2, 3, 3)
    assert torch.autograd.gradcheck(lambda x: true_class_probability_losses(x, contributions.detach(), labels)[0], (logits,))
    assert torch.autograd.gradcheck(lambda w: true_class_probability_losses(logits.detach(), w, labels)[1], (contributions,))


def test_no_utterance_is_zero():
    l_p, l_q = true_class_probability_losses(torch.zeros(3, 0, 4), torch.zeros(3, 0), torch.zeros(0, dtype=torch.long))
    assert l_p.item() == 0 and l_q.item() == 0


def test_bad_shapes():
    with pytest.raises(ConfigError, match="do not fit: \\(3, 5, 4\\), \\(3, 4\\), \\(5,\\)"):
        true_class_probability_losses(torch.zeros(3, 5, 4), torch.zeros(3, 4), torch.zeros(5, dtype=torch.long))
