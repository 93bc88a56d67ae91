"""Contributions learned from the true class probability: DF-ERC's contribution-aware fusion (Li et al. 2023, Section 3.3, eq. 10-15)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from erc_lib.errors import ConfigError
from erc_lib.precision import in_float32


@in_float32
def true_class_probability_losses(logits: Tensor, contributions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    r"""L_p and L_q of all modalities: a teacher per modality that classifies, and a student that predicts how sure the teacher is of the truth.

    .. math::
        L_p = - \sum_{m, i} \log z^m_i[I_i], \qquad L_q = \sum_{m, i} (z^m_i[I_i] - \omega^m_i)^2, \qquad z = \mathrm{softmax}(logits)

    The probability in L_q is a target: no gradient of L_q reaches the teacher, which could otherwise please its student by being unsure.

    Args:
        logits: (M, N, C), eq. 10 before the softmax. contributions: (M, N), omega of eq. 12. labels: LongTensor (N,), I.

    Returns:
        L_p and L_q, each summed over modalities and utterances; eq. 15 is their sum.

    Raises:
        ConfigError: shapes that do not fit each other.
    """
    if logits.dim() != 3 or contributions.shape != logits.shape[:2] or labels.shape != logits.shape[1:2]:
        raise ConfigError(
            f"true_class_probability_losses: logits (M, N, C), contributions (M, N) and labels (N,) do not fit: "
            f"{tuple(logits.shape)}, {tuple(contributions.shape)}, {tuple(labels.shape)}"
        )
    log_p = F.log_softmax(logits, dim=-1)
    log_true = log_p.gather(-1, labels[None, :, None].expand(len(logits), -1, 1))[..., 0]  # (M, N), eq. 11
    return -log_true.sum(), (log_true.exp().detach() - contributions).square().sum()
