"""Corpora by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from erc_lib.data.conversation import Corpus
from erc_lib.data.sources import did_you_mean
from erc_lib.errors import ConfigError

# name -> module with `load(**options)`, imported only when asked for
REAL = {"meld": "erc_lib.data.meld", "iemocap": "erc_lib.data.iemocap", "mosi": "erc_lib.data.mosi"}
DIMENSIONAL = {"avec": "erc_lib.data.avec", "avec-dialogues": "erc_lib.data.avec_dialogues"}  # labelled with real numbers instead of classes
SIMULATED = {"simulated-meld": "meld", "simulated-iemocap": "iemocap"}  # name -> preset of SimulationConfig
SIMULATED_DIMENSIONS = {"simulated-avec": "avec"}  # name -> preset of DimensionalConfig
CORPORA = (*REAL, *DIMENSIONAL, *SIMULATED, *SIMULATED_DIMENSIONS, "folder")
OWN = {"folder": "erc_lib.data.folder"}  # one's own data, in the folder that the option ``path`` names
LOADERS = REAL | DIMENSIONAL | OWN


def load_corpus(name: str, **options: Any) -> Corpus:
    """The corpus of that name.

    Args:
        name: ``"meld"``, ``"iemocap"``, ``"mosi"``, ``"avec"`` or ``"avec-dialogues"`` (public
            data, fetched on first use), ``"simulated-meld"``, ``"simulated-iemocap"`` or ``"simulated-avec"``, or
            ``"folder"``: one's own (:mod:`erc_lib.data.folder`).
        options: of ``"folder"``: ``path``; of ``"mosi"``: ``seed`` (its validation set); of ``"avec-dialogues"`` likewise; of ``"avec"``: ``window`` (utterances of a stand-in dialogue); of the simulated: counts of dialogues ``train``,
            ``validation``, ``test``, the ``seed``, and any field of ``SimulationConfig`` or ``DimensionalConfig``.

    Raises:
        ConfigError: unknown name or option. DataError: data that cannot be had or used.
    """
    if name in LOADERS:
        load = importlib.import_module(LOADERS[name]).load
        _check_options(name, load, options)
        return load(**options)
    if name in SIMULATED or name in SIMULATED_DIMENSIONS:
        if name in SIMULATED:
            kind, draw = _object("simulation:SimulationConfig"), _object("sampling:simulate")
        else:
            kind, draw = _object("simulation_dimensions:DimensionalConfig"), _object("simulation_dimensions:simulate_dimensions")
        try:
            config = getattr(kind, (SIMULATED | SIMULATED_DIMENSIONS)[name])(**options)
        except (ValidationError, TypeError) as error:
            raise ConfigError(f"corpus {name!r} cannot be simulated with the options {options}: {error}") from error
        return draw(config)
    raise ConfigError(f"no corpus is named {name!r}{did_you_mean(name, list(CORPORA))}")


def _object(place: str) -> Any:
    """``"sampling:simulate"`` -> what module ``erc_lib.data.sampling`` calls so."""
    module, name = place.split(":")
    return getattr(importlib.import_module(f"erc_lib.data.{module}"), name)


def _check_options(name: str, load: Callable[..., Corpus], options: dict[str, Any]) -> None:
    known = list(inspect.signature(load).parameters)
    for option in options:
        if option not in known:
            if not known:
                raise ConfigError(f"corpus {name!r} has no options, so {option!r} means nothing there")
            raise ConfigError(f"corpus {name!r} has no option {option!r}{did_you_mean(option, known)}")
    for option, parameter in inspect.signature(load).parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise ConfigError(f"corpus {name!r} needs the option {option!r} (`--set corpus_options.{option}=...`)")
