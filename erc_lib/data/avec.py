"""AVEC 2012 / SEMAINE: four real-valued dimensions per utterance (Schuller et al. 2012), with utterance-level features (Tian et al. 2015).

Three files share their rows: 88 eGeMAPS functionals (audio), 63 lexical features of crowd-sourced affect words (text) and the labels,
each binned to 0, 1 or 2. **They say neither where a dialogue ends nor who speaks.** Windows of consecutive utterances stand in for
dialogues, with one speaker each, and the splits are stretches of the file, so that no utterance of the test set has its neighbours
in training but at one border. The official splits cannot be told from these files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from erc_lib.data.conversation import Corpus
from erc_lib.data.convert import Converted, convert, to_corpus
from erc_lib.data.csv_files import REMEDY, read_matrix, row_number
from erc_lib.errors import ConfigError, DataError

LABEL_NAMES = ("valence", "arousal", "expectancy", "power")  # the order of DialogueTRM's Table 2
FILE_ORDER = ("arousal", "expectancy", "power", "valence")
FILES = {"text": ("uttAVEC_CSA.csv", 63), "audio": ("uttAVEC_GeMAPS.csv", 88)}
UTTERANCES = 3262
TEST_SHARE, VALIDATION_SHARE = 1 / 3, 0.1
VERSION = 1


def load(*, window: int = 30) -> Corpus:
    """AVEC's 3,262 utterances: text (63) and audio (88) features, labels FloatTensor (L, 4) from 0 to 2.

    Args:
        window: utterances of each stand-in for a dialogue. The last third of the windows is the test set, the tenth of the others
            before it the validation set.
    """
    if not isinstance(window, int) or isinstance(window, bool) or not 1 <= window <= UTTERANCES // 10:
        raise ConfigError(f"window must be a whole number from 1 to {UTTERANCES // 10}, not {window!r}")
    converted, provenance = convert("avec", "avec", VERSION, read)
    if len(converted.utterances) != UTTERANCES:
        raise DataError(f"avec has {UTTERANCES:,} utterances, but {len(converted.utterances):,} were read; fetch it again")
    table = converted.utterances.copy()
    number = np.arange(len(table)) // window
    table["dialogue"] = [f"window {n:03d}" for n in number]
    table["split"] = split_of_windows(int(number[-1]) + 1)[number]
    return to_corpus("avec", Converted(table, converted.features), LABEL_NAMES, {**provenance, "window": window})


def split_of_windows(windows: int) -> np.ndarray:
    """The split of each window, in order: training, then validation, then test."""
    test = round(TEST_SHARE * windows)
    validation = max(1, round(VALIDATION_SHARE * (windows - test)))
    return np.array(["train"] * (windows - test - validation) + ["validation"] * validation + ["test"] * test, dtype=object)


def read(folder: Path) -> Converted:
    """The three CSV files in ``folder``; raises DataError naming file, row and remedy."""
    path = folder / "utt_AVEC_emo.csv"
    labels = read_matrix(path, len(FILE_ORDER))
    bad = ~np.isin(labels, (0, 1, 2))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{path}, row {row_number(int(row), False)}: {FILE_ORDER[column]} is {labels[row, column]:g}; known are 0, 1 and 2; {REMEDY}"
        )
    features = {}
    for modality, (name, width) in FILES.items():
        features[modality] = read_matrix(folder / name, width).astype(np.float32)
        if len(features[modality]) != len(labels):
            raise DataError(f"{folder / name} has {len(features[modality])} rows for {len(labels)} utterances of {path.name}; {REMEDY}")
    table = pd.DataFrame({f"label_{name}": labels[:, FILE_ORDER.index(name)].astype(np.float32) for name in LABEL_NAMES})
    table.insert(0, "id", [f"row {n:04d}" for n in range(len(table))])
    return Converted(table.assign(speaker="user", text=""), features)
