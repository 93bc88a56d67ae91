"""What a corpus looks like before any model sees it: sizes, class counts, lengths, speakers, and how emotions follow each other.

Everything starts from :func:`turn_table`, one row per utterance, in which each turn knows four earlier turns:

- ``own``: the last turn of the same speaker. A change from there to here is an *intra-speaker shift* (DialogueTRM, Section 5.5).
- ``other``: the most recent turn by anybody else. A change is an *inter-speaker shift*.
- ``reply``: the turn just before, if somebody else spoke it: ``other`` without the turns in which a speaker goes on.
- ``before``: the turn just before, whoever spoke it. DialogueTRM's Table 6 counts 13.2 intra- and 22.0 inter-speaker shifts per
  conversation of IEMOCAP; its test set has 13.2 shifts from ``own`` and 22.0 from ``before`` (from ``other`` and ``reply``
  it has not).

Labels here are classes; a corpus whose labels are dimensions (L, 4) has none of this and is refused.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from erc_lib.data.conversation import SPLITS, Corpus
from erc_lib.errors import ConfigError, DataError

RELATIONS = ("own", "other", "reply", "before")
NO_TURN = -1


def turn_table(corpus: Corpus) -> pd.DataFrame:
    """One row per utterance, splits and dialogues in their order.

    Columns: split, dialogue (id), position (0, 1, ...), speaker (number within the dialogue), label, words (of the transcript,
    cut at blanks), and for each relation of :data:`RELATIONS` the label of that earlier turn, ``-1`` where there is none.

    Raises:
        DataError: if the labels are not classes.
    """
    columns: dict[str, list] = {name: [] for name in ("split", "dialogue", "position", "speaker", "label", "words", *RELATIONS)}
    for split in SPLITS:
        for dialogue in corpus.split(split):
            if dialogue.labels.is_floating_point():
                raise DataError(
                    f"corpus {corpus.name!r}: the labels of dialogue {dialogue.id!r} are dimensions, not classes, so nothing can "
                    "be counted; turn them into classes first"
                )
            speakers, labels = dialogue.speakers.tolist(), dialogue.labels.tolist()
            columns["split"] += [split] * len(dialogue)
            columns["dialogue"] += [dialogue.id] * len(dialogue)
            columns["position"] += range(len(dialogue))
            columns["speaker"] += speakers
            columns["label"] += labels
            columns["words"] += [len(text.split()) for text in dialogue.texts]
            for relation, earlier in earlier_turns(speakers).items():
                columns[relation] += [labels[t] if t >= 0 else NO_TURN for t in earlier]
    table = pd.DataFrame(columns)
    numbers = [name for name in table.columns if name not in ("split", "dialogue")]
    return table.astype(dict.fromkeys(numbers, "int64"))


def earlier_turns(speakers: list[int]) -> dict[str, list[int]]:
    """relation -> index of that earlier turn for each of the L turns, -1 where there is none."""
    found: dict[str, list[int]] = {relation: [] for relation in RELATIONS}
    last: dict[int, int] = {}
    for t, speaker in enumerate(speakers):
        found["own"].append(last.get(speaker, NO_TURN))
        found["other"].append(max((turn for who, turn in last.items() if who != speaker), default=NO_TURN))
        found["reply"].append(t - 1 if t and speakers[t - 1] != speaker else NO_TURN)
        found["before"].append(t - 1)  # -1, NO_TURN, at the first turn
        last[speaker] = t
    return found


def split_sizes(turns: pd.DataFrame) -> pd.DataFrame:
    """Size of each split and of all of them.

    Returns:
        Index split ("train", "validation", "test", "all"); columns dialogues, utterances, and per dialogue turns_mean, turns_max,
        speakers_mean, speakers_max. A split without dialogues has zeros and NaN means.
    """
    rows = {}
    for split in (*SPLITS, "all"):
        chosen = turns if split == "all" else turns[turns["split"] == split]
        per_dialogue = chosen.groupby("dialogue")["speaker"].agg(["size", "nunique"])
        rows[split] = {
            "dialogues": len(per_dialogue), "utterances": len(chosen),
            "turns_mean": per_dialogue["size"].mean(), "turns_max": int(max(per_dialogue["size"], default=0)),
            "speakers_mean": per_dialogue["nunique"].mean(), "speakers_max": int(max(per_dialogue["nunique"], default=0)),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("split")


def class_counts(turns: pd.DataFrame, label_names: tuple[str, ...]) -> pd.DataFrame:
    """Utterances of each class: int; index split ("train", "validation", "test", "all"), columns ``label_names``."""
    labels = {split: turns.loc[turns["split"] == split, "label"].astype(int) for split in SPLITS}
    counts = {split: np.bincount(found, minlength=len(label_names)) for split, found in labels.items()}
    counts["all"] = sum(counts.values())
    return pd.DataFrame.from_dict(counts, orient="index", columns=list(label_names)).rename_axis("split")


def dialogue_table(turns: pd.DataFrame) -> pd.DataFrame:
    """One row per dialogue.

    Columns: split, dialogue, turns, speakers, goes_on (share of turns after the first whose speaker spoke just before; NaN for
    a single turn), and for each relation ``<relation>_pairs`` and ``<relation>_shifts``: turns that have such an earlier turn, and
    those of them whose label differs from it.
    """
    work = turns[["split", "dialogue", "speaker"]].assign(goes_on=(turns["reply"] == NO_TURN) & (turns["position"] > 0))
    for relation in RELATIONS:
        work[f"{relation}_pairs"] = turns[relation] != NO_TURN
        work[f"{relation}_shifts"] = work[f"{relation}_pairs"] & (turns[relation] != turns["label"])
    groups = work.groupby(["split", "dialogue"], sort=False)
    table = pd.concat([groups.size().rename("turns"), groups["speaker"].nunique().rename("speakers")], axis=1)
    sums = groups[[name for name in work.columns if name not in ("split", "dialogue", "speaker")]].sum().astype("int64")
    table["goes_on"] = sums.pop("goes_on") / (table["turns"] - 1).where(table["turns"] > 1)
    return table.join(sums).reset_index()


def transition_counts(turns: pd.DataFrame, label_names: tuple[str, ...], relation: str = "own") -> pd.DataFrame:
    """How often the emotion of the earlier turn (rows) was followed by the emotion of this one (columns): int (C, C).

    Raises:
        ConfigError: if ``relation`` is none of :data:`RELATIONS`.
    """
    if relation not in RELATIONS:
        raise ConfigError(f"no relation {relation!r}; there are {', '.join(RELATIONS)}")
    pairs = turns[turns[relation] != NO_TURN]
    classes = len(label_names)
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (pairs[relation].to_numpy(dtype=int), pairs["label"].to_numpy(dtype=int)), 1)
    index, columns = pd.Index(label_names, name=f"{relation}: earlier"), pd.Index(label_names, name="now")
    return pd.DataFrame(counts, index=index, columns=columns)


def transition_shares(counts: pd.DataFrame) -> pd.DataFrame:
    """Rows of :func:`transition_counts` divided by their sums: p(now | earlier). A row that never occurs is NaN."""
    total = counts.sum(axis=1)
    return counts.div(total.where(total > 0), axis=0)


def persistence(counts: pd.DataFrame) -> dict[str, float]:
    """How much of an emotion's staying is more than chance, from a table of :func:`transition_counts`.

    Returns:
        pairs: number of pairs; stays: share whose two emotions are the same; chance: the same if the two were drawn independently
        with the table's own margins; excess: (stays - chance) / (1 - chance), Cohen's kappa. NaN where there is nothing to count.
        If a turn copies the earlier one with probability h and else draws from the margins, the excess is h.
    """
    table = counts.to_numpy(dtype=float)
    total = table.sum()
    if not total:
        return {"pairs": 0, "stays": float("nan"), "chance": float("nan"), "excess": float("nan")}
    stays = float(np.trace(table) / total)
    chance = float(table.sum(axis=1) @ table.sum(axis=0) / total**2)
    excess = (stays - chance) / (1 - chance) if chance < 1 else float("nan")
    return {"pairs": int(total), "stays": stays, "chance": chance, "excess": excess}


def repeated_texts(corpus: Corpus, *, longer_than: int = 5) -> pd.DataFrame:
    """Test utterances of more than ``longer_than`` words whose transcript stands word for word (but for case) in the others.

    Returns:
        Columns id, label, seen_labels (tuple of the labels it carries there). The transcripts themselves are not returned.
    """
    seen: dict[str, set[int]] = {}
    for split in ("train", "validation"):
        for dialogue in corpus.split(split):
            for text, label in zip(dialogue.texts, dialogue.labels.tolist(), strict=True):
                seen.setdefault(text.casefold(), set()).add(label)
    rows = []
    for dialogue in corpus.test:
        for utterance, text, label in zip(dialogue.ids, dialogue.texts, dialogue.labels.tolist(), strict=True):
            if len(text.split()) > longer_than and text.casefold() in seen:
                rows.append((utterance, label, tuple(sorted(seen[text.casefold()]))))
    return pd.DataFrame(rows, columns=["id", "label", "seen_labels"])
