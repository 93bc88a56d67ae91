"""Intra-modal emotion dynamics, Section 4.1: the same Transformer with a window over the past, or over the turn alone."""

from __future__ import annotations

from torch import Tensor, nn

from erc_lib.layers import context_window_mask, padded, sinusoids
from erc_lib.papers.dialogue_trm.config import DialogueTRMConfig


class IntraModal(nn.Module):
    """Features of one modality (B, L, D_m) -> its representation r (B, L, D), eq. 2 or 4.

    With the window mask (eq. 3) turn i sees itself and the K turns before, so padding, which comes last, is never seen. With the self
    mask (eq. 6) attention has one key and its softmax is 1: every turn is its own sequence of length 1, and the cost does not depend on L.
    """

    def __init__(self, config: DialogueTRMConfig, modality: str) -> None:
        super().__init__()
        d = config.model_dim
        self.setting, self.window, self.positions = config.context[modality], config.context_window, config.positions
        self.project = nn.Linear(config.dims[modality], d)  # 5.2: "projected to 768 dimensions to match the input size"
        self.transformer = transformer(config, config.intra_layers, config.intra_heads) if config.intra_layers else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.project(x)
        if self.transformer is None:
            return x
        if self.setting == "self":
            return padded(self.transformer(x[mask][:, None])[:, 0], mask)  # (N, 1, D): real turns only
        if self.positions == "sinusoidal":
            x = x + sinusoids(x.shape[1], x.shape[2], x)
        seen = context_window_mask(x.shape[1], self.window).to(x.device)
        return self.transformer(x, mask=~seen)  # PyTorch's True means "may not"


def transformer(config: DialogueTRMConfig, layers: int, heads: int) -> nn.TransformerEncoder:
    """PyTorch's encoder with its default parameters (5.2): post-norm, ReLU."""
    layer = nn.TransformerEncoderLayer(config.model_dim, heads, config.feedforward, config.dropout, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
