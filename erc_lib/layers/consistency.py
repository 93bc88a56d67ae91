"""How far the modalities of an utterance agree."""

from __future__ import annotations

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from erc_lib.errors import ConfigError


def modality_consistency(x: Tensor) -> Tensor:
    r"""psi of DF-ERC (Li et al. 2023, eq. 20): the mean cosine over the pairs of modalities.

    .. math:: \psi_i = \tfrac13 (\cos(x^t_i, x^a_i) + \cos(x^t_i, x^v_i) + \cos(x^a_i, x^v_i))

    Args:
        x: (M, N, D), M modalities of N utterances; with two of them it is their cosine.

    Returns:
        (N,), between -1 and 1.

    Raises:
        ConfigError: fewer than two modalities, which have nothing to agree with, or another shape.
    """
    if x.dim() != 3 or len(x) < 2:
        raise ConfigError(f"modality_consistency compares modalities: x must be (M, N, D) with M at least 2, not {tuple(x.shape)}")
    return torch.stack([F.cosine_similarity(x[i], x[j], dim=-1) for i, j in combinations(range(len(x)), 2)]).mean(dim=0)
