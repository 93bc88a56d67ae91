"""CMU-MOSI: opinion videos of one speaker each, two classes (Zadeh et al. 2016), with bc-LSTM's features (Poria et al. 2017).

Row k of ``{text,audio,video}_{train,test}0.csv`` is the utterance whose index in ``transcripts.csv``, counted from 0, is the
first column of row k of ``text_{train,test}.csv``; the last column is the label. That this holds is checked: all labels agree
with those of the transcripts, and the text features stand in both text files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from erc_lib.data.conversation import Corpus
from erc_lib.data.convert import COLUMNS, Converted, check_counts, check_seed, convert, draw_validation, to_corpus
from erc_lib.data.csv_files import REMEDY, read_matrix, read_table, row_number, whole_numbers
from erc_lib.errors import DataError

LABEL_NAMES = ("negative", "positive")
COUNTS = {"train": 1447, "test": 752}
DIMS = {"text": 100, "audio": 73, "visual": 100}
FILES = {"text": "text", "audio": "audio", "visual": "video"}  # modality -> the files' name of it
VERSION = 1


def load(*, seed: int = 0) -> Corpus:
    """MOSI's 2,199 utterances in 93 videos: text (100), audio (73) and visual (100) features, transcripts and labels.

    Args:
        seed: draws the validation set, a tenth of the 62 training videos (6 of them); the published split has none.

    The features are as published, their columns range from below 1 to some hundreds: see :func:`erc_lib.data.transform.standardise`.
    """
    check_seed(seed)
    converted, provenance = convert("mosi", "mosi", VERSION, read)
    check_counts("mosi", converted.utterances, COUNTS)
    table = converted.utterances.copy()
    held_out = draw_validation(table.loc[table["split"] == "train", "dialogue"].unique(), seed)
    table.loc[table["dialogue"].isin(held_out), "split"] = "validation"
    provenance |= {"validation_videos": held_out, "seed": seed}
    return to_corpus("mosi", Converted(table, converted.features), LABEL_NAMES, provenance)


def read(folder: Path) -> Converted:
    """The nine CSV files in ``folder``; raises DataError naming file, row and remedy."""
    path = folder / "transcripts.csv"
    transcripts = read_table(path, ("id", "text", "video_number", "label"), header=False)
    split_id = transcripts["id"].str.extract(r"^(?P<video>.+)_(?P<n>\d+)$")
    bad = split_id["n"].isna().to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{path}, row {row_number(row, False)}: {transcripts['id'].iloc[row]!r} is no id <video>_<n>; {REMEDY}")
    twice = transcripts["id"].duplicated().to_numpy()
    if twice.any():
        row = int(twice.argmax())
        raise DataError(
            f"{path}, row {row_number(row, False)}: utterance {transcripts['id'].iloc[row]!r} stands there a second time; "
            f"{REMEDY}"
        )
    transcripts["video"], transcripts["n"] = split_id["video"], split_id["n"].astype("int64")
    transcripts["label"] = _labels(whole_numbers(transcripts, "label", path, header=False), path)

    tables, features = [], {m: [] for m in DIMS}
    taken: dict[int, str] = {}
    for split in ("train", "test"):
        index, rows = _read_index(folder / f"text_{split}.csv", len(transcripts), taken)
        found = transcripts.iloc[index]
        order = np.lexsort((found["n"].to_numpy(), found["video"].to_numpy(dtype=str)))
        for modality, width in DIMS.items():
            x = _read_features(folder / f"{FILES[modality]}_{split}0.csv", width, found)
            if modality == "text":
                _check_same(folder, split, x, rows)
            features[modality].append(x[order].astype(np.float32))
        found = found.rename(columns={"video": "dialogue"}).assign(split=split, speaker="speaker")
        tables.append(found.iloc[order].loc[:, list(COLUMNS)])
    return Converted(pd.concat(tables, ignore_index=True), {m: np.concatenate(x) for m, x in features.items()})


def _read_index(path: Path, transcripts: int, taken: dict[int, str]) -> tuple[np.ndarray, np.ndarray]:
    """First column of ``text_{split}.csv`` as int64 (N,), each at most once in all splits; and the other columns (N, 100)."""
    rows = read_matrix(path, 1 + DIMS["text"])
    for k, value in enumerate(rows[:, 0]):
        where = f"{path}, row {row_number(k, False)}"
        if value != int(value) or not 0 <= value < transcripts:
            raise DataError(f"{where}: {value} is no row of transcripts.csv, which has 0 to {transcripts - 1}; {REMEDY}")
        if int(value) in taken:
            raise DataError(
                f"{where}: utterance {int(value)} of transcripts.csv was named by {taken[int(value)]} already; {REMEDY}"
            )
        taken[int(value)] = where
    return rows[:, 0].astype(np.int64), rows[:, 1:]


def _read_features(path: Path, width: int, found: pd.DataFrame) -> np.ndarray:
    """Features (N, width) of the utterances ``found``, whose labels the last column must repeat."""
    values = read_matrix(path, width + 1)
    if len(values) != len(found):
        raise DataError(f"{path} has {len(values)} rows for {len(found)} utterances; {REMEDY}")
    labels = _labels(values[:, -1], path)
    wrong = labels != found["label"].to_numpy(dtype=np.int64)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{path}, row {row_number(row, False)}: the label is {labels[row]}, but "
            f"transcripts.csv says {found['label'].iloc[row]} for {found['id'].iloc[row]!r}, "
            f"so rows and utterances do not belong together; {REMEDY}"
        )
    return values[:, :-1]


def _labels(values: np.ndarray, path: Path) -> np.ndarray:
    bad = ~np.isin(values, (0, 1))
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{path}, row {row_number(row, False)}: unknown label {values[row]:g}; known are 0 (negative) and 1 (positive); "
            f"{REMEDY}"
        )
    return values.astype(np.int64)


def _check_same(folder: Path, split: str, x: np.ndarray, rows: np.ndarray) -> None:
    wrong = ~np.isclose(x, rows, atol=1e-6).all(axis=1)
    if wrong.any():
        raise DataError(
            f"{folder / f'text_{split}0.csv'}, row {row_number(int(wrong.argmax()), False)}: other text features than on that "
            f"row of text_{split}.csv, so rows and utterances do not belong together; {REMEDY}"
        )
