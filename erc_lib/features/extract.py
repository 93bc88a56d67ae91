"""From clips to stored features: every utterance of a corpus, by several workers, resumable, and no bad clip stops it.

What is done is kept per utterance in ``<store>/.extracting`` until all are; then the features go into the store in one step, each with a card that
lists what failed and why.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import signal
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tqdm import tqdm

from erc_lib.data import Corpus
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.audio import AudioExtractor
from erc_lib.features.clips import Clip
from erc_lib.features.media import Piece, length
from erc_lib.features.store import FeatureStore, StoredFeatures, card_hash, write_whole
from erc_lib.features.visual import ClipExtractor, FaceExtractor

LONG = 30.0  # s: an utterance that lasts longer is mentioned in the summary; two of MELD's test clips do, one for 305 s
AHEAD = 4  # utterances handed to each worker before the first is back


class Extractor(Protocol):
    """One kind of features: an object that a worker can be sent before it has loaded anything."""

    name: str
    modality: str
    dims: int

    def __call__(self, pieces: Sequence[Piece]) -> tuple[np.ndarray, str]: ...

    def card(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Summary:
    """What an extraction came to.

    Attributes:
        stored: what lies in the store now, one for each extractor.
        utterances: how many of the corpus. taken: how many of them an earlier, interrupted call had done.
        failed: extractor's name -> utterance -> reason; these utterances hold zeros.
        empty: extractor's name -> remark ("no face", "no sound") -> how many utterances; these hold zeros too.
        long: utterances of more than :data:`LONG` seconds.
    """

    stored: tuple[StoredFeatures, ...]
    utterances: int
    taken: int
    failed: dict[str, dict[str, str]]
    empty: dict[str, dict[str, int]]
    long: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.utterances} utterances, {self.taken} of them done before"]
        for s in self.stored:
            name = s.card["name"]
            words = [f"{count} with {remark}" for remark, count in self.empty[name].items()]
            lines.append(f"{s.card['modality']} {name}: {s.array.shape[1]} numbers each; " + (", ".join(words) + "; " if words else "") + f"{len(self.failed[name])} failed")
            lines += [f"  {utterance}: {reason}" for utterance, reason in list(self.failed[name].items())[:10]]
            lines += [f"  ... and {len(self.failed[name]) - 10} more, all in the card"] * (len(self.failed[name]) > 10)
        lines += [f"{len(self.long)} last longer than {LONG:g} s: {', '.join(self.long[:5])}"] * bool(self.long)
        return "\n".join(lines)


def extract_features(
    corpus: Corpus, clips: Mapping[str, Clip], extractors: Sequence[Extractor], *, store: FeatureStore | None = None, workers: int = 0,
    alignment: str = "original", progress: bool = True,
) -> Summary:  # fmt: skip
    """Extracts and stores the features of every utterance of ``corpus``.

    An utterance that fails (its file is missing or broken, a worker died of it) holds zeros, and its reason stands in the card under ``failed``. An interrupted call
    is taken up where it was by the next one with the same clips, extractors and weights; what had failed is tried again.

    Args:
        clips: of :func:`erc_lib.features.clips.clips_of`.
        workers: processes, one thread each; 0: in this process.
        alignment: for the card. ``"fair"`` is appended to the names of the features.

    Raises:
        ConfigError: no extractor, two of one name, or a number of workers below 0. DataError: not a single utterance could be read, or weights are missing.
    """
    if not extractors:
        raise ConfigError("nothing to extract: name --audio or --visual")
    names = [f"{e.name}-fair" if alignment == "fair" else e.name for e in extractors]
    if len(set(names)) < len(names):
        raise ConfigError(f"two extractors are called {next(n for n in names if names.count(n) > 1)!r}; give one a name of its own")
    if workers < 0:
        raise ConfigError(f"workers counts from 0, so it cannot be {workers}")
    store = store or FeatureStore()
    boxed = any(c.boxes is not None for c in clips.values())
    cards = [{**e.card(), "alignment": alignment, **({"faces_of": "the active speaker, by given boxes" if boxed else "everybody"} if isinstance(e, FaceExtractor) else {})} for e in extractors]  # loads the weights, so that what is missing is said before the first clip
    journal = _Journal(store.root / ".extracting" / corpus.name.replace("/", "_") / "+".join(names), {"cards": [card_hash(c) for c in cards], "clips": _fingerprint(clips)})
    try:
        todo = [u for u in clips if u not in journal.done]
        taken = len(clips) - len(todo)
        with tqdm(total=len(clips), initial=taken, unit="utterance", desc=corpus.name, disable=not progress, smoothing=0.05) as bar:
            for utterance, rows, faults in _run(todo, clips, extractors, workers):
                journal.write(utterance, rows, faults)
                bar.set_postfix(failed=len(journal.faults))
                bar.update()
        hopeless = {i: next(f[i] for f in journal.faults.values()) for i in range(len(names)) if all(i in journal.faults.get(u, {}) for u in clips)}
        summary = _finish(corpus, clips, extractors, names, cards, journal, store, taken, set(hopeless))
        for i, reason in hopeless.items():  # what the others found is stored by now
            kept = [s.card["name"] for s in summary.stored]
            raise DataError(f"{corpus.name}, {names[i]}: not one of {len(clips)} utterances could be read; first: {reason}" + (f" ({', '.join(kept)} stored)" if kept else ""))
        return summary
    finally:
        journal.close()


def extractor_of(card: Mapping[str, Any], *, weights: Path | str | None = None) -> Extractor:
    """The extractor that made stored features, for those of other utterances: told from their card.

    Args:
        weights: the file of its weights, where the card names one.

    Raises:
        DataError: features made elsewhere, weights that must be named, or other weights than the card's.
    """
    name, recipe = f"{card.get('modality')} features {card.get('name')!r}", card.get("recipe")
    if str(card.get("faces_of", "")).startswith("the active speaker"):
        raise DataError(f"the {name} look at the active speaker alone, by boxes that another recording does not have; take features of all faces")
    if not recipe:
        raise DataError(f"the {name} were not extracted here ({card.get('extractor')}), so those of another recording cannot be made alike")
    ((kind, settings),) = recipe.items()
    if kind == "audio":
        return _alike(AudioExtractor(settings), card, name, ("version",))
    needs_file = settings["weights"] not in ("download", "none")
    if needs_file and weights is None:
        raise DataError(f"the {name} were made with the weights {settings['weights']}; name that file")
    given = weights if needs_file else settings["weights"]
    extractor = ClipExtractor(given) if kind == "clip" else FaceExtractor(**{**settings, "weights": given})
    return _alike(extractor, card, name, ("weights_sha256", "detector_sha256", "margin"))


def _alike(extractor: Extractor, card: Mapping[str, Any], name: str, entries: Sequence[str]) -> Extractor:
    """The extractor, if what its own card says of ``entries`` is what ``card`` says."""
    own = extractor.card()
    for entry in entries:
        if own.get(entry) != card.get(entry):
            raise DataError(f"the {name} were made with {entry} {str(card.get(entry))[:24]}, here it is {str(own.get(entry))[:24]}; features made here would be others")
    return extractor


def _finish(corpus: Corpus, clips: Mapping[str, Clip], extractors, names, cards, journal: _Journal, store: FeatureStore, taken: int, left_out: set[int]) -> Summary:
    stored, failed, empty = [], {}, {}
    for i, (e, name, card) in enumerate(zip(extractors, names, cards, strict=True)):
        if i in left_out:
            continue
        array = np.zeros((len(clips), e.dims), np.float32)
        failed[name], remarks = {}, Counter()
        for row, utterance in enumerate(clips):
            vector, remark = journal.done[utterance](i)
            if vector is None:
                failed[name][utterance] = remark
            else:
                array[row] = vector
                remarks[remark] += bool(remark)
        empty[name] = {k: v for k, v in remarks.items() if v}
        card = {**card, "failed": failed[name], "empty_utterances": empty[name]}
        stored.append(store.save(corpus=corpus.name, modality=e.modality, name=name, ids=list(clips), array=array, card=card))
    long = tuple(u for u in clips if journal.seconds.get(u, 0) > LONG)
    if not left_out:
        journal.remove()  # else it is taken up when the fault is mended
    return Summary(tuple(stored), len(clips), taken, failed, empty, long)


def _run(todo: Sequence[str], clips: Mapping[str, Clip], extractors: Sequence[Extractor], workers: int) -> Iterator[tuple[str, list, dict[int, str]]]:
    """(utterance, [(vector, remark), ...] and its seconds, faults by extractor), as they finish."""
    if workers == 0:
        _begin(extractors)
        for utterance in todo:
            yield utterance, *_one(clips[utterance])
        return
    waiting = list(reversed(todo))
    lost: list[str] = []  # in the hands of a pool that died: one of them killed it
    while waiting or lost:
        alone = bool(lost)  # then one at a time, so that the one is known
        source = lost if alone else waiting
        pool, running = _pool(extractors, 1 if alone else min(workers, len(waiting))), {}
        try:
            while running or source:
                while source and len(running) < (1 if alone else AHEAD * workers):
                    running[pool.submit(_one, clips[source[-1]])] = source[-1]
                    source.pop()  # only now: a pool may die between two of them
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield running.pop(future), *result
        except BrokenProcessPool:
            if alone and running:
                (utterance,) = running.values()
                yield utterance, [], dict.fromkeys(range(len(extractors)), "a worker died of it; the file is probably damaged")
            else:
                lost += running.values()
                if not running and source:  # it died before it took anything, which no clip can have caused
                    raise DataError("the workers die before they begin; try --workers 0, which shows why") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # an interrupt need not wait for what nobody will read


def _pool(extractors: Sequence[Extractor], workers: int) -> ProcessPoolExecutor:
    # A forked child of a process that has used torch may hang in its threads; a spawned one starts clean.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(extractors,))


_extractors: Sequence[Extractor] = ()


def _begin(extractors: Sequence[Extractor]) -> None:
    global _extractors
    _extractors = extractors
    if parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to answer
    torch.set_num_threads(1)  # with two, MTCNN on two busy cores was seen to be 38 times slower


def _one(clip: Clip) -> tuple[list, dict[int, str]]:
    """Everything of one utterance: [seconds, (vector, remark) of each extractor], and the faults of those that have none."""
    known = f" ({clip.known})" if clip.known else ""
    if clip.fault:
        return [], dict.fromkeys(range(len(_extractors)), clip.fault + known)
    rows: list = []
    faults: dict[int, str] = {}
    try:
        rows.append(length(clip.pieces))
    except Exception as error:
        return [], dict.fromkeys(range(len(_extractors)), _reason(error) + known)
    for i, extractor in enumerate(_extractors):
        try:
            speaker_only = clip.boxes is not None and isinstance(extractor, FaceExtractor)
            vector, remark = extractor(clip.pieces, clip.boxes, clip.box_rate) if speaker_only else extractor(clip.pieces)
            if np.shape(vector) != (extractor.dims,) or not np.isfinite(vector).all():
                raise DataError(f"{extractor.name} gave {np.shape(vector)} with {int((~np.isfinite(vector)).sum())} values that are not finite, not {extractor.dims} numbers")
            rows.append((vector, remark))
        except Exception as error:  # a decoder or a network may fail in ways nobody has listed, and no clip may stop the run
            faults[i] = _reason(error) + known
            rows.append((None, ""))
    return rows, faults


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"


def _fingerprint(clips: Mapping[str, Clip]) -> str:
    """Changes when a file, its size or its piece changes."""
    digest = hashlib.sha256()
    for utterance, clip in clips.items():
        sizes = [[(stat := p.path.stat()).st_size, stat.st_mtime_ns] if p.path.exists() else -1 for p in clip.pieces]
        digest.update(json.dumps([utterance, [[str(p.path), p.start, p.end] for p in clip.pieces], sizes, sorted((clip.boxes or {}).items())]).encode())
    return digest.hexdigest()


class _Journal:
    """A folder with a file for each finished utterance, and ``basis.json``, which says of which extraction they are."""

    def __init__(self, folder: Path, basis: dict[str, Any]) -> None:
        self.folder = folder
        self.done: dict[str, Callable[[int], tuple[np.ndarray | None, str]]] = {}
        self.faults: dict[str, dict[int, str]] = {}
        self.seconds: dict[str, float] = {}
        record = folder / "basis.json"
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock = open(folder.parent / f".{folder.name}.lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(self._lock.name).st_ino != os.fstat(self._lock.fileno()).st_ino:
                raise BlockingIOError  # another process has just removed this file and made a new one
        except (BlockingIOError, FileNotFoundError):
            raise DataError(f"{folder.name}: another process is extracting these features of {folder.parent.name}; wait for it") from None
        if folder.exists() and _read_json(record) != basis:
            shutil.rmtree(folder)  # other clips, other weights: nothing of it can be used
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(record, json.dumps(basis).encode())
        for path in folder.glob("*.npz"):
            try:
                with np.load(path, allow_pickle=False) as file:
                    head = json.loads(str(file["head"]))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                path.unlink()  # damaged when the machine went down: done again
                continue
            if not head["faults"]:  # what failed is tried again
                self._know(head["utterance"], path, head)

    def _know(self, utterance: str, path: Path, head: dict[str, Any]) -> None:
        self.seconds[utterance] = head["seconds"]
        self.faults |= {utterance: {int(k): v for k, v in head["faults"].items()}} if head["faults"] else {}

        def row(i: int) -> tuple[np.ndarray | None, str]:
            if str(i) in head["faults"]:
                return None, head["faults"][str(i)]
            with np.load(path, allow_pickle=False) as file:
                return file[f"v{i}"], head["remarks"][i]

        self.done[utterance] = row

    def write(self, utterance: str, rows: list, faults: dict[int, str]) -> None:
        vectors = rows[1:]
        head = {
            "utterance": utterance, "seconds": rows[0] if rows else 0.0, "remarks": [r for _, r in vectors],
            "faults": {str(k): v for k, v in faults.items()},
        }  # fmt: skip
        path = self.folder / f"{hashlib.sha256(utterance.encode()).hexdigest()}.npz"  # ids may hold what no file name may
        content = io.BytesIO()
        np.savez(content, head=json.dumps(head), **{f"v{i}": v for i, (v, _) in enumerate(vectors) if v is not None})
        write_whole(path, content.getvalue())
        self._know(utterance, path, head)

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Lets other processes have it."""
        Path(self._lock.name).unlink(missing_ok=True)
        self._lock.close()
        for folder in (self.folder.parent, self.folder.parent.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if nothing else is in progress there


def _read_json(path: Path) -> Any:
    """What a file holds, None where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
