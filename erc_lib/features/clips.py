"""Which media file, and which stretch of it, is which utterance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from erc_lib.data import SPLITS, Corpus
from erc_lib.data.csv_files import read_table
from erc_lib.data.text_files import parse_time, read_csv_rows
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.media import Piece

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".wav", ".flac", ".mp3", ".m4a")
ALIGNMENTS = ("original", "fair")
MELD_CLIP = re.compile(r"dia(\d+)_utt(\d+)")
# MELD's archive calls its folders train_splits, dev_splits_complete and output_repeated_splits_test.
MELD_SPLITS = {"train": "train", "dev": "dev", "test": "test"}
# Known to be broken in MELD's archive (declare-lab/MELD issues 20, 22, 39): expected, not a fault of this machine.
MELD_BROKEN = {"train/dia125_utt3": "cannot be read", "dev/dia110_utt7": "is missing"}
BOX_COLUMNS = ("Split", "Dialogue ID", "Utterance ID", "Frame Number", "X Left", "Y Top", "X Right", "Y Bottom")
FAIR_RATE = 24000 / 1001  # frames per second of the joined clips that MELD-FAIR counts its boxes in, by its config.py
FAIR_RATE_OTHER = 25.0  # of these dialogues, whose clips have another rate
FAIR_OTHER = {"train": {128, 203, 383, 517, 710, 967}, "dev": {88}, "test": {184}}


@dataclass(frozen=True)
class Clip:
    """One utterance's media: its pieces, or why it has none; ``boxes``: the speaker's face by frame, where known, counted at ``box_rate`` frames per second. ``known``: what
    is known to be wrong with it, said beside whatever fails."""

    pieces: tuple[Piece, ...]
    fault: str = ""
    boxes: Mapping[int, tuple[float, float, float, float]] | None = None
    box_rate: float = 0.0
    known: str = ""


def clips_of(corpus: Corpus, media: Path | str, *, alignment: str = "original", fair: Path | str | None = None) -> dict[str, Clip]:
    """Utterance id -> its :class:`Clip`, in the corpus' order; an utterance without a file has a clip that says so.

    Args:
        media: a folder, or a table (``.csv`` with the columns utterance, file, and where they apply start and end; files relative to it; several rows of one
            utterance are joined in their order), or the ``utterances.csv`` of one's own corpus, whose rows name their media.
            In a folder MELD's clips are found by the archive's names, ``<train|dev|test ...>/dia3_utt1.mp4``, those of another corpus by the utterance's id
            (``/`` may be a folder or ``_``) and any of :data:`SUFFIXES`.
        alignment: ``"fair"``: MELD's clips cut again as MELD-FAIR says (Carneiro et al. 2023).
        fair: folder of MELD-FAIR's files, as ``erc data fetch meld-fair`` leaves them; with MELD_active_speaker_face_bboxes.csv in it, clips bring the speaker's boxes.

    Raises:
        ConfigError: an unknown alignment, or "fair" for another corpus than MELD.
        DataError: the folder or table is missing or damaged, or holds no clip of the corpus at all.
    """
    if alignment not in ALIGNMENTS:
        raise ConfigError(f"alignment is {alignment!r}; use {' or '.join(ALIGNMENTS)}")
    if alignment == "fair" and corpus.name != "meld":
        raise ConfigError(f"MELD-FAIR cuts MELD's clips, not those of {corpus.name!r}; use --alignment original")
    media = Path(media)
    if not media.exists():
        raise DataError(f"{media} is not there; --media names the folder of the clips, or a table of them")
    ids = [u for split in SPLITS for d in corpus.split(split) for u in d.ids]
    if media.is_file():
        clips = _of_table(media)
    elif corpus.name == "meld":
        files = _meld_files(media)
        clips = _realigned(files, Path(fair) if fair is not None else None) if alignment == "fair" else {u: Clip((Piece(p),)) for u, p in files.items()}
    else:
        clips = _by_id(media, ids)
    if not any(u in clips for u in ids):
        raise DataError(f"{media} holds no clip of {corpus.name!r}; files must be called like its utterances ({ids[0]!r}), or be listed in a table")
    known = MELD_BROKEN if corpus.name == "meld" and alignment == "original" else {}
    missing = f"no file for it in {media}" if alignment == "original" else "MELD-FAIR has no realignment of it"
    return {u: replace(clips.get(u, Clip((), missing)), known=f"known: {known[u]} in MELD's archive" if u in known else "") for u in ids}


def _meld_files(folder: Path) -> dict[str, Path]:
    """Our utterance id -> file. Names that are no utterance's (``final_videos_...``) are passed over."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.mp4")):
        name = MELD_CLIP.fullmatch(path.stem)
        split = next((s for part in reversed(path.relative_to(folder).parts[:-1]) for s, word in MELD_SPLITS.items() if word in part.lower()), None)
        if name and split:
            found.setdefault(f"{split}/dia{int(name[1])}_utt{int(name[2])}", path)
    return found


def _by_id(folder: Path, ids: list[str]) -> dict[str, Clip]:
    """By the path below the folder, else by the bare name; two files for one utterance are an error, for nobody knows which is meant."""
    by_path: dict[str, list[Path]] = {}
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        by_path.setdefault(str(path.relative_to(folder).with_suffix("")), []).append(path)
        by_stem.setdefault(path.stem, []).append(path)
    found = {}
    for u in ids:
        files = by_path.get(u) or by_stem.get(u.replace("/", "_")) or by_stem.get(u) or []
        if len(files) > 1:
            raise DataError(f"{folder}: {len(files)} files could be utterance {u!r}: {', '.join(str(f.relative_to(folder)) for f in files[:3])}; keep one, or list the files in a table")
        if files:
            found[u] = Clip((Piece(files[0]),))
    return found


def _of_table(table: Path) -> dict[str, Clip]:
    known, *rows = ([cell.strip() for cell in row] for row in read_csv_rows(table))
    own_folder = {"dialogue", "order", "media"} <= set(known)  # utterances.csv of one's own corpus
    if not own_folder and (missing := [c for c in ("utterance", "file") if c not in known]):
        raise DataError(f"{table} has no column {missing[0]!r}; it needs utterance and file (or dialogue, order and media), and may have start and end")
    clips: dict[str, Clip] = {}
    for number, cells in enumerate(rows, 2):
        if len(cells) != len(known):
            raise DataError(f"{table}, row {number}: {len(cells)} cells for {len(known)} columns; a text with commas belongs into quotes")
        row = dict(zip(known, cells, strict=True))
        utterance, file = (f"{row['dialogue']}/{row['order'].lstrip('0') or '0'}", row["media"]) if own_folder else (row["utterance"], row["file"])
        if not file:
            continue  # an utterance of one's own corpus without a recording; the summary names it
        earlier = clips.get(utterance, Clip(()))
        try:
            start, end = (parse_time(row.get(c) or "") if row.get(c) else None for c in ("start", "end"))
            clips[utterance] = Clip((*earlier.pieces, Piece(table.parent / file, start or 0.0, end)), earlier.fault)
        except (DataError, ValueError) as error:
            clips[utterance] = Clip((), f"row {number} of {table.name}: {error}")
    return clips


def _realigned(files: Mapping[str, Path], folder: Path | None) -> dict[str, Clip]:
    """MELD-FAIR: an utterance is joined from chunks of original clips. Its own numbering goes back to MELD's by the realigned tables."""
    if folder is None or not (folder / "MELD_video_realignment_timestamps.csv").is_file():
        raise DataError(f"{folder or 'MELD-FAIR'}: MELD_video_realignment_timestamps.csv is not there; `erc data fetch meld-fair` brings it")
    original: dict[tuple[str, int, int], str] = {}  # (split, its dialogue, its utterance) -> our id
    for split in MELD_SPLITS:
        for dialogue, new, old in read_table(folder / f"realigned_{split}_sent_emo.csv", ("Dialogue_ID", "Utterance_ID", "Original Utterance_ID")).itertuples(index=False):
            original[split, int(dialogue), int(new)] = f"{split}/dia{dialogue}_utt{old}"
    boxes = _boxes(folder / "MELD_active_speaker_face_bboxes.csv")
    pieces: dict[str, list[Piece]] = {}
    faults: dict[str, str] = {}
    box_of: dict[str, dict] = {}
    columns = ("Split", "Dialogue ID", "Utterance ID", "Original Dialogue ID", "Original Utterance ID", "Start Time", "End Time")
    for split, dialogue, utterance, from_dialogue, from_utterance, start, end in read_table(folder / "MELD_video_realignment_timestamps.csv", columns).itertuples(index=False):
        key = (split, int(dialogue), int(utterance))
        if key not in original:
            continue
        ours, source = original[key], f"{split}/dia{from_dialogue}_utt{from_utterance}"
        if source not in files:
            faults.setdefault(ours, f"its chunk of {source} has no file" + (f" (known: {MELD_BROKEN[source]} in MELD's archive)" if source in MELD_BROKEN else ""))
            continue
        pieces.setdefault(ours, []).append(Piece(files[source], float(start), float(end)))
        if boxes is not None:
            box_of[ours] = boxes.get(key, {})
    clips = {}
    for u in {**pieces, **faults}:
        split, dialogue = u.split("/")[0], int(MELD_CLIP.fullmatch(u.split("/")[1])[1])
        rate = FAIR_RATE_OTHER if dialogue in FAIR_OTHER[split] else FAIR_RATE
        clips[u] = Clip((), faults[u]) if u in faults else Clip(tuple(pieces[u]), "", box_of.get(u, {}) if boxes is not None else None, rate)
    return clips


def _boxes(path: Path) -> dict[tuple[str, int, int], dict[int, tuple[float, float, float, float]]] | None:
    if not path.is_file():
        return None
    rows = pd.read_csv(path)
    if missing := [c for c in BOX_COLUMNS if c not in rows]:
        raise DataError(f"{path} has no column {missing[0]!r}; it should have {', '.join(BOX_COLUMNS)}: fetch it again")
    found: dict = {}
    for split, dialogue, utterance, frame, *box in rows[list(BOX_COLUMNS)].itertuples(index=False):
        found.setdefault((split, int(dialogue), int(utterance)), {})[int(frame)] = tuple(float(v) for v in box)
    return found
