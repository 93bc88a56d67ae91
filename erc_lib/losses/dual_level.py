"""The two contrastive losses of DF-ERC's dual-level disentanglement (Li et al. 2023, Section 3.2, eq. 3 and 5)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from erc_lib.errors import ConfigError
from erc_lib.precision import in_float32


@in_float32
def dual_level_contrastive_loss(
    views: Tensor, *, level: Literal["modality", "utterance"], temperature: float, groups: Tensor | None = None
) -> Tensor:
    r"""Pulls together what shares a modality (eq. 3) or an utterance (eq. 5), within one dialogue, and pushes apart the rest.

    .. math::
        L = - \sum_i \sum_{k \in P(i)} \log \frac{e^{\cos(h_i, h_k) / \tau}}{\sum_{j \ne i} e^{\cos(h_i, h_j) / \tau}}

    over all M N vectors of a dialogue. P(i): the other vectors of the same modality, or of the same utterance. Printed, the denominator
    begins at "j = i" and positives are all indices of a residue class; a vector is no rival and no positive of itself here, and every other
    vector of the dialogue is a rival.

    Args:
        views: (M, N, D), the M modalities of N utterances.
        temperature: tau, above 0; the paper has 0.5 for modalities and 0.3 for utterances.
        groups: LongTensor (N,), the dialogue of each utterance: many dialogues in one pass, their losses summed. None: one dialogue.

    Returns:
        A scalar, the sum over anchors; zero where no vector has a positive (one modality at the utterance level, one utterance at the
        modality level). Memory: (M L)^2 numbers for each dialogue, L the utterances of the longest.

    Raises:
        ConfigError: an unknown level, a temperature that is not above 0, a shape that is not (M, N, D).
    """
    if level not in ("modality", "utterance"):
        raise ConfigError(f"dual_level_contrastive_loss: unknown level {level!r}; there are 'modality' and 'utterance'")
    if not temperature > 0:
        raise ConfigError(f"dual_level_contrastive_loss divides by the temperature, so it must be above 0, not {temperature}")
    if views.dim() != 3:
        raise ConfigError(f"dual_level_contrastive_loss: views must be (M, N, D), not {tuple(views.shape)}")
    h, real = _by_dialogue(F.normalize(views, dim=-1), groups)  # (B, M, L, D), (B, L)
    b, m, length, _ = h.shape
    h = h.flatten(1, 2)  # (B, M L, D): vector m L + i is modality m of utterance i
    scores = h @ h.transpose(1, 2) / temperature
    modality = torch.arange(m, device=h.device).repeat_interleave(length)
    utterance = torch.arange(length, device=h.device).repeat(m)
    of = modality if level == "modality" else utterance
    there = real.repeat(1, m)  # (B, M L)
    others = ~torch.eye(m * length, dtype=torch.bool, device=h.device) & there[:, None, :]
    positives = others & (of[:, None] == of[None, :])
    lonely = ~others.any(dim=-1, keepdim=True)  # nobody to be told from; its row would be a logarithm of nothing
    log_rivals = scores.masked_fill(~(others | lonely), float("-inf")).logsumexp(dim=-1)
    losses = positives.sum(dim=-1) * log_rivals - (scores * positives).sum(dim=-1)
    return (losses * there).sum()


def _by_dialogue(views: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """(M, N, D) -> (B, M, L, D), zero where padded, and which of them are real, Bool (B, L)."""
    m, n, d = views.shape
    if groups is None:
        return views[None], torch.ones(1, n, dtype=torch.bool, device=views.device)
    _, row, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    order = torch.argsort(row, stable=True)
    place = torch.empty_like(row)
    place[order] = torch.arange(n, device=row.device) - (counts.cumsum(0) - counts)[row[order]]
    length = int(counts.max())
    padded = views.new_zeros(len(counts) * length, m, d).index_copy(0, row * length + place, views.transpose(0, 1))
    real = torch.arange(length, device=row.device)[None, :] < counts[:, None]
    return padded.unflatten(0, (len(counts), length)).transpose(1, 2), real
