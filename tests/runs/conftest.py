"""A tiny model, a tiny corpus and a store for the tests of runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_model

from erc_lib.papers.registry import MODELS
from erc_lib.runs import RunSpec, RunStore

del MODELS["tiny"]  # known only where the fixture below puts it


@pytest.fixture(autouse=True)
def tiny(monkeypatch) -> Path:
    """Registers the model ``tiny``; the path of its file, for worker processes."""
    monkeypatch.setitem(MODELS, "tiny", "tiny_model:Tiny")
    return Path(tiny_model.__file__)


@pytest.fixture
def make():
    """``make(seed=1, ...)``: a specification of the tiny model on a tiny simulated corpus."""

    def make(**fields) -> RunSpec:
        options = {"train": 6, "validation": 3, "test": 3}
        return RunSpec(**{"paper": "tiny", "corpus": "simulated-meld", "corpus_options": options, **fields})

    return make


@pytest.fixture
def store(tmp_path) -> RunStore:
    return RunStore(tmp_path / "store")
