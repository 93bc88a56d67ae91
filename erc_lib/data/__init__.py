"""Conversations and how they become tensors."""

from erc_lib.data.batch import Batch, batches
from erc_lib.data.conversation import MODALITIES, PADDING_LABEL, SPLITS, Corpus, Dialogue
from erc_lib.data.registry import load_corpus

__all__ = ["MODALITIES", "PADDING_LABEL", "SPLITS", "Batch", "Corpus", "Dialogue", "batches", "load_corpus"]
