"""Published files into one form: a table of utterances (parquet) and their features (safetensors), made once and kept.

A conversion lies in ``<data root>/converted/<corpus>/<key>/``. The key is drawn from the pinned hashes of the files it was
made from and from the version of its reader, so that a changed file or reader means another folder and never a stale one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import torch
from safetensors.torch import load_file, save_file

from erc_lib.data.conversation import SPLITS, Corpus, Dialogue
from erc_lib.data.sources import Source, fetch, find_source, locked
from erc_lib.errors import ConfigError, DataError
from erc_lib.paths import data_root

COLUMNS = ("split", "dialogue", "id", "speaker", "label", "text")


@dataclass(frozen=True)
class Converted:
    """N utterances of one corpus.

    Attributes:
        utterances: one row per utterance, dialogues whole and in the order of speech; columns :data:`COLUMNS`
            (``speaker`` is a name, ``label`` an index into the corpus' label names; a corpus of
            dimensions has a column ``label_<name>`` for each instead).
        features: modality -> float32 (N, D_m), row by row as in ``utterances``.
    """

    utterances: pd.DataFrame
    features: dict[str, np.ndarray] = field(default_factory=dict)


def convert(
    corpus: str, source_name: str, version: int, read: Callable[[Path], Converted], *, below: str = "",
) -> tuple[Converted, dict[str, object]]:
    """The conversion of a corpus and its provenance; ``read(folder of raw files)`` is called only where none is kept.

    ``version`` is that of ``read``: count it up when the reader changes what it gives. ``below``: the folder of the source that is meant.
    """
    source = find_source(source_name).below(below)
    key = _key(source, version)
    folder = data_root() / "converted" / corpus / key
    provenance = {**source.provenance, "conversion": key}
    kept = _load(folder)
    if kept is None:
        raw = fetch(source_name, below=below) / below
        with locked(folder):
            kept = _load(folder)  # another process may have made it meanwhile
            if kept is None:
                kept = read(raw)
                _save(kept, folder, provenance)
    return kept, provenance


def to_corpus(name: str, converted: Converted, label_names: Iterable[str], provenance: dict[str, object]) -> Corpus:
    """A :class:`Corpus` of the converted utterances; rows of one dialogue must stand together."""
    table = converted.utterances
    dialogue, split, speaker = (table[c].to_numpy(dtype=object) for c in ("dialogue", "split", "speaker"))
    texts, ids = table["text"].tolist(), table["id"].tolist()
    label_names = tuple(label_names)
    if "label" in table:
        labels = torch.from_numpy(table["label"].to_numpy(dtype=np.int64, copy=True))
    else:  # emotion dimensions, a column each
        labels = torch.from_numpy(table[[f"label_{n}" for n in label_names]].to_numpy(dtype=np.float32, copy=True))
    features = {m: torch.from_numpy(x) for m, x in converted.features.items()}
    starts = np.flatnonzero(np.append(True, dialogue[1:] != dialogue[:-1])[: len(table)])
    dialogues: dict[str, list[Dialogue]] = {s: [] for s in SPLITS}
    for start, end in zip(starts, [*starts[1:], len(table)], strict=False):
        speakers, names = number_speakers(speaker[start:end])
        dialogues[split[start]].append(
            Dialogue(
                id=dialogue[start], speakers=speakers, labels=labels[start:end].clone(),
                # Copies, for a view would take the whole corpus along whenever a dialogue is sent to another process.
                features={m: x[start:end].clone() for m, x in features.items()},
                texts=tuple(texts[start:end]), ids=tuple(ids[start:end]), speaker_names=names,
            )
        )
    return Corpus(name=name, label_names=label_names, provenance=provenance, **dialogues)


def number_speakers(names: Iterable[str]) -> tuple[torch.Tensor, tuple[str, ...]]:
    """LongTensor (L,) of speakers in the order of their first turn, and the name of each number."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(n, len(numbers)) for n in names]), tuple(numbers)


def draw_validation(dialogues: Iterable[str], seed: int, share: float = 0.1) -> list[str]:
    """That share of the named training dialogues, drawn by ``seed`` independently of the order in which they are given."""
    names = sorted(dialogues)
    drawn = np.random.default_rng(seed).choice(len(names), size=max(1, round(share * len(names))), replace=False)
    return [names[i] for i in sorted(drawn)]


def check_seed(seed: object) -> None:
    """ConfigError unless ``seed`` can seed a draw."""
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"seed must be a whole number of at least 0, not {seed!r}")


def check_counts(name: str, table: pd.DataFrame, expected: Mapping[str, int]) -> None:
    """Raises DataError unless ``table`` has as many utterances in each split as the published corpus."""
    found = {s: int(n) for s in SPLITS if (n := (table["split"] == s).sum())}
    if found != dict(expected):
        raise DataError(
            f"{name} has {', '.join(f'{n:,} {s}' for s, n in expected.items())} utterances, but "
            f"{', '.join(f'{n:,} {s}' for s, n in found.items())} were read; "
            f"delete {data_root() / 'converted' / name} and fetch it again"
        )


def _key(source: Source, version: int) -> str:
    pins = json.dumps([version, [[f.path, f.pin] for f in source.files]])
    return hashlib.sha256(pins.encode()).hexdigest()[:16]


def _save(converted: Converted, folder: Path, provenance: dict[str, object]) -> None:
    """Writes a whole folder under another name and then gives it its own: it is there entirely or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        converted.utterances.to_parquet(temporary / "utterances.parquet", index=False)
        if converted.features:
            tensors = {m: torch.from_numpy(np.ascontiguousarray(x)) for m, x in converted.features.items()}
            save_file(tensors, temporary / "features.safetensors")
        hashes = {f.name: pooch.file_hash(str(f), alg="sha256") for f in sorted(temporary.iterdir())}
        (temporary / "card.json").write_text(json.dumps({**provenance, "written": hashes}, indent=1), encoding="utf-8")
        if folder.exists():  # a damaged conversion, else it would have been loaded
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _load(folder: Path) -> Converted | None:
    """The conversion kept in ``folder``; None where there is none or a file of it is not as it was written."""
    try:
        written = json.loads((folder / "card.json").read_text(encoding="utf-8"))["written"]
        if any(pooch.file_hash(str(folder / name), alg="sha256") != h for name, h in written.items()):
            return None
    except (OSError, ValueError, KeyError):
        return None
    features = load_file(folder / "features.safetensors") if "features.safetensors" in written else {}
    return Converted(pd.read_parquet(folder / "utterances.parquet"), {m: x.numpy() for m, x in features.items()})
