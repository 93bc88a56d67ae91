"""Self dependency, Section 4.1.1: one BERT reads an utterance together with what its speaker said before, and is fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from erc_lib import layers
from erc_lib.data.batch import Batch
from erc_lib.errors import ConfigError
from erc_lib.layers import InnerEncoder, padded
from erc_lib.papers.dialogue_trm.config import DialogueTRMConfig
from erc_lib.papers.dialogue_trm.context import indi_context


class Encoder(layers.Encoder, Protocol):
    """An encoder that knows segments and gives the output at the first position."""

    segment_types: int

    def first_positions(self, sequences: Sequence[list[int]], segments: Sequence[list[int]] | None = None) -> Tensor: ...


class SelfDependency(InnerEncoder):
    """f (B, L, ``width``) of a batch's texts, eq. 1: BERT's output at [CLS] of ``[CLS] utterance [SEP] indi-context [SEP]``.

    An utterance whose own text does not fit ``max_tokens`` is cut at its end; the first is reported, :meth:`count_cut` counts them.

    Raises:
        ConfigError: an encoder narrower or shorter than the configuration says, or one that knows no second segment.
        DataError: a batch without words.
    """

    def __init__(self, config: DialogueTRMConfig, encoder: Encoder) -> None:
        super().__init__(encoder, width=config.dims["text"], max_tokens=config.max_tokens)
        self.segments = config.segment_ids and config.self_context  # without context there is one segment
        if self.segments and encoder.segment_types < 2:
            raise ConfigError("the text encoder has no second segment (RoBERTa has none); set segment_ids to false")
        self.config = config

    def forward(self, batch: Batch) -> Tensor:
        self.require_words(batch.texts, batch.ids)
        sequences, segments = [], []
        for texts, ids, speakers in zip(batch.texts, batch.ids, batch.speakers.tolist(), strict=True):
            pieces = self.tokens.token_ids(texts)
            for turn, piece in enumerate(pieces):
                context = None
                if self.config.self_context:
                    context = [token for t in indi_context(speakers, turn, self.config.context_window) for token in pieces[t]]
                sequence, segment = utterance_with_context(
                    piece, context, self.config.max_tokens, cls=self.tokens.cls, sep=self.tokens.sep, separator=self.config.separator
                )
                self.report_cut(ids[turn], len(piece), f"max_tokens = {self.config.max_tokens} can hold with the special ones")
                sequences.append(sequence)
                segments.append(segment)
        f = self.tokens.first_positions(sequences, segments if self.segments else None)
        return padded(f.float(), batch.mask)  # the real turns come row by row, as the sequences do

    @property
    def room(self) -> int:
        """Tokens an utterance may have itself, beside the special ones."""
        return self.config.max_tokens - special_tokens(with_context=self.config.self_context, separator=self.config.separator)


def special_tokens(*, with_context: bool, separator: bool) -> int:
    """[CLS], and a [SEP] after each segment."""
    return 1 + separator * (1 + with_context)


def utterance_with_context(
    utterance: list[int], context: list[int] | None, max_tokens: int, *, cls: int, sep: int, separator: bool = True
) -> tuple[list[int], list[int]]:
    """Token ids and segment ids of ``[CLS] utterance [SEP] context [SEP]``, eq. 1, in at most ``max_tokens`` tokens.

    The utterance stays whole and the context, oldest token first, loses its far end, the oldest tokens; only an utterance that alone
    exceeds the limit is cut, at its end. Segment 0 is everything up to the first [SEP], segment 1 the rest.

    Args:
        context: None: ``[CLS] utterance [SEP]``, Table 3's "BERT base". Empty (nobody's first turn): both [SEP] stand.
        separator: False leaves out every [SEP] (Table 3, "remove [SEP] tokens").
    """
    end = [sep] if separator else []
    first = [cls, *utterance[: max_tokens - special_tokens(with_context=context is not None, separator=separator)], *end]
    if context is None:
        return first, [0] * len(first)
    room = max_tokens - len(first) - len(end)
    second = [*context[len(context) - min(room, len(context)) :], *end]
    return first + second, [0] * len(first) + [1] * len(second)
