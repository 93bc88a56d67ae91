"""MultiEMO: An Attention-Based Correlation-Aware Multimodal Fusion Framework (Shi and Huang, ACL 2023)."""

from erc_lib.papers.multiemo.config import MultiEMOConfig
from erc_lib.papers.multiemo.model import MultiEMO, MultiEMOOutput
from erc_lib.papers.multiemo.released import load_released

Config = MultiEMOConfig

__all__ = ["Config", "MultiEMO", "MultiEMOConfig", "MultiEMOOutput", "load_released"]
