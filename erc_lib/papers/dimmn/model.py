"""DIMMN (Wen et al., Information Fusion 2023), top to bottom. Equation numbers are the paper's."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from erc_lib.data.batch import Batch
from erc_lib.errors import DataError
from erc_lib.layers import padded
from erc_lib.papers.dimmn.config import DIMMNConfig
from erc_lib.papers.dimmn.memory import ConversationMemory
from erc_lib.papers.dimmn.multiview import MultiviewFusion
from erc_lib.papers.dimmn.recurrent import GRU
from erc_lib.papers.dimmn.speaker import TCN, OwnTurns


@dataclass
class DIMMNOutput:
    """What a forward pass leaves for losses and figures; at padded turns ``context`` and ``reads`` hold nothing of meaning.

    Attributes:
        logits: (B, L, C), eq. 27 before the softmax.
        view_attention: (H, 2, N, 2) of the N real turns: level, view, turn, column of the view (eq. 3, 4, 11, 12); None without views.
        fused: U (B, L, D), eq. 17.
        personal: p (B, L, D), what the TCN makes of a speaker's own turns.
        context: s (B, L, D), the global states, eq. 21.
        reads: (R, B, L, S), how much of which memory each turn reads at each hop, eq. 24; S = L without ``memory_window``.
        embedding: u^(R+1) (B, L, D), eq. 26, what t-SNE plots.
    """

    logits: Tensor
    view_attention: Tensor | None
    fused: Tensor
    personal: Tensor
    context: Tensor
    reads: Tensor
    embedding: Tensor


class DIMMN(nn.Module):
    """Views that exchange their attention, a TCN over each speaker's own turns, a GRU over all turns, a memory read in hops.

    Causal unless ``memory="dialogue"``: a turn's prediction depends on no later turn.

    Raises:
        DataError: a batch without a modality that ``config.dims`` names, with another width, or labelled with dimensions.
    """

    Config = DIMMNConfig

    def __init__(self, config: DIMMNConfig) -> None:
        super().__init__()
        self.config = config
        d = config.model_dim
        self.fusion = MultiviewFusion(config)
        self.speaker = TCN(config) if config.speaker_context == "tcn" else GRU(d, d, reset=config.reset)
        self.gru_g = GRU(d, d, reset=config.reset)
        self.memory = ConversationMemory(config)
        self.classify = nn.Linear(d, config.classes)  # W^o, b
        self.drop = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> DIMMNOutput:
        features, mask = batch.require(self.config.dims, "DIMMN"), batch.mask
        U, view_attention = self.fusion({m: x[mask] for m, x in features.items()})  # eq. 1-17
        u = self.drop(U)
        own = OwnTurns(batch.speakers, mask)
        p = padded(own.scatter(self.speaker(own.gather(u))), mask)  # p_i = TCN(u_i), 3.3.1
        s = self.gru_g(p)  # eq. 18-23
        embedding, reads = self.memory(padded(u, mask), s, mask)  # eq. 24-26
        logits = self.classify(self.drop(embedding))  # eq. 27
        return DIMMNOutput(logits, view_attention, padded(U, mask), p, s, reads, embedding)

    def objective(self, output: DIMMNOutput, batch: Batch) -> dict[str, Tensor]:
        """{"total"}: mean cross-entropy over real utterances (3.3.3, after eq. 27)."""
        if batch.labels.is_floating_point():
            raise DataError("DIMMN predicts classes, but the corpus is labelled with dimensions; take a model with a dimensional head, such as DialogueTRM")
        return {"total": F.cross_entropy(output.logits[batch.mask], batch.labels[batch.mask])}
