"""The sample-weighted focal contrastive loss (SWFC) of MultiEMO, Section 3.6, eq. 18 and 19."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from erc_lib.errors import ConfigError
from erc_lib.precision import in_float32

BLOCK = 2**20  # similarities held at once


@in_float32
def swfc_loss(
    z: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    alpha: float,
    gamma: float,
    variant: Literal["paper", "released"] = "paper",
    class_counts: Tensor | None = None,
    groups: Tensor | None = None,
) -> Tensor:
    r"""Pulls utterances of one emotion together and pushes all others apart, rare emotions harder.

    For an anchor j, with A_j all other samples and R_j those of them with the anchor's label,

    .. math::
        s_{j:g} = \frac{\exp(z_j^T z_g / \tau)}{\sum_{s \in A_j} \exp(z_j^T z_s / \tau)} \quad (18)

        L = - \sum_j w_{y_j} \frac{1}{|R_j|} \sum_{g \in R_j} (1 - s_{j:g})^\gamma \log s_{j:g} \quad (19)

    An anchor without a positive (R_j empty, where eq. 19 divides by zero) adds nothing.

    Args:
        z: (N, D) features of the batch's utterances, eq. 14.
        labels: LongTensor (N,).
        temperature: tau > 0.
        alpha: exponent of the class weights; 0 = no weights.
        gamma: focusing exponent >= 0; 0 = no focusing.
        variant: "paper": raw dot products, w_y = (N / n_y)^alpha with the batch's counts, the *sum* over anchors.
            "released": rows of z L2-normalised, w = (sum counts / counts)^alpha over ``class_counts``, then L1-normalised over
            the classes, the *mean* over all anchors (those without a positive included).
        class_counts: (C,) utterances per class of the training split; needed by "released" alone.
        groups: LongTensor (N,), for example the dialogue of each utterance: pairs are sought within a group alone. None = the whole batch.

    Returns:
        A scalar. Anchors are taken in blocks of about 2^20 similarities, so memory is O(N D), with some 20 MB for the block at hand; time is
        O(N^2 D). The gradient is computed together with the value (no second derivatives).

    Raises:
        ConfigError: a temperature that is not positive, or "released" without class counts.
    """
    if temperature <= 0:
        raise ConfigError(f"swfc_loss: the temperature must be positive, not {temperature}")
    if variant == "released":
        if class_counts is None:
            raise ConfigError("swfc_loss: variant 'released' weighs classes by the training split; pass class_counts=corpus.class_counts()")
        z = F.normalize(z, dim=1)
    elif variant != "paper":
        raise ConfigError(f"swfc_loss: unknown variant {variant!r}; there are 'paper' and 'released'")
    n = len(z)
    if variant == "paper":
        weights = (n / torch.bincount(labels)[labels].to(z.dtype)) ** alpha
    else:
        class_counts = torch.as_tensor(class_counts, dtype=z.dtype, device=z.device)
        # A class that the training split lacks gets no weight rather than an infinite one.
        raw = torch.where(class_counts > 0, (class_counts.sum() / class_counts.clamp_min(1)) ** alpha, 0.0)
        weights = (raw / raw.sum())[labels] / max(n, 1)

    def of_anchors(every: Tensor, start: int, stop: int) -> Tensor:
        """The terms of the anchors start ... stop - 1, summed."""
        anchors = torch.arange(start, stop, device=z.device)
        same = labels[anchors, None] == labels
        outside = anchors[:, None] == torch.arange(n, device=z.device)
        if groups is not None:
            outside |= groups[anchors, None] != groups
        positives = same & ~outside
        # The lowest finite number rather than -inf: a lone sample has no other to compare with, and must not become NaN.
        similarity = (every[start:stop] @ every.T / temperature).masked_fill(outside, torch.finfo(z.dtype).min)
        log_s = F.log_softmax(similarity, dim=1)
        terms = log_s
        if gamma:
            # (1 - s)^gamma has an unbounded slope at s = 1 when gamma < 1; the clamp keeps that slope finite.
            terms = (1 - log_s.exp()).clamp_min(torch.finfo(z.dtype).eps) ** gamma * log_s
        per_anchor = -terms.masked_fill(~positives, 0).sum(dim=1) / positives.sum(dim=1).clamp_min(1)
        return (weights[start:stop] * per_anchor).sum()

    return _SumOverBlocks.apply(z, of_anchors, max(BLOCK // max(n, 1), 1))


class _SumOverBlocks(torch.autograd.Function):
    """A sum over anchors, block by block: each block's gradient is taken at once, so that no two blocks are in memory together."""

    @staticmethod
    def forward(ctx, z: Tensor, of_anchors: Callable[[Tensor, int, int], Tensor], size: int) -> Tensor:
        total, wanted = z.new_zeros(()), ctx.needs_input_grad[0]
        every = z.detach().requires_grad_(wanted)
        every.grad = torch.zeros_like(z) if wanted else None
        with torch.set_grad_enabled(wanted):
            for start in range(0, len(z), size):
                part = of_anchors(every, start, min(start + size, len(z)))
                if wanted:
                    part.backward()
                total += part.detach()
        ctx.gradient = every.grad
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor):
        return upstream * ctx.gradient, None, None
