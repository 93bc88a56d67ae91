from __future__ import annotations

import pytest
import torch

from erc_lib.data import Batch
from erc_lib.errors import ConfigError, DataError
from erc_lib.papers import load_model_class
from erc_lib.papers.baselines import BCLSTM, BaselineConfig, DialogueRNNClassifier
from tests.papers import invariants
from tests.papers.invariants import WIDTHS, toy

MODELS = [BCLSTM, DialogueRNNClassifier]


def config(**fields) -> BaselineConfig:
    return BaselineConfig(**{"dims": WIDTHS, "classes": 4, "hidden_dim": 10, "classifier_hidden": 8, "dropout": 0.0, **fields})


@pytest.mark.parametrize("kind", MODELS)
def test_invariants(kind):
    torch.manual_seed(0)
    model, data = kind(config()), toy()
    invariants.padding_changes_nothing(model, data)
    invariants.order_changes_nothing(model, data)
    invariants.every_parameter_learns(model, data)
    invariants.overfits_one_batch(model, data, steps=200, rate=1e-2)
    invariants.same_seed_same_numbers(lambda: kind(config(dropout=0.3)), data)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("modalities", [("text",), ("audio", "visual")])
def test_any_subset_of_modalities(kind, modalities):
    model = kind(config(dims={m: WIDTHS[m] for m in modalities}))
    assert model(Batch.collate(toy(), modalities)).logits.shape == (3, 6, 4)


def test_bc_lstm_is_blind_to_speakers_and_dialogue_rnn_is_not():
    torch.manual_seed(0)
    batch = Batch.collate(toy(lengths=(6,)))
    other = Batch.collate(toy(lengths=(6,)))
    other.speakers = torch.zeros_like(other.speakers)
    blind, aware = BCLSTM(config()).eval(), DialogueRNNClassifier(config()).eval()
    assert torch.equal(blind(batch).logits, blind(other).logits)
    assert not torch.allclose(aware(batch).logits, aware(other).logits, atol=1e-4)


def test_class_weights_are_inverse_frequencies():
    torch.manual_seed(0)
    model = BCLSTM(config(class_weights=True, class_counts=(1, 2, 3, 4)))
    batch = Batch.collate(toy(lengths=(3,)))
    output = model(batch)
    weights = torch.tensor([10 / 4, 10 / 8, 10 / 12, 10 / 16])[batch.labels[0]]
    logs = -torch.log_softmax(output.logits[0], -1)[range(3), batch.labels[0]]
    assert model.objective(output, batch)["total"].item() == pytest.approx(float(((weights * logs).sum() / weights.sum()).detach()), rel=1e-5)


def test_bad_input():
    with pytest.raises(ConfigError, match="baseline configuration: hiden_dim: .*did you mean hidden_dim"):
        config(hiden_dim=3)
    with pytest.raises(ConfigError, match="class_counts"):
        config(class_weights=True)
    with pytest.raises(DataError, match="no audio features"):
        BCLSTM(config())(Batch.collate(toy(), ["text"]))
    with pytest.raises(ConfigError, match="did you mean 'multiemo'"):
        load_model_class("multiemmo")
