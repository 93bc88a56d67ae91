"""IEMOCAP: dyadic sessions of actors, six emotions (Busso et al. 2008), as COSMIC published its text, speakers, labels and split.

The pickle is a list of six: dialogue -> speakers ("M" or "F"), dialogue -> labels, dialogue -> transcripts, and the names of the
training, test and validation dialogues. Its label numbers are in the order of :data:`LABEL_NAMES`: so counted, the test set
has the 144 / 245 / 384 / 170 / 299 / 381 utterances that the papers report by name. Transcripts are licensed:
no message here shows one.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from erc_lib.data.conversation import Corpus
from erc_lib.data.convert import COLUMNS, Converted, check_counts, convert, to_corpus
from erc_lib.data.unpickle import load_pickle
from erc_lib.errors import DataError

LABEL_NAMES = ("happy", "sad", "neutral", "angry", "excited", "frustrated")
COUNTS = {"train": 5163, "validation": 647, "test": 1623}
FILE = "iemocap.pkl"
SPEAKERS = ("M", "F")
REMEDY = "fetch the file again (`erc data fetch iemocap`)"
VERSION = 1


def load() -> Corpus:
    """IEMOCAP's 7,433 utterances in 151 dialogues (108 / 12 / 31): text, speakers and labels; no features of its own.

    Utterance ids are ``"<dialogue>/<position>"``, counted from 0: the published file names dialogues only.
    """
    converted, provenance = convert("iemocap", "iemocap", VERSION, read)
    check_counts("iemocap", converted.utterances, COUNTS)
    return to_corpus("iemocap", converted, LABEL_NAMES, provenance)


def read(folder: Path) -> Converted:
    """``iemocap.pkl`` in ``folder``; raises DataError naming file, dialogue, utterance and remedy."""
    path = folder / FILE
    content = load_pickle(path)
    kinds = (dict, dict, dict, list, list, list)
    whole = isinstance(content, list | tuple) and len(content) == len(kinds)
    if not whole or not all(isinstance(c, k) for c, k in zip(content, kinds, strict=True)):
        raise DataError(
            f"{path} is not a list of three dictionaries (speakers, labels, transcripts) and three lists of dialogues; {REMEDY}"
        )
    speakers, labels, texts, train, test, validation = content
    rows, seen = [], {}
    for split, names in (("train", train), ("validation", validation), ("test", test)):
        for name in names:
            if name in seen:
                raise DataError(f"{path}: dialogue {name!r} stands in {seen[name]} and again in {split}; {REMEDY}")
            seen[name] = split
            rows += _rows(path, split, name, speakers, labels, texts)
    return Converted(pd.DataFrame(rows, columns=list(COLUMNS)))


def _rows(path: Path, split: str, name: str, speakers: dict, labels: dict, texts: dict) -> list[tuple]:
    where = f"{path}, dialogue {name!r}"
    for part, kind in ((speakers, "speakers"), (labels, "labels"), (texts, "transcripts")):
        if name not in part:
            raise DataError(f"{where}, which is listed for {split}, has no {kind}; {REMEDY}")
    sizes = len(speakers[name]), len(labels[name]), len(texts[name])
    if len(set(sizes)) != 1:
        raise DataError(f"{where} has {sizes[0]} speakers, {sizes[1]} labels and {sizes[2]} transcripts; {REMEDY}")
    if sizes[0] == 0:
        raise DataError(f"{where} has no utterances; {REMEDY}")
    rows = []
    for i, (speaker, label, text) in enumerate(zip(speakers[name], labels[name], texts[name], strict=True)):
        if speaker not in SPEAKERS:
            raise DataError(f"{where}, utterance {i}: unknown speaker {speaker!r}, not one of {', '.join(SPEAKERS)}; {REMEDY}")
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(LABEL_NAMES):
            raise DataError(
                f"{where}, utterance {i}: unknown label {label!r}; known are 0 to 5 ({', '.join(LABEL_NAMES)}); {REMEDY}"
            )
        if not isinstance(text, str):
            raise DataError(f"{where}, utterance {i}: the transcript is no string but {type(text).__name__}; {REMEDY}")
        rows.append((split, name, f"{name}/{i}", speaker, label, text))
    return rows
