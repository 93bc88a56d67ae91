"""Which models there are, by the name a run's specification calls them."""

from __future__ import annotations

import difflib
import importlib

from erc_lib.errors import ConfigError

MODELS: dict[str, str] = {
    "multiemo": "erc_lib.papers.multiemo:MultiEMO",
    "dimmn": "erc_lib.papers.dimmn:DIMMN",
    "dialogue_trm": "erc_lib.papers.dialogue_trm:DialogueTRM",
    "df_erc": "erc_lib.papers.df_erc:DFERC",
    "bc_lstm": "erc_lib.papers.baselines:BCLSTM",
    "dialogue_rnn": "erc_lib.papers.baselines:DialogueRNNClassifier",
}


def load_model_class(name: str) -> type:
    """The model class called ``name``; its configuration class is its attribute ``Config``.

    Raises:
        ConfigError: no model of that name.
    """
    if name not in MODELS:
        close = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"no model {name!r}{hint} There are {', '.join(sorted(MODELS))}")
    module, attribute = MODELS[name].split(":")
    return getattr(importlib.import_module(module), attribute)
