from __future__ import annotations

import pytest
import torch

from erc_lib.errors import ConfigError
from erc_lib.layers import modality_consistency
from tests.reference.df_erc import cosine


def test_it_is_the_mean_cosine_of_the_pairs():
    x = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [(cosine(x[0, i], x[1, i]) + cosine(x[0, i], x[2, i]) + cosine(x[1, i], x[2, i])).item() / 3 for i in range(6)]
    assert modality_consistency(x).tolist() == pytest.approx(expected)


def test_by_hand():
    """Three at right angles; all alike; two alike and one opposite: (1 - 1 - 1) / 3."""
    e = torch.eye(3)
    assert modality_consistency(e[:, None]).item() == 0
    assert modality_consistency(e[:1, None].expand(3, 1, 3)).item() == pytest.approx(1)
    assert modality_consistency(torch.stack([e[0], e[0], -e[0]])[:, None]).item() == pytest.approx(-1 / 3)
    assert modality_consistency(torch.stack([e[0], -e[0]])[:, None]).item() == pytest.approx(-1)


def test_one_modality_has_nothing_to_agree_with():
    with pytest.raises(ConfigError, match="M at least 2"):
        modality_consistency(torch.zeros(1, 4, 3))
