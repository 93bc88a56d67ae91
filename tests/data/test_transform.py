from __future__ import annotations

import pytest
import torch

from erc_lib.data import Corpus, Dialogue
from erc_lib.data.transform import redraw_validation, standardise
from erc_lib.errors import ConfigError


def corpus(train: int = 8) -> Corpus:
    g = torch.Generator().manual_seed(0)

    def dialogue(name: str) -> Dialogue:
        x = torch.randn(5, 3, generator=g) * torch.tensor([10.0, 0.1, 0.0]) + torch.tensor([5.0, -1.0, 7.0])
        return Dialogue(name, torch.zeros(5, dtype=torch.long), torch.randint(2, (5,), generator=g), {"audio": x})

    return Corpus("toy", [dialogue(f"a{i}") for i in range(train)], [dialogue("b0"), dialogue("b1")], [dialogue("c0")], ("no", "yes"))


def test_the_training_split_alone_gives_mean_and_deviation():
    before, after = corpus(), standardise(corpus())
    train = torch.cat([d.features["audio"] for d in after.train])
    assert train.mean(0).abs().max() < 1e-5
    assert torch.allclose(train.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-4)  # the third dimension is constant
    raw = torch.cat([d.features["audio"] for d in before.train])
    by_hand = (before.test[0].features["audio"][:, 0] - raw[:, 0].mean()) / raw[:, 0].std(correction=0)
    assert torch.allclose(after.test[0].features["audio"][:, 0], by_hand, atol=1e-4)


def test_redrawing_keeps_every_dialogue_once_and_the_test_split():
    before, after = corpus(), redraw_validation(corpus(), 0.3, seed=1)
    assert sorted(d.id for d in [*after.train, *after.validation]) == sorted(d.id for d in [*before.train, *before.validation])
    assert len(after.validation) == 3 and [d.id for d in after.test] == ["c0"]
    assert [d.id for d in redraw_validation(corpus(), 0.3, seed=1).validation] == [d.id for d in after.validation]
    assert any({d.id for d in redraw_validation(corpus(), 0.3, seed=s).validation} != {d.id for d in after.validation} for s in range(2, 6))


@pytest.mark.parametrize("fraction", [0, 1, -0.1])
def test_a_fraction_outside_0_and_1_is_refused(fraction):
    with pytest.raises(ConfigError, match="validation_fraction"):
        redraw_validation(corpus(), fraction, seed=0)
