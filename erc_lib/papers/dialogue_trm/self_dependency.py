"""Self dependency, Section 4.1.1: one BERT reads an utterance together with what its speaker said before, and is fine-tuned."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from erc_lib.data.batch import Batch
from erc_lib.errors import ConfigError, DataError
from erc_lib.layers import padded
from erc_lib.papers.dialogue_trm.config import DialogueTRMConfig
from erc_lib.papers.dialogue_trm.context import indi_context


class Encoder(Protocol):
    """What is asked of a text encoder; :func:`erc_lib.features.encoders.load_encoder` gives one."""

    model: nn.Module
    width: int
    cls: int
    sep: int
    positions: int
    segment_types: int

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]: ...

    def first_positions(self, sequences: Sequence[list[int]], segments: Sequence[list[int]] | None = None) -> Tensor: ...

    def describe(self) -> dict[str, Any]: ...


class SelfDependency(nn.Module):
    """f (B, L, ``width``) of a batch's texts, eq. 1: BERT's output at [CLS] of ``[CLS] utterance [SEP] indi-context [SEP]``.

    An utterance whose own text does not fit ``max_tokens`` is cut at its end; the first is reported, :meth:`count_cut` counts them.

    Raises:
        ConfigError: an encoder narrower or shorter than the configuration says, or one that knows no second segment.
        DataError: a batch without words.
    """

    def __init__(self, config: DialogueTRMConfig, encoder: Encoder) -> None:
        super().__init__()
        if encoder.width != config.dims["text"]:
            raise ConfigError(f"the text encoder gives vectors {encoder.width} wide, dims says text is {config.dims['text']}; write {encoder.width} there")
        if config.max_tokens > encoder.positions:
            raise ConfigError(f"max_tokens is {config.max_tokens}, but the text encoder has {encoder.positions} positions; lower max_tokens")
        _ = encoder.cls, encoder.sep  # an encoder without them says so now
        self.segments = config.segment_ids and config.self_context  # without context there is one segment
        if self.segments and encoder.segment_types < 2:
            raise ConfigError("the text encoder has no second segment (RoBERTa has none); set segment_ids to false")
        self.encoder = encoder.model  # a submodule: it moves, trains and is stored with the rest
        self.tokens = encoder
        self.config = config
        self.reported = False

    def forward(self, batch: Batch) -> Tensor:
        if not any(text for row in batch.texts for text in row):
            raise DataError(f"the batch has no words to encode (first utterance: {batch.ids[0][0]!r}); take a corpus with transcripts, or text='features'")
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
                if len(piece) > self.room and not self.reported:
                    self._report(ids[turn], len(piece))
                sequences.append(sequence)
                segments.append(segment)
        f = self.tokens.first_positions(sequences, segments if self.segments else None)
        return padded(f.float(), batch.mask)  # the real turns come row by row, as the sequences do

    @property
    def room(self) -> int:
        """Tokens an utterance may have itself, beside the special ones."""
        return self.config.max_tokens - special_tokens(with_context=self.config.self_context, separator=self.config.separator)

    def count_cut(self, texts: Iterable[str]) -> int:
        """How many of these utterances are longer than ``room``."""
        return sum(len(piece) > self.room for piece in self.tokens.token_ids(list(texts)))

    def _report(self, name: str, length: int) -> None:
        self.reported = True
        warnings.warn(
            f"utterance {name!r} has {length} tokens, more than max_tokens = {self.config.max_tokens} can hold with the special ones: "
            "its end is cut. Further ones are cut silently and counted in the run's environment.json",
            stacklevel=3,
        )


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
