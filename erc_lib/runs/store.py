"""The store of finished runs: one folder per run, named by the digest of its specification.

A folder is a finished run only if each of its files is there and has the SHA-256 that ``environment.json`` gives for it.
Runs in progress live in ``<store>/.partial``, and a folder appears under its digest in one step, complete.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erc_lib.errors import ConfigError, DataError
from erc_lib.runs.compact import compact, widened, write_parquet
from erc_lib.runs.spec import RunSpec, did_you_mean

FILES = ("spec.json", "history.parquet", "predictions.parquet", "metrics.json")  # environment.json holds their hashes
WEIGHTS = "model.safetensors"  # optional: large, and no table or figure of a committed run may need it
DIGEST = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        spec: its specification; ``settings``: the full ``{"model": ..., "training": ...}`` that followed from it.
        environment: commit, versions, device, seconds, parameters, best_epoch, corpus, files.
        history: one row per epoch. predictions: columns split, dialogue, position, label, predicted, p_0 ... p_{C-1};
            of dimensions label_0 ... and predicted_0 ... With ``spec.measure`` also what was measured of the test utterances.
        metrics: ``{"validation": {...}, "test": {...}, "test_best_epoch": {...}}``, fractions.
        directory: where it lies.
    """

    spec: RunSpec
    settings: dict[str, Any]
    environment: dict[str, Any]
    history: pd.DataFrame
    predictions: pd.DataFrame
    metrics: dict[str, Any]
    directory: Path


class RunStore:
    """The finished runs under ``root`` (made when the first run is written)."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._reported: set[str] = set()

    @property
    def partial(self) -> Path:
        """The folder of runs in progress: checkpoints and locks."""
        return self.root / ".partial"

    def digests(self) -> list[str]:
        """The digests of every folder, finished or damaged, in order."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if p.is_dir() and DIGEST.fullmatch(p.name))

    def has(self, spec: RunSpec | str) -> bool:
        """True if the run of this specification (or digest) is finished and undamaged."""
        return self.fault(spec) is None

    def fault(self, spec: RunSpec | str) -> str | None:
        """Why the run cannot be used, naming the file, or None if it can."""
        digest = spec if isinstance(spec, str) else spec.digest
        folder = self.root / digest
        if not folder.is_dir():
            return f"no run {digest} in {self.root}"
        try:
            environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
            hashes = dict(environment["files"])
        except FileNotFoundError:
            return f"{folder / 'environment.json'} is missing"
        except (ValueError, KeyError, TypeError):
            return f"{folder / 'environment.json'} is damaged"
        for name in FILES:
            path = folder / name
            if not path.is_file():
                return f"{path} is missing"
            if sha256(path) != hashes.get(name):
                return f"{path} is damaged: its SHA-256 is not the one in environment.json"
        stored = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        try:
            if _spec_of(stored).digest != digest:
                return f"{folder / 'spec.json'} describes the run {_spec_of(stored).digest}, not {digest}"
        except ConfigError as error:
            return f"{folder / 'spec.json'} is not a specification this version can read ({error})"
        return None

    def load(self, spec: RunSpec | str) -> Run:
        """The finished run of a specification or digest; a row label given in ``spec`` goes before the stored one.

        Raises:
            DataError: if it is not there, or a file of it is missing or damaged; the message names the file and the remedy.
        """
        digest = spec if isinstance(spec, str) else spec.digest
        folder = self.root / digest
        fault = self.fault(digest)
        if fault:
            what = "" if isinstance(spec, str) else f" ({spec})"
            remedy = f"delete {folder} and train the run again" if folder.exists() else "train it: `erc train` or `erc study run`"
            raise DataError(f"{fault}{what}; {remedy}")
        stored = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        read = _spec_of(stored)
        return Run(
            spec=spec if isinstance(spec, RunSpec) and spec.name else read,
            settings=stored.get("settings", {}),
            environment=json.loads((folder / "environment.json").read_text(encoding="utf-8")),
            history=pd.read_parquet(folder / "history.parquet"),
            predictions=widened(pd.read_parquet(folder / "predictions.parquet")),
            metrics=json.loads((folder / "metrics.json").read_text(encoding="utf-8")),
            directory=folder,
        )

    def find(self, **fields: Any) -> list[Run]:
        """The finished runs whose specification has these values, ordered by paper, name and seed.

        ``store.find(paper="multiemo", corpus="meld", modalities=("text",))``. Damaged runs are left out and reported once.
        """
        for field in fields:
            if field not in RunSpec.model_fields:
                raise ConfigError(f"a run has no field {field!r}{did_you_mean(field, RunSpec.model_fields)}")
        wanted = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        runs = (self.load(d) for d in self._finished())
        found = [r for r in runs if all(getattr(r.spec, k) == v for k, v in wanted.items())]
        return sorted(found, key=lambda r: (r.spec.paper, r.spec.name, r.spec.corpus, r.spec.modalities, r.spec.seed))

    def frame(self) -> pd.DataFrame:
        """One row per finished run: its specification, metrics (``test_weighted_f1``, ...) and provenance.

        Settings that are mappings stand as JSON text. Damaged runs are left out and reported once.
        """
        rows = []
        for digest in self._finished():
            folder = self.root / digest
            spec = _spec_of(json.loads((folder / "spec.json").read_text(encoding="utf-8")))
            environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            row: dict[str, Any] = {"digest": digest}
            for field, value in spec.model_dump(mode="json").items():
                row[field] = json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
            row["modalities"] = "+".join(spec.modalities)
            for group, values in metrics.items():
                row |= {f"{group}_{k}": v for k, v in values.items() if isinstance(v, (int, float))}
            row |= {k: environment.get(k) for k in ("best_epoch", "parameters", "seconds", "peak_memory", "device", "commit")}
            rows.append(row)
        columns = ["digest", *RunSpec.model_fields]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)

    def _finished(self) -> list[str]:
        finished = []
        for digest in self.digests():
            fault = self.fault(digest)
            if fault is None:
                finished.append(digest)
            elif digest not in self._reported:
                self._reported.add(digest)
                warnings.warn(f"left out a run: {fault}; delete {self.root / digest} and train it again", stacklevel=3)
        return finished

    def write(
        self, spec: RunSpec, *, settings: dict, environment: dict, history: pd.DataFrame, predictions: pd.DataFrame,
        metrics: dict, weights: Path | None = None,
    ) -> Run:  # fmt: skip
        """Writes a finished run in one step, replacing a damaged one, and returns it as read back from the disk.

        Probabilities and predicted dimensions are stored in steps of 1/1024 (:func:`~erc_lib.runs.compact.compact`). ``weights``: a safetensors file to keep beside it (see :data:`WEIGHTS`).
        """
        kind = ("label_0", "predicted_0") if "label_0" in predictions else ("label", "predicted")  # dimensions or classes
        missing = [c for c in ("split", "dialogue", "position", *kind) if c not in predictions]
        if missing:
            raise DataError(f"{spec}: the predictions have no column {missing[0]!r}")
        self.partial.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{spec.digest}.", suffix=".new", dir=self.partial))
        try:
            write_json(folder / "spec.json", {**spec.model_dump(mode="json"), "digest": spec.digest, "settings": settings})
            write_json(folder / "metrics.json", metrics)
            write_parquet(history, folder / "history.parquet")
            write_parquet(compact(predictions), folder / "predictions.parquet")
            environment = {**environment, "files": {name: sha256(folder / name) for name in FILES}}
            if weights is not None:
                shutil.copyfile(weights, folder / WEIGHTS)
                environment["weights"] = sha256(folder / WEIGHTS)
            write_json(folder / "environment.json", environment)
            folder.chmod(0o755)  # mkdtemp's 0700 would lock out whoever shares the store
            final = self.root / spec.digest
            if final.exists():  # damaged: os.replace cannot overwrite a folder that holds files
                aside = Path(tempfile.mkdtemp(prefix=f"{spec.digest}.", suffix=".old", dir=self.partial))
                os.replace(final, aside / "run")
                os.replace(folder, final)
                shutil.rmtree(aside)
            else:
                os.replace(folder, final)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self.load(spec)


def _spec_of(stored: dict[str, Any]) -> RunSpec:
    return RunSpec(**{k: v for k, v in stored.items() if k not in ("digest", "settings")})


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: NumPy scalars and arrays become numbers and lists, NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray) or (isinstance(value, np.generic)):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
