"""Context modelling of one modality, Section 3.3: DialogueRNN for audio and visual, and the two-stage Transformer for text."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from erc_lib.errors import DataError
from erc_lib.layers import DialogueRNN, sinusoids
from erc_lib.papers.multiemo.config import MultiEMOConfig


class Context(nn.Module):
    """Utterance features of one modality (B, L, D_m) -> contextual features c (B, L, 256)."""

    def __init__(self, config: MultiEMOConfig, modality: str) -> None:
        super().__init__()
        width, d = config.dims[modality], config.model_dim
        kind = config.text_context if modality == "text" else "dialogue_rnn"
        self.reduction = None
        if modality == "audio" and config.audio_reduction:
            self.reduction = nn.Linear(width, config.audio_reduction)  # 3.3.2: 6373 -> 512
            width = config.audio_reduction
        # Where no recurrence follows, this is the fully connected layer after RoBERTa (3.3.1).
        project = config.project_first or kind != "dialogue_rnn"
        self.projection = nn.Linear(width, d) if project else None
        self.model: nn.Module | None = None
        released = config.dropout_placement == "released"
        if kind == "dialogue_rnn":
            self.model = DialogueRNN(
                d if project else width, d, bidirectional=config.bidirectional, attention=config.context_attention,
                dropout=config.dropout if released else 0.0,
            )
        elif kind == "transformer":
            self.model = DialogueTransformer(config)
        self.relu = kind == "dialogue_rnn" and config.context_activation == "relu"
        self.dropout = config.dropout if not released or kind == "dialogue_rnn" else 0.0

    def forward(self, x: Tensor, speakers: Tensor, mask: Tensor) -> Tensor:
        if self.reduction is not None:
            x = self.reduction(x)
        if self.projection is not None:
            x = self.projection(x)
        if self.model is not None:
            x = self.model(x, speakers, mask)
        x = F.dropout(x, self.dropout, self.training) if self.dropout else x
        return F.relu(x) if self.relu else x


class DialogueTransformer(nn.Module):
    """The second stage of the two-stage paradigm (3.3.1, A.1): a Transformer encoder over the utterances of a dialogue.

    Positions are sinusoidal. The one-stage paradigm tells speakers apart by a name before each utterance; a learned vector per
    speaker number does so here (the paper gives no detail of this stage).
    """

    def __init__(self, config: MultiEMOConfig) -> None:
        super().__init__()
        d = config.model_dim
        self.norm = nn.LayerNorm(d) if config.text_context_norm else None
        self.speakers = nn.Embedding(config.max_speakers, d)
        layer = nn.TransformerEncoderLayer(d, config.heads, config.feedforward, config.dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, config.text_context_layers, norm=nn.LayerNorm(d), enable_nested_tensor=False)

    def forward(self, x: Tensor, speakers: Tensor, mask: Tensor) -> Tensor:
        if int(speakers.max()) >= self.speakers.num_embeddings:
            raise DataError(
                f"a dialogue has {int(speakers.max()) + 1} speakers, the model's Transformer knows {self.speakers.num_embeddings}; raise max_speakers"
            )
        x = x if self.norm is None else self.norm(x)
        x = x + self.speakers(speakers) + sinusoids(x.shape[1], x.shape[2], x)
        return self.encoder(x, src_key_padding_mask=~mask)
