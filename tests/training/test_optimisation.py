"""The configuration's limits, the parameter groups, and each schedule against torch's or transformers' own."""

from __future__ import annotations

import pytest
import torch
from toy_training import ToyModel, train
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from transformers import get_linear_schedule_with_warmup

from erc_lib.errors import ConfigError
from erc_lib.training import TrainingConfig
from erc_lib.training.optimisation import Schedule, build_optimizer


def optimizer(rate: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def rate(schedule: Schedule) -> float:
    return schedule.optimizer.param_groups[0]["lr"]


def test_defaults_are_those_of_multiemo():
    c = TrainingConfig()
    assert (c.epochs, c.optimizer, c.learning_rate, c.betas, c.weight_decay) == (100, "adam", 1e-4, (0.9, 0.99), 1e-5)
    assert (c.schedule, c.step_every, c.step_factor) == ("step", 10, 0.95)
    assert all(field.description for field in TrainingConfig.model_fields.values())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("batch_size", 0), ("optimizer", "sgd"), ("learning_rate", 0), ("learning_rate", float("nan")),
        ("betas", (0.9, 1.0)), ("betas", (0.9,)), ("weight_decay", -1), ("schedule", "cosine"), ("step_every", 0),
        ("step_factor", 1.5),
        ("plateau_patience", -1), ("warmup_steps", -1), ("clip_norm", 0), ("patience", 0), ("mixed_precision", "fp8"),
        ("parameter_groups", {"a": -1.0}), ("parameter_groups", {"encoder.": 0.1}),
    ],
)  # fmt: skip
def test_values_out_of_range_are_named(field, value):
    with pytest.raises(ConfigError, match=field):
        TrainingConfig(**{field: value})


def test_a_misspelt_field_is_an_error_with_a_hint():
    with pytest.raises(ConfigError, match="no field 'learning_rat'; did you mean learning_rate"):
        TrainingConfig(learning_rat=0.1)
    with pytest.raises(ValueError, match="frozen"):
        TrainingConfig().epochs = 3


def test_step_against_torch():
    ours = Schedule(optimizer(), TrainingConfig(schedule="step", step_every=3, step_factor=0.7), steps=100)
    reference = optimizer()
    theirs = StepLR(reference, 3, 0.7)
    for _ in range(10):
        ours.after_epoch(1.0)
        reference.step()
        theirs.step()
        assert rate(ours) == pytest.approx(reference.param_groups[0]["lr"])


def test_plateau_against_torch():
    losses = [3, 2, 2.5, 2.1, 2.0, 1.99999, 1.9, 1.95, 1.96, 1.97, 1.98, 1.99, 0.5, 0.6]
    ours = Schedule(optimizer(), TrainingConfig(schedule="plateau", plateau_patience=1, step_factor=0.5), steps=100)
    reference = optimizer()
    theirs = ReduceLROnPlateau(reference, factor=0.5, patience=1)
    rates = []
    for loss in losses:
        ours.after_epoch(loss)
        theirs.step(loss)
        rates.append(rate(ours))
        assert rates[-1] == pytest.approx(reference.param_groups[0]["lr"])
    assert len(set(rates)) > 3


def test_linear_and_warmup_against_transformers():
    ours = Schedule(optimizer(), TrainingConfig(schedule="linear", warmup_steps=5), steps=20)
    reference = optimizer()
    theirs = get_linear_schedule_with_warmup(reference, 5, 20)
    got, expected = [], []
    for _ in range(21):
        got.append(rate(ours))
        expected.append(reference.param_groups[0]["lr"])
        ours.after_batch()
        reference.step()
        theirs.step()
    assert got[5:] == pytest.approx(expected[5:])
    # the warm-up is one step ahead: its first batch, at a rate of 0, would teach nothing
    assert got[:5] == pytest.approx(expected[1:6])
    assert got[20] == 0


def test_a_schedule_goes_on_from_its_state():
    settings = TrainingConfig(schedule="plateau", plateau_patience=0, step_factor=0.5, warmup_steps=3)
    first, second = (Schedule(optimizer(), settings, steps=50) for _ in range(2))
    for loss in (3, 4, 2, 5):
        first.after_batch()
        first.after_epoch(loss)
    second.load_state_dict(first.state_dict())
    assert rate(second) == rate(first) == pytest.approx(0.1 * 0.25)
    for schedule in (first, second):
        schedule.after_epoch(6)
    assert rate(second) == rate(first) == pytest.approx(0.1 * 0.125)


def test_parameter_groups():
    model = ToyModel()
    model.classifier.bias.requires_grad_(False)
    config = TrainingConfig(learning_rate=0.1, parameter_groups={"recurrent": 0.01, "recurrent.weight_hh_l0": 0.001})
    built = build_optimizer(model, config)
    rates = {id(p): g["lr"] for g in built.param_groups for p in g["params"]}
    named = {name: rates.get(id(p)) for name, p in model.named_parameters()}
    assert named == {
        "recurrent.weight_ih_l0": 0.01, "recurrent.weight_hh_l0": 0.001,
        "recurrent.bias_ih_l0": 0.01, "recurrent.bias_hh_l0": 0.01,
        "classifier.weight": 0.1, "classifier.bias": None,
    }  # fmt: skip
    schedule = Schedule(built, config.model_copy(update={"schedule": "step", "step_every": 1, "step_factor": 0.5}), steps=9)
    schedule.after_epoch(1.0)
    assert [g["lr"] for g in built.param_groups] == pytest.approx([0.05, 0.005, 0.0005])
    with pytest.raises(ConfigError, match="no trainable parameter lies below 'class'; the model has classifier, recurrent"):
        build_optimizer(model, TrainingConfig(parameter_groups={"class": 0.1}))


def test_weight_decay_of_adam_is_in_the_gradient_and_of_adamw_is_not():
    for kind, expected in (("adam", 1 - 0.1), ("adamw", 1 - 0.1 * 0.5)):
        model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(model.weight)
        built = build_optimizer(model, TrainingConfig(optimizer=kind, learning_rate=0.1, weight_decay=0.5))
        (model.weight * 0).sum().backward()
        built.step()
        assert model.weight.item() == pytest.approx(expected, abs=1e-5)


def test_gradients_are_clipped(monkeypatch):
    norms = []
    original = torch.optim.AdamW.step

    def watching(self, *args, **kwargs):
        gradients = [p.grad for g in self.param_groups for p in g["params"]]
        norms.append(torch.stack([x.norm() for x in gradients]).norm().item())
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watching)
    train(epochs=1, clip_norm=0.05)
    clipped = list(norms)
    norms.clear()
    train(epochs=1, clip_norm=None)
    assert max(clipped) <= 0.0501 and max(norms) > 0.06


def test_the_linear_schedule_ends_near_zero():
    history = train(epochs=10, schedule="linear", warmup_steps=0).history
    assert (history["lr"].diff().dropna() < 0).all()
    assert 0 <= history["lr"].iloc[-1] < 0.15 * 0.02
