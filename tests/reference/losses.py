"""Every loss as its equation reads, with loops over samples. Slow on purpose."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def swfc(z: Tensor, labels: Tensor, temperature: float, alpha: float, gamma: float, groups: Tensor | None = None) -> Tensor:
    """MultiEMO, eq. 18 and 19, anchor by anchor."""
    n = len(z)
    total = z.sum() * 0
    for j in range(n):
        weight = (n / sum(1 for y in labels if y == labels[j])) ** alpha
        total = total - weight * _anchor(z, labels, j, temperature, gamma, groups)
    return total


def swfc_released(z: Tensor, labels: Tensor, temperature: float, alpha: float, gamma: float, counts: Tensor) -> Tensor:
    """As the released code: normalised rows, weights of the training split, mean over anchors."""
    n = len(z)
    z = torch.stack([row / row.norm() for row in z])
    raw = [(float(counts.sum()) / float(c)) ** alpha for c in counts]
    total = z.sum() * 0
    for j in range(n):
        total = total - raw[int(labels[j])] / math.fsum(raw) * _anchor(z, labels, j, temperature, gamma)
    return total / n


def _anchor(z: Tensor, labels: Tensor, j: int, temperature: float, gamma: float, groups: Tensor | None = None) -> Tensor:
    """The mean over anchor j's positives in eq. 19, before its weight and sign; zero where it has none."""
    others = [g for g in range(len(z)) if g != j and (groups is None or groups[g] == groups[j])]
    positives = [g for g in others if labels[g] == labels[j]]
    inner = z.sum() * 0
    if not positives:
        return inner
    denominator = sum(torch.exp(z[j] @ z[s] / temperature) for s in others)
    for g in positives:
        s = torch.exp(z[j] @ z[g] / temperature) / denominator
        inner = inner + (1 - s) ** gamma * torch.log(s)
    return inner / len(positives)


def soft_hgr(views: list[Tensor]) -> Tensor:
    """MultiEMO, eq. 20 with Soft-HGR's sign, sample by sample."""
    total = views[0].sum() * 0
    for i in range(len(views)):
        for j in range(i + 1, len(views)):
            q, v = (x - x.mean(dim=0) for x in (views[i], views[j]))
            n = len(q)
            product = sum(q[k] @ v[k] for k in range(n)) / n
            cov_q = sum(torch.outer(q[k], q[k]) for k in range(n)) / (n - 1)
            cov_v = sum(torch.outer(v[k], v[k]) for k in range(n)) / (n - 1)
            total = total - (product - torch.trace(cov_q @ cov_v) / 2)
    return total


def soft_hgr_released(views: list[Tensor]) -> Tensor:
    """As the released code: N x N covariances over the feature dimensions, nothing centred, two further divisions by N."""
    total = views[0].sum() * 0
    n, d = views[0].shape
    for i in range(len(views)):
        for j in range(i + 1, len(views)):
            q, v = views[i], views[j]
            covs = []
            for x in (q, v):
                rows = [x[k] - x[k].mean() for k in range(n)]
                covs.append(torch.stack([torch.stack([rows[a] @ rows[b] / (d - 1) for b in range(n)]) for a in range(n)]))
            total = total - (sum(q[k] @ v[k] for k in range(n)) / n - torch.trace(covs[0] @ covs[1]) / (2 * n))
    return total / n
