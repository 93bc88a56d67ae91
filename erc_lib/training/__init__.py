"""One loop for all models: seeds, selection on validation, checkpoints, resume."""

from erc_lib.training.checkpoint import remove_checkpoints
from erc_lib.training.config import TrainingConfig
from erc_lib.training.identity import seed_everything
from erc_lib.training.loop import FitResult, fit
from erc_lib.training.scoring import predict
from erc_lib.training.selection import select

__all__ = ["FitResult", "TrainingConfig", "fit", "predict", "remove_checkpoints", "seed_everything", "select"]
