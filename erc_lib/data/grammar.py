"""A small English grammar: one sentence per simulated utterance, whose cue carries the text code and nothing else.

A sentence is ``[opener] I feel <cue> about <topic>.``, or ``[opener] let me tell you about <topic>.`` when it shows nothing. The
cue is one of three phrases of its code, chosen uniformly; opener and topic are chosen uniformly and independently of everything.
So all a sentence says is *which code's cue stands in it* (:func:`read_cue` reads it back), and
:func:`erc_lib.data.bayes_posteriors` can take it as evidence exactly.

Codes are those of :class:`erc_lib.data.SimulationConfig`: 0 .. C-1 name an emotion, C .. 2C-1 a difference to the speaker's
previous emotion (in steps around the ring of classes, so the meaning of a difference cue has to be learnt), 2C shows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from erc_lib.errors import DataError

OPENERS = ("", "Well, ", "You know, ", "Listen, ", "Oh, ", "Honestly, ")
TOPICS = (
    "the party", "the new job", "the train", "the letter", "the dinner", "the neighbours", "the wedding", "the weather",
    "the meeting", "the film", "the journey", "the house", "the test", "the phone call", "the garden", "the concert",
    "the car", "the visit", "the game", "the news",
)
SILENT_FRAMES = ("let me tell you about {topic}.", "I was thinking about {topic}.", "we should talk about {topic}.")

# Cues of an emotion. A class name that is not here stands for itself ("I feel jealous about ...").
DIRECT_CUES = {
    "neutral": ("indifferent", "nothing special", "neutral"),
    "surprise": ("surprised", "amazed", "astonished"),
    "fear": ("afraid", "scared", "terrified"),
    "sadness": ("miserable", "heartbroken", "tearful"),
    "sad": ("miserable", "heartbroken", "tearful"),
    "joy": ("glad", "delighted", "cheerful"),
    "happy": ("glad", "delighted", "cheerful"),
    "excited": ("excited", "thrilled", "eager"),
    "disgust": ("disgusted", "revolted", "sickened"),
    "anger": ("furious", "outraged", "mad"),
    "angry": ("furious", "outraged", "mad"),
    "frustrated": ("frustrated", "fed up", "stuck"),
}
# Cues of a difference of 0, 1, ... 7 steps. None of them names an emotion: without the previous one they are ambiguous.
RELATIVE_CUES = (
    ("the same as before", "no different than earlier", "just as I did a moment ago"),
    ("a step further", "somewhat more than before", "slightly moved on"),
    ("suddenly changed", "all at once another person", "turned around"),
    ("quite the opposite now", "the other way round", "completely reversed"),
    ("far from where I was", "a long way from earlier", "worlds away from that"),
    ("as if I had come full circle", "nearly back again", "on the way back"),
    ("a step back", "somewhat less than before", "slightly set back"),
    ("out of line with earlier", "somewhere else entirely", "beside what I was"),
)
_CUE = re.compile(r"I feel (.+) about the [a-z ]+\.$")


def cue_phrases(label_names: Sequence[str]) -> list[tuple[str, ...]]:
    """The cue phrases of codes 0 .. 2C-1; no phrase stands for two codes.

    Raises:
        DataError: if two classes would share a cue (``sad`` beside ``sadness``).
    """
    phrases = [DIRECT_CUES.get(name, (name,)) for name in label_names] + list(RELATIVE_CUES[: len(label_names)])
    _codes(tuple(label_names), tuple(phrases))
    return phrases


def sentence(code: int, phrases: Sequence[tuple[str, ...]], choices: np.ndarray) -> str:
    """One sentence with a cue of ``code`` (``len(phrases)`` = shows nothing).

    Args:
        phrases: of :func:`cue_phrases`.
        choices: three numbers in [0, 1) that pick the phrase, the opener and the topic.
    """
    def pick(options: Sequence[str], u: float) -> str:
        return options[int(u * len(options))]

    opener, topic = pick(OPENERS, choices[1]), pick(TOPICS, choices[2])
    if code == len(phrases):
        body = pick(SILENT_FRAMES, choices[0]).format(topic=topic)
    else:
        body = f"I feel {pick(phrases[code], choices[0])} about {topic}."
    return opener + body if opener else body[0].upper() + body[1:]


def read_cue(text: str, label_names: Sequence[str]) -> int:
    """The code whose cue stands in ``text``: 0 .. C-1 an emotion, C .. 2C-1 a difference, 2C none.

    Raises:
        DataError: if the text was not written by this grammar.
    """
    names = tuple(label_names)
    found = _CUE.search(text)
    if found is None:
        if any(frame.split("{")[0].lower() in text.lower() for frame in SILENT_FRAMES):
            return 2 * len(names)
        raise DataError(f"{text!r} is not a sentence of the simulator's grammar; read sentences of simulated corpora only")
    code = _codes(names, tuple(cue_phrases(names))).get(found.group(1))
    if code is None:
        raise DataError(
            f"{text!r}: no class of {', '.join(names)} has the cue {found.group(1)!r}; was it simulated with other label_names?"
        )
    return code


@lru_cache(maxsize=32)
def _codes(label_names: tuple[str, ...], phrases: tuple[tuple[str, ...], ...]) -> dict[str, int]:
    """phrase -> code."""
    codes: dict[str, int] = {}
    for code, options in enumerate(phrases):
        for phrase in options:
            if phrase in codes:
                raise DataError(f"classes {', '.join(label_names)}: the cue {phrase!r} would stand for two; rename one class")
            codes[phrase] = code
    return codes
