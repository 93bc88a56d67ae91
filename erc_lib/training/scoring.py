"""Running a model over dialogues without training it: loss terms, logits, scores, and the frame of predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from erc_lib.data import Batch, Dialogue, batches
from erc_lib.errors import ConfigError, DataError, TrainingError
from erc_lib.evaluation import classification_metrics, dimensional_metrics
from erc_lib.precision import full_precision
from erc_lib.training.memory import enough_memory


@dataclass(frozen=True)
class Evaluation:
    """What a model said of N utterances, in the order of the batches.

    Attributes:
        ids: N utterance ids.
        labels: (N,) int64, or (N, C) float of emotion dimensions.
        logits: (N, C) float64, finite; with dimensions the predicted values themselves.
        terms: each term of the objective, the mean over utterances of its batch's value; empty where not asked for.
    """

    ids: list[str]
    labels: np.ndarray
    logits: np.ndarray
    terms: dict[str, float]

    @property
    def dimensional(self) -> bool:
        """Whether the labels are real numbers."""
        return not np.issubdtype(self.labels.dtype, np.integer)

    @property
    def probabilities(self) -> np.ndarray:
        """(N, C) float32; the softmax is taken in float64."""
        return torch.softmax(torch.from_numpy(self.logits), dim=1).to(torch.float32).numpy()

    @property
    def predicted(self) -> np.ndarray:
        """(N,) int64, the most probable class by the *stored* probabilities, so that both columns of a file agree."""
        return self.probabilities.argmax(axis=1)


def score(evaluation: Evaluation) -> dict[str, Any]:
    """Metrics by the kind of the labels: classes or dimensions."""
    if evaluation.dimensional:
        return dimensional_metrics(evaluation.labels, evaluation.logits)
    return classification_metrics(evaluation.labels, evaluation.predicted, evaluation.logits.shape[1])


def headline(scores: dict[str, Any]) -> str:
    """The metric by which epochs are chosen and runs compared: weighted F1 of classes, mean Pearson's r of dimensions."""
    return "mean_pearson" if "mean_pearson" in scores else "weighted_f1"


def feature_dims(model: nn.Module) -> dict[str, int] | None:
    """Modality -> width of the features a model wants in its batches; None: whatever is there."""
    config = getattr(model, "config", None)
    return getattr(config, "feature_dims", getattr(config, "dims", None))


def modalities_of(model: nn.Module) -> list[str] | None:
    """The modalities a model wants in its batches, none at all if it reads words alone; None: whatever is there."""
    dims = feature_dims(model)
    return None if dims is None else list(dims)


def checked_terms(terms: dict[str, Tensor], where: str, advice: str) -> dict[str, float]:
    """The terms as numbers; a missing ``total`` or a value that is not finite ends the training."""
    if "total" not in terms:
        raise ConfigError(f"the model's objective must return a term 'total'; it returned {', '.join(terms) or 'none'}")
    values = torch.stack([torch.as_tensor(v).detach().double().reshape(()).cpu() for v in terms.values()]).tolist()
    named = dict(zip(terms, values, strict=True))
    if not all(math.isfinite(v) for v in values):
        written = ", ".join(f"{k} = {v:g}" for k, v in named.items())
        raise TrainingError(f"{where}: the loss is not finite ({written}). {advice}")
    return named


def evaluate(
    model: nn.Module,
    feed: Iterable[Batch],
    *,
    objective: bool,
    where: str,
    advice: str = "",
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> Evaluation:
    """Runs ``model`` in eval mode, without gradients, over batches that lie on its device.

    Raises:
        TrainingError: logits or loss terms that are not finite; the message begins with ``where`` and ends with ``advice``.
    """
    was_training = model.training
    model.eval()
    ids: list[str] = []
    labels, logits, sums, count = [], [], {}, 0
    try:
        with torch.no_grad():
            for batch in feed:
                utterances = sum(map(len, batch.ids))  # not mask.sum(): a GPU need not be waited for
                with enough_memory(batch, where, batch.mask.device):
                    with autocast():
                        output = model(batch)
                    output = full_precision(output)
                    terms = checked_terms(model.objective(output, batch), where, advice) if objective else {}
                for name, value in terms.items():
                    sums[name] = sums.get(name, 0.0) + value * utterances
                ids += [i for row in batch.ids for i in row]
                labels.append(batch.labels[batch.mask].cpu())
                logits.append(output.logits[batch.mask].double().cpu())
                count += utterances
    finally:
        model.train(was_training)
    if not count:
        raise DataError(f"{where}: there is no utterance to evaluate")
    found = torch.cat(logits)
    bad = ~torch.isfinite(found).all(dim=1)
    if bad.any():
        first = ids[int(bad.nonzero()[0])]
        rows = int(bad.sum())
        raise TrainingError(f"{where}: the logits of {rows} of {count} utterances are not finite, first {first!r}. {advice}")
    return Evaluation(ids, torch.cat(labels).numpy(), found.numpy(), {k: v / count for k, v in sums.items()})


def prediction_frame(split: str, dialogues: Sequence[Dialogue], evaluation: Evaluation) -> pd.DataFrame:
    """One row per utterance, in the order of ``dialogues``: split, dialogue, position, label, predicted, p_0 .. p_{C-1}.

    Of dimensions: split, dialogue, position, label_0 .. label_{C-1}, predicted_0 .. predicted_{C-1}. Probabilities and dimensions are float32. Rows are joined by utterance id, for batches come in another order than the corpus.
    """
    row_of = {utterance: row for row, utterance in enumerate(evaluation.ids)}
    place = [(d.id, position, row_of[utterance]) for d in dialogues for position, utterance in enumerate(d.ids)]
    rows = np.array([row for _, _, row in place], dtype=np.int64)
    where = {
        "split": [split] * len(place),
        "dialogue": [dialogue for dialogue, _, _ in place],
        "position": np.array([position for _, position, _ in place], dtype=np.int64),
    }
    if evaluation.dimensional:
        labels, predicted = evaluation.labels[rows].astype(np.float32), evaluation.logits[rows].astype(np.float32)
        columns = {f"label_{c}": labels[:, c] for c in range(labels.shape[1])}
        return pd.DataFrame({**where, **columns, **{f"predicted_{c}": predicted[:, c] for c in range(predicted.shape[1])}})
    probabilities = evaluation.probabilities[rows]
    return pd.DataFrame(
        {
            **where,
            "label": evaluation.labels[rows],
            "predicted": evaluation.predicted[rows].astype(np.int64),
            **{f"p_{c}": probabilities[:, c] for c in range(probabilities.shape[1])},
        }
    )


def predict(model: nn.Module, dialogues: Sequence[Dialogue], *, split: str = "test", batch_size: int = 32) -> pd.DataFrame:
    """Predictions of a trained ``model``, on the device it lies on; the frame of :func:`prediction_frame`."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    feed = (b.to(device) for b in batches(dialogues, batch_size, modalities=modalities_of(model)))
    return prediction_frame(split, dialogues, evaluate(model, feed, objective=False, where=f"predicting {split}"))


def measure(model: nn.Module, dialogues: Sequence[Dialogue], *, split: str = "test", batch_size: int = 32) -> pd.DataFrame:
    """What ``model.measure`` says of every utterance: split, dialogue, position, and a float column for each quantity.

    Raises:
        TrainingError: a quantity that is not finite.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    was_training = model.training
    model.eval()
    frames = []
    try:
        with torch.no_grad():
            for batch in batches(dialogues, batch_size, modalities=modalities_of(model)):
                batch = batch.to(device)
                values = {k: v.double().cpu().numpy() for k, v in model.measure(full_precision(model(batch)), batch).items()}
                frames.append(pd.DataFrame({"id": [i for row in batch.ids for i in row], **values}))
    finally:
        model.train(was_training)
    place = pd.DataFrame([(split, d.id, position, i) for d in dialogues for position, i in enumerate(d.ids)], columns=["split", "dialogue", "position", "id"])
    measured = place.merge(pd.concat(frames), on="id", how="left", validate="one_to_one").drop(columns="id")
    for name in measured.columns[3:]:
        if not np.isfinite(measured[name]).all():
            raise TrainingError(f"measuring {split}: {name} is not finite in {int((~np.isfinite(measured[name])).sum())} of {len(measured)} utterances")
    return measured
