"""Who said what before: the two contexts of Section 3, Table 1."""

from __future__ import annotations

from collections.abc import Sequence

from erc_lib.errors import ConfigError


def conv_context(turn: int, window: int) -> list[int]:
    """The turns before ``turn`` within the window, whoever spoke: [max(0, turn - K), turn), counted from 0.

    Raises:
        ConfigError: a negative window.
    """
    if window < 0:
        raise ConfigError(f"a context window counts past turns, so it cannot be {window}; 0 means no context")
    return list(range(max(0, turn - window), turn))


def indi_context(speakers: Sequence[int], turn: int, window: int) -> list[int]:
    """The turns of the conv-context that the speaker of ``turn`` spoke."""
    return [t for t in conv_context(turn, window) if speakers[t] == speakers[turn]]
