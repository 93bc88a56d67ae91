"""AVEC 2012 as DialogueTRM and its rivals used it: conv-emotion's features, whole dialogues, one real number per utterance and dimension.

Four pickles share everything but their labels; file k holds the k-th of :data:`LABEL_NAMES`. Each is a tuple of nine: dialogue ->
utterance ids, -> speakers ("user", or anything else for the agent), -> labels, -> text, -> audio, -> visual features, -> sentences, and
the names of the training and test dialogues. The repository has them as large files, so they are not among those at hand
(``absent: true`` in ``sources.yaml``): this reader is tested on files of exactly this layout.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erc_lib.data.avec import LABEL_NAMES
from erc_lib.data.conversation import MODALITIES, Corpus
from erc_lib.data.convert import Converted, check_seed, convert, draw_validation, to_corpus
from erc_lib.data.unpickle import load_pickle
from erc_lib.errors import DataError

SOURCE, FOLDER = "conv-emotion-features", "bc-LSTM-pytorch/AVEC_features"
FIELDS = ("ids", "speakers", "labels", *MODALITIES, "sentences")
REMEDY = f"fetch the file again (`erc data fetch {SOURCE}`)"
VERSION = 1


def load(*, seed: int = 0) -> Corpus:
    """AVEC's dialogues with text, audio and visual features and labels FloatTensor (L, 4).

    Args:
        seed: draws the validation set, a tenth of the training dialogues (DialogueTRM 5.1); the official split has none.
    """
    check_seed(seed)
    converted, provenance = convert("avec-dialogues", SOURCE, VERSION, read, below=FOLDER)
    table = converted.utterances.copy()
    held_out = draw_validation(table.loc[table["split"] == "train", "dialogue"].unique(), seed)
    table.loc[table["dialogue"].isin(held_out), "split"] = "validation"
    return to_corpus(
        "avec-dialogues", Converted(table, converted.features), LABEL_NAMES, {**provenance, "validation_dialogues": held_out, "seed": seed},
    )


def read(folder: Path) -> Converted:
    """``AVEC_features_1.pkl`` to ``_4.pkl`` in ``folder``; raises DataError naming file, dialogue, utterance and remedy."""
    paths = [folder / f"AVEC_features_{k}.pkl" for k in range(1, len(LABEL_NAMES) + 1)]
    files = [_open(path) for path in paths]
    first, (train, test) = files[0], files[0][-2:]
    rows: list[tuple] = []
    features: dict[str, list[np.ndarray]] = {m: [] for m in MODALITIES}
    seen: dict[str, str] = {}
    for split, names in (("train", train), ("test", test)):
        for name in names:
            if name in seen:
                raise DataError(f"{paths[0]}: dialogue {name!r} stands in {seen[name]} and again in {split}; {REMEDY}")
            seen[name] = split
            labels = [_labels(path, content, first, name) for path, content in zip(paths, files, strict=True)]
            ids, speakers, _, *vectors, sentences = (part[name] for part in first[: len(FIELDS)])
            for m, x in zip(MODALITIES, vectors, strict=True):
                features[m].append(_matrix(paths[0], name, m, x, len(ids)))
            for i in range(len(ids)):
                text = sentences[i] if len(sentences) and isinstance(sentences[i], str) else ""
                speaker = "user" if speakers[i] == "user" else "agent"
                rows.append((split, str(name), f"{name}/{ids[i]}", speaker, text, *(float(column[i]) for column in labels)))
    table = pd.DataFrame(rows, columns=["split", "dialogue", "id", "speaker", "text", *(f"label_{n}" for n in LABEL_NAMES)])
    twice = table["id"].duplicated()
    if twice.any():
        raise DataError(f"{paths[0]}: utterance {table.loc[twice, 'id'].iloc[0]!r} stands there twice; {REMEDY}")
    return Converted(table, {m: np.concatenate(x) for m, x in features.items()})


def _open(path: Path) -> tuple:
    content = load_pickle(path, encoding="latin1")
    parts = len(FIELDS) + 2
    whole = isinstance(content, tuple | list) and len(content) == parts
    if not whole or not all(isinstance(c, dict) for c in content[: len(FIELDS)]) or not all(isinstance(c, Iterable) for c in content[len(FIELDS) :]):
        raise DataError(f"{path} is not a tuple of {len(FIELDS)} dictionaries ({', '.join(FIELDS)}) and two lists of dialogues (train, test); {REMEDY}")
    return (*content[: len(FIELDS)], *(sorted(c) if isinstance(c, set) else list(c) for c in content[len(FIELDS) :]))


def _labels(path: Path, content: tuple, first: tuple, name: Any) -> np.ndarray:
    """The labels (L,) of a dialogue in one file, which must have the dialogue as the first file has it."""
    for field, part in zip(FIELDS, content, strict=False):
        if name not in part:
            raise DataError(f"{path}, dialogue {name!r} has no {field}; {REMEDY}")
    if list(content[0][name]) != list(first[0][name]) or list(content[1][name]) != list(first[1][name]):
        raise DataError(f"{path}, dialogue {name!r}: other utterances or speakers than in AVEC_features_1.pkl; {REMEDY}")
    labels = _numbers(path, name, "labels", content[2][name], np.float64).reshape(-1)
    counted = ["ids", "speakers"] + ["sentences"] * (len(content[-3][name]) > 0)  # sentences may be left out
    sizes = {field: len(content[FIELDS.index(field)][name]) for field in counted} | {"labels": len(labels)}
    if len(set(sizes.values())) != 1 or not len(labels):
        raise DataError(f"{path}, dialogue {name!r} has {', '.join(f'{n} {field}' for field, n in sizes.items())}; {REMEDY}")
    if not np.isfinite(labels).all():
        raise DataError(f"{path}, dialogue {name!r}, utterance {int((~np.isfinite(labels)).argmax())}: the label is not a finite number; {REMEDY}")
    return labels


def _matrix(path: Path, name: Any, modality: str, x: Any, length: int) -> np.ndarray:
    matrix = _numbers(path, name, f"{modality} features", x, np.float32)
    if matrix.ndim != 2 or len(matrix) != length:
        raise DataError(f"{path}, dialogue {name!r}: {modality} features of shape {matrix.shape} for {length} utterances; {REMEDY}")
    if not np.isfinite(matrix).all():
        raise DataError(f"{path}, dialogue {name!r}: {modality} features that are not finite numbers; {REMEDY}")
    return matrix


def _numbers(path: Path, name: Any, what: str, values: Any, kind: type) -> np.ndarray:
    try:
        return np.asarray(values, dtype=kind)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}, dialogue {name!r}: the {what} are no rows of numbers of one length ({error}); {REMEDY}") from None
