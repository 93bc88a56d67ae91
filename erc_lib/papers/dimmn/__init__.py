"""DIMMN: dynamic interactive multiview memory network (Wen et al., Information Fusion 2023)."""

from erc_lib.papers.dimmn.config import DIMMNConfig
from erc_lib.papers.dimmn.model import DIMMN, DIMMNOutput
from erc_lib.papers.dimmn.speaker import receptive_field

Config = DIMMNConfig

__all__ = ["Config", "DIMMN", "DIMMNConfig", "DIMMNOutput", "receptive_field"]
