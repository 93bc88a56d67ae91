from __future__ import annotations

import math

import pytest
import torch

from erc_lib.errors import ConfigError
from erc_lib.losses import dual_level_contrastive_loss
from tests.reference import df_erc as slow

LEVELS = ("modality", "utterance")


def vectors(m: int, n: int, d: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(m, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("m", "n"), [(3, 7), (3, 2), (2, 5), (3, 1), (1, 4)])
def test_against_the_loop(level, m, n):
    views = vectors(m, n)
    expected = slow.dual_level_contrastive_loss(views, level=level, temperature=0.5)
    assert dual_level_contrastive_loss(views, level=level, temperature=0.5).item() == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.parametrize("level", LEVELS)
def test_many_dialogues_in_one_pass_are_the_sum_of_each(level):
    views = vectors(3, 12).requires_grad_()
    groups = torch.tensor([4, 4, 1, 1, 1, 4, 9, 1, 4, 1, 1, 4])  # dialogues of 5, 6 and 1, in any order
    together = dual_level_contrastive_loss(views, level=level, temperature=0.3, groups=groups)
    apart = sum(slow.dual_level_contrastive_loss(views[:, groups == g], level=level, temperature=0.3) for g in (1, 4, 9))
    assert together.item() == pytest.approx(apart.item(), abs=1e-9)
    (one,), (other,) = torch.autograd.grad(together, views), torch.autograd.grad(apart, views)
    assert torch.allclose(one, other, atol=1e-9)


def test_by_hand():
    """Two modalities, two utterances, four orthogonal unit vectors: every cosine is 0, so each of the 4 anchors has one positive of 3 rivals."""
    views = torch.eye(4, dtype=torch.float64).reshape(2, 2, 4)
    for level in LEVELS:
        assert dual_level_contrastive_loss(views, level=level, temperature=0.7).item() == pytest.approx(4 * math.log(3))
    # Two modalities that agree: an anchor's positive at the utterance level has cosine 1, its two rivals 0.
    agree = torch.stack([torch.eye(2, dtype=torch.float64)] * 2)
    expected = 4 * math.log((math.e**2 + 2) / math.e**2)
    assert dual_level_contrastive_loss(agree, level="utterance", temperature=0.5).item() == pytest.approx(expected)


@pytest.mark.parametrize(("level", "m", "n"), [("utterance", 1, 5), ("modality", 3, 1), ("modality", 1, 1), ("utterance", 1, 1)])
def test_no_positive_pair_is_zero_and_still_differentiable(level, m, n):
    views = vectors(m, n).requires_grad_()
    loss = dual_level_contrastive_loss(views, level=level, temperature=0.5)
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(views.grad).all() and (views.grad == 0).all()


@pytest.mark.parametrize("level", LEVELS)
def test_gradcheck(level):
    groups = torch.tensor([0, 1, 0, 1])
    views = vectors(2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: dual_level_contrastive_loss(v, level=level, temperature=0.4, groups=groups), (views,))


def test_each_level_pulls_its_own_together():
    """Vectors free to move end up where the level wants them."""
    for level in LEVELS:
        views = vectors(3, 4, 8).requires_grad_()
        optimizer = torch.optim.Adam([views], lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            dual_level_contrastive_loss(views, level=level, temperature=0.5).backward()
            optimizer.step()
        h = torch.nn.functional.normalize(views.detach(), dim=-1)
        same_modality = torch.einsum("mid,mjd->mij", h, h).mean().item()
        same_utterance = torch.einsum("mid,nid->imn", h, h).mean().item()
        assert (same_modality > same_utterance + 0.5) if level == "modality" else (same_utterance > same_modality + 0.5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"temperature": 0}, "above 0, not 0"), ({"temperature": -1.0}, "above 0"), ({"level": "word"}, "unknown level 'word'"), ({"views": torch.zeros(3, 4)}, "\\(M, N, D\\)")],
)
def test_bad_input(fields, words):
    given = {"views": vectors(3, 4), "level": "modality", "temperature": 0.5, **fields}
    with pytest.raises(ConfigError, match=words):
        dual_level_contrastive_loss(given.pop("views"), **given)


def test_half_precision_is_widened():
    views = vectors(3, 6).float()
    half = dual_level_contrastive_loss(views.bfloat16(), level="modality", temperature=0.5)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(dual_level_contrastive_loss(views, level="modality", temperature=0.5).item(), rel=0.02)
