"""The papers, one room each, and what they published."""

from __future__ import annotations

from erc_lib.papers.published import published_results, published_tables, published_value
from erc_lib.papers.registry import MODELS, load_model_class

__all__ = ["MODELS", "load_model_class", "published_results", "published_tables", "published_value"]
