"""One run: from a specification to a finished folder in the store."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model
from torch import Tensor

from erc_lib.data import SPLITS, Corpus, load_corpus
from erc_lib.data.folder import folder_digest
from erc_lib.data.transform import redraw_validation, standardise, training_statistics
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.encoders import encoder_identity
from erc_lib.features.store import FeatureStore, attach
from erc_lib.runs.environment import PeakMemory, code_state, describe
from erc_lib.runs.spec import RunSpec, build_config, build_model, build_training, check, inner_encoder, model_class
from erc_lib.runs.store import WEIGHTS, Run, RunStore, plain, sha256, write_json
from erc_lib.training import fit, seed_everything
from erc_lib.training.identity import corpus_digest
from erc_lib.training.scoring import measure


def run_one(
    spec: RunSpec, store: RunStore | str | Path, *, device: str = "cpu", progress: bool = False, keep_weights: bool = False
) -> Run:
    """The finished run of ``spec``: read from ``store`` if it is there, else trained and written.

    Training happens in ``<store>/.partial/<digest>/``, where an interrupted run leaves its checkpoints; the next call goes on
    from them, unless settings, data, device or code have changed since, in which case it starts anew. Two processes never
    train the same specification at once: the second waits, then reads what the first has written. A damaged run is trained again.

    Args:
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for a GPU when there is one.
        keep_weights: also keep the selected weights beside the run when it is trained, for :func:`load_model`.

    Raises:
        ConfigError, DataError: the specification or the data cannot be used. TrainingError: the loss became NaN.
    """
    store = store if isinstance(store, RunStore) else RunStore(store)
    if store.has(spec):
        return _of_this_folder(store.load(spec))
    check(spec)
    device = resolve_device(device)
    made = not store.root.exists()
    try:
        with _locked(store.partial / f"{spec.digest}.lock", spec, progress):
            if store.has(spec):  # whoever held the lock has finished it
                return _of_this_folder(store.load(spec))
            return _train(spec, store, device, progress, keep_weights)
    finally:
        with contextlib.suppress(OSError):
            store.partial.rmdir()  # only if no other run is in progress
            if made:
                store.root.rmdir()  # only if the run came to nothing


def _of_this_folder(run: Run) -> Run:
    """``run``, unless it was trained on a folder of one's own that has changed since: the digest knows the folder by its path alone."""
    if run.spec.corpus == "folder":
        path, trained = Path(run.spec.corpus_options["path"]), run.environment["corpus"]["provenance"].get("sha256")
        if path.is_dir() and folder_digest(path) != trained:
            raise DataError(
                f"{path} has changed since the run {run.spec.digest} was trained on it; "
                f"delete {run.directory} or choose another store, and train again"
            )
    return run


def resolve_device(device: str) -> str:
    """``"cpu"`` or ``"cuda"``; ``"auto"`` is a GPU when there is one. ConfigError for any other."""
    if device not in ("cpu", "cuda", "auto"):
        raise ConfigError(f"no device {device!r}; use cpu, cuda or auto, and choose among GPUs by CUDA_VISIBLE_DEVICES")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda', but torch sees no GPU; use cpu or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _train(spec: RunSpec, store: RunStore, device: str, progress: bool, keep_weights: bool) -> Run:
    began = time.perf_counter()
    memory = PeakMemory(device).start()
    corpus = load_run_corpus(spec)
    config = build_config(spec, corpus)
    training = build_training(spec, config)
    settings = {"model": config.model_dump(mode="json"), "training": training.model_dump(mode="json")}
    directory = store.partial / spec.digest
    data = corpus_digest(corpus)
    basis = {"settings": settings, "data": data, "device": torch.device(device).type, "code": code_state()["code_commit"]}
    if (name := inner_encoder(spec)) is not None:
        basis["encoder"] = encoder_identity(name)
    _prepare(directory, basis, progress)

    seed_everything(spec.seed)
    model = build_model(spec, config)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    result = fit(model, corpus, training, seed=spec.seed, directory=directory, device=device, progress=progress)

    predictions = result.predictions
    if spec.measure:
        predictions = predictions.merge(measure(result.model, corpus.test), how="left", on=["split", "dialogue", "position"], validate="one_to_one")

    weights = None
    if keep_weights:
        weights = directory / WEIGHTS
        save_model(result.model.cpu(), str(weights))
    environment = {
        **describe(device),
        "seconds": round(float(result.seconds), 2),
        "seconds_with_loading": round(time.perf_counter() - began, 2),
        "peak_memory": memory.read(),
        "parameters": parameters,
        "best_epoch": int(result.best_epoch),
        "corpus": {
            "name": corpus.name,
            "label_names": list(corpus.label_names),
            "utterances": {s: sum(len(d) for d in corpus.split(s)) for s in SPLITS},
            "sha256": data,  # of all ids, texts, speakers, labels and features the model could see
            "provenance": corpus.provenance,
        },
    }
    if inner_encoder(spec) is not None:
        texts = [text for split in SPLITS for d in corpus.split(split) for text in d.texts]
        environment["text_encoder"] = result.model.describe_encoder(texts)
    run = store.write(
        spec, settings=settings, environment=environment, history=result.history, predictions=predictions,
        metrics=result.metrics, weights=weights,
    )  # fmt: skip
    shutil.rmtree(directory)
    for leftover in store.partial.glob(f"{spec.digest}.*.new"):  # of a process killed while it wrote
        shutil.rmtree(leftover, ignore_errors=True)
    return run


def load_run_corpus(spec: RunSpec) -> Corpus:
    """The corpus a run sees: loaded, with its stored features attached, and with ``spec.modalities`` alone."""
    corpus = _whole_corpus(spec, spec.standardise)
    return corpus if spec.validation_fraction is None else redraw_validation(corpus, spec.validation_fraction, spec.seed)


def load_run_statistics(run: Run) -> dict[str, tuple[Tensor, Tensor]]:
    """Modality -> mean (D,) and factor (D,) by which the features of ``run`` were standardised; empty if they were not.

    Raises:
        DataError: the corpus is not here, or is not the one the run was trained on.
    """
    if not run.spec.standardise:
        return {}
    corpus = _whole_corpus(run.spec, False)
    now, then = plain(corpus.provenance), run.environment["corpus"]["provenance"]
    if changed := sorted(k for k in now.keys() | then.keys() if now.get(k) != then.get(k)):
        raise DataError(
            f"run {run.spec.digest} standardised its features by a corpus {run.spec.corpus!r} that differs from the one here in its "
            f"{', '.join(changed)}; bring that one back, or train the run again"
        )
    return training_statistics(corpus)


def _whole_corpus(spec: RunSpec, z_scored: bool) -> Corpus:
    options, features = json.dumps(spec.corpus_options), json.dumps(spec.features)
    stored = tuple(m for m in spec.modalities if m != "text" or inner_encoder(spec) is None)
    state = folder_digest(spec.corpus_options["path"]) if spec.corpus == "folder" and "path" in spec.corpus_options else ""
    return _load_corpus(spec.corpus, options, features, stored, z_scored, state)


@functools.lru_cache(maxsize=2)  # a worker does many runs on one corpus; its tensors are never written to
def _load_corpus(name: str, options: str, features: str, modalities: tuple[str, ...], z_scored: bool, state: str) -> Corpus:
    """``state``: of a folder of one's own, which may change while a process lives: another one is another entry of the cache."""
    corpus = load_corpus(name, **json.loads(options))
    cards = {}
    for modality, feature_set in json.loads(features).items():
        stored = FeatureStore().load(corpus.name, modality, feature_set)
        corpus = attach(corpus, modality, stored)
        cards[modality] = {"name": feature_set, "card": stored.card_hash, "sha256": stored.card.get("sha256")}
    corpus = corpus.only(modalities)
    corpus = standardise(corpus) if z_scored else corpus
    return replace(corpus, provenance={**corpus.provenance, "features": cards}) if cards else corpus


def _prepare(directory: Path, basis: dict[str, Any], progress: bool) -> None:
    """Makes the folder of checkpoints, and empties it if they belong to other settings, data, device or code."""
    record = directory / "basis.json"
    basis = plain(basis)
    if directory.exists():
        try:
            earlier = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            earlier = {}
        changed = [k for k in basis if earlier.get(k) != basis[k]]
        if not changed:
            return
        if progress:
            print(f"{directory.name}: starting anew, for {' and '.join(changed)} changed since its checkpoints", file=sys.stderr)
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    write_json(record, basis)


def open_in(folder: Path, name: str, mode: str) -> IO[str]:
    """Opens a file of ``folder``, which is made if need be; the last run of another process may be removing it meanwhile."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return open(folder / name, mode, encoding="utf-8")


@contextlib.contextmanager
def _locked(path: Path, spec: RunSpec, progress: bool) -> Iterator[None]:
    """Holds an exclusive lock on ``path``; the kernel releases it when the process ends, however it ends."""
    file = open_in(path.parent, path.name, "w")
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress:
                print(f"{spec}: another process is training it; waiting", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            current = os.stat(path).st_ino == os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            current = False
        if current:
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
    finally:
        file.close()
    # The previous holder removed the file while we waited for it: a third process may hold a new one.
    with _locked(path, spec, progress):
        yield


def in_progress(spec: RunSpec, store: RunStore) -> bool:
    """True while some process on this machine trains ``spec``."""
    try:
        with open(store.partial / f"{spec.digest}.lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def load_model(run: Run, *, device: str = "cpu") -> torch.nn.Module:
    """The trained model of a run made with ``keep_weights=True``, in evaluation mode.

    Raises:
        DataError: if the run has no weights, or they are damaged.
    """
    path = run.directory / WEIGHTS
    if not path.is_file():
        raise DataError(
            f"{run.directory} holds no weights ({WEIGHTS}), only its predictions; train it into a store of your own "
            f"with run_one(spec, store, keep_weights=True) or `erc train --keep-weights`"
        )
    if sha256(path) != run.environment.get("weights"):
        raise DataError(f"{path} is damaged: its SHA-256 is not that in environment.json; delete {run.directory} and train again")
    return restore_model(run.spec, run.settings, run.environment, path, where=str(run.directory)).to(device)


def restore_model(spec: RunSpec, settings: dict[str, Any], environment: dict[str, Any], weights: Path, *, where: str) -> torch.nn.Module:
    """The model of a run with its trained ``weights``, in evaluation mode on the CPU.

    Raises:
        DataError: the encoder inside it is not here, or is another one than it was trained with; ``where`` begins the message.
    """
    if (name := inner_encoder(spec)) is not None:
        recorded, now = environment["text_encoder"], encoder_identity(name)
        if changed := [k for k in now if recorded[k] != now[k]]:
            raise DataError(f"{where} was trained with another {name} ({changed[0]} {recorded[changed[0]]}, here {now[changed[0]]}); put that one in its place")
    model = build_model(spec, model_class(spec).Config(**settings["model"]))
    load_weights(model, str(weights))
    return model.eval()
