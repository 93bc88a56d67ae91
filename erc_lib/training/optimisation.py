"""The optimiser with its parameter groups, and how its learning rate changes.

torch's schedulers each own the rate and so do not combine (a warm-up in front of a plateau); here each is a factor, and the
rate of a group is its base rate times the product. A test holds each factor to torch's own scheduler.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from erc_lib.errors import ConfigError
from erc_lib.training.config import TrainingConfig


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over the parameters that want a gradient, grouped by ``config.parameter_groups``.

    The first group holds what no prefix names, at ``config.learning_rate``. A prefix without a parameter is a ConfigError.
    """
    groups: dict[str, list[nn.Parameter]] = {prefix: [] for prefix in ("", *config.parameter_groups)}
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not named:
        raise ConfigError("the model has no parameter that wants a gradient; there is nothing to train")
    for name, parameter in named:
        fitting = [prefix for prefix in config.parameter_groups if name == prefix or name.startswith(prefix + ".")]
        groups[max(fitting, key=len, default="")].append(parameter)
    for prefix, parameters in groups.items():
        if prefix and not parameters:
            modules = ", ".join(sorted({name.split(".")[0] for name, _ in named}))
            raise ConfigError(f"parameter_groups: no trainable parameter lies below {prefix!r}; the model has {modules}")
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(
        [{"params": ps, "lr": config.parameter_groups.get(prefix, config.learning_rate)} for prefix, ps in groups.items() if ps],
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,  # one pass over the weights instead of several; on a CPU 24 million weights take a quarter of the time
    )


class Schedule:
    """Sets every group's rate to its base rate times warm-up times decay.

    Args:
        steps: most batches the whole training can have; the linear decay reaches zero there.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int) -> None:
        self.optimizer, self.config, self.steps = optimizer, config, steps
        self.base = [group["lr"] for group in optimizer.param_groups]
        self.step_count = 0
        self.epochs = 0
        self.lowest = math.inf  # validation loss, for "plateau"
        self.waited = 0
        self.plateau_factor = 1.0
        self._apply()

    @property
    def factor(self) -> float:
        """By how much base rates are multiplied for the next batch."""
        c = self.config
        warmup = min(1.0, (self.step_count + 1) / c.warmup_steps) if c.warmup_steps else 1.0
        if c.schedule == "step":
            return warmup * c.step_factor ** (self.epochs // c.step_every)
        if c.schedule == "plateau":
            return warmup * self.plateau_factor
        if c.schedule == "linear" and self.step_count >= c.warmup_steps:
            return max(0.0, (self.steps - self.step_count) / max(1, self.steps - c.warmup_steps))
        return warmup

    def after_batch(self) -> None:
        self.step_count += 1
        self._apply()

    def after_epoch(self, validation_loss: float) -> None:
        """A loss counts as lower when it is so by more than a ten-thousandth (torch's ReduceLROnPlateau)."""
        self.epochs += 1
        if validation_loss < self.lowest - 1e-4 * abs(self.lowest) or math.isinf(self.lowest):
            self.lowest, self.waited = validation_loss, 0
        else:
            self.waited += 1
            if self.waited > self.config.plateau_patience:
                self.plateau_factor, self.waited = self.plateau_factor * self.config.step_factor, 0
        self._apply()

    def state_dict(self) -> dict[str, float]:
        return {k: getattr(self, k) for k in ("step_count", "epochs", "lowest", "waited", "plateau_factor")}

    def load_state_dict(self, state: dict[str, float]) -> None:
        for key, value in state.items():
            setattr(self, key, value)
        self._apply()

    def _apply(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = base * self.factor
