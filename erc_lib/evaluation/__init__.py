"""Scores of predictions and how far to trust them: functions of arrays and frames, no model in sight."""

from erc_lib.evaluation.dimensions import dimensional_metrics
from erc_lib.evaluation.metrics import classification_metrics, confusion
from erc_lib.evaluation.orthogonal import range_analysis, residual_spread
from erc_lib.evaluation.significance import bootstrap_interval, mean_and_spread, paired_bootstrap

__all__ = ["bootstrap_interval", "classification_metrics", "confusion", "dimensional_metrics", "mean_and_spread", "paired_bootstrap", "range_analysis", "residual_spread"]
