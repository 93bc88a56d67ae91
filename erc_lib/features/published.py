"""Published features joined to our corpora: compared utterance by utterance, then one entry of the feature store for each modality.

What is compared: which dialogues and utterances there are, the split, every label and every speaker. Features that fit another utterance than the one
they are attached to cannot be seen by looking at them; labels and speakers that all agree are the evidence that they do not.

MELD's files merge the splits into one numbering of dialogues (:data:`FIRST`) and keep the utterances' numbers. IEMOCAP's name dialogues as we do; its
utterances have no ids in our copy but their place in the dialogue, so there the place is the id, and lengths must agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from erc_lib.data import load_corpus
from erc_lib.data.conversation import SPLITS, Corpus, Dialogue
from erc_lib.data.convert import number_speakers
from erc_lib.data.sources import find_source
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.published_files import Layout, PublishedDialogue, PublishedFile, find_layout, read_published
from erc_lib.features.store import FeatureStore, StoredFeatures

VERSION = 1
FIRST = {"train": 0, "dev": 1039, "test": 1153}  # MELD: merged number of each split's dialogue 0, in the names of MELD's splits
LAST = 1432
UTTERANCES, NUMBERING = ("exact", "fill"), ("ids", "positions")
SHOWN = 3  # utterances that a message lists
MOST_FILLED = 0.1  # a file that lacks more of our utterances is another one, whatever else agrees


@dataclass
class Differences:
    """What a file and our corpus do not share; each list holds names fit for a message."""

    dialogues: list[str] = field(default_factory=list)  # of the file alone
    extra: list[str] = field(default_factory=list)  # utterances of the file alone
    missing: list[str] = field(default_factory=list)  # utterances of ours alone
    renumbered: list[str] = field(default_factory=list)  # dialogues of one length under other utterance numbers
    lengths: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)


def store_published(
    source: str,
    corpus: str | Corpus,
    *,
    name: str | None = None,
    store: FeatureStore | None = None,
    utterances: str = "exact",
    numbering: str = "ids",
    check_speakers: bool = True,
) -> list[StoredFeatures]:
    """The fetched features of ``source``, joined to a corpus and written into the feature store, one entry for each modality.

    Nothing is written before every modality has been read and every utterance compared.

    Args:
        source: ``"multiemo-features"``, ``"mmgcn-features"`` or ``"conv-emotion-features"``.
        corpus: ``"meld"`` or ``"iemocap"``, or such a corpus already loaded.
        name: in the store, ``multiemo``, ``mmgcn``, ``conv-emotion`` or ``conv-emotion-gcn``; None: the source's first.
        utterances: ``"exact"``: an utterance that only one side has is an error. ``"fill"``: one that only the file has is dropped, one that only
            our corpus has gets the mean of the training utterances (0 once standardised), up to a tenth of them. The card counts both.
        numbering: of MELD's utterances. ``"ids"``: the file has MELD's own numbers, gaps included. ``"positions"``: the file numbers
            the utterances of a dialogue 0, 1, ... anew; then it must have them all.
        check_speakers: False passes over other speakers (the features do not depend on them); the card counts the dialogues.

    Raises:
        ConfigError: an unknown name or option. DataError: whatever does not fit, with the first places and how many there are.
    """
    for what, value, known in (("utterances", utterances, UTTERANCES), ("numbering", numbering, NUMBERING)):
        if value not in known:
            raise ConfigError(f"{what} is one of {', '.join(known)}, not {value!r}")
    layout = find_layout(source, corpus if isinstance(corpus, str) else corpus.name, name)
    published = read_published(layout)
    corpus = load_corpus(corpus) if isinstance(corpus, str) else corpus
    rows, found = match(published, corpus, numbering=numbering)
    _refuse(published, found, fill=utterances == "fill", numbering=numbering, check_speakers=check_speakers)
    ids = [u for s in SPLITS for d in corpus.split(s) for u in d.ids]
    if len(found.missing) > MOST_FILLED * len(ids):
        raise DataError(f"{published.path} lacks {len(found.missing)} of our {len(ids)} utterances of {corpus.name}, too many to fill; it is another file or version")
    training = [u for d in corpus.train for u in d.ids if u in rows]
    arrays, store = {}, store or FeatureStore()
    for m in layout.widths:
        mean = np.mean([rows[u][m] for u in training], axis=0, dtype=np.float64).astype(np.float32)
        arrays[m] = np.stack([rows[u][m] if u in rows else mean for u in ids])
    notes = {
        "numbering": numbering if corpus.name == "meld" else "positions (our copy of IEMOCAP has no other ids)",
        "filled_utterances": len(found.missing), "dropped_utterances": len(found.extra), "dropped_dialogues": len(found.dialogues),
        "other_speakers": len(found.speakers),
    }
    cards = {m: card(layout, m, notes) for m in arrays}
    return [store.save(corpus=corpus.name, modality=m, name=layout.name, ids=ids, array=x, card=cards[m]) for m, x in arrays.items()]


def card(layout: Layout, modality: str, notes: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a published set of features: where the bytes are from is certain, how they were made often is not."""
    source = find_source(layout.source)
    return {
        "extractor": f"not known to us: {source.repository} publishes the numbers",
        "version": f"{source.commit} of that repository, read by erc_lib.features.published {VERSION}",
        "units": "none stated; as published, not standardised",
        "empty": "not documented" + (f"; the {notes['filled_utterances']} that the file lacks have the mean of training" if notes["filled_utterances"] else ""),
        "origin": layout.origin[modality],
        "source": layout.source, "source_repository": source.repository, "source_commit": source.commit, "licence": source.licence,
        "source_files": {file: pin.pin for file, pin in layout.pinned().items()},
        "labels_checked": list(layout.label_names),
        **notes,
    }  # fmt: skip


def match(published: PublishedFile, corpus: Corpus, *, numbering: str = "ids") -> tuple[dict[str, dict[str, np.ndarray]], Differences]:
    """Our utterance id -> modality -> (D_m,) for those that both have, and all that differs."""
    ours = {d.id: (d, s) for s in SPLITS for d in corpus.split(s)}
    found, rows, seen = Differences(), {}, set()
    for key, theirs in published.dialogues.items():
        id = our_dialogue(published, key)
        if id in seen:
            raise DataError(f"{published.path}: dialogue {id} stands there under two names, one of them {key!r}; fetch the file again")
        seen.add(id)
        if id not in ours:
            found.dialogues.append(id)
            continue
        dialogue, split = ours[id]
        if (split == "test") != (theirs.split == "test"):
            found.splits.append(f"{id} ({theirs.split} there, {split} here)")
        pairs = _pairs(published, dialogue, theirs, numbering, found)
        _compare(published.layout, dialogue, theirs, pairs, found)
        for i, k in pairs:
            rows[dialogue.ids[i]] = {m: x[k] for m, x in theirs.features.items()}
    found.dialogues += [str(key) for key in published.unlisted]
    found.missing += [u for id, (d, _) in ours.items() if id not in seen for u in d.ids]
    return rows, found


def our_dialogue(published: PublishedFile, key: Any) -> str:
    """Our name of a dialogue of the file."""
    if published.layout.corpus != "meld":
        if isinstance(key, str):
            return key
        raise DataError(f"{published.path}: dialogue {key!r} has no name of IEMOCAP's; the file is of another corpus")
    number = int(key) if isinstance(key, int | np.integer) or (isinstance(key, str) and re.fullmatch(r"[0-9]+", key)) else -1
    if not 0 <= number <= LAST:
        raise DataError(
            f"{published.path}: dialogue {key!r} is no number from 0 to {LAST}, as MELD's merged dialogues have; the file is of another corpus or version"
        )
    split = max((s for s in FIRST if FIRST[s] <= number), key=FIRST.__getitem__)
    return f"{split}/dia{number - FIRST[split]}"


def utterance_number(id: int | str) -> int | None:
    """MELD's number of an utterance: 3 of ``3``, ``"3"``, ``"12_3"`` and ``"dia12_utt3"``; None where there is none."""
    if isinstance(id, int):
        return id
    form = re.fullmatch(r"(?:.*\D)?(\d+)(?:\.mp4)?", id)
    return int(form[1]) if form else None


def _pairs(published: PublishedFile, ours: Dialogue, theirs: PublishedDialogue, numbering: str, found: Differences) -> list[tuple[int, int]]:
    """Pairs (row of ours, row of theirs) of the same utterance."""
    if published.layout.corpus != "meld" or numbering == "positions":
        if len(ours) != len(theirs):
            found.lengths.append(f"{ours.id} ({len(theirs)} there, {len(ours)} here)")
            return []
        if published.layout.corpus == "meld" and [utterance_number(u) for u in theirs.ids] != list(range(len(theirs))):
            found.renumbered.append(ours.id)
            return []
        return [(i, i) for i in range(len(ours))]
    numbers = [utterance_number(u) for u in theirs.ids]
    if None in numbers or len(set(numbers)) != len(numbers):
        raise DataError(
            f"{published.path}, dialogue {ours.id}: its utterance ids ({theirs.ids[0]!r}, ...) do not end in numbers of their own; fetch the file again"
        )
    place = {f"{ours.id}_utt{n}": k for k, n in enumerate(numbers)}
    if len(ours) == len(theirs) and set(place) != set(ours.ids):
        found.renumbered.append(ours.id)
        return []
    found.extra += [u for u in place if u not in set(ours.ids)]
    found.missing += [u for u in ours.ids if u not in place]
    return [(i, place[u]) for i, u in enumerate(ours.ids) if u in place]


def _compare(layout: Layout, ours: Dialogue, theirs: PublishedDialogue, pairs: Sequence[tuple[int, int]], found: Differences) -> None:
    names = layout.label_names
    for i, k in pairs:
        if int(ours.labels[i]) != int(theirs.labels[k]):
            found.labels.append(f"{ours.ids[i]} ({names[int(theirs.labels[k])]} there, {names[int(ours.labels[i])]} here)")
    here, there = [int(ours.speakers[i]) for i, _ in pairs], [theirs.speakers[k] for _, k in pairs]
    if layout.corpus == "iemocap":
        here = [ours.speaker_names[s] for s in here]
    else:  # numbers within the dialogue, on both sides: only who is whom can be compared
        here, there = (number_speakers(s)[0].tolist() for s in (here, there))
    if here != there:
        found.speakers.append(ours.id)


def _refuse(published: PublishedFile, found: Differences, *, fill: bool, numbering: str, check_speakers: bool) -> None:
    """Raises for the first kind of difference that may not be passed over."""
    layout, where = published.layout, f"{published.path} and our {published.layout.corpus}"
    other = "the file is of another corpus or version, or ours is; nothing was written"
    kinds = [
        (found.lengths, "have other numbers of utterances in dialogue", other),
        (found.splits, "disagree about the split of dialogue", other),
        (
            found.renumbered, "number the utterances differently in dialogue",
            "if the file counts them 0, 1, ... in each dialogue, numbering='positions' (`--numbering positions`) joins them so; nothing was written"
            if numbering == "ids" else "the file does not count them 0, 1, ..., so its numbers are no positions; nothing was written",
        ),
    ]  # fmt: skip
    if not fill:
        remedy = "utterances='fill' (`--utterances fill`) drops or fills them and says so in the card; nothing was written"
        kinds += [
            (found.dialogues, "differ: only the file has dialogue", remedy),
            (found.extra, "differ: only the file has utterance", remedy),
            (found.missing, "differ: only ours has utterance", remedy),
        ]
    kinds.append((found.labels, f"disagree about the label (order there: {', '.join(layout.label_names)}) of utterance", other))
    if check_speakers:
        remedy = "check_speakers=False (`--ignore-speakers`) passes over them; nothing was written"
        kinds.append((found.speakers, "disagree about who speaks in dialogue", remedy))
    for places, what, remedy in kinds:
        if places:
            rest = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
            raise DataError(f"{where} {what} {', '.join(places[:SHOWN])}{rest} ({len(places)} in all); {remedy}")
