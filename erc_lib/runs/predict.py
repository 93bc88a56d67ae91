"""From a trained run and a conversation to a table of emotions: the features are made as they were for the training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from erc_lib.data import Dialogue
from erc_lib.data.transcripts import MEDIA, Turn, to_dialogue
from erc_lib.data.transform import apply_statistics
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.text import encode_like
from erc_lib.runs.export import Exported, exported_of, find_run, load_export
from erc_lib.runs.spec import inner_encoder
from erc_lib.runs.store import RunStore
from erc_lib.training import scoring


def open_model(name: str | Path, store: RunStore | str | Path = "runs") -> Exported:
    """A file that :func:`~erc_lib.runs.export.export_run` wrote, or else the run of ``store`` with that digest.

    Raises:
        DataError: it is neither, or cannot be used.
    """
    path = Path(name)
    if path.is_file() or path.suffix or len(path.parts) > 1:  # a digest has no ending and no folder
        return load_export(path)
    return exported_of(find_run(str(name), store if isinstance(store, RunStore) else RunStore(store)))


def predict_turns(exported: Exported, turns: Sequence[Turn], *, media: Path | None = None, weights: Path | None = None) -> pd.DataFrame:
    """One row per turn: turn (from 1), speaker, start, end (seconds, NaN where not known), text, predicted, p_<label> of each class.

    Where sound or pictures were read, a column remark says of which turns there was none ("no sound", "no face"), so that zeros stood for them.

    Args:
        media: the sound or video the turns were spoken in; needed by a model that reads audio or visual.
        weights: the file of a visual network's weights, where the training features were made with one.

    Raises:
        DataError: the model's features cannot be made of this input; the message names the modalities and what to do.
    """
    dialogue, remarks = _with_features(exported, to_dialogue(turns), turns, media, weights)
    table = predict_dialogues(exported, [dialogue])
    spoken = {"speaker": [t.speaker for t in turns], "start": [t.start for t in turns], "end": [t.end for t in turns]}
    frame = pd.DataFrame({"turn": np.arange(1, len(turns) + 1), **spoken, "text": [t.text for t in turns]})
    frame[["start", "end"]] = frame[["start", "end"]].astype(float)
    if remarks is not None:
        frame["remark"] = remarks
    return pd.concat([frame, table.drop(columns=["dialogue", "position"])], axis=1)


def predict_dialogues(exported: Exported, dialogues: Sequence[Dialogue]) -> pd.DataFrame:
    """One row per utterance: dialogue, position (from 0), predicted, p_<label> of each class.

    The dialogues bring the features of the model's modalities, as they are before any standardisation; their labels are not read.
    Text features that a dialogue lacks are made here, where new texts can be encoded like those of the training.
    """
    ready = []
    for dialogue in dialogues:
        dialogue = _encoded(exported, dialogue)
        for m in _feature_modalities(exported):
            if m not in dialogue.features:
                raise DataError(f"dialogue {dialogue.id!r} has no {m} features, which the run {exported.spec.digest} reads; add them, or take another run")
            width, expected = dialogue.features[m].shape[1], exported.settings["model"]["dims"][m]
            if width != expected:
                raise DataError(
                    f"dialogue {dialogue.id!r} has {m} features of width {width}, but the run {exported.spec.digest} reads {expected}; "
                    "make them with the extractor it was trained on"
                )
        ready.append(apply_statistics(dialogue, exported.statistics))
    rows = scoring.predict(exported.model, ready)
    names = exported.label_names
    predicted = [names[c] for c in rows["predicted"]]
    chances = {f"p_{name}": rows[f"p_{c}"].to_numpy() for c, name in enumerate(names)}
    return pd.DataFrame({"dialogue": rows["dialogue"], "position": rows["position"], "predicted": predicted, **chances})


def modalities_used(exported: Exported) -> tuple[str, ...]:
    """The modalities a model reads, all of which every prediction of it uses."""
    return exported.spec.modalities


def media_features(media: Path, turns: Sequence[Turn], modalities: Iterable[str], exported: Exported, *, weights: Path | None = None) -> tuple[dict[str, np.ndarray], list[str]]:
    """Modality -> float32 (L, D) features of what is heard or seen in ``media`` between start and end of each of L turns, made as those of the training; and a
    remark for each turn, ``"no sound"`` or ``"no face"`` where there was nothing to take them from.

    Args:
        weights: the file of a visual network's weights, where the features' card names one.

    Raises:
        DataError: features that did not come from clips here, a turn that lies outside the recording, or one that cannot be decoded.
    """
    from erc_lib.features.extract import extractor_of  # its libraries take seconds to import, and most predictions need none of them
    from erc_lib.features.media import Piece, probe

    extractors = {}
    for modality in modalities:
        if (card := exported.features[modality]) is None:
            raise DataError(
                f"the {modality} features this model was trained on came with its corpus, and nothing says how to make them of {media}; "
                "predict with a run on text alone, or one trained on features of `erc features extract`"
            )
        extractors[modality] = extractor_of(card, weights=weights)
    seconds = probe(media).seconds
    for number, t in enumerate(turns, 1):
        if t.start >= seconds:
            raise DataError(f"turn {number} begins at {t.start:g} s, but {media} ends at {seconds:.1f} s; is it the right recording?")
    found, remarks = {}, [""] * len(turns)
    for modality, extractor in extractors.items():
        rows = [extractor([Piece(media, t.start, t.end)]) for t in turns]
        remarks = ["; ".join(x for x in (one, remark) if x) for one, (_, remark) in zip(remarks, rows, strict=True)]
        array = np.stack([vector for vector, _ in rows])
        found[modality] = exported.reductions[modality](array) if modality in exported.reductions else array
    return found, remarks


def _with_features(exported: Exported, dialogue: Dialogue, turns: Sequence[Turn], media: Path | None, weights: Path | None) -> tuple[Dialogue, list[str] | None]:
    dialogue = _encoded(exported, dialogue)
    missing = [m for m in _feature_modalities(exported) if m not in dialogue.features]
    if not missing:
        return dialogue, None
    names = " and ".join(missing)
    if media is None or media.suffix.lower() not in (*MEDIA, ".wav", ".mp3", ".flac", ".m4a", ".ogg"):
        raise DataError(
            f"the run {exported.spec.digest} reads {' and '.join(exported.spec.modalities)}, but a transcript alone has no {names}; "
            "give a video, or predict with a run on text alone"
        )
    if any(t.start is None or t.end is None for t in turns):
        raise DataError(f"the run {exported.spec.digest} reads {names}, which are cut out of {media} by each turn's start and end; give turns that have both")
    found, remarks = media_features(media, turns, missing, exported, weights=weights)
    for modality, x in found.items():
        dialogue = dialogue.with_features(modality, torch.from_numpy(x))
    return dialogue, remarks


def _encoded(exported: Exported, dialogue: Dialogue) -> Dialogue:
    """``dialogue`` with text features, if the model reads some and the dialogue has none."""
    if "text" not in _feature_modalities(exported) or "text" in dialogue.features:
        return dialogue
    card = exported.features["text"]
    if card is None:
        raise DataError(
            f"the run {exported.spec.digest} was trained on the text features that came with {exported.spec.corpus}, and new texts cannot be "
            "encoded like them; train one with --features text=NAME, of `erc features text`"
        )
    return dialogue.with_features("text", torch.from_numpy(encode_like(card, dialogue.texts)))


def _feature_modalities(exported: Exported) -> list[str]:
    return [m for m in exported.spec.modalities if m != "text" or inner_encoder(exported.spec) is None]


def what_it_is_worth(exported: Exported, table: pd.DataFrame | None = None) -> list[str]:
    """What to tell whoever reads a prediction: which run, which modalities, its test score, and of what that is the score."""
    spec, corpus = exported.spec, exported.environment["corpus"]["name"]
    score = 100 * exported.metrics["test"]["weighted_f1"]
    lines = [
        f"model: {spec}, run {spec.digest}",
        f"modalities used: {', '.join(modalities_used(exported))}",
        f"its test weighted F1 is {score:.2f} % on {corpus}: another corpus than this conversation, of which no score is known",
    ]
    if table is not None and "remark" in table and (table.remark != "").any():
        lines.append(f"{(table.remark != '').sum()} of {len(table)} turns have a remark (no sound, no face): zeros stood for what was missing")
    if spec.corpus.startswith("simulated"):
        lines.append(f"{corpus} is simulated: such a model shows how a prediction is made, and says nothing about real feelings")
    return lines


def check_output(folder: Path, names: Sequence[str], *, force: bool) -> None:
    """Raises ConfigError where writing ``names`` into ``folder`` would overwrite something that was not to be."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder for the results")
    there = [n for n in names if (folder / n).exists()]
    if there and not force:
        raise ConfigError(f"{folder} holds {', '.join(there)} already; give --force to replace them, or another --output")
