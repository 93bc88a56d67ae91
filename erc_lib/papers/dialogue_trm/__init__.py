"""DialogueTRM: Exploring Multi-Modal Emotional Dynamics in a Conversation (Mao et al., Findings of EMNLP 2021)."""

from erc_lib.papers.dialogue_trm.config import DialogueTRMConfig
from erc_lib.papers.dialogue_trm.context import conv_context, indi_context
from erc_lib.papers.dialogue_trm.model import DialogueTRM, DialogueTRMOutput

Config = DialogueTRMConfig

__all__ = ["Config", "DialogueTRM", "DialogueTRMConfig", "DialogueTRMOutput", "conv_context", "indi_context"]
