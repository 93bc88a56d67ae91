"""MultiEMO's own text stage (Section 3.3.1): text features from an encoder fine-tuned on the corpus, in both of its paradigms.

One-stage: a fine-tuned encoder reads ``past [SEP] current [SEP] future`` (:mod:`erc_lib.features.segments`); the first position
goes through a fully connected layer, c_i^t. Two-stage (Appendix A.1): an utterance encoder, then a Transformer over the
dialogue. Both are trained with a linear classifier on the training dialogues; the epoch is chosen on the corpus' own validation
dialogues.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import json
import time
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from erc_lib.data.conversation import SPLITS, Corpus
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.encoders import TextEncoder, load_encoder
from erc_lib.features.segments import dialogue_inputs, speaker_names
from erc_lib.features.store import FeatureStore, StoredFeatures, text_fingerprints
from erc_lib.features.text import corpus_texts, encode_texts
from erc_lib.features.tuning import ContextNetwork, Loop, UtteranceNetwork

VERSION = "1"
POOLING = {"one-stage": "first position, fully connected layer", "two-stage": "outputs of a Transformer over the dialogue"}
SELECTION = "the epoch with the largest weighted F1 on the corpus' own validation dialogues; the earlier of equals"
WARNING = (
    "The encoder was fine-tuned on the train dialogues, so their features have memorised their labels: what is trained on these "
    "features must be selected on the validation dialogues listed here, never on a validation set drawn again from train."
)


class FinetuneConfig(BaseModel):
    """Settings of the text stage. The paper gives the paradigms, the 256 dimensions and RoBERTa; the rest was chosen here.

    ``batch_size`` counts utterances (one-stage, first stage), ``context_batch_size`` dialogues. ``tune_utterances=False``
    leaves the utterance encoder of the two-stage paradigm as it was published. ``max_length`` counts tokens, special ones
    included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    paradigm: Literal["one-stage", "two-stage"] = "one-stage"
    seed: int = Field(0, ge=0)
    epochs: int = Field(4, ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    batch_size: int = Field(32, ge=1)
    max_length: int = Field(128, ge=8, le=512)
    features: int = Field(256, ge=1)  # 3.3.1: "256-dimensional textual representation"
    dropout: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    clip_norm: float = Field(1.0, gt=0)
    prefix_speakers: bool = True
    precision: Literal["float32", "bfloat16"] = "float32"
    tune_utterances: bool = True
    context_layers: int = Field(2, ge=1)
    context_heads: int = Field(4, ge=1)
    context_epochs: int = Field(20, ge=1)
    context_learning_rate: float = Field(2e-4, gt=0)
    context_batch_size: int = Field(16, ge=1)


def finetune_corpus(
    corpus: Corpus,
    *,
    encoder: TextEncoder | str = "all-MiniLM-L6-v2",
    store: FeatureStore | None = None,
    name: str | None = None,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> StoredFeatures:
    """Trains the text stage on ``corpus.train`` and stores features (N, 256) of all utterances; nothing is stored before the end.

    Args:
        store: the default feature store if None. name: in the store; ``<paradigm>/<encoder>/seed<seed>`` if None.
        overwrite: train again although features of that name are there. Otherwise those are returned if corpus and settings
        agree.
        settings: of :class:`FinetuneConfig` (``paradigm``, ``seed``, ``epochs``, ``learning_rate``, ``batch_size``,
        ``max_length``, ...).
    Returns:
        The features. Their card lists the validation dialogues, weighted F1 of validation and test by epoch and the selection
        rule (the test values are recorded; nothing is chosen by them).
    Raises:
        DataError: no transcripts, no classes, an empty split, a NaN loss. ConfigError: a setting, or other features under that
        name.
    """
    try:
        config = FinetuneConfig(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(map(str, first["loc"]))
        raise ConfigError(f"fine-tuning setting {setting}: {first['msg']} (got {first['input']!r})") from None
    if config.features % config.context_heads and config.paradigm == "two-stage":
        raise ConfigError(f"features ({config.features}) must be a multiple of context_heads ({config.context_heads})")
    ids, texts = corpus_texts(corpus)
    check_splits(corpus, "the text stage")
    store = store or FeatureStore()
    short = encoder if isinstance(encoder, str) else encoder.spec.name
    name = name or f"{config.paradigm}/{short}/seed{config.seed}"
    encoder = load_encoder(encoder, device) if isinstance(encoder, str) else encoder
    if config.max_length > encoder.positions:
        raise ConfigError(f"max_length {config.max_length} is more than the {encoder.positions} positions of {short}")
    written = {**encoder.describe(), "version": VERSION, "settings": config.model_dump(), "corpus_sha256": corpus_digest(corpus)}
    if not overwrite and (stored := stored_as_asked(store, corpus, name, written)):
        return stored
    started = time.perf_counter()
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        array, stages, digest = _train(corpus, encoder, config, device, progress)
    best = stages[-1]["history"][stages[-1]["best_epoch"] - 1]
    card = {
        **written,
        "extractor": "erc_lib.features.finetune",
        "libraries": {"transformers": importlib.metadata.version("transformers"), "torch": torch.__version__},
        "device": str(device),
        "paradigm": config.paradigm,
        "pooling": POOLING[config.paradigm],
        "sampling": f"at most {config.max_length} tokens; the current utterance is cut last",
        "units": "none",
        "empty": "an empty text is its speaker's name" if config.prefix_speakers else "an empty text is an empty segment",
        "tuned_weights_sha256": digest,
        "selection": SELECTION,
        "warning": WARNING,
        "validation_dialogues": [d.id for d in corpus.validation],
        "stages": stages,
        "validation_weighted_f1": best["validation_weighted_f1"],
        "test_weighted_f1": best["test_weighted_f1"],
        "seconds": round(time.perf_counter() - started, 1),
    }
    prints = text_fingerprints(texts)
    return store.save(corpus=corpus.name, modality="text", name=name, ids=ids, array=array, card=card, fingerprints=prints)


def _train(
    corpus: Corpus, encoder: TextEncoder, config: FinetuneConfig, device: torch.device, progress: bool
) -> tuple[np.ndarray, list[dict[str, Any]], str]:
    """Features (N, F) in the order of :func:`corpus_texts`, what each stage's epochs gave, and the trained weights' hash."""
    # The caller's encoder stays as it was: its copy is trained.
    encoder = copy.copy(encoder)
    encoder.model = copy.deepcopy(encoder.model).to(device)
    dialogues = {s: corpus.split(s) for s in SPLITS}
    stages: list[dict[str, Any]] = []
    context, prefix, limit = config.paradigm == "one-stage", config.prefix_speakers, config.max_length
    if context or config.tune_utterances:
        items = {
            s: [q for d in ds for q in dialogue_inputs(encoder, d, limit, context=context, prefix=prefix)]
            for s, ds in dialogues.items()
        }
        labels = {s: [label[None] for d in ds for label in d.labels] for s, ds in dialogues.items()}
        network: nn.Module = UtteranceNetwork(encoder, config.features, corpus.classes, config.dropout).to(device)
        budget = max(config.batch_size * config.max_length, 1)
        loop = Loop(network, items, labels, config, config.epochs, config.learning_rate, config.batch_size, budget, progress)
        stages.append({"stage": "utterances with context" if context else "utterances", **loop.run()})
        local = np.concatenate([loop.predict(s)[0] for s in SPLITS])
    else:
        written = [
            f"{n}: {t}" if config.prefix_speakers else t
            for s in SPLITS for d in dialogues[s] for n, t in zip(speaker_names(d), d.texts, strict=True)
        ]
        local = encode_texts(written, encoder, max_tokens=config.max_length, progress=progress)
    if not context:
        vectors = torch.from_numpy(local)
        lengths = [len(d) for s in SPLITS for d in dialogues[s]]
        whole = iter(vectors.split(lengths))
        rows = {s: [next(whole) for _ in dialogues[s]] for s in SPLITS}
        labels = {s: [d.labels for d in ds] for s, ds in dialogues.items()}
        network = ContextNetwork(
            vectors.shape[1], config.features, corpus.classes, config.dropout, config.context_layers, config.context_heads
        ).to(device)
        size = config.context_batch_size
        loop = Loop(network, rows, labels, config, config.context_epochs, config.context_learning_rate, size, 4096, progress)
        stages.append({"stage": "dialogues", **loop.run()})
        local = np.concatenate([loop.predict(s)[0] for s in SPLITS])
    return local, stages, weights_digest(network)


def check_splits(corpus: Corpus, what: str) -> None:
    """DataError unless ``corpus`` has dialogues in all three splits, labelled with classes; ``what`` is trained on it."""
    for split in SPLITS:
        if not corpus.split(split):
            raise DataError(f"corpus {corpus.name!r} has no {split} dialogues; {what} needs all three splits")
        if any(d.labels.is_floating_point() for d in corpus.split(split)):
            raise DataError(f"corpus {corpus.name!r} has dimensions as labels; {what} is trained on classes")


def stored_as_asked(store: FeatureStore, corpus: Corpus, name: str, written: dict[str, Any]) -> StoredFeatures | None:
    """The text features of that name, None if there are none; ConfigError if their card has other values than ``written``."""
    if not store.has(corpus.name, "text", name):
        return None
    stored = store.load(corpus.name, "text", name)
    differ = [k for k, v in written.items() if stored.card.get(k) != v]
    if differ:
        raise ConfigError(
            f"{store.root} already holds text features {name!r} of {corpus.name!r}, made with other {', '.join(differ)}; "
            "give these another name, or overwrite them"
        )
    return stored


def weights_digest(network: nn.Module) -> str:
    """sha256 of a network's weights, by name."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def corpus_digest(corpus: Corpus) -> str:
    """sha256 of everything the text stage learns from: splits, ids, names, texts, labels."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for d in corpus.split(split):
            digest.update(json.dumps([split, d.id, d.ids, speaker_names(d), d.texts, d.labels.tolist()]).encode())
    return digest.hexdigest()
