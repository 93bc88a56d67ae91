"""Conversations and how they become tensors."""

from erc_lib.data.batch import Batch, batches
from erc_lib.data.conversation import MODALITIES, PADDING_LABEL, SPLITS, Corpus, Dialogue
from erc_lib.data.posterior import bayes_posteriors, ceilings, two_speaker
from erc_lib.data.registry import load_corpus
from erc_lib.data.sampling import Truth, simulate, simulate_with_truth
from erc_lib.data.simulation import Emission, SimulationConfig

__all__ = [
    "Batch", "Corpus", "Dialogue", "Emission", "MODALITIES", "PADDING_LABEL",
    "SPLITS", "SimulationConfig", "Truth", "batches", "bayes_posteriors", "ceilings",
    "load_corpus", "simulate", "simulate_with_truth", "two_speaker",
]
