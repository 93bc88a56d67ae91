"""Where things lie on this machine: the data cache, the feature store and the store of runs."""

from __future__ import annotations

import os
from pathlib import Path

import pooch

REPOSITORY = Path(__file__).resolve().parent.parent


def data_root() -> Path:
    """Folder of downloaded and converted corpora: ``$ERC_DATA``, else the user's cache folder."""
    return Path(os.environ.get("ERC_DATA") or pooch.os_cache("erc_lib"))


def features_root() -> Path:
    """Folder of the feature store, below :func:`data_root`."""
    return data_root() / "features"


def published_store() -> Path:
    """Folder of the published runs, ``book/results`` of a checkout."""
    return REPOSITORY / "book" / "results"
