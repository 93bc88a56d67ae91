"""Losses: plain functions of tensors, one per file."""

from erc_lib.losses.soft_hgr import soft_hgr_loss
from erc_lib.losses.swfc import swfc_loss

__all__ = ["soft_hgr_loss", "swfc_loss"]
