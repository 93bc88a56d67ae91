"""The two recurrent baselines of the field: bc-LSTM (Poria et al. 2017) and DialogueRNN (Majumder et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from erc_lib.data.batch import Batch
from erc_lib.layers import DialogueRNN
from erc_lib.papers.baselines.config import BaselineConfig


@dataclass
class BaselineOutput:
    """logits (B, L, C) and the contextual features before the classifier, embedding (B, L, D)."""

    logits: Tensor
    embedding: Tensor


class _Baseline(nn.Module):
    """Concatenated features -> a context model -> a two-layer classifier, trained with cross-entropy."""

    Config = BaselineConfig

    def __init__(self, config: BaselineConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.drop = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(width, config.classifier_hidden)
        self.classify = nn.Linear(config.classifier_hidden, config.classes)

    def context(self, x: Tensor, batch: Batch) -> Tensor:
        raise TypeError("a baseline defines its own context model")

    def forward(self, batch: Batch) -> BaselineOutput:
        features = batch.require(self.config.dims, type(self).__name__)
        x = torch.cat([features[m] for m in self.config.modalities], dim=-1)
        embedding = self.context(x, batch)
        return BaselineOutput(self.classify(self.drop(F.relu(self.hidden(self.drop(embedding))))), embedding)

    def objective(self, output: BaselineOutput, batch: Batch) -> dict[str, Tensor]:
        """{"total": mean cross-entropy over real utterances}, weighted by class where the configuration says so."""
        weights = None
        if self.config.class_weights:
            counts = torch.tensor(self.config.class_counts, dtype=output.logits.dtype, device=output.logits.device).clamp_min(1)
            weights = counts.sum() / (len(counts) * counts)
        return {"total": F.cross_entropy(output.logits[batch.mask], batch.labels[batch.mask], weight=weights)}


class BCLSTM(_Baseline):
    """bc-LSTM: a bidirectional LSTM over the utterances of a dialogue, blind to who speaks."""

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config, 2 * config.hidden_dim)
        self.lstm = nn.LSTM(sum(config.dims.values()), config.hidden_dim, batch_first=True, bidirectional=True)

    def context(self, x: Tensor, batch: Batch) -> Tensor:
        packed = pack_padded_sequence(x, batch.lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])[0]


class DialogueRNNClassifier(_Baseline):
    """DialogueRNN from both ends with its "general" context attention: the paper's BiDialogueRNN.

    Its further attention over emotion states (``emotion_attention`` of the layer) replaces a turn's state by a mean over others and
    could not fit even a handful of turns with random labels, so it is left out.
    """

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config, config.hidden_dim)
        self.rnn = DialogueRNN(sum(config.dims.values()), config.hidden_dim, bidirectional=True, attention="general")

    def context(self, x: Tensor, batch: Batch) -> Tensor:
        return self.rnn(x, batch.speakers, batch.mask)
