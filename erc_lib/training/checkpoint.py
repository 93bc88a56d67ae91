"""Checkpoints from which a training goes on as if it had never stopped.

A checkpoint is a folder ``epoch-00007`` with the weights (``model.safetensors``), the rest of the state (``state.pt``: optimiser,
schedule, random generators, history; opened by ``torch.load(weights_only=True)``, so it can carry no code) and
``checkpoint.json``: what was being trained, and the sha256 of the two other files. It is written beside its final name and
moved there in one step, so a folder with that name is whole unless the disk lost something, and the hashes notice that. Only
the latest epoch and the best one so far are kept; the weights that will be reported *are* the best epoch's checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from erc_lib.errors import ConfigError, TrainingError

FOLDER = "checkpoints"
MODEL, STATE, CARD = "model.safetensors", "state.pt", "checkpoint.json"


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of ``state_dict()`` on the CPU. Each tensor is its own, for safetensors refuses shared memory (tied weights)."""
    weights = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ConfigError(f"the model's state {name!r} is a {kind}; keep state in parameters and buffers, which are saved")
        weights[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    return weights


def random_state() -> dict[str, Any]:
    """The states of every global generator a model may draw from: torch (CPU and GPUs), NumPy, Python."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, numbers, following = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, keys.tolist(), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(numbers), following],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    version, numbers, following = state["python"]
    random.setstate((version, tuple(numbers), following))


@dataclass(frozen=True)
class Checkpoint:
    epoch: int
    weights: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training.

    Args:
        directory: folder of the run; checkpoints lie in ``checkpoints`` below it.
        identity: JSON-able; says what is trained. A checkpoint of another identity is a ConfigError that names what differs.
    """

    def __init__(self, directory: str | os.PathLike, identity: dict[str, Any]) -> None:
        self.folder = Path(directory) / FOLDER
        self.identity = json.loads(json.dumps(identity))

    def path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:05d}"

    def save(self, epoch: int, best_epoch: int, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Writes the checkpoint of ``epoch`` whole or not at all, then removes all but it and ``best_epoch``'s."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".writing-{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_file(weights, temporary / MODEL)
        torch.save(state, temporary / STATE)
        files = {name: _sha256(temporary / name) for name in (MODEL, STATE)}
        (temporary / CARD).write_text(json.dumps({"epoch": epoch, "identity": self.identity, "files": files}, indent=1))
        for name in (MODEL, STATE, CARD):
            _flush(temporary / name)
        target = self.path(epoch)
        if target.exists():  # a damaged one that load() went behind
            shutil.rmtree(target)
        os.replace(temporary, target)
        _flush(self.folder)
        self._keep({epoch, best_epoch})

    def load(self) -> Checkpoint | None:
        """The newest whole checkpoint; None where there is none at all.

        A damaged one is left for the one before it, with a warning: training from there repeats the lost epochs exactly.

        Raises:
            ConfigError: a checkpoint of another model, corpus, configuration or seed.
            TrainingError: there are checkpoints, but none is whole.
        """
        found = sorted(self.folder.glob("epoch-*"), reverse=True)
        damage: list[str] = []
        for folder in found:
            try:
                checkpoint = self._read(folder)
            except _Damaged as error:
                damage.append(str(error))
                continue
            if damage:
                warnings.warn(f"{'; '.join(damage)}: going on from epoch {checkpoint.epoch} instead", stacklevel=3)
            return checkpoint
        if found:
            raise TrainingError(
                f"no checkpoint in {self.folder} is whole ({'; '.join(damage)}); delete that folder to train from the start"
            )
        return None

    def load_weights(self, epoch: int) -> dict[str, Tensor]:
        """The weights of one kept epoch."""
        try:
            return self._read(self.path(epoch)).weights
        except _Damaged as error:
            raise TrainingError(
                f"the selected weights, of epoch {epoch}, are lost ({error}); delete {self.folder} to train from the start"
            ) from None

    def _read(self, folder: Path) -> Checkpoint:
        try:
            card = json.loads((folder / CARD).read_text())
            epoch, identity, files = card["epoch"], card["identity"], card["files"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _Damaged(f"{folder / CARD} cannot be read ({type(error).__name__})") from None
        if identity != self.identity:
            raise ConfigError(
                f"{folder} belongs to another training: {'; '.join(_differences(identity, self.identity))}. "
                "Use another directory, or delete that folder to train from the start"
            )
        for name in (MODEL, STATE):
            path = folder / name
            if not path.is_file() or _sha256(path) != files.get(name):
                raise _Damaged(f"{path} is missing, truncated or changed")
        return Checkpoint(epoch, load_file(folder / MODEL), torch.load(folder / STATE, weights_only=True, map_location="cpu"))

    def _keep(self, epochs: set[int]) -> None:
        keep = {self.path(epoch).name for epoch in epochs}
        for folder in self.folder.iterdir():
            if folder.name not in keep:
                shutil.rmtree(folder, ignore_errors=True)


def remove_checkpoints(directory: str | os.PathLike) -> None:
    """Removes the checkpoints below a run's folder, once its results are stored."""
    shutil.rmtree(Path(directory) / FOLDER, ignore_errors=True)


class _Damaged(Exception):
    pass


def _differences(theirs: Any, ours: Any, name: str = "") -> list[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = [*theirs, *(k for k in ours if k not in theirs)]
        return [d for k in keys for d in _differences(theirs.get(k), ours.get(k), f"{name}.{k}" if name else k)]
    return [] if theirs == ours else [f"{name} was {theirs!r}, now {ours!r}"]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Makes the disk hold what was written, so that a power cut cannot leave the new name on old blocks."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
