"""Runs: specifications, the store of finished ones, and many of them at once."""

from erc_lib.runs.execute import load_model, load_run_corpus, run_one
from erc_lib.runs.export import Exported, export_run, load_export
from erc_lib.runs.many import Failure, RunsFailed, run_many
from erc_lib.runs.predict import open_model, predict_dialogues, predict_turns
from erc_lib.runs.spec import RunSpec, build_config, build_training, parse_features
from erc_lib.runs.store import Run, RunStore
from erc_lib.runs.study import Study, load_study

__all__ = [
    "Exported", "Failure", "Run", "RunSpec", "RunStore", "RunsFailed", "Study", "build_config", "build_training", "export_run", "load_export",
    "load_model", "load_run_corpus", "load_study", "open_model", "parse_features", "predict_dialogues", "predict_turns", "run_many", "run_one",
]  # fmt: skip
