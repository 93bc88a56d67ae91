from __future__ import annotations

import pytest
import torch

from erc_lib.errors import ConfigError
from erc_lib.losses import PrototypeBank
from tests.reference import df_erc as slow


def draw(n: int, seed: int, m: int = 3, d: int = 4) -> torch.Tensor:
    return torch.randn(m, n, d, generator=torch.Generator().manual_seed(seed))


def test_a_prototype_is_the_mean_of_all_its_vectors_whatever_the_batches():
    bank, labels = PrototypeBank(5, 4), [torch.tensor([0, 1, 1, 4]), torch.tensor([1, 0, 0]), torch.tensor([4])]
    xs = [draw(len(y), s) for s, y in enumerate(labels)]
    for x, y in zip(xs, labels, strict=True):
        bank.update(x, y)
    for k in (0, 1, 4):
        together = torch.cat([x[:, y == k].flatten(0, 1) for x, y in zip(xs, labels, strict=True)])
        assert torch.allclose(bank.prototypes[k], together.mean(0), atol=1e-6) and bank.counts[k] == len(together)
    assert (bank.prototypes[[2, 3]] == 0).all() and (bank.counts[[2, 3]] == 0).all()


def test_the_loss_against_the_loop_and_by_hand():
    bank = PrototypeBank(3, 2)
    bank.update(torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([0, 2]))
    x, labels = draw(6, 3, d=2), torch.tensor([0, 1, 2, 0, 2, 1])
    expected = slow.prototype_loss({0: bank.prototypes[0], 2: bank.prototypes[2]}, x, labels.tolist(), 0.1)
    assert bank.loss(x, labels, 0.1).item() == pytest.approx(expected, abs=1e-6)
    # (1, 0) against (1, 2): MSE 2, less the margin 0.5.
    assert bank.loss(torch.tensor([[[1.0, 2.0]]]), torch.tensor([0]), 0.5).item() == pytest.approx(1.5)
    assert bank.loss(torch.tensor([[[1.0, 0.5]]]), torch.tensor([0]), 0.5).item() == 0  # within the margin
    assert bank.loss(torch.tensor([[[1.0, 2.0]]]), torch.tensor([0]), 0.5, distance="sum").item() == pytest.approx(3.5)  # the squared distance 4


def test_an_unseen_class_has_no_prototype_and_no_loss_touches_it():
    bank = PrototypeBank(2, 4)
    bank.update(draw(3, 0), torch.tensor([0, 0, 0]))
    x = (10 * draw(2, 1)).requires_grad_()
    bank.loss(x, torch.tensor([1, 0]), 0.0).backward()
    assert (x.grad[:, 0] == 0).all() and (x.grad[:, 1] != 0).all()
    empty = PrototypeBank(2, 4).loss(x, torch.tensor([1, 0]), 0.0)
    assert empty.item() == 0 and empty.requires_grad


def test_gradients_flow_into_vectors_and_not_into_prototypes():
    bank = PrototypeBank(2, 3)
    x = draw(4, 2, d=3).requires_grad_()
    bank.update(x, torch.tensor([0, 1, 0, 1]))
    assert not bank.prototypes.requires_grad
    assert torch.autograd.gradcheck(lambda v: bank.double().loss(v.double(), torch.tensor([0, 1, 0, 1]), 0.05), (draw(4, 5, d=3).double().requires_grad_(),), eps=1e-4, atol=1e-3)


def test_prototypes_are_part_of_a_checkpoint():
    bank, other = PrototypeBank(2, 4), PrototypeBank(2, 4)
    bank.update(draw(3, 0), torch.tensor([0, 1, 0]))
    other.load_state_dict(bank.state_dict())
    for b in (bank, other):
        b.update(draw(2, 1), torch.tensor([1, 1]))
    assert torch.equal(bank.prototypes, other.prototypes) and torch.equal(bank.counts, other.counts) and not list(bank.parameters())
    bank.reset()
    assert (bank.prototypes == 0).all() and (bank.counts == 0).all()


@pytest.mark.parametrize(("call", "words"), [
    (lambda b: b.update(torch.zeros(3, 2, 5), torch.zeros(2, dtype=torch.long)), "width 4"),
    (lambda b: b.loss(torch.zeros(3, 2, 4), torch.zeros(3, dtype=torch.long), 0.1), "labels \\(N,\\)"),
    (lambda b: b.loss(torch.zeros(3, 2, 4), torch.zeros(2, dtype=torch.long), -0.1), "cannot be -0.1"),
    (lambda b: b.loss(torch.zeros(3, 2, 4), torch.zeros(2, dtype=torch.long), 0.1, distance="cosine"), "'mean' or 'sum', not 'cosine'"),
    (lambda b: PrototypeBank(0, 4), "at least one class"),
])  # fmt: skip
def test_bad_input(call, words):
    with pytest.raises(ConfigError, match=words):
        call(PrototypeBank(2, 4))
