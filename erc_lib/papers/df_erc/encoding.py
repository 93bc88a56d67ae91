"""Encoding, Section 3.1, eq. 1: one encoder reads the whole dialogue, and an utterance is the mean of its tokens."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from erc_lib.data.batch import Batch
from erc_lib.errors import ConfigError, DataError
from erc_lib.layers import padded
from erc_lib.papers.df_erc.config import DFERCConfig


class Encoder(Protocol):
    """What is asked of a text encoder; :func:`erc_lib.features.encoders.load_encoder` gives one."""

    model: nn.Module
    width: int
    cls: int
    sep: int
    positions: int

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]: ...

    def span_means(self, sequences: Sequence[list[int]], spans: Sequence[Sequence[tuple[int, int]]]) -> Tensor: ...

    def describe(self) -> dict[str, Any]: ...


class DialogueEncoding(nn.Module):
    """t^s (B, L, ``width``) of a batch's texts: ``[CLS] w_11 ... w_nl [SEP]``, mean-pooled over each utterance's span.

    A dialogue that does not fit ``max_tokens`` is read in parts (:func:`parts`). An utterance longer than ``max_utterance_tokens`` is cut at
    its end; the first is reported, :meth:`count_cut` counts them. One without words is a lone [SEP].

    Raises:
        ConfigError: an encoder narrower or shorter than the configuration says. DataError: a batch without words.
    """

    def __init__(self, config: DFERCConfig, encoder: Encoder) -> None:
        super().__init__()
        if encoder.width != config.dims["text"]:
            raise ConfigError(f"the text encoder gives vectors {encoder.width} wide, dims says text is {config.dims['text']}; write {encoder.width} there")
        if config.max_tokens > encoder.positions:
            raise ConfigError(f"max_tokens is {config.max_tokens}, but the text encoder has {encoder.positions} positions; lower max_tokens")
        _ = encoder.cls, encoder.sep  # an encoder without them says so now
        self.encoder = encoder.model  # a submodule: it moves, trains and is stored with the rest
        self.tokens = encoder
        self.config = config
        self.reported = False

    def forward(self, batch: Batch) -> Tensor:
        if not any(text for row in batch.texts for text in row):
            raise DataError(f"the batch has no words to encode (first utterance: {batch.ids[0][0]!r}); take a corpus with transcripts, or text='features'")
        sequences, spans, limit = [], [], self.config.max_utterance_tokens
        for texts, ids in zip(batch.texts, batch.ids, strict=True):
            pieces = self.tokens.token_ids(texts)
            for name, piece in zip(ids, pieces, strict=True):
                if len(piece) > limit and not self.reported:
                    self._report(name, len(piece))
            pieces = [piece[:limit] or [self.tokens.sep] for piece in pieces]
            for members, kept in parts([len(p) for p in pieces], self.config.max_tokens - 2, self.config.overlap):
                sequence, places = [self.tokens.cls], []
                for i in members:
                    if i in kept:
                        places.append((len(sequence), len(sequence) + len(pieces[i])))
                    sequence += pieces[i]
                sequences.append([*sequence, self.tokens.sep])
                spans.append(places)
        return padded(self.tokens.span_means(sequences, spans).float(), batch.mask)  # real turns row by row, as the spans come

    def count_cut(self, texts: Iterable[str]) -> int:
        """How many of these utterances are longer than ``max_utterance_tokens``."""
        return sum(len(piece) > self.config.max_utterance_tokens for piece in self.tokens.token_ids(list(texts)))

    def _report(self, name: str, length: int) -> None:
        self.reported = True
        warnings.warn(
            f"utterance {name!r} has {length} tokens, more than max_utterance_tokens = {self.config.max_utterance_tokens}: its end is cut. "
            "Further ones are cut silently and counted in the run's environment.json",
            stacklevel=3,
        )


def parts(lengths: Sequence[int], room: int, overlap: int) -> list[tuple[range, range]]:
    """Utterances of ``lengths`` tokens in parts of at most ``room`` tokens, each an unbroken run that begins at an utterance.

    Neighbouring parts share up to ``overlap`` utterances, so that those at a border are read with context on both sides; of the shared
    ones the first half is kept from the earlier part, the rest from the later, and every utterance is kept exactly once.

    Returns:
        For each part the utterances it reads and, within them, those whose vectors are kept.
    """
    found: list[range] = []
    start = 0
    while True:
        end, tokens = start, 0
        while end < len(lengths) and (end == start or tokens + lengths[end] <= room):
            tokens += lengths[end]
            end += 1
        found.append(range(start, end))
        if end == len(lengths):
            break
        # Go back by the overlap, as far as the next part still gets beyond this one's end.
        start = max(start + 1, end - overlap)
        while start < end and sum(lengths[start : end + 1]) > room:
            start += 1
    borders = [0, *((b.start + a.stop + 1) // 2 for a, b in zip(found, found[1:], strict=False)), len(lengths)]
    return [(part, range(borders[i], borders[i + 1])) for i, part in enumerate(found)]
