"""One training loop for every model: epochs, validation, selection, checkpoints, resume. Read :func:`fit` top-down.

On a CPU the same seed gives the same numbers (with the same torch and the same number of threads), and a training that was killed
and started again ends bit for bit where it would have ended undisturbed. On a GPU both hold up to the order of its sums.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from erc_lib.data import SPLITS, Batch, Corpus, batches
from erc_lib.errors import ConfigError, DataError, TrainingError
from erc_lib.precision import full_precision
from erc_lib.training.checkpoint import Checkpoints, random_state, restore_random_state, weights_of
from erc_lib.training.config import TrainingConfig
from erc_lib.training.identity import accelerator_for, seed_streams, training_identity
from erc_lib.training.memory import enough_memory
from erc_lib.training.optimisation import Schedule, build_optimizer
from erc_lib.training.protocol import Model
from erc_lib.training.scoring import checked_terms, evaluate, feature_dims, headline, modalities_of, prediction_frame, score
from erc_lib.training.selection import select, should_stop

@dataclass(frozen=True)
class FitResult:
    """A finished training.

    Attributes:
        history: one row per epoch: epoch (from 1), train_* and val_* for each term of the objective, val_weighted_f1,
            val_accuracy, val_macro_f1, test_weighted_f1_monitor (looked at by nobody but ``test_best_epoch``), lr (of the first
            group, at the epoch's end), seconds. With dimensions val_mean_pearson, val_mean_squared_error, test_mean_pearson_monitor. Terms are means over utterances of their batch's value; train_* in training
            mode, with dropout.
        best_epoch: the epoch that :func:`~erc_lib.training.selection.select` chose.
        predictions: of that epoch, splits validation and test: split, dialogue, position, label, predicted, p_0 .. p_{C-1}.
        metrics: {"validation": {...}, "test": {...}, "test_best_epoch": {..., "epoch"}}, fractions. The last is what selecting
            on the test set *would have* reported; it is not a result.
        seconds: of all epochs together, also those before an interruption.
        model: the model that was given, holding the selected weights, in eval mode.
    """

    history: pd.DataFrame
    best_epoch: int
    predictions: pd.DataFrame
    metrics: dict[str, Any]
    seconds: float
    model: nn.Module


def fit(
    model: nn.Module,
    corpus: Corpus,
    config: TrainingConfig,
    *,
    seed: int,
    directory: str | os.PathLike | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> FitResult:
    """Trains ``model`` on the corpus, selects an epoch on its validation split and scores the test split with it.

    Args:
        model: as :class:`~erc_lib.training.protocol.Model` says; build it after ``seed_everything(seed)``.
        seed: of the data order and of dropout.
        directory: folder for checkpoints; training goes on from the latest one there. None: no checkpoints.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        progress: show a bar.

    Raises:
        ConfigError: no validation split to select on, widths or classes that do not fit, or a checkpoint of another training.
        TrainingError: a loss that is not finite, or no whole checkpoint where there should be one.
    """
    _check(model, corpus)
    accelerator = accelerator_for(device, config.mixed_precision)
    model.to(accelerator.device)
    order = seed_streams(seed)
    # batches() moves its first cut, which may make one short batch more
    most_batches = -(-len(corpus.train) // config.batch_size) + (len(corpus.train) > config.batch_size > 1)
    plain_optimizer = build_optimizer(model, config)
    optimizer = accelerator.prepare_optimizer(plain_optimizer)
    schedule = Schedule(plain_optimizer, config, steps=config.epochs * most_batches)
    modalities = modalities_of(model)
    held_out = {
        split: [b.to(accelerator.device) for b in batches(corpus.split(split), config.batch_size, modalities=modalities)]
        for split in ("validation", "test")
    }
    history: list[dict[str, Any]] = []
    test_best: dict[str, Any] = {}
    best_weights: dict[str, torch.Tensor] = {}

    checkpoints = None
    if directory is not None:
        checkpoints = Checkpoints(directory, training_identity(model, corpus, config, seed, accelerator.device.type))
        checkpoint = checkpoints.load()
        if checkpoint is not None:
            state = checkpoint.state
            model.load_state_dict(checkpoint.weights)
            plain_optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
            if accelerator.scaler is not None:
                accelerator.scaler.load_state_dict(state["scaler"])
            history, test_best = state["history"], state["test_best"]
            best_weights = checkpoints.load_weights(select(history))
            order.set_state(state["order"])
            restore_random_state(state["random"])

    name = type(model).__name__
    title = f"{name} on {corpus.name}"
    with tqdm(total=config.epochs, initial=len(history), desc=title, unit="epoch", disable=not progress) as bar:
        while len(history) < config.epochs and not should_stop(history, config.patience):
            epoch, started = len(history) + 1, time.perf_counter()
            advice = _advice(config, schedule, checkpoints, epoch)
            feed = batches(corpus.train, config.batch_size, modalities=modalities, generator=order)
            terms = _train_epoch(model, feed, accelerator, optimizer, schedule, config, where=f"epoch {epoch}", advice=advice)
            validation, test = (
                evaluate(
                    model, held_out[s], objective=s == "validation", where=f"epoch {epoch}, {s}", advice=advice,
                    autocast=accelerator.autocast,
                )
                for s in ("validation", "test")
            )  # fmt: skip
            schedule.after_epoch(validation.terms["total"])
            scores, test_scores = score(validation), score(test)
            main = headline(scores)
            history.append(
                {
                    "epoch": epoch,
                    **{f"train_{k}": v for k, v in terms.items()},
                    **{f"val_{k}": v for k, v in validation.terms.items()},
                    **{f"val_{k}": v for k, v in scores.items() if not isinstance(v, list)},
                    f"test_{main}_monitor": test_scores[main],
                    "lr": float(plain_optimizer.param_groups[0]["lr"]),
                    "seconds": time.perf_counter() - started,
                }
            )
            if not test_best or test_scores[main] > test_best[main]:
                test_best = {**test_scores, "epoch": epoch}
            if select(history) == epoch:
                best_weights = weights_of(model)
            if checkpoints is not None:
                state = {
                    "optimizer": plain_optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else {},
                    "history": history,
                    "test_best": test_best,
                    "order": order.get_state(),
                    "random": random_state(),
                }
                checkpoints.save(epoch, select(history), best_weights if select(history) == epoch else weights_of(model), state)
            bar.set_postfix(loss=f"{terms['total']:.4g}", val=f"{scores[main]:.4f}", best=select(history))
            bar.update()

    best_epoch = select(history)
    model.load_state_dict(best_weights)
    model.eval()
    metrics: dict[str, Any] = {}
    frames = []
    for split in ("validation", "test"):
        final = evaluate(model, held_out[split], objective=False, where=f"selected epoch, {split}", autocast=accelerator.autocast)
        metrics[split] = score(final)
        frames.append(prediction_frame(split, corpus.split(split), final))
    main = headline(metrics["validation"])
    _check_selected(metrics["validation"][main], history[best_epoch - 1][f"val_{main}"], name, accelerator)
    metrics["test_best_epoch"] = test_best
    table = pd.DataFrame(history)
    return FitResult(table, best_epoch, pd.concat(frames, ignore_index=True), metrics, float(table["seconds"].sum()), model)


def _train_epoch(
    model: nn.Module,
    feed,
    accelerator: Accelerator,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    config: TrainingConfig,
    *,
    where: str,
    advice: str,
) -> dict[str, float]:
    """One pass over ``feed``; returns each term's mean over utterances."""
    model.train()
    trained = [p for group in schedule.optimizer.param_groups for p in group["params"]]
    sums: dict[str, float] = {}
    utterances = 0
    batch: Batch
    for step, batch in enumerate(feed, start=1):
        optimizer.zero_grad()
        with enough_memory(batch, f"{where}, step {step}", accelerator.device):
            batch = batch.to(accelerator.device)
            with accelerator.autocast():
                output = model(batch)
            terms = model.objective(full_precision(output), batch)
            # Looked at before the weights move, so that the message shows the values at which it happened.
            values = checked_terms(terms, f"{where}, step {step}", advice)
            accelerator.backward(terms["total"])
            if config.clip_norm is not None:
                accelerator.clip_grad_norm_(trained, config.clip_norm)
            optimizer.step()  # the first one allocates Adam's moments
        schedule.after_batch()
        size = sum(map(len, batch.ids))
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value * size
        utterances += size
    return {name: value / utterances for name, value in sums.items()}


def _check(model: nn.Module, corpus: Corpus) -> None:
    """What can be known to fail is said before the first epoch."""
    if not isinstance(model, nn.Module) or not isinstance(model, Model):
        raise ConfigError(f"{type(model).__name__} cannot be trained: it must be a torch Module with forward and objective")
    for split in SPLITS:
        if not corpus.split(split):
            why = {
                "train": "there is nothing to learn from",
                "validation": "the epoch is selected there, and selecting on the test set would report too much; "
                "set training dialogues aside",
                "test": "there is nothing to report on",
            }[split]
            raise ConfigError(f"corpus {corpus.name!r} has no {split} dialogues: {why}")
        names = [d.id for d in corpus.split(split)]
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise DataError(f"corpus {corpus.name!r}: two {split} dialogues are called {twice!r}; predictions are stored by it")
    config = getattr(model, "config", None)
    for modality, wanted in (feature_dims(model) or {}).items():
        width = corpus.dims.get(modality)
        if width is None:
            raise DataError(
                f"the model needs {modality} features, but not every dialogue of corpus {corpus.name!r} has them; "
                f"all have {', '.join(corpus.dims) or 'no features'}"
            )
        if width != wanted:
            raise ConfigError(
                f"the model expects {modality} features {wanted} wide, corpus {corpus.name!r} has {width}: use corpus.dims"
            )
    classes = getattr(config, "classes", corpus.classes)
    if classes != corpus.classes:
        names = ", ".join(corpus.label_names)
        raise ConfigError(f"the model has {classes} classes, corpus {corpus.name!r} has {corpus.classes} ({names})")


def _advice(config: TrainingConfig, schedule: Schedule, checkpoints: Checkpoints | None, epoch: int) -> str:
    kept = f" The checkpoint of epoch {epoch - 1} is kept in {checkpoints.folder}." if checkpoints and epoch > 1 else ""
    return (
        f"Try a smaller learning_rate (now {config.learning_rate:g}, times {schedule.factor:.3g} by its schedule), "
        f"clip_norm (now {config.clip_norm}), more warmup_steps (now {config.warmup_steps})"
        + (f", or mixed_precision='no' (now {config.mixed_precision!r})" if config.mixed_precision != "no" else "")
        + f"; look at the features of the batch if none helps. Nothing of this training counts as finished.{kept}"
    )


def _check_selected(found: float, recorded: float, name: str, accelerator: Accelerator) -> None:
    """The restored weights must score as they did in their epoch, else the model keeps state outside its ``state_dict()``.

    A GPU may sum in another order and flip a close call, so only a CPU is held to it.
    """
    if accelerator.device.type == "cpu" and abs(found - recorded) > 1e-3:
        raise TrainingError(
            f"{name} with its selected weights has a validation score of {found:.4f}, but had {recorded:.4f} in its "
            "epoch: it keeps state that is neither a parameter nor a persistent buffer, so it can be neither selected nor resumed"
        )
