"""MELD: conversations of a television series, seven emotions (Poria et al. 2019), from its three published CSV files.

Traps met here: utterance ids have gaps, so a position is never an id; dialogue ids start at 0 in every split, so ids carry the
split; train dialogue 60 does not exist; the text is UTF-8 with typographic quotes; speaker names carry stray blanks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from erc_lib.data.conversation import Corpus
from erc_lib.data.convert import COLUMNS, Converted, check_counts, convert, to_corpus
from erc_lib.data.csv_files import REMEDY, read_table, row_number, whole_numbers
from erc_lib.errors import DataError

LABEL_NAMES = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
COUNTS = {"train": 9989, "validation": 1109, "test": 2610}
FILES = {"train": "train", "validation": "dev", "test": "test"}  # split here -> split in MELD's names
NEEDED = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
VERSION = 1


def load() -> Corpus:
    """MELD's 13,708 utterances in 1,432 dialogues: text, speakers and labels; it has no features of its own.

    Utterance ids are ``"<train|dev|test>/dia<d>_utt<u>"`` with MELD's own numbers, as its clips are named.
    """
    converted, provenance = convert("meld", "meld", VERSION, read)
    check_counts("meld", converted.utterances, COUNTS)
    return to_corpus("meld", converted, LABEL_NAMES, provenance)


def read(folder: Path) -> Converted:
    """The three CSV files in ``folder``; raises DataError naming file, row and remedy for anything that is not as published."""
    parts = [_read_split(folder / f"{prefix}_sent_emo.csv", split, prefix) for split, prefix in FILES.items()]
    return Converted(pd.concat(parts, ignore_index=True))


def _read_split(path: Path, split: str, prefix: str) -> pd.DataFrame:
    table = read_table(path, NEEDED)
    if table.empty:
        raise DataError(f"{path} has no utterances; {REMEDY}")
    dialogue, utterance = whole_numbers(table, "Dialogue_ID", path), whole_numbers(table, "Utterance_ID", path)

    label = table["Emotion"].str.strip().map({name: i for i, name in enumerate(LABEL_NAMES)})
    unknown = label.isna().to_numpy()
    if unknown.any():
        row = int(unknown.argmax())
        raise DataError(
            f"{path}, row {row_number(row)}: unknown emotion {table['Emotion'].iloc[row]!r}; MELD's are {', '.join(LABEL_NAMES)}"
        )
    speaker = table["Speaker"].str.strip()
    nameless = (speaker == "").to_numpy()
    if nameless.any():
        raise DataError(f"{path}, row {row_number(int(nameless.argmax()))}: no speaker; {REMEDY}")
    ids = pd.Series([f"{prefix}/dia{d}_utt{u}" for d, u in zip(dialogue, utterance, strict=True)])
    twice = ids.duplicated().to_numpy()
    if twice.any():
        row = int(twice.argmax())
        first = int((ids == ids[row]).to_numpy().argmax())
        raise DataError(
            f"{path}, row {row_number(row)}: utterance {ids[row]!r} stands on row {row_number(first)} already; remove one of them"
        )

    order = np.lexsort((utterance, dialogue))
    found = pd.DataFrame({
        "split": split,
        "dialogue": [f"{prefix}/dia{d}" for d in dialogue],
        "id": ids,
        "speaker": speaker,
        "label": label.astype("int64"),
        "text": table["Utterance"],
    })
    return found.loc[order, list(COLUMNS)]
