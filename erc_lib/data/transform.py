"""Changes to a corpus that a run may ask for: z-scored features, and a validation set drawn anew."""

from __future__ import annotations

from dataclasses import replace

import torch

from erc_lib.data.conversation import Corpus
from erc_lib.errors import ConfigError


def standardise(corpus: Corpus) -> Corpus:
    """Every feature dimension with the mean 0 and standard deviation 1 *of the training split*; constant dimensions become 0.

    Nothing of the validation or test split enters the statistics.
    """
    changed = corpus
    for modality in corpus.dims:
        train = torch.cat([d.features[modality] for d in corpus.train])
        mean, std = train.mean(dim=0), train.std(dim=0, correction=0)
        # A constant dimension carries nothing; dividing by its rounding error would make it the largest of all.
        scale = torch.where(std > 1e-6 * (1 + mean.abs()), 1 / std.clamp_min(1e-12), 0.0)
        changed = changed.map(lambda d, m=modality, a=mean, s=scale: d.with_features(m, (d.features[m] - a) * s))
    return changed


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
