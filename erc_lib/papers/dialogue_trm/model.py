"""DialogueTRM (Mao et al., Findings of EMNLP 2021), top to bottom. Equation numbers are the paper's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erc_lib.data.batch import Batch
from erc_lib.errors import ConfigError, DataError
from erc_lib.layers import padded
from erc_lib.papers.dialogue_trm.config import DialogueTRMConfig
from erc_lib.papers.dialogue_trm.fusion import fusion
from erc_lib.papers.dialogue_trm.intra import IntraModal
from erc_lib.papers.dialogue_trm.self_dependency import Encoder, SelfDependency


@dataclass
class DialogueTRMOutput:
    """What a forward pass leaves for losses and figures.

    Attributes:
        logits: (B, L, C), eq. 17 before the softmax; the predicted values themselves with the dimensional head.
        intra: modality -> r (B, L, D), eq. 2, 4, 5.
        gates: pair of modalities -> z (N, D) of the N real turns, eq. 9; empty without the multi-modal gate.
        embedding: (B, L, width), o of eq. 16, what t-SNE plots.
    """

    logits: Tensor
    intra: dict[str, Tensor]
    gates: dict[tuple[str, str], Tensor]
    embedding: Tensor


class DialogueTRM(nn.Module):
    """A Transformer per modality, context-dependent or context-free; a gated, then attended fusion; a two-layer perceptron.

    Causal: a turn's prediction depends on no later turn.

    Args:
        encoder: with ``text="encoder"``, the text encoder to fine-tune: ``load_encoder(config.encoder)`` of :mod:`erc_lib.features.encoders`.

    Raises:
        ConfigError: an encoder that is missing, or that nobody asked for.
        DataError: a batch without a modality that ``config.dims`` names, with another width, or with labels of the other kind.
    """

    Config = DialogueTRMConfig

    def __init__(self, config: DialogueTRMConfig, encoder: Encoder | None = None) -> None:
        super().__init__()
        self.config = config
        if (encoder is None) == (config.text == "encoder"):
            raise ConfigError(
                f"DialogueTRM with text={config.text!r} "
                + (f"needs the encoder itself: DialogueTRM(config, encoder=load_encoder({config.encoder!r}))" if encoder is None else "takes no encoder")
            )
        self.self_dependency = None if encoder is None else SelfDependency(config, encoder)
        self.intra = nn.ModuleDict({m: IntraModal(config, m) for m in config.modalities})
        self.fusion = fusion(config) if len(config.modalities) > 1 else None  # DialogueTRM-U: o is r_u
        width = config.model_dim if self.fusion is None else self.fusion.width
        hidden = config.discriminator_hidden or config.model_dim
        self.hidden = nn.Linear(width, hidden)  # W^O
        self.classify = nn.Linear(hidden, config.classes)  # W^C or W^D

    def forward(self, batch: Batch) -> DialogueTRMOutput:
        features = dict(batch.require(self.config.feature_dims, "DialogueTRM"))
        if self.self_dependency is not None:
            features["text"] = self.self_dependency(batch)  # f, eq. 1
        r = {m: intra(features[m], batch.mask) for m, intra in self.intra.items()}
        o, gates = (next(iter(r.values()))[batch.mask], {}) if self.fusion is None else self.fusion(r, batch.mask)
        p = self.classify(torch.tanh(self.hidden(o)))  # eq. 17
        return DialogueTRMOutput(padded(p, batch.mask), r, gates, padded(o, batch.mask))

    def describe_encoder(self, texts: Iterable[str]) -> dict[str, Any]:
        """What is fixed about the text encoder inside, and how many of the utterances ``texts`` it cuts; empty without one."""
        if self.self_dependency is None:
            return {}
        inside = self.self_dependency
        return {**inside.tokens.describe(), "max_tokens": self.config.max_tokens, "utterances_cut": inside.count_cut(texts)}

    def objective(self, output: DialogueTRMOutput, batch: Batch) -> dict[str, Tensor]:
        """{"total"}: mean cross-entropy over utterances, or with the dimensional head mean squared error (the paper names neither)."""
        predicted, labels = output.logits[batch.mask], batch.labels[batch.mask]
        if labels.is_floating_point() != (self.config.head == "dimensional"):
            kind = "dimensions" if labels.is_floating_point() else "classes"
            raise DataError(f"DialogueTRM has a {self.config.head} head, but the corpus is labelled with {kind}; set head to match")
        if labels.is_floating_point():
            return {"total": F.mse_loss(predicted.float(), labels)}
        return {"total": F.cross_entropy(predicted, labels)}
