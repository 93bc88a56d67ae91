"""Building blocks that more than one paper uses."""

from erc_lib.layers.attention import CrossAttention
from erc_lib.layers.consistency import modality_consistency
from erc_lib.layers.dialogue_rnn import DialogueRNN
from erc_lib.layers.inner_encoder import Encoder, InnerEncoder
from erc_lib.layers.masks import context_window_mask, self_mask
from erc_lib.layers.packing import Packing, Part, padded
from erc_lib.layers.positions import sinusoids

__all__ = ["CrossAttention", "DialogueRNN", "Encoder", "InnerEncoder", "Packing", "Part", "context_window_mask", "modality_consistency", "padded", "self_mask", "sinusoids"]
