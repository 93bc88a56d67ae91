"""One's own corpus: a folder with a table of utterances, checked row by row, and optional features.

    my-corpus/                  its name is the corpus' name
      utterances.csv            columns dialogue, order, speaker, text; optionally split, label, start, end, media
      labels.txt                optional: the class names, one a line, in their order (else the labels found, sorted)
      features/audio.csv        optional, for text, audio or visual: columns dialogue, order, then one number a column

All files are UTF-8. ``split`` is train, validation or test, the same in the whole dialogue; without that column all is test.
``order`` is a whole number that sorts the turns of a dialogue and need not be gapless. ``start`` and ``end`` are seconds or
hours:minutes:seconds. ``media`` is a file's path as seen from the folder.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from erc_lib.data.conversation import MODALITIES, PADDING_LABEL, SPLITS, Corpus, Dialogue
from erc_lib.data.convert import number_speakers
from erc_lib.data.registry import CORPORA
from erc_lib.data.sources import did_you_mean
from erc_lib.data.text_files import parse_time, read_csv_rows, read_text
from erc_lib.errors import DataError

TABLE, LABELS = "utterances.csv", "labels.txt"
REQUIRED = ("dialogue", "order", "speaker", "text")
OPTIONAL = ("split", "label", "start", "end", "media")
ORDER_DIGITS = 18
SHOWN = 20  # faults in one error; `erc data check` prints them all


def check_folder(path: str | Path) -> list[str]:
    """Every fault of the folder, each with its file, its row and what to do; empty if there is none.

    Rows are counted as a spreadsheet counts them, the header is row 1. Missing labels are no fault: whether they are needed
    depends on what the folder is used for (:func:`load_folder` needs them, :func:`load_dialogues` does not).
    """
    return _read(Path(path)).faults


def load_folder(path: str | Path) -> Corpus:
    """The folder as a :class:`Corpus`; rows without a split are its test set. Utterance ids are ``"<dialogue>/<order>"``.

    Raises:
        DataError: the faults of :func:`check_folder`, the first 20 and their number; or rows without a label, for a corpus is
            scored (:func:`load_dialogues` reads a folder without labels).
    """
    read = _sound(Path(path))
    unlabelled = [row.number for row in read.rows if row.label is None]
    if unlabelled:
        raise DataError(
            f"{read.folder / TABLE}, row {unlabelled[0]}: no label, as in {len(unlabelled)} of {len(read.rows)} rows; a corpus to train or "
            "score needs one in every row. To predict alone, load_dialogues reads the folder as it is"
        )
    if len(read.label_names) < 2:
        raise DataError(f"{read.folder / TABLE}: {len(read.label_names)} class of label; a corpus needs at least two, or a {LABELS} that names them")
    split_of = {d.id: split for split, d in read.dialogues}
    parts = {s: [d for split, d in read.dialogues if split == s] for s in SPLITS}
    provenance = {"folder": read.name, "sha256": folder_digest(read.folder), "dialogues": len(split_of)}
    return Corpus(name=read.name, label_names=read.label_names, provenance=provenance, **parts)


def load(*, path: str) -> Corpus:
    """What ``load_corpus("folder", path=...)`` gives: :func:`load_folder`."""
    return load_folder(path)


def load_dialogues(path: str | Path) -> list[Dialogue]:
    """The dialogues of the folder, whatever their split, to be predicted: a missing label is :data:`PADDING_LABEL`, which nothing scores.

    Raises:
        DataError: the faults of :func:`check_folder`, the first 20 and their number.
    """
    return [d for _, d in _sound(Path(path)).dialogues]


def folder_digest(path: str | Path) -> str:
    """sha256 of the table, the labels and the features of a folder, by name and content; of nothing else in it."""
    folder = Path(path)
    digest = hashlib.sha256()
    for file in [folder / TABLE, folder / LABELS, *sorted((folder / "features").glob("*.csv"))]:
        if file.is_file():
            digest.update(f"{file.relative_to(folder)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


@dataclass
class _Row:
    """One row of the table that has no fault of its own so far; ``number`` as a spreadsheet counts."""

    number: int
    dialogue: str
    order: int
    speaker: str
    text: str
    split: str
    label: str | None
    start: float | None
    media: str

    @property
    def id(self) -> str:
        return f"{self.dialogue}/{self.order}"


@dataclass
class _Folder:
    """What was read, and every fault of it; ``dialogues``: pairs of split and dialogue, empty where there are faults."""

    folder: Path
    name: str
    faults: list[str] = field(default_factory=list)
    rows: list[_Row] = field(default_factory=list)
    label_names: tuple[str, ...] = ()
    features: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    dialogues: list[tuple[str, Dialogue]] = field(default_factory=list)


def _sound(folder: Path) -> _Folder:
    read = _read(folder)
    if read.faults:
        more = f"; and {len(read.faults) - SHOWN} more: `erc data check {folder}` lists them all" if len(read.faults) > SHOWN else ""
        count = f"{len(read.faults)} fault{'s' * (len(read.faults) > 1)}"
        raise DataError(f"{folder} cannot be used, {count}: {'; '.join(read.faults[:SHOWN])}{more}")
    return read


def _read(folder: Path) -> _Folder:
    read = _Folder(folder, folder.resolve().name)
    if not folder.is_dir():
        read.faults.append(f"{folder} is no folder; give the folder that holds {TABLE}")
        return read
    if read.name in CORPORA or not read.name.strip("."):
        read.faults.append(f"{folder}: {read.name!r} is the name of another corpus, and feature sets are stored by name; rename the folder")
    try:
        declared = _declared_labels(folder / LABELS, read.faults)
        _read_table(read, declared)
    except DataError as error:  # the file as a whole: nothing more can be said of its rows
        read.faults.append(str(error))
        return read
    _check_dialogues(read)
    for path in sorted((folder / "features").iterdir()) if (folder / "features").is_dir() else []:
        try:
            _read_features(path, read)
        except DataError as error:
            read.faults.append(str(error))
    found = sorted({r.label for r in read.rows if r.label is not None})
    read.label_names = declared or tuple(found)
    if not read.faults:
        read.dialogues = _dialogues(read)
    return read


def _declared_labels(path: Path, faults: list[str]) -> tuple[str, ...]:
    """The class names of ``labels.txt``, one a line; none if there is no such file."""
    if not path.exists():
        return ()
    names = [line.strip() for line in read_text(path).splitlines()]
    while names and not names[-1]:
        names.pop()
    for number, name in enumerate(names, 1):
        if not name:
            faults.append(f"{path}, line {number}: it is empty; write one class name a line")
        elif name in names[: number - 1]:
            faults.append(f"{path}, line {number}: {name!r} stands there a second time; remove it")
    return tuple(dict.fromkeys(n for n in names if n))


def _read_table(read: _Folder, declared: tuple[str, ...]) -> None:
    path = read.folder / TABLE
    header, *rows = read_csv_rows(path)
    header = [name.strip() for name in header]
    known = [*REQUIRED, *OPTIONAL]
    bad = [f"{path}, row 1: no column is called {name!r}{did_you_mean(name, known)}" for name in header if name not in known]
    bad += [f"{path}, row 1: there are {header.count(n)} columns {n!r}; keep one" for n in known if header.count(n) > 1]
    bad += [f"{path}, row 1: the column {name!r} is missing; the table needs {', '.join(REQUIRED)}" for name in REQUIRED if name not in header]
    read.faults += bad
    if bad:
        return  # without its columns no row can be understood
    if not rows:
        read.faults.append(f"{path} has a header but no rows; write one for each utterance")
    for number, row in enumerate(rows, 2):
        where = f"{path}, row {number}"
        if not any(row):
            read.faults.append(f"{where}: it is empty; remove it")
        elif len(row) != len(header):
            read.faults.append(f"{where}: {len(row)} fields instead of {len(header)}; put a text that holds commas into quotes")
        else:
            _read_row(read, where, number, {name: value.strip() for name, value in zip(header, row, strict=True)}, declared)


def _read_row(read: _Folder, where: str, number: int, value: dict[str, str], declared: tuple[str, ...]) -> None:
    """Checks one row by itself, and keeps it if it can be placed in a dialogue."""
    faults = read.faults
    for name in ("dialogue", "speaker", "text"):
        if not value[name]:
            remedy = {"dialogue": "name the dialogue", "speaker": "name who speaks", "text": "write what is heard, such as [laughs]"}[name]
            faults.append(f"{where}: no {name}; {remedy}")
    order = _order(value["order"])
    if order is None:
        faults.append(f"{where}: order is {value['order'][:40]!r}, no whole number of at most {ORDER_DIGITS} digits; number the turns of a dialogue 1, 2, 3, ...")
    split = value.get("split", "test")
    if split not in SPLITS:
        near = {"dev": "validation", "val": "validation", "valid": "validation", "training": "train", "testing": "test"}.get(split.lower())
        hint = f"; did you mean {near!r}?" if near else f"; write {', '.join(SPLITS)}, or leave the whole column out"
        faults.append(f"{where}: split is {split!r}{hint}")
    label = value.get("label") or None
    if label is not None and declared and label not in declared:
        faults.append(f"{where}: label {label!r} does not stand in {LABELS}{did_you_mean(label, list(declared))}")
    times: dict[str, float | None] = {}
    for which in ("start", "end"):
        try:
            times[which] = parse_time(value[which]) if value.get(which) else None
        except ValueError as error:
            faults.append(f"{where}: {which} {error}")
            times[which] = None
    start, end = times["start"], times["end"]
    if start is not None and end is not None and end <= start:
        faults.append(f"{where}: it ends at {end:g} s, not after its start at {start:g} s; correct the times")
    media = value.get("media")
    try:
        if media and not (read.folder / media).is_file():
            faults.append(f"{where}: there is no file {media!r} in the folder; put it there or correct the path")
    except OSError as error:  # a name too long, a folder that may not be entered
        faults.append(f"{where}: the file {media[:40]!r} cannot be looked for ({error.strerror}); correct the path")
    if order is not None and value["dialogue"]:
        read.rows.append(_Row(number, value["dialogue"], order, value["speaker"], value["text"], split, label, start, media or ""))


def _order(written: str) -> int | None:
    """The number of a turn, or None if ``written`` is none."""
    return int(written) if written.isascii() and written.isdigit() and len(written) <= ORDER_DIGITS else None


def _check_dialogues(read: _Folder) -> None:
    """Checks rows against each other: an order that is taken, a dialogue in two splits, a turn before the one before it."""
    path = read.folder / TABLE
    by_dialogue: dict[str, list[_Row]] = defaultdict(list)
    taken: dict[str, int] = {}
    for row in read.rows:
        if row.id in taken:
            read.faults.append(f"{path}, row {row.number}: dialogue {row.dialogue!r} has order {row.order} on row {taken[row.id]} already; number them apart")
        taken.setdefault(row.id, row.number)
        by_dialogue[row.dialogue].append(row)
    for name, rows in by_dialogue.items():
        for row in rows[1:]:
            if row.split != rows[0].split and {row.split, rows[0].split} <= set(SPLITS):
                read.faults.append(
                    f"{path}, row {row.number}: dialogue {name!r} is {row.split!r} here but {rows[0].split!r} on row {rows[0].number}; "
                    "a dialogue belongs to one split as a whole"
                )
        rows = sorted(rows, key=lambda r: r.order)
        for before, row in zip(rows, rows[1:], strict=False):
            # Each media file has a clock of its own: where every turn has its clip, starts say nothing of the order.
            if before.media == row.media and None not in (before.start, row.start) and row.start < before.start:
                read.faults.append(
                    f"{path}, row {row.number}: it starts at {row.start:g} s, before order {before.order} (row {before.number}, {before.start:g} s); "
                    "correct the order or the times"
                )


def _read_features(path: Path, read: _Folder) -> None:
    """``features/<modality>.csv``: every utterance once, each with as many finite numbers as the header names."""
    if path.name.startswith("."):
        return
    if path.suffix != ".csv" or path.stem not in MODALITIES:
        raise DataError(f"{path}: features lie in {', '.join(f'{m}.csv' for m in MODALITIES)}; rename or remove this file")
    header, *rows = read_csv_rows(path)
    if [n.strip() for n in header[:2]] != ["dialogue", "order"] or len(header) < 3:
        raise DataError(f"{path}, row 1: the columns must be dialogue, order, and one or more of numbers, not {', '.join(header[:4])}")
    wanted, found, faults = {r.id for r in read.rows}, {}, []
    for number, row in enumerate(rows, 2):
        where = f"{path}, row {number}"
        if len(row) != len(header):
            faults.append(f"{where}: {len(row)} fields instead of {len(header)}")
            continue
        order = _order(row[1].strip())
        utterance = f"{row[0].strip()}/{row[1].strip() if order is None else order}"
        if utterance not in wanted:
            faults.append(f"{where}: dialogue {row[0]!r}, order {row[1][:40]!r} is no row of {TABLE}; remove it or correct it")
        elif utterance in found:
            faults.append(f"{where}: utterance {utterance!r} stands there a second time; remove one of them")
        try:
            found[utterance] = np.array([float(x) for x in row[2:]], dtype=np.float32)
            bad = np.flatnonzero(~np.isfinite(found[utterance]))
        except ValueError:
            bad = [next(i for i, x in enumerate(row[2:]) if not _is_number(x))]
        if len(bad):
            faults.append(f"{where}, column {int(bad[0]) + 3}: {row[2 + int(bad[0])]!r} is no finite number; extract it again")
            found.setdefault(utterance, np.empty(0, dtype=np.float32))
    for row in read.rows:
        if row.id not in found:
            faults.append(f"{path}: no features of utterance {row.id!r} (row {row.number} of {TABLE}); add them or remove the file")
    read.faults += faults
    read.features[path.stem] = found


def _is_number(written: str) -> bool:
    try:
        float(written)
    except ValueError:
        return False
    return True


def _dialogues(read: _Folder) -> list[tuple[str, Dialogue]]:
    number_of = {name: i for i, name in enumerate(read.label_names)}
    by_dialogue: dict[str, list[_Row]] = defaultdict(list)
    for row in sorted(read.rows, key=lambda r: r.order):
        by_dialogue[row.dialogue].append(row)
    found = []
    for name in dict.fromkeys(r.dialogue for r in read.rows):  # in the order of the table
        rows = by_dialogue[name]
        speakers, names = number_speakers(r.speaker for r in rows)
        labels = [PADDING_LABEL if r.label is None else number_of[r.label] for r in rows]
        features = {m: torch.from_numpy(np.stack([x[r.id] for r in rows])) for m, x in read.features.items()}
        dialogue = Dialogue(
            id=name, speakers=speakers, labels=torch.tensor(labels), features=features, texts=tuple(r.text for r in rows),
            ids=tuple(r.id for r in rows), speaker_names=names,
        )  # fmt: skip
        found.append((rows[0].split, dialogue))
    return found
