"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # small tensors; more threads than free cores cost more than they bring


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder of pinned public files; tests on real data are skipped where there is none."""
    candidates = [os.environ.get("ERC_MIRROR"), Path(__file__).resolve().parents[2] / "shared" / "data"]
    for candidate in candidates:
        if candidate and (Path(candidate) / "MANIFEST.yaml").exists():
            return Path(candidate)
    pytest.skip("the public files are not on this machine: set ERC_MIRROR to a folder that holds them")
