"""DF-ERC (Li et al., 2023): feature disentanglement and fusion for multimodal emotion recognition in conversation."""

from erc_lib.papers.df_erc.config import DFERCConfig
from erc_lib.papers.df_erc.model import DFERC, DFERCOutput

Config = DFERCConfig

__all__ = ["Config", "DFERC", "DFERCConfig", "DFERCOutput"]
