"""Scores of predictions and how far to trust them: functions of arrays and frames, no model in sight."""

from erc_lib.evaluation.dimensions import dimensional_metrics
from erc_lib.evaluation.groups import group_intervals, quantile_groups
from erc_lib.evaluation.metrics import classification_metrics, confusion
from erc_lib.evaluation.orthogonal import range_analysis, residual_spread
from erc_lib.evaluation.significance import bootstrap_interval, mean_and_spread, paired_bootstrap

__all__ = ["bootstrap_interval", "classification_metrics", "confusion", "dimensional_metrics", "group_intervals", "mean_and_spread", "paired_bootstrap", "quantile_groups", "range_analysis", "residual_spread"]
