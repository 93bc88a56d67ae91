"""The networks of MultiEMO's text stage and the loop that trains them, for :mod:`erc_lib.features.finetune`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from tqdm.auto import tqdm

from erc_lib.errors import DataError
from erc_lib.features.encoders import TextEncoder, token_batches


class Settings(Protocol):
    """What the loop reads of :class:`erc_lib.features.finetune.FinetuneConfig`."""

    weight_decay: float
    warmup: float
    clip_norm: float
    precision: str


class UtteranceNetwork(nn.Module):
    """Token sequences -> features c (B, F) = FC(first position), and logits (B, C) = linear(dropout(c))."""

    def __init__(self, encoder: TextEncoder, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.encoder, self.tokens = encoder.model, encoder
        self.fc = nn.Linear(encoder.width, features)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(features, classes)

    def forward(self, sequences: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        tokens, mask = self.tokens.pad_batch(list(sequences))
        c = self.fc(self.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state[:, 0])
        return c, self.classifier(self.dropout(c))


class ContextNetwork(nn.Module):
    """Dialogues of utterance vectors, each (L, D) -> the Transformer's outputs (sum of L, F) and logits (sum of L, C).

    Linear layer to F, sinusoidal positions (Vaswani et al., 2017), ``layers`` post-norm layers; padding is masked.
    """

    def __init__(self, width: int, features: int, classes: int, dropout: float, layers: int, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, features)
        layer = nn.TransformerEncoderLayer(features, heads, 4 * features, dropout, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(features, classes)

    def forward(self, dialogues: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        device = self.project.weight.device
        lengths = torch.tensor([len(d) for d in dialogues], device=device)
        x = self.project(nn.utils.rnn.pad_sequence(list(dialogues), batch_first=True).to(device))
        mask = torch.arange(x.shape[1], device=device)[None, :] < lengths[:, None]
        x = self.transformer(x + sinusoids(x.shape[1], x.shape[2]).to(x), src_key_padding_mask=~mask)
        return x[mask], self.classifier(self.dropout(x[mask]))


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width): sin and cos of position / 10000^(2i / width) (Vaswani et al., 2017)."""
    angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]


class Loop:
    """Trains one network on lists of items (token sequences, or dialogues of vectors) and keeps its best epoch's weights."""

    def __init__(
        self, network: nn.Module, items: dict[str, list], labels: dict[str, list[Tensor]], config: Settings,
        epochs: int, learning_rate: float, batch_size: int, budget: int, progress: bool,
    ) -> None:
        self.network, self.items, self.labels, self.config = network, items, labels, config
        self.epochs, self.batch_size, self.budget, self.progress = epochs, batch_size, budget, progress
        self.device = next(network.parameters()).device
        self.steps = epochs * math.ceil(len(items["train"]) / batch_size)
        matrices = [p for p in network.parameters() if p.dim() > 1]
        rest = [p for p in network.parameters() if p.dim() <= 1]  # biases and norms are not decayed
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=learning_rate)
        warm = max(1, round(config.warmup * self.steps))

        def rate(step: int) -> float:
            """Rises linearly over the first ``warm`` steps, then falls linearly to 0."""
            return min((step + 1) / warm, max(0.0, (self.steps - step) / max(1, self.steps - warm)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, rate)

    def run(self) -> dict[str, Any]:
        history: list[dict[str, float]] = []
        best: dict[str, Tensor] = {}
        for epoch in range(1, self.epochs + 1):
            row = {"epoch": epoch, "train_loss": self.epoch(epoch)}
            for split in ("validation", "test"):
                predicted = self.predict(split)[1].argmax(axis=1)
                actual = torch.cat(self.labels[split]).numpy()
                row[f"{split}_weighted_f1"] = float(f1_score(actual, predicted, average="weighted", zero_division=0))
            if all(row["validation_weighted_f1"] > earlier["validation_weighted_f1"] for earlier in history):
                best, best_epoch = {k: v.detach().clone() for k, v in self.network.state_dict().items()}, epoch
            history.append(row)
        self.network.load_state_dict(best)
        return {"best_epoch": best_epoch, "history": history}

    def epoch(self, number: int) -> float:
        """One pass over the training items; the mean loss of an utterance."""
        self.network.train()
        total = count = 0.0
        plan = bucketed([len(i) for i in self.items["train"]], self.batch_size)
        for rows in tqdm(plan, desc=f"epoch {number}/{self.epochs}", unit="step", disable=not self.progress):
            labels = torch.cat([self.labels["train"][r] for r in rows]).to(self.device)
            loss = self.step([self.items["train"][r] for r in rows], labels)
            if not math.isfinite(loss):
                raise DataError(f"the loss is {loss} in epoch {number}; lower the learning rate, or use precision float32")
            total, count = total + loss * len(labels), count + len(labels)
        return total / count

    def step(self, items: list, labels: Tensor) -> float:
        with self._autocast():
            logits = self.network(items)[1]
        loss = nn.functional.cross_entropy(logits.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        return loss.item()

    def predict(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Features (n, F) and logits (n, C) of the utterances of a split, in its order."""
        self.network.eval()
        items = self.items[split]
        found: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(items)
        with torch.inference_mode(), self._autocast():
            for rows in token_batches([len(i) for i in items], self.budget):
                x, logits = (y.float().cpu() for y in self.network([items[r] for r in rows]))
                sizes = [len(self.labels[split][r]) for r in rows]
                for r, part, scores in zip(rows, x.split(sizes), logits.split(sizes), strict=True):
                    found[r] = (part.numpy(), scores.numpy())
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bfloat16")


def bucketed(lengths: Sequence[int], batch_size: int, pool: int = 50) -> list[list[int]]:
    """A random epoch of batches: shuffled, sorted by length within every ``pool`` batches' worth, cut, and the cuts shuffled."""
    order = torch.randperm(len(lengths)).tolist()
    cuts = []
    for start in range(0, len(order), pool * batch_size):
        near = sorted(order[start : start + pool * batch_size], key=lambda i: lengths[i])
        cuts += [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
    return [cuts[i] for i in torch.randperm(len(cuts)).tolist()]
