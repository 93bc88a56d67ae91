"""Every test here has a data root of its own and no mirror unless it asks for one."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    """An empty data root."""
    folder = tmp_path / "data-root"
    monkeypatch.setenv("ERC_DATA", str(folder))
    monkeypatch.delenv("ERC_MIRROR", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    return folder


@pytest.fixture
def from_mirror(mirror, data_folder, monkeypatch):
    """The real files, read from the mirror into the empty data root."""
    monkeypatch.setenv("ERC_MIRROR", str(mirror))
    return mirror
