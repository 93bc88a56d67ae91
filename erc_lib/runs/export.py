"""A finished run in one file, to be used where neither its store nor its corpus is.

The file is a ZIP archive of

    manifest.json            format, version, and the sha256 of every other member
    spec.json                the run's specification, its digest and its full settings, as in the store
    card.json                label names, modalities, how the features of each were made, environment and scores
    model.safetensors        the weights
    statistics.safetensors   mean and factor of each feature dimension, where the run standardised them

Nothing in it is unpickled, and nothing is unpacked under a name that the file chooses.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from erc_lib.errors import ConfigError, DataError
from erc_lib.features.reduce import Reduction, load_reduction
from erc_lib.features.store import FeatureStore
from erc_lib.runs.execute import load_model, load_run_statistics, restore_model
from erc_lib.runs.spec import RunSpec, inner_encoder
from erc_lib.runs.store import DIGEST, WEIGHTS, Run, RunStore, plain

FORMAT, VERSION = "erc-run", 1
MANIFEST, SPEC, CARD, STATISTICS = "manifest.json", "spec.json", "card.json", "statistics.safetensors"
REDUCTION = "reduction.{}.safetensors"  # of a modality
WRITTEN = (1980, 1, 1, 0, 0, 0)  # the time of every member: the same run gives the same bytes


@dataclass(frozen=True)
class Exported:
    """A trained model with what its predictions need.

    Attributes:
        model: in evaluation mode, on the CPU.
        spec: the run's specification; ``settings``: the full ones that followed from it.
        label_names: the C classes in the order of the logits.
        features: modality -> card of the stored feature set the model was trained on; None where the features came with the
            corpus. The text of a model with a text encoder inside it has no entry.
        reductions: modality -> the fitted step that made its features narrower (`erc features reduce`), where there was one.
        statistics: modality -> mean (D,) and factor (D,) of the training features; empty if the run did not standardise.
        environment, metrics: as in the run (:class:`~erc_lib.runs.store.Run`).
    """

    model: torch.nn.Module
    spec: RunSpec
    settings: dict[str, Any]
    label_names: tuple[str, ...]
    features: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    statistics: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    reductions: dict[str, Reduction] = field(default_factory=dict)


def export_run(run: Run, path: str | Path, *, force: bool = False) -> Path:
    """Writes ``run`` into one file at ``path``, whole or not at all.

    Raises:
        DataError: the run has no weights or damaged ones, or its corpus or features, which are read for the statistics and the
            cards, are not here or are others. ConfigError: there is a file at ``path`` and not ``force``; a run on dimensions.
    """
    path = Path(path)
    if path.exists() and not force:
        raise ConfigError(f"{path} exists; give --force to replace it, or another name")
    card, statistics = _card(run), load_run_statistics(run)
    load_model(run)  # that the file will load is found out here, not where it is sent
    members = {
        SPEC: _json({**run.spec.model_dump(mode="json"), "digest": run.spec.digest, "settings": run.settings}),
        CARD: _json(card),
        WEIGHTS: (run.directory / WEIGHTS).read_bytes(),
    }
    if statistics:
        named = {f"{m}.{k}": x.contiguous() for m, pair in statistics.items() for k, x in zip(("mean", "factor"), pair, strict=True)}
        members[STATISTICS] = tensors_to_bytes(named)
    for m, reduction in _reductions(card["features"]).items():
        members[REDUCTION.format(m)] = reduction.to_bytes()
    manifest = {"format": FORMAT, "version": VERSION, "sha256": {name: hashlib.sha256(x).hexdigest() for name, x in members.items()}}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in {MANIFEST: _json(manifest), **members}.items():
            file.writestr(zipfile.ZipInfo(name, WRITTEN), content, zipfile.ZIP_DEFLATED)
    write_whole({path: archive.getvalue()})
    return path


def load_export(path: str | Path) -> Exported:
    """The run that :func:`export_run` packed.

    Raises:
        DataError: no such file; not an exported run, one of another version, or a damaged one; or the text encoder inside the
            model is not on this machine.
    """
    path = Path(path)
    again = "export the run again, or copy the file again"
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if MANIFEST not in names:
                raise DataError(f"{path} is a ZIP file, but no exported run: it has no {MANIFEST}; make one with `erc export`")
            manifest = _object(path, MANIFEST, archive.read(MANIFEST))
            if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
                given = f"{manifest.get('format')!r}, version {manifest.get('version')}"
                raise DataError(f"{path} is {given}; this erc reads {FORMAT!r}, version {VERSION}: take the erc that wrote it, or export the run with this one")
            hashes = manifest.get("sha256")
            if not isinstance(hashes, dict):
                raise DataError(f"{path}: its {MANIFEST} names no hashes; {again}")
            for name in sorted({SPEC, CARD, WEIGHTS} | hashes.keys()):
                if name not in names or name not in hashes:
                    raise DataError(f"{path} is damaged: {name} is missing; {again}")
            content = {name: archive.read(name) for name in hashes}
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; make it with `erc export`") from None
    except zipfile.BadZipFile as error:
        damaged = "damaged" if zipfile.is_zipfile(path) else "cut short or no exported run"
        raise DataError(f"{path} is {damaged} ({error}); {again}") from None
    except (OSError, EOFError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); {again}") from None
    for name, x in content.items():
        if hashlib.sha256(x).hexdigest() != hashes[name]:
            raise DataError(f"{path} is damaged: the SHA-256 of {name} is not the one in its {MANIFEST}; {again}")
    stored, card = _object(path, SPEC, content[SPEC]), _object(path, CARD, content[CARD])
    try:
        spec = RunSpec(**{k: v for k, v in stored.items() if k not in ("digest", "settings")})
        with tempfile.TemporaryDirectory(prefix="erc-export-") as folder:
            weights = Path(folder) / WEIGHTS
            weights.write_bytes(content[WEIGHTS])
            model = restore_model(spec, stored["settings"], card["environment"], weights, where=str(path))
        return Exported(
            model, spec, stored["settings"], tuple(card["label_names"]), card["features"],
            _statistics(content.get(STATISTICS)), card["environment"], card["metrics"],
            {m: Reduction.from_bytes(content[REDUCTION.format(m)]) for m in card["features"] if REDUCTION.format(m) in content},
        )  # fmt: skip
    except DataError:
        raise
    except (ConfigError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} holds a run this erc cannot rebuild ({reason}); export it with this version") from None


def exported_of(run: Run) -> Exported:
    """What :func:`load_export` would give of ``run`` had it been exported."""
    card = _card(run)
    return Exported(
        load_model(run), run.spec, run.settings, tuple(card["label_names"]), card["features"], load_run_statistics(run), run.environment, run.metrics,
        _reductions(card["features"]),
    )  # fmt: skip


def find_run(name: str, store: RunStore) -> Run:
    """The run of ``store`` whose digest is or begins with ``name`` (at least 4 digits).

    Raises:
        DataError: no run, or more than one, or a damaged one.
    """
    found = [d for d in store.digests() if len(name) >= 4 and d.startswith(name)]
    if DIGEST.fullmatch(name) or len(found) == 1:
        return store.load(found[0] if found else name)
    if found:
        raise DataError(f"{name!r} begins {len(found)} runs of {store.root} ({', '.join(found[:4])}); give more digits")
    raise DataError(f"{name!r} names no run in {store.root}, which has {len(store.digests())}; give its digest, the name of its folder, and --store")


def write_whole(files: Mapping[Path, bytes]) -> None:
    """Writes every file beside its place first, and gives them their names only when all are on the disk."""
    written: list[tuple[str, Path]] = []
    path = None  # what is being written: an error of the system names the temporary file, or none
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
            written.append((temporary, path))
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(temporary, 0o644)  # mkstemp's 0600 would lock out whoever shares the folder
        for temporary, path in written:
            os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); choose another place") from None
    finally:
        for temporary, _ in written:
            Path(temporary).unlink(missing_ok=True)


def _card(run: Run) -> dict[str, Any]:
    if "mean_pearson" in run.metrics.get("test", {}):
        raise ConfigError(f"{run.spec} predicts emotion dimensions; only runs on classes can be exported and used by `erc predict`")
    corpus = run.environment["corpus"]
    features: dict[str, Any] = {}
    for m in run.spec.modalities:
        if m == "text" and inner_encoder(run.spec) is not None:
            continue
        features[m] = None
        if m in run.spec.features:
            stored = FeatureStore().load(corpus["name"], m, run.spec.features[m])
            trained = corpus["provenance"].get("features", {}).get(m, {})
            if stored.card.get("sha256") != trained.get("sha256"):
                raise DataError(
                    f"the stored {m} features {run.spec.features[m]!r} of {corpus['name']!r} are not those that run {run.spec.digest} was trained on; "
                    "bring those back, or train the run again"
                )
            features[m] = stored.card
    return {
        "label_names": corpus["label_names"], "modalities": list(run.spec.modalities), "features": features,
        "environment": run.environment, "metrics": run.metrics,
    }  # fmt: skip


def _reductions(features: dict[str, dict[str, Any] | None]) -> dict[str, Reduction]:
    """The parameters of reduced features, as they lie beside the features that the run was trained on."""
    return {m: load_reduction(c["corpus"], m, c["name"]) for m, c in features.items() if c is not None and "reduction_sha256" in c}


def _statistics(content: bytes | None) -> dict[str, tuple[Tensor, Tensor]]:
    found = {} if content is None else tensors_from(content)
    return {m: (found[f"{m}.mean"], found[f"{m}.factor"]) for m in dict.fromkeys(k.split(".")[0] for k in found)}


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _object(path: Path, name: str, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged: {name} is no JSON object; export the run again")
    return found
