"""The Soft-HGR loss: correlated views (Wang et al. 2019), as MultiEMO uses it in Section 3.6, eq. 20."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from erc_lib.errors import ConfigError
from erc_lib.precision import in_float32


@in_float32
def soft_hgr_loss(views: Sequence[Tensor], *, variant: Literal["paper", "released"] = "paper") -> Tensor:
    r"""Rewards views of the same utterances for agreeing, without letting them grow or collapse.

    .. math::
        L = - \sum_{\{Q, V\}} \left( E[q^T v] - \tfrac12 \mathrm{tr}(\mathrm{cov}(Q)\, \mathrm{cov}(V)) \right) \quad (20)

    over the unordered pairs of views, each centred (E[Q] = 0), E the mean over samples, cov the D x D sample covariance (N - 1).
    Eq. 20 as printed has the trace outside the parentheses, where it would be *maximised*; this is the sign of Soft-HGR's own paper.

    Args:
        views: (N, D) each, at least two: the fused features of text, audio and visual.
        variant: "released" computes what the released code does: nothing is centred for the product, samples are taken as the
            variables of the covariance (N x N, over the D features), its trace is divided by a further N, and so is the loss.

    Returns:
        A scalar, computed from D x D (paper) or cross products of D x D size (released) matrices, never N x N ones:
        tr(cov_N(Q) cov_N(V)) of N x N matrices equals the squared Frobenius norm of the D x D matrix of row-centred products.

    Raises:
        ConfigError: fewer than two views, shapes that differ, or an unknown variant.
    """
    if len(views) < 2:
        raise ConfigError(f"soft_hgr_loss compares views: it needs at least two, not {len(views)}")
    if len({tuple(v.shape) for v in views}) > 1:
        raise ConfigError(f"soft_hgr_loss: views must have one shape (N, D), not {[tuple(v.shape) for v in views]}")
    n, d = views[0].shape
    if variant == "paper":
        # One utterance has no covariance; centred, its product is zero as well.
        centred = [v - v.mean(dim=0) for v in views]
        covariances = [v.T @ v / max(n - 1, 1) for v in centred]
        return -sum(
            (centred[i] * centred[j]).sum() / n - 0.5 * (covariances[i] * covariances[j]).sum()
            for i, j in combinations(range(len(views)), 2)
        )
    if variant != "released":
        raise ConfigError(f"soft_hgr_loss: unknown variant {variant!r}; there are 'paper' and 'released'")
    loss = torch.zeros((), dtype=views[0].dtype, device=views[0].device)
    by_row = [v - v.mean(dim=1, keepdim=True) for v in views]
    for i, j in combinations(range(len(views)), 2):
        product = (views[i] * views[j]).sum() / n
        # With Q, V row-centred: tr(QQ^T VV^T) = |Q^T V|_F^2, which is D x D instead of N x N.
        trace = (by_row[i].T @ by_row[j]).square().sum() / max(d - 1, 1) ** 2
        loss = loss - (product - 0.5 * trace / n)
    return loss / n
