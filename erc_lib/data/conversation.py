"""Conversations: one :class:`Dialogue`, a :class:`Corpus` of three splits, and what each must fulfil.

Nothing here knows a corpus by name or a model. Every check raises one :class:`~erc_lib.errors.DataError`
that names the place, so that bad data is met here and not as a NaN in the tenth epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from erc_lib.errors import DataError

MODALITIES = ("text", "audio", "visual")
PADDING_LABEL = -100
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Dialogue:
    """One conversation of L utterances, in the order in which they were spoken.

    Attributes:
        id: name of the dialogue, unique in its corpus.
        speakers: LongTensor (L,), speakers numbered 0, 1, ... in the order of their first turn *within this dialogue*.
        labels: LongTensor (L,) of classes, or FloatTensor (L, 4) of dimensions.
        features: modality -> FloatTensor (L, D_m). A missing modality is a missing key.
        texts: the L transcripts (empty strings where a corpus has none).
        ids: the L utterance ids, unique in the corpus; features are joined by these, never by position.
        speaker_names: the name of each number in ``speakers``; empty where a corpus has none.
    """

    id: str
    speakers: Tensor
    labels: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    speaker_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        length = len(self.speakers)
        where = f"dialogue {self.id!r}"
        if length == 0:
            raise DataError(f"{where} has no utterances; remove it from the corpus or restore its turns")
        if not self.ids:
            object.__setattr__(self, "ids", tuple(f"{self.id}/{i}" for i in range(length)))
        if not self.texts:
            object.__setattr__(self, "texts", ("",) * length)
        sizes = {"labels": len(self.labels), "texts": len(self.texts), "ids": len(self.ids)}
        sizes |= {f"features[{m!r}]": len(x) for m, x in self.features.items()}
        for name, size in sizes.items():
            if size != length:
                raise DataError(f"{where} has {length} speakers but {size} {name}; each utterance needs one of each")
        if self.speaker_names and len(self.speaker_names) != int(self.speakers.max()) + 1:
            raise DataError(
                f"{where} numbers its speakers 0 to {int(self.speakers.max())} but names {len(self.speaker_names)}; "
                "each number needs one name"
            )
        for modality, x in self.features.items():
            if modality not in MODALITIES:
                raise DataError(f"{where} has features of an unknown modality {modality!r}; known are {', '.join(MODALITIES)}")
            if x.dim() != 2 or not x.is_floating_point():
                raise DataError(f"{where}: {modality} features must be a float tensor (L, D), not {x.dtype} {tuple(x.shape)}")
            bad = ~torch.isfinite(x).all(dim=1)
            if bad.any():
                row = int(bad.nonzero()[0])
                raise DataError(
                    f"{where}: the {modality} features of utterance {self.ids[row]!r} hold NaN or infinity; "
                    "extract them again or remove the utterance"
                )

    def __len__(self) -> int:
        return len(self.speakers)

    def with_features(self, modality: str, x: Tensor) -> Dialogue:
        """This dialogue with the features ``x`` (L, D) of one modality added or replaced."""
        return replace(self, features={**self.features, modality: x})

    def only(self, modalities: Iterable[str]) -> Dialogue:
        """This dialogue with the named modalities alone."""
        return replace(self, features={m: self.features[m] for m in modalities if m in self.features})


@dataclass(frozen=True)
class Corpus:
    """Dialogues in three splits, with the names of their classes.

    Attributes:
        name: for example ``"meld"`` or ``"simulated-meld"``; tables print it.
        train, validation, test: lists of :class:`Dialogue`.
        label_names: the C class names; ``labels`` index into it.
        simulation: the ``SimulationConfig`` the corpus was drawn from, else None. Only a simulated corpus has a known ceiling.
        provenance: what a reader needs to get the same data (source, commit, feature sets and their card hashes).
    """

    name: str
    train: list[Dialogue]
    validation: list[Dialogue]
    test: list[Dialogue]
    label_names: tuple[str, ...]
    simulation: Any = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        widths: dict[str, tuple[int, str]] = {}
        for split in SPLITS:
            for dialogue in self.split(split):
                for utterance in dialogue.ids:
                    if utterance in seen:
                        raise DataError(
                            f"corpus {self.name!r}: utterance id {utterance!r} stands in dialogue {seen[utterance]!r} and again "
                            f"in {dialogue.id!r}; ids must be unique, for features are joined by them"
                        )
                    seen[utterance] = dialogue.id
                for modality, x in dialogue.features.items():
                    width, first = widths.setdefault(modality, (x.shape[1], dialogue.id))
                    if x.shape[1] != width:
                        raise DataError(
                            f"corpus {self.name!r}: {modality} features are {x.shape[1]} wide in dialogue {dialogue.id!r} but "
                            f"{width} in {first!r}; extract both with the same extractor"
                        )
                if not dialogue.labels.is_floating_point():
                    bad = (dialogue.labels < 0) | (dialogue.labels >= len(self.label_names))
                    if bad.any():
                        row = int(bad.nonzero()[0])
                        raise DataError(
                            f"corpus {self.name!r}: utterance {dialogue.ids[row]!r} has the label {int(dialogue.labels[row])}, "
                            f"outside 0 .. {len(self.label_names) - 1} ({', '.join(self.label_names)})"
                        )

    def split(self, name: str) -> list[Dialogue]:
        """The dialogues of ``"train"``, ``"validation"`` or ``"test"``."""
        if name not in SPLITS:
            raise DataError(f"no split {name!r}; there are {', '.join(SPLITS)}")
        return getattr(self, name)

    @property
    def dims(self) -> dict[str, int]:
        """Modality -> feature width D_m, for the modalities that *every* dialogue has."""
        everyone = [d for s in SPLITS for d in self.split(s)]
        if not everyone:
            return {}
        return {m: everyone[0].features[m].shape[1] for m in MODALITIES if all(m in d.features for d in everyone)}

    @property
    def classes(self) -> int:
        return len(self.label_names)

    def class_counts(self, split: str = "train") -> Tensor:
        """LongTensor (C,): how many utterances of ``split`` carry each label."""
        labels = torch.cat([d.labels for d in self.split(split)])
        return torch.bincount(labels, minlength=self.classes)

    def map(self, change) -> Corpus:
        """This corpus with ``change(dialogue) -> dialogue`` applied to each dialogue of each split."""
        return replace(self, **{s: [change(d) for d in self.split(s)] for s in SPLITS})

    def only(self, modalities: Sequence[str]) -> Corpus:
        """This corpus with the named modalities alone; an absent one is an error."""
        for split in SPLITS:
            for dialogue in self.split(split):
                missing = [m for m in modalities if m not in dialogue.features]
                if missing:
                    raise DataError(
                        f"corpus {self.name!r}: utterance {dialogue.ids[0]!r} ({split}) has no {missing[0]} features, "
                        f"which were asked for; it has {', '.join(dialogue.features) or 'none'}. "
                        f"Extract them (`erc features`) or leave {missing[0]} out"
                    )
        return self.map(lambda d: d.only(modalities))
