"""Changes to a corpus that a run may ask for: z-scored features, and a validation set drawn anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from erc_lib.data.conversation import Corpus, Dialogue
from erc_lib.errors import ConfigError, DataError


def training_statistics(corpus: Corpus) -> dict[str, tuple[Tensor, Tensor]]:
    """Modality -> mean (D,) and factor (D,) of the training split: 1 / standard deviation, 0 for a constant dimension."""
    if not corpus.train:
        raise DataError(f"corpus {corpus.name!r} has no training dialogues to standardise by; give it some, or leave standardise out")
    found = {}
    for modality in corpus.dims:
        train = torch.cat([d.features[modality] for d in corpus.train])
        mean, std = train.mean(dim=0), train.std(dim=0, correction=0)
        # A constant dimension carries nothing; dividing by its rounding error would make it the largest of all.
        found[modality] = mean, torch.where(std > 1e-6 * (1 + mean.abs()), 1 / std.clamp_min(1e-12), 0.0)
    return found


def apply_statistics(dialogue: Dialogue, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> Dialogue:
    """``dialogue`` with (x - mean) * factor in place of the features of each modality of ``statistics``."""
    for modality, (mean, factor) in statistics.items():
        dialogue = dialogue.with_features(modality, (dialogue.features[modality] - mean) * factor)
    return dialogue


def standardise(corpus: Corpus) -> Corpus:
    """Every feature dimension with the mean 0 and standard deviation 1 *of the training split*; constant dimensions become 0.

    Nothing of the validation or test split enters the statistics.
    """
    statistics = training_statistics(corpus)
    return corpus.map(lambda d: apply_statistics(d, statistics))


def redraw_validation(corpus: Corpus, fraction: float, seed: int) -> Corpus:
    """Joins training and validation dialogues and draws ``fraction`` of them, at least one, as the validation set.

    This is what several released codes do instead of keeping the corpus' own validation set (MultiEMO: 5 %). With features from an
    encoder fine-tuned on the training dialogues such a validation set is optimistic: the encoder has seen its labels.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"validation_fraction must lie between 0 and 1, not {fraction}")
    pool = [*corpus.train, *corpus.validation]
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)).tolist()
    count = max(1, round(fraction * len(pool)))
    chosen = set(order[:count])
    return replace(
        corpus, train=[d for i, d in enumerate(pool) if i not in chosen], validation=[d for i, d in enumerate(pool) if i in chosen]
    )
