"""Encoding, Section 3.1, eq. 1: one encoder reads the whole dialogue, and an utterance is the mean of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from erc_lib import layers
from erc_lib.data.batch import Batch
from erc_lib.layers import InnerEncoder, padded
from erc_lib.papers.df_erc.config import DFERCConfig


class Encoder(layers.Encoder, Protocol):
    """An encoder that gives the means of spans of tokens."""

    def span_means(self, sequences: Sequence[list[int]], spans: Sequence[Sequence[tuple[int, int]]]) -> Tensor: ...


class DialogueEncoding(InnerEncoder):
    """t^s (B, L, ``width``) of a batch's texts: ``[CLS] w_11 ... w_nl [SEP]``, mean-pooled over each utterance's span.

    A dialogue that does not fit ``max_tokens`` is read in parts (:func:`parts`). An utterance longer than ``max_utterance_tokens`` is cut at
    its end; the first is reported, :meth:`count_cut` counts them. One without words is a lone [SEP].

    Raises:
        ConfigError: an encoder narrower or shorter than the configuration says. DataError: a batch without words.
    """

    def __init__(self, config: DFERCConfig, encoder: Encoder) -> None:
        super().__init__(encoder, width=config.dims["text"], max_tokens=config.max_tokens)
        self.config = config

    def forward(self, batch: Batch) -> Tensor:
        self.require_words(batch.texts, batch.ids)
        sequences, spans, limit = [], [], self.room
        for texts, ids in zip(batch.texts, batch.ids, strict=True):
            pieces = self.tokens.token_ids(texts)
            for name, piece in zip(ids, pieces, strict=True):
                self.report_cut(name, len(piece), f"max_utterance_tokens = {limit}")
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

    @property
    def room(self) -> int:
        """Tokens an utterance may have itself."""
        return self.config.max_utterance_tokens


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
