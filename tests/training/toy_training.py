"""A toy corpus and a toy model for the training loop, and a process that trains them and can be killed at a chosen point."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from erc_lib.data import PADDING_LABEL, Batch, Corpus, Dialogue
from erc_lib.training import FitResult, TrainingConfig, fit, seed_everything

SETTINGS = {
    "epochs": 6, "batch_size": 4, "optimizer": "adamw", "learning_rate": 0.02, "weight_decay": 0.01,
    "schedule": "plateau", "plateau_patience": 0, "step_factor": 0.5, "warmup_steps": 7, "clip_norm": 1.0,
}  # fmt: skip


def toy_corpus(train: int = 18, validation: int = 6, test: int = 7, classes: int = 3, noise: float = 1.5) -> Corpus:
    """Dialogues of 1 to 9 turns; the text feature is a noisy one-hot of the label, audio is noise."""
    generator = torch.Generator().manual_seed(11)

    def dialogue(name: str) -> Dialogue:
        length = int(torch.randint(1, 10, (1,), generator=generator))
        labels = torch.randint(classes, (length,), generator=generator)
        signal_ = nn.functional.one_hot(labels, classes).float()
        return Dialogue(
            id=name,
            speakers=torch.arange(length) % 2,
            labels=labels,
            features={
                "text": signal_ + noise * torch.randn(length, classes, generator=generator),
                "audio": torch.randn(length, 2, generator=generator),
            },
        )

    splits = {"train": train, "validation": validation, "test": test}
    made = {split: [dialogue(f"{split}{i}") for i in range(n)] for split, n in splits.items()}
    return Corpus("toy", **made, label_names=tuple(f"class {c}" for c in range(classes)))


@dataclass
class ToyOutput:
    logits: Tensor
    hidden: Tensor


class ToyConfig(BaseModel):
    dims: dict[str, int] = {"text": 3}
    classes: int = 3
    dropout: float = 0.3


class ToyModel(nn.Module):
    """A recurrent layer, dropout, a classifier, and a running mean as a buffer (as a bank of prototypes is)."""

    def __init__(self, config: ToyConfig | None = None) -> None:
        super().__init__()
        self.config = config or ToyConfig()
        self.recurrent = nn.GRU(sum(self.config.dims.values()), 8, batch_first=True)
        self.dropout = nn.Dropout(self.config.dropout)
        self.classifier = nn.Linear(8, self.config.classes)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, batch: Batch) -> ToyOutput:
        hidden, _ = self.recurrent(torch.cat([batch.features[m] for m in self.config.dims], dim=-1))
        return ToyOutput(self.classifier(self.dropout(hidden - self.mean)), hidden)

    def objective(self, output: ToyOutput, batch: Batch) -> dict[str, Tensor]:
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(output.hidden[batch.mask].mean(dim=0), 0.1)
        ce = cross_entropy(output.logits.flatten(0, 1), batch.labels.flatten(), ignore_index=PADDING_LABEL)
        small = 0.01 * output.hidden[batch.mask].pow(2).mean()
        return {"total": ce + small, "cross_entropy": ce, "small": small}


def train(directory=None, *, seed: int = 5, model: nn.Module | None = None, corpus: Corpus | None = None, **changes) -> FitResult:
    seed_everything(seed)
    model = model or ToyModel()
    config = TrainingConfig(**{**SETTINGS, **changes})
    return fit(model, corpus or toy_corpus(), config, seed=seed, directory=directory, progress=False)


def save_result(result: FitResult, folder: Path) -> None:
    """What a comparison of two processes needs, without loss of a digit."""
    torch.save(result.model.state_dict(), folder / "weights.pt")
    result.history.drop(columns="seconds").to_pickle(folder / "history.pkl")
    result.predictions.to_pickle(folder / "predictions.pkl")
    (folder / "metrics.json").write_text(json.dumps([result.best_epoch, result.metrics]))


def kill_in_training_step(step: int) -> None:
    """From now on this process is killed (SIGKILL: nothing is cleaned up) inside the given training step, after backward."""
    seen = 0
    original = torch.optim.AdamW.step

    def deadly(self, *args, **kwargs):
        nonlocal seen
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *args, **kwargs)

    torch.optim.AdamW.step = deadly


def kill_while_writing_checkpoint(number: int) -> None:
    """... when the files of the given checkpoint are written, but not yet moved to their name."""
    seen = 0
    original = os.replace

    def deadly(*args, **kwargs):
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    os.replace = deadly


if __name__ == "__main__":
    # As an imported module, so that the model's class has the same name in every process.
    sys.path.insert(0, str(Path(__file__).parent))
    import toy_training

    torch.set_num_threads(1)
    directory, out, where, at = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    if where != "nowhere":
        getattr(toy_training, f"kill_{where}")(at)
    toy_training.save_result(toy_training.train(directory), out)
