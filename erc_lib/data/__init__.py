"""Conversations and how they become tensors."""

from erc_lib.data.batch import Batch, batches
from erc_lib.data.conversation import MODALITIES, PADDING_LABEL, SPLITS, Corpus, Dialogue
from erc_lib.data.posterior import bayes_posteriors, ceilings, two_speaker
from erc_lib.data.registry import load_corpus
from erc_lib.data.sampling import Truth, simulate, simulate_with_truth
from erc_lib.data.simulation import Emission, SimulationConfig
from erc_lib.data.simulation_dimensions import DimensionalConfig, dimension_ceilings, dimension_posteriors, simulate_dimensions

__all__ = [
    "Batch", "Corpus", "Dialogue", "DimensionalConfig", "Emission", "MODALITIES", "PADDING_LABEL",
    "SPLITS", "SimulationConfig", "Truth", "batches", "bayes_posteriors", "ceilings",
    "dimension_ceilings", "dimension_posteriors", "load_corpus", "simulate", "simulate_dimensions", "simulate_with_truth", "two_speaker",
]
