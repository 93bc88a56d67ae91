"""The input of MultiEMO's text stage (Section 3.3.1): past, current and future utterances of a dialogue in one token sequence."""

from __future__ import annotations

from erc_lib.data.conversation import Dialogue
from erc_lib.errors import DataError
from erc_lib.features.encoders import TextEncoder


def speaker_names(dialogue: Dialogue) -> list[str]:
    """The speaker's name for each of the L utterances: the corpus' names where it has them, else "Speaker 0", ..."""
    names = tuple(getattr(dialogue, "speaker_names", None) or ())
    numbers = dialogue.speakers.tolist()
    if not names:
        return [f"Speaker {n}" for n in numbers]
    if max(numbers) >= len(names):
        raise DataError(
            f"dialogue {dialogue.id!r} has a speaker number {max(numbers)} but only {len(names)} speaker names; "
            "name them all or none"
        )
    return [names[n] for n in numbers]


def utterance_pieces(encoder: TextEncoder, dialogue: Dialogue, *, prefix: bool = True) -> list[list[int]]:
    """Token ids of each utterance without special tokens, as ``name: text`` (``prefix``) or ``text``."""
    names = speaker_names(dialogue)
    return encoder.token_ids([f"{name}: {text}" if prefix else text for name, text in zip(names, dialogue.texts, strict=True)])


def three_segments(pieces: list[list[int]], position: int, max_length: int, *, cls: int, sep: int) -> list[int]:
    """``[CLS] past [SEP] current [SEP] future [SEP]`` in at most ``max_length`` tokens, for the utterance at ``position``.

    All four special tokens always stand, so that an empty past or future is visible. The current utterance is kept whole and
    past and future share what is left, half each (an odd token goes to the past); what one of them does not need the other
    gets. The past loses its earliest tokens, the future its latest. Only a current utterance that alone exceeds the limit is
    cut, at its end.

    Source: MultiEMO 3.3.1 gives the three segments and the speaker's name; how they are cut is open there and decided here.
    """
    room = max_length - 4
    current = pieces[position][:room]
    past = [token for piece in pieces[:position] for token in piece]
    future = [token for piece in pieces[position + 1 :] for token in piece]
    free = room - len(current)
    kept_past = min(len(past), max((free + 1) // 2, free - len(future)))
    kept_future = min(len(future), free - kept_past)
    return [cls, *past[len(past) - kept_past :], sep, *current, sep, *future[:kept_future], sep]


def dialogue_inputs(
    encoder: TextEncoder, dialogue: Dialogue, max_length: int, *, context: bool = True, prefix: bool = True
) -> list[list[int]]:
    """The L token sequences of a dialogue: :func:`three_segments`, or without ``context`` ``[CLS] current [SEP]``."""
    pieces = utterance_pieces(encoder, dialogue, prefix=prefix)
    if not context:
        return [[encoder.cls, *piece[: max_length - 2], encoder.sep] for piece in pieces]
    return [three_segments(pieces, i, max_length, cls=encoder.cls, sep=encoder.sep) for i in range(len(pieces))]
