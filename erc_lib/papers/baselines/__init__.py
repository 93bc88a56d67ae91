"""Baselines every paper compares itself with, on the same features as the papers' models."""

from erc_lib.papers.baselines.config import BaselineConfig
from erc_lib.papers.baselines.models import BCLSTM, BaselineOutput, DialogueRNNClassifier

__all__ = ["BCLSTM", "BaselineConfig", "BaselineOutput", "DialogueRNNClassifier"]
