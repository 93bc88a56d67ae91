"""What one run is: a validated specification, its digest, and the configurations that follow from it.

Two specifications with the same digest give the same result; everything that can change a result is in the digest, and
nothing else is (a row label, the device and the place where results are stored are not). Data and encoders are in it by name; what
bytes they were stands in the run's ``environment.json``.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from erc_lib.data import MODALITIES, Corpus
from erc_lib.data.registry import CORPORA
from erc_lib.errors import ConfigError
from erc_lib.features.encoders import encoder_width, load_encoder
from erc_lib.papers.registry import load_model_class
from erc_lib.training import TrainingConfig

SETTINGS = ("model", "training", "corpus_options", "features")  # the fields that hold settings of their own
FROM_SPEC = {"variant": "variant", "dims": "modalities and features", "classes": "corpus", "class_counts": "corpus"}


class RunSpec(BaseModel):
    """The specification of one run.

    Attributes:
        paper: a name of ``erc_lib.papers.MODELS``; ``variant``: ``"paper"`` or another reading the model knows.
        corpus, corpus_options: arguments of ``erc_lib.data.load_corpus``.
        modalities: those the model sees, kept in the order text, audio, visual.
        features: modality -> name of a stored feature set; a modality not named here uses the corpus' own features.
        standardise: z-score every feature dimension with the mean and deviation of the training split.
        validation_fraction: None keeps the corpus' own validation set; a fraction draws one anew, by seed, from training
            and validation dialogues together (MultiEMO's released code: 0.05), which is optimistic where an encoder was tuned on them.
        preset: which constructor of the model's ``Config`` to start from (``Config.meld``, ``Config.iemocap``).
        seed: of the initial weights, of dropout and of the order of the training dialogues.
        selection: the split whose weighted F1 chooses the epoch; only ``"validation"`` exists.
        measure: also keep what the model's ``measure`` says of every test utterance (DF-ERC: its contributions, psi, ...), as columns of the predictions.
        model, training: changes to the preset's ``Config`` and to the paper's ``TrainingConfig``.
        name: a row label for tables, such as ``"w/o SWFC"``; not part of the digest.

    Raises:
        ConfigError: for an unknown field or a value of the wrong kind, with the nearest known name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    paper: str = Field(min_length=1)
    variant: str = Field("paper", min_length=1)
    corpus: str = Field(min_length=1)
    corpus_options: dict[str, Any] = {}
    modalities: tuple[str, ...] = ("text",)
    features: dict[str, str] = {}
    standardise: bool = False
    validation_fraction: float | None = Field(None, gt=0, lt=1)
    preset: str = Field("meld", pattern=r"^[a-z][a-z0-9_]*$")
    seed: int = Field(0, ge=0, lt=2**32)
    selection: Literal["validation"] = "validation"
    measure: bool = False
    model: dict[str, Any] = {}
    training: dict[str, Any] = {}
    name: str = ""

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise ConfigError(explain(error, "run specification", RunSpec.model_fields)) from None
        stray = [m for m in self.features if m not in self.modalities]
        if stray:
            raise ConfigError(
                f"run specification: features are named for {stray[0]!r}, but modalities are {', '.join(self.modalities)}; "
                f"add {stray[0]!r} to modalities or drop its features"
            )

    @field_validator("modalities", mode="before")
    @classmethod
    def _known_modalities(cls, value: Any) -> Any:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ValueError("give a list such as [text, audio]")
        value = list(value)
        for m in value:
            if m not in MODALITIES:
                raise ValueError(f"no modality {m!r}{did_you_mean(m, MODALITIES)}")
        if not value or len(set(value)) < len(value):
            raise ValueError("name at least one modality, and each once")
        return tuple(m for m in MODALITIES if m in value)

    @field_validator("model", "training", "corpus_options")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            return json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"only numbers, strings, truth values, lists and mappings can be stored ({error})") from None

    @property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON of every field but ``name`` that is not at its default.

        So a field that a later version adds leaves the digests of finished runs as they are. Their ``spec.json`` spells every
        field out: should a default ever change, they no longer fit their folder's name, which the store notices.
        """
        fields = _canonical(self.model_dump(mode="json", exclude={"name"}, exclude_defaults=True))
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __hash__(self) -> int:  # pydantic's own cannot hash the dict fields
        return hash(self.digest)

    def __str__(self) -> str:
        label = f"{self.name}: " if self.name else ""
        variant = "" if self.variant == "paper" else f" ({self.variant})"
        return f"{label}{self.paper}{variant} on {self.corpus} [{'+'.join(self.modalities)}] seed {self.seed}"


def parse_features(text: str) -> dict[str, str]:
    """``"text=mmgcn audio=mmgcn"`` as ``{"text": "mmgcn", "audio": "mmgcn"}``; blanks or commas between them. ConfigError for anything else."""
    features: dict[str, str] = {}
    for pair in text.replace(",", " ").split():
        modality, _, name = pair.partition("=")
        if not modality or not name:
            raise ConfigError(f"features are given as MODALITY=NAME, such as text=all-MiniLM-L6-v2, not {pair!r}")
        if modality not in MODALITIES:
            raise ConfigError(f"features {pair!r}: no modality {modality!r}{did_you_mean(modality, MODALITIES)}")
        if modality in features:
            raise ConfigError(f"features name {modality} twice: {text!r}")
        features[modality] = name
    return {m: features[m] for m in MODALITIES if m in features}


def _canonical(value: Any) -> Any:
    """``1`` and ``1.0`` mean the same setting, so they must give the same digest."""
    if isinstance(value, dict):
        return {k: _canonical(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_canonical(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """``"; did you mean 'seed'?"`` if a known name is near, else the list of what is known."""
    known = [str(k) for k in known]
    near = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(sorted(known))}" if known else ""


def explain(error: ValidationError, where: str, known: Iterable[str]) -> str:
    """One line for all faults that pydantic found in ``where``, whose fields are ``known``."""
    faults = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"]) or "settings"
        if fault["type"] == "extra_forbidden":
            faults.append(f"unknown setting {place!r}{did_you_mean(place, known)}")
        elif fault["type"] == "missing":
            faults.append(f"{place!r} is missing")
        else:
            given = "" if isinstance(fault["input"], dict) else f" (it is {fault['input']!r})"
            faults.append(f"{place!r}: {fault['msg'].removeprefix('Value error, ')}{given}")
    return f"{where}: " + "; ".join(faults)


def model_class(spec: RunSpec) -> type:
    """The model of ``spec.paper``; an unknown name is a :class:`ConfigError`."""
    return load_model_class(spec.paper)


def check(spec: RunSpec) -> None:
    """Raises :class:`ConfigError` for what can be seen wrong in a specification without loading its corpus."""
    config = model_class(spec).Config
    if spec.corpus not in CORPORA:
        raise ConfigError(f"no corpus is called {spec.corpus!r}{did_you_mean(spec.corpus, CORPORA)}")
    if inner_encoder(spec) is not None and "text" in spec.features:
        raise ConfigError(f"{spec.paper}: model.text is 'encoder', so the text features {spec.features['text']!r} would go unread; drop one of them")
    if spec.measure and not hasattr(model_class(spec), "measure"):
        raise ConfigError(f"measure: true, but {spec.paper} has nothing to measure beyond its predictions; drop it")
    _preset(spec, config)
    for field, fields in (("model", config.model_fields), ("training", TrainingConfig.model_fields)):
        for key in getattr(spec, field):
            if field == "model" and key in FROM_SPEC:
                raise ConfigError(f"{spec.paper}: {key!r} follows from {FROM_SPEC[key]}; change those instead of model.{key}")
            if key not in fields:
                raise ConfigError(f"{spec.paper}: no {field} setting {key!r}{did_you_mean(key, fields)}")
    TrainingConfig(**spec.training)  # values too; those of the model need the corpus' widths


def _preset(spec: RunSpec, config: type) -> Any:
    names = [
        n for n in dir(config)
        if not n.startswith("_") and not hasattr(BaseModel, n) and isinstance(inspect.getattr_static(config, n), classmethod)
    ]  # fmt: skip
    if spec.preset not in names:
        raise ConfigError(f"{spec.paper}: no preset {spec.preset!r}{did_you_mean(spec.preset, names)}")
    return getattr(config, spec.preset)


def build_config(spec: RunSpec, corpus: Corpus) -> Any:
    """The model's ``Config``: the preset, the corpus' widths and classes, then ``spec.model``."""
    config = model_class(spec).Config
    check(spec)
    inside = inner_encoder(spec)
    widths = corpus.dims if inside is None else {**corpus.dims, "text": encoder_width(inside)}
    given: dict[str, Any] = {"variant": spec.variant, "dims": {m: widths[m] for m in spec.modalities}, "classes": corpus.classes}
    if "class_counts" in config.model_fields and corpus.train and not corpus.train[0].labels.is_floating_point():
        given["class_counts"] = tuple(corpus.class_counts("train").tolist())
    try:
        return _preset(spec, config)(**given, **spec.model)
    except ValidationError as error:
        raise ConfigError(explain(error, f"{spec.paper}: model settings", config.model_fields)) from None


def inner_encoder(spec: RunSpec) -> str | None:
    """The name of the text encoder that is fine-tuned inside the model; None where text comes as features."""
    if spec.model.get("text") != "encoder":
        return None
    fields = model_class(spec).Config.model_fields
    name = spec.model.get("encoder", fields["encoder"].default if "encoder" in fields else None)
    if name is not None and not isinstance(name, str):
        raise ConfigError(f"{spec.paper}: model.encoder is {name!r}, not the name of a text encoder such as 'all-MiniLM-L6-v2'")
    return name


def build_model(spec: RunSpec, config: Any) -> torch.nn.Module:
    """The untrained model; a text encoder inside it has its pinned weights.

    Raises:
        DataError: that encoder is nowhere to be had.
    """
    name = inner_encoder(spec)
    return model_class(spec)(config) if name is None else model_class(spec)(config, encoder=load_encoder(name))


def build_training(spec: RunSpec, config: Any) -> Any:
    """The ``TrainingConfig``: what the paper prescribes (``config.training_settings()``), then ``spec.training``."""
    try:
        return TrainingConfig(**{**config.training_settings(), **spec.training})
    except ValidationError as error:
        raise ConfigError(explain(error, f"{spec.paper}: training settings", TrainingConfig.model_fields)) from None
