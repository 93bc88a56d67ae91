"""DF-ERC's losses as obvious loops, one anchor and one utterance at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


def dual_level_contrastive_loss(views: Tensor, *, level: str, temperature: float) -> Tensor:
    """Eq. 3 or 5 over one dialogue, views (M, N, D)."""
    members = [(m, n, views[m, n]) for n in range(views.shape[1]) for m in range(views.shape[0])]
    total = views.new_zeros(())
    for i, (m, n, h) in enumerate(members):
        rivals = [torch.exp(cosine(h, other) / temperature) for j, (_, _, other) in enumerate(members) if j != i]
        for j, (m2, n2, other) in enumerate(members):
            same = m2 == m if level == "modality" else n2 == n
            if j != i and same:
                total = total - torch.log(torch.exp(cosine(h, other) / temperature) / sum(rivals))
    return total


def true_class_probability_losses(logits: Tensor, contributions: Tensor, labels: Tensor) -> tuple[float, float]:
    """Eq. 10-15 as numbers: L_p, L_q."""
    l_p = l_q = 0.0
    for m in range(len(logits)):
        for i, label in enumerate(labels.tolist()):
            odds = [math.exp(v) for v in logits[m, i].tolist()]
            true = odds[label] / sum(odds)
            l_p -= math.log(true)
            l_q += (true - contributions[m, i].item()) ** 2
    return l_p, l_q


def prototype_loss(prototypes: dict[int, Tensor], x: Tensor, labels: list[int], margin: float) -> float:
    """Eq. 19; a class without a prototype adds nothing."""
    total = 0.0
    for m in range(len(x)):
        for i, label in enumerate(labels):
            if label in prototypes:
                total += max(((prototypes[label] - x[m, i]) ** 2).mean().item() - margin, 0.0)
    return total / (len(x) * len(labels))
