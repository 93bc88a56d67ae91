"""A text encoder as a part of a model: what is asked of it, and what every paper that fine-tunes one checks and reports."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from torch import nn

from erc_lib.errors import ConfigError, DataError


class Encoder(Protocol):
    """What is asked of a text encoder; :func:`erc_lib.features.encoders.load_encoder` gives one. A paper may ask for more."""

    model: nn.Module
    width: int
    cls: int
    sep: int
    positions: int

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]: ...

    def describe(self) -> dict[str, Any]: ...


class InnerEncoder(nn.Module):
    """Holds the encoder as a submodule, so that it moves, trains and is stored with the rest of the model.

    Args:
        width: of its vectors, as the configuration says. max_tokens: the longest input it will get.

    Raises:
        ConfigError: an encoder narrower or shorter than that, or without special tokens.
    """

    def __init__(self, encoder: Encoder, *, width: int, max_tokens: int) -> None:
        super().__init__()
        if encoder.width != width:
            raise ConfigError(f"the text encoder gives vectors {encoder.width} wide, dims says text is {width}; write {encoder.width} there")
        if max_tokens > encoder.positions:
            raise ConfigError(f"max_tokens is {max_tokens}, but the text encoder has {encoder.positions} positions; lower max_tokens")
        _ = encoder.cls, encoder.sep  # an encoder without them says so now
        self.encoder = encoder.model
        self.tokens = encoder
        self.reported = False

    @property
    def room(self) -> int:
        """Tokens an utterance may have itself; each paper says how many."""
        raise TypeError("an encoder inside a model says how long an utterance may be")

    def require_words(self, texts: Sequence[Sequence[str]], ids: Sequence[Sequence[str]]) -> None:
        """DataError unless a batch has words."""
        if not any(text for row in texts for text in row):
            raise DataError(f"the batch has no words to encode (first utterance: {ids[0][0]!r}); take a corpus with transcripts, or text='features'")

    def count_cut(self, texts: Iterable[str]) -> int:
        """How many of these utterances are longer than ``room``."""
        return sum(len(piece) > self.room for piece in self.tokens.token_ids(list(texts)))

    def report_cut(self, name: str, length: int, limit: str) -> None:
        """Warns of the first utterance that exceeds ``room``; ``limit`` says which setting it exceeds."""
        if length <= self.room or self.reported:
            return
        self.reported = True
        warnings.warn(
            f"utterance {name!r} has {length} tokens, more than {limit}: its end is cut. "
            "Further ones are cut silently and counted in the run's environment.json",
            stacklevel=3,
        )
