"""Losses: plain functions of tensors, one per file; a loss with a memory of its own is a module."""

from erc_lib.losses.dual_level import dual_level_contrastive_loss
from erc_lib.losses.prototypes import PrototypeBank
from erc_lib.losses.soft_hgr import soft_hgr_loss
from erc_lib.losses.swfc import swfc_loss
from erc_lib.losses.true_class_probability import true_class_probability_losses

__all__ = ["PrototypeBank", "dual_level_contrastive_loss", "soft_hgr_loss", "swfc_loss", "true_class_probability_losses"]
