"""A model of one linear layer for the tests of runs, which can be told to kill its process or to fail."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from erc_lib.papers.registry import MODELS


class TinyConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str = "paper"
    dims: dict[str, int]
    classes: int
    class_counts: tuple[int, ...] | None = None
    width: int = 8
    fails: str = ""  # raise this message
    nan: bool = False  # lose the way
    kills: int = 0  # kill the process this many times, counted in the file below
    kill_at: int = 1  # at this step of training in the process
    log: str = ""  # a file that gets one letter for each step of training

    @classmethod
    def meld(cls, **fields):
        return cls(**fields)

    @classmethod
    def wide(cls, **fields):
        return cls(**{"width": 32, **fields})

    def training_settings(self) -> dict:
        return {"epochs": 3, "batch_size": 2, "schedule": "none", "learning_rate": 0.01}


@dataclass
class TinyOutput:
    logits: Tensor


class Tiny(nn.Module):
    Config = TinyConfig

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden = nn.Linear(sum(config.dims.values()), config.width)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(config.width, config.classes)
        self.steps = 0

    def forward(self, batch):
        x = torch.cat([batch.features[m] for m in sorted(self.config.dims)], dim=-1)
        return TinyOutput(self.classifier(self.dropout(torch.relu(self.hidden(x)))))

    def objective(self, output, batch):
        if self.training:
            self._behave()
        if self.config.nan:
            return {"total": output.logits.sum() * float("nan")}
        return {"total": nn.functional.cross_entropy(output.logits[batch.mask], batch.labels[batch.mask])}

    def measure(self, output, batch):
        return {f"mean_{m}": batch.features[m][batch.mask].mean(dim=-1) for m in sorted(self.config.dims)}

    def _behave(self) -> None:
        self.steps += 1
        if self.config.fails:
            raise ValueError(self.config.fails)
        if not self.config.log:
            return
        log = Path(self.config.log)
        killed = log.read_text().count("k") if log.exists() else 0
        dies = self.steps == self.config.kill_at and killed < self.config.kills
        with open(log, "a") as file:
            file.write("k" if dies else ".")
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)


MODELS["tiny"] = "tiny_model:Tiny"  # a worker process imports this file to know the name
