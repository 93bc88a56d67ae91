"""Dialogues side by side as tensors, and the order in which an epoch visits them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from erc_lib.data.conversation import PADDING_LABEL, Dialogue
from erc_lib.errors import DataError


@dataclass
class Batch:
    """B dialogues padded to the length L of the longest.

    Attributes:
        features: modality -> FloatTensor (B, L, D_m), zero where padded. A missing modality is a missing key.
        mask: BoolTensor (B, L), True = a real utterance. Real utterances come first in each row.
        speakers: LongTensor (B, L), numbered within the dialogue, 0 where padded.
        labels: LongTensor (B, L), -100 where padded, or FloatTensor (B, L, 4), NaN where padded.
        texts, ids: B lists of as many strings as the dialogue has utterances.
    """

    features: dict[str, Tensor]
    mask: Tensor
    speakers: Tensor
    labels: Tensor
    texts: list[list[str]]
    ids: list[list[str]]

    @classmethod
    def collate(cls, dialogues: Sequence[Dialogue], modalities: Sequence[str] | None = None) -> Batch:
        """Pads ``dialogues`` side by side. ``modalities``: those wanted (all must be there); None: those all dialogues have."""
        if not dialogues:
            raise DataError("a batch needs at least one dialogue")
        if modalities is None:
            modalities = [m for m in dialogues[0].features if all(m in d.features for d in dialogues)]
        for d in dialogues:
            for m in modalities:
                if m not in d.features:
                    raise DataError(
                        f"utterance {d.ids[0]!r} has no {m} features, which the model needs; extract them or leave {m} out"
                    )
        lengths = torch.tensor([len(d) for d in dialogues])
        labels = [d.labels for d in dialogues]
        padding = float("nan") if labels[0].is_floating_point() else PADDING_LABEL
        return cls(
            features={m: pad_sequence([d.features[m] for d in dialogues], batch_first=True) for m in modalities},
            mask=torch.arange(int(lengths.max()))[None, :] < lengths[:, None],
            speakers=pad_sequence([d.speakers for d in dialogues], batch_first=True),
            labels=pad_sequence(labels, batch_first=True, padding_value=padding),
            texts=[list(d.texts) for d in dialogues],
            ids=[list(d.ids) for d in dialogues],
        )

    @property
    def lengths(self) -> Tensor:
        """LongTensor (B,): utterances of each dialogue."""
        return self.mask.sum(dim=1)

    def require(self, dims: Mapping[str, int], model: str) -> dict[str, Tensor]:
        """The features (B, L, D_m) of the modalities that ``dims`` (modality -> width) names; ``model`` stands in the error.

        Raises:
            DataError: a modality that the batch has not, or with another width.
        """
        for modality, width in dims.items():
            x = self.features.get(modality)
            if x is None:
                raise DataError(f"{model} was built for {', '.join(dims)}; the batch has no {modality} features")
            if x.shape[-1] != width:
                raise DataError(f"{model} expects {modality} features of width {width}, the batch has {x.shape[-1]}")
        return {m: self.features[m] for m in dims}

    def to(self, device: torch.device | str) -> Batch:
        """This batch with every tensor on ``device``."""
        return Batch(
            {m: x.to(device) for m, x in self.features.items()},
            self.mask.to(device), self.speakers.to(device), self.labels.to(device), self.texts, self.ids,
        )


def batches(
    dialogues: Sequence[Dialogue],
    batch_size: int,
    *,
    modalities: Sequence[str] | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Batch]:
    """Yields the dialogues in batches of ``batch_size`` *dialogues* of similar length.

    Dialogues are sorted by length and cut into batches, so little is padding (a test holds a MELD epoch under 20 %).
    With a ``generator`` (training), dialogues of equal length are shuffled, the first cut is moved at random so that batches
    differ between epochs, and the batches come in random order. Without one (evaluation) the order is fixed.
    """
    if batch_size < 1:
        raise DataError(f"batch_size must be at least 1, not {batch_size}")
    if not dialogues:
        return
    lengths = torch.tensor([len(d) for d in dialogues])
    if generator is None:
        order = torch.argsort(lengths, stable=True)
        cuts = list(range(0, len(dialogues), batch_size))
    else:
        shuffled = torch.randperm(len(dialogues), generator=generator)
        # A length is jittered by up to a fifth, else the batches of a small corpus would hardly differ between epochs.
        jitter = 1 + 0.2 * torch.rand(len(dialogues), generator=generator)
        order = shuffled[torch.argsort(lengths[shuffled] * jitter, stable=True)]
        offset = int(torch.randint(batch_size, (1,), generator=generator)) if len(dialogues) > batch_size else 0
        cuts = ([0] if offset else []) + list(range(offset, len(dialogues), batch_size))
        cuts = [cuts[i] for i in torch.randperm(len(cuts), generator=generator)]
    ends = {c: e for c, e in zip(sorted(cuts), [*sorted(cuts)[1:], len(dialogues)], strict=True)}
    for start in cuts:
        yield Batch.collate([dialogues[i] for i in order[start : ends[start]].tolist()], modalities)
