"""The sample-weighted focal contrastive loss (SWFC) of MultiEMO, Section 3.6, eq. 18 and 19."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from erc_lib.errors import ConfigError


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
        A scalar. Memory is O(N^2): one (N, N) matrix of similarities and what autograd keeps of it, about 5 N^2 floats.

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
    itself = torch.eye(n, dtype=torch.bool, device=z.device)
    outside = itself if groups is None else itself | (groups[:, None] != groups[None, :])
    positives = (labels[:, None] == labels[None, :]) & ~outside
    counts = positives.sum(dim=1)

    # The lowest finite number rather than -inf: a lone sample has no other to compare with, and must not become NaN.
    similarity = (z @ z.T / temperature).masked_fill(outside, torch.finfo(z.dtype).min)
    log_s = F.log_softmax(similarity, dim=1)
    if gamma:
        # (1 - s)^gamma has an unbounded slope at s = 1 when gamma < 1; the clamp keeps that slope finite.
        focus = (1 - log_s.exp()).clamp_min(torch.finfo(z.dtype).eps) ** gamma
        terms = focus * log_s
    else:
        terms = log_s
    per_anchor = -(terms.masked_fill(~positives, 0).sum(dim=1) / counts.clamp_min(1))

    if variant == "paper":
        weights = (n / torch.bincount(labels)[labels].to(z.dtype)) ** alpha
        return (weights * per_anchor).sum()
    class_counts = torch.as_tensor(class_counts, dtype=z.dtype, device=z.device)
    # A class that the training split lacks gets no weight rather than an infinite one.
    raw = torch.where(class_counts > 0, (class_counts.sum() / class_counts.clamp_min(1)) ** alpha, 0.0)
    weights = (raw / raw.sum())[labels]
    return (weights * per_anchor).mean() if n else per_anchor.sum()
