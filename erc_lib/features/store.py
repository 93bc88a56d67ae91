"""The feature store: one array per (corpus, modality, name), joined to utterances by id, described by a JSON card.

Layout: ``<root>/<corpus>/<modality>/<name>/card.json`` and ``features-<12 hex>.safetensors`` beside it (the array ``features``
(N, D), optionally ``fingerprints`` (N, 8), and the ids in the file's header). The card is written last and by one rename, and
names the array's file and its sha256: what is interrupted leaves the earlier features or none, and what is damaged is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from erc_lib import paths
from erc_lib.data.conversation import MODALITIES, SPLITS, Corpus, Dialogue
from erc_lib.errors import DataError

REQUIRED = ("extractor", "version", "units", "empty")  # what no card may lack; see FeatureStore.save
OPTIONAL = ("encoder", "revision", "weights_sha256", "pooling", "sampling", "paradigm")  # null where they do not apply
VOLATILE = ("commit", "created", "seconds")  # when and how fast, not what: outside the card's hash


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Features of N utterances.

    Attributes:
        ids: the N utterance ids.
        array: float32 (N, D).
        card: what they are (see :meth:`FeatureStore.save`).
        fingerprints: uint8 (N, 8), the first 8 bytes of the sha256 of each utterance's text, or None where text plays no part.
            They tell a simulated corpus from another draw of it, whose utterances carry the same ids.
    """

    ids: tuple[str, ...]
    array: np.ndarray
    card: dict[str, Any] = field(default_factory=dict)
    fingerprints: np.ndarray | None = None

    @property
    def card_hash(self) -> str:
        return card_hash(self.card)


def card_hash(card: Mapping[str, Any]) -> str:
    """16 hex digits that name the features: of the whole card without its :data:`VOLATILE` entries."""
    lasting = {k: v for k, v in card.items() if k not in VOLATILE}
    return hashlib.sha256(json.dumps(lasting, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def text_fingerprints(texts: Sequence[str]) -> np.ndarray:
    """uint8 (N, 8): the first 8 bytes of the sha256 of each text."""
    digests = b"".join(hashlib.sha256(t.encode()).digest()[:8] for t in texts)
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(texts), 8)


class FeatureStore:
    """A folder of features; ``root`` defaults to :func:`erc_lib.paths.features_root`."""

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root is not None else paths.features_root()

    def folder(self, corpus: str, modality: str, name: str) -> Path:
        """Where one entry lies. ``name`` may have parts, as ``one-stage/all-MiniLM-L6-v2/seed0``."""
        if modality not in MODALITIES:
            raise DataError(f"no modality {modality!r}; there are {', '.join(MODALITIES)}")
        for what, value in (("corpus", corpus), ("name", name)):
            if not value or any(part in ("", ".", "..") or "\\" in part for part in value.split("/")):
                raise DataError(f"{value!r} cannot be the {what} of stored features: use names separated by single '/'")
        return self.root / corpus / modality / name

    def has(self, corpus: str, modality: str, name: str) -> bool:
        return (self.folder(corpus, modality, name) / "card.json").is_file()

    def save(
        self,
        *,
        corpus: str,
        modality: str,
        name: str,
        ids: Sequence[str],
        array: np.ndarray | torch.Tensor,
        card: Mapping[str, Any],
        fingerprints: np.ndarray | None = None,
    ) -> StoredFeatures:
        """Writes one entry whole or not at all, replacing an earlier one of that name.

        Args:
            corpus: the corpus' name.
            ids: N utterance ids.
            array: (N, D), stored as float32.
            fingerprints: see :class:`StoredFeatures`.
            card: at least ``extractor``, ``version`` (of the extractor), ``units`` (what a number means) and ``empty`` (what an
                utterance without content gets); where they apply ``encoder``, ``revision``, ``weights_sha256``, ``pooling``,
                ``sampling``, ``paradigm``; anything else that JSON holds. Corpus, modality, name, dims, count, commit, time, file
                and its hash are added here.

        Raises:
            DataError: the ids do not fit the array, repeat, or the array holds NaN or infinity, or the card lacks an entry.
        """
        where = f"{modality} features {name!r} of {corpus!r}"
        missing = [k for k in REQUIRED if card.get(k) in (None, "")]
        if missing:
            raise DataError(
                f"the card of the {where} lacks {', '.join(missing)}; features without it cannot be used by anyone else"
            )
        x = np.ascontiguousarray(np.asarray(array.detach().cpu() if isinstance(array, torch.Tensor) else array), dtype=np.float32)
        ids = tuple(ids)
        _check(where, ids, x, fingerprints)
        tensors = {"features": x} | ({} if fingerprints is None else {"fingerprints": np.ascontiguousarray(fingerprints)})
        blob = to_safetensors(tensors, metadata={"ids": json.dumps(ids, ensure_ascii=False)})
        digest = hashlib.sha256(blob).hexdigest()
        whole = {k: None for k in OPTIONAL} | dict(card) | {
            "corpus": corpus, "modality": modality, "name": name, "dims": x.shape[1], "count": len(ids), "dtype": "float32",
            "file": f"features-{digest[:12]}.safetensors", "sha256": digest,
            "commit": _commit(), "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)  # before the first byte is written: may raise
        folder = self.folder(corpus, modality, name)
        folder.mkdir(parents=True, exist_ok=True)
        previous = self._card(folder).get("file") if (folder / "card.json").is_file() else None
        write_whole(folder / whole["file"], blob)
        write_whole(folder / "card.json", text.encode())
        if previous not in (None, whole["file"]):
            (folder / previous).unlink(missing_ok=True)
        return StoredFeatures(ids, x, json.loads(text), fingerprints)

    def load(self, corpus: str, modality: str, name: str) -> StoredFeatures:
        """Reads one entry and holds it to its card.

        Raises:
            DataError: there is no such entry, or the file is missing, damaged or contradicts its card.
        """
        folder = self.folder(corpus, modality, name)
        if not (folder / "card.json").is_file():
            others = sorted(c["name"] for c in self.list() if (c["corpus"], c["modality"]) == (corpus, modality))
            raise DataError(
                f"no {modality} features {name!r} of {corpus!r} in {self.root}; there are: {', '.join(others) or 'none'}. "
                "Extract them (`erc features`, or erc_lib.features) first"
            )
        card = self._card(folder)
        path = folder / str(card.get("file"))
        again = "; extract the features again or restore the file from a copy"
        try:
            blob = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}), though its card stands beside it{again}") from None
        if hashlib.sha256(blob).hexdigest() != card.get("sha256"):
            raise DataError(f"{path} is damaged: {len(blob)} bytes whose sha256 is not the one in its card{again}")
        try:
            with safe_open(path, "numpy") as file:
                ids = tuple(json.loads(file.metadata()["ids"]))
                x = file.get_tensor("features")
                fingerprints = file.get_tensor("fingerprints") if "fingerprints" in file.keys() else None
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is no file of this store ({error}){again}") from None
        stored = StoredFeatures(ids, x, card, fingerprints)
        _check(f"{modality} features {name!r} of {corpus!r}", ids, x, fingerprints, card)
        return stored

    def list(self) -> list[dict[str, Any]]:
        """The cards of all entries, sorted by corpus, modality and name."""
        cards = [self._card(path.parent) for path in self.root.glob("**/card.json")]
        return sorted(cards, key=lambda c: (c.get("corpus", ""), c.get("modality", ""), c.get("name", "")))

    @staticmethod
    def _card(folder: Path) -> dict[str, Any]:
        try:
            card = json.loads((folder / "card.json").read_text("utf-8"))
            if isinstance(card, dict):
                return card
            problem = "not a JSON object"
        except (OSError, ValueError) as error:
            problem = str(error)
        raise DataError(f"{folder / 'card.json'} cannot be read ({problem}); remove the folder and extract the features again")


def attach(corpus: Corpus, modality: str, stored: StoredFeatures) -> Corpus:
    """``corpus`` with ``stored`` as the features of ``modality``, joined by utterance id (never by position or text).

    Ids in the store that the corpus lacks are passed over, so a part of a corpus can be joined to features of the whole.

    Raises:
        DataError: the features contradict their card, repeat an id or hold NaN or infinity; an utterance of the corpus has
            none; or an utterance had another text when its features were made (``fingerprints``).
    """
    name = stored.card.get("name", "without a name")
    where = f"{modality} features {name!r} of {stored.card.get('corpus', corpus.name)!r}"
    if stored.card.get("modality", modality) != modality:
        raise DataError(f"the features {name!r} are {stored.card['modality']} features; they cannot be attached as {modality}")
    _check(where, stored.ids, stored.array, stored.fingerprints, stored.card)
    rows = {utterance: row for row, utterance in enumerate(stored.ids)}
    everyone = [d for split in SPLITS for d in corpus.split(split)]
    missing = [u for d in everyone for u in d.ids if u not in rows]
    if missing:
        raise DataError(
            f"corpus {corpus.name!r}: utterance {missing[0]!r} and {len(missing) - 1} more have no row in the {where}; "
            "extract the features again from this corpus"
        )
    if stored.fingerprints is not None:
        for d in everyone:
            taken = stored.fingerprints[[rows[u] for u in d.ids]]
            other = (taken != text_fingerprints(d.texts)).any(axis=1)
            if other.any():
                raise DataError(
                    f"corpus {corpus.name!r}: utterance {d.ids[int(other.argmax())]!r} had another text when the {where} were "
                    "made (another draw or version of the corpus); extract the features again from this corpus"
                )
    array = torch.from_numpy(np.array(stored.array, dtype=np.float32))

    def joined(d: Dialogue) -> Dialogue:
        return d.with_features(modality, array[[rows[u] for u in d.ids]])

    return corpus.map(joined)


def _check(
    where: str, ids: Sequence[str], x: np.ndarray, fingerprints: np.ndarray | None, card: Mapping[str, Any] | None = None
) -> None:
    if x.ndim != 2 or len(x) != len(ids):
        raise DataError(f"the {where} have {len(ids)} ids but an array {x.shape}; it must be (N, D) with one row for each id")
    if card is not None and card.get("dims") not in (None, x.shape[1]):
        raise DataError(f"the {where} are {x.shape[1]} wide, but their card says {card['dims']}; extract them again")
    if fingerprints is not None and fingerprints.shape != (len(ids), 8):
        raise DataError(f"the {where} have fingerprints {fingerprints.shape}; they must be ({len(ids)}, 8)")
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(u for u in ids if u in seen or seen.add(u))
        raise DataError(f"the {where} hold utterance {twice!r} twice; ids must be unique, for features are joined by them")
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise DataError(
            f"the {where} hold NaN or infinity at utterance {ids[int(bad.argmax())]!r} ({int(bad.sum())} rows in all); "
            "extract them again"
        )


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole: beside its place, to the disk, then by one rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@cache
def _commit() -> str | None:
    """The git commit of this checkout when first asked, with ``+changes`` where it was changed; None outside a checkout."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(paths.REPOSITORY), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()

    try:
        head, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "-uno")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if changed else "")
