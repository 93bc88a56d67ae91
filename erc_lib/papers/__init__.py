"""The papers, one room each, and what they published."""

from __future__ import annotations

from erc_lib.papers.published import published_results

__all__ = ["published_results"]
