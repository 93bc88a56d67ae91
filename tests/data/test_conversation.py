"""Dialogue and Corpus: what they hold, and every way in which they refuse bad data."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from erc_lib.data import Corpus, Dialogue
from erc_lib.errors import DataError


def dialogue(name: str = "d", length: int = 3, **changes) -> Dialogue:
    values = {
        "id": name,
        "speakers": torch.arange(length) % 2,
        "labels": torch.arange(length) % 2,
        "features": {"text": torch.arange(4.0 * length).reshape(length, 4), "audio": torch.ones(length, 2)},
    }
    return Dialogue(**(values | changes))


def corpus(*train: Dialogue, **changes) -> Corpus:
    values = {"name": "toy", "train": list(train), "validation": [], "test": [], "label_names": ("no", "yes")}
    return Corpus(**(values | changes))


def test_what_a_dialogue_fills_in():
    d = dialogue("d", 3)
    assert len(d) == 3 and d.ids == ("d/0", "d/1", "d/2") and d.texts == ("", "", "") and d.speaker_names == ()


def test_features_are_added_and_left_out_in_a_copy():
    d = dialogue()
    x = torch.zeros(3, 7)
    more = d.with_features("visual", x)
    assert list(more.features) == ["text", "audio", "visual"] and more.features["visual"] is x
    assert list(d.features) == ["text", "audio"]
    assert list(more.only(["visual", "text"]).features) == ["visual", "text"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        d.id = "other"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speakers": torch.zeros(0).long()}, "dialogue 'd' has no utterances"),
        ({"labels": torch.zeros(2).long()}, "has 3 speakers but 2 labels"),
        ({"texts": ("a",)}, "has 3 speakers but 1 texts"),
        ({"ids": ("a", "b", "c", "d")}, "has 3 speakers but 4 ids"),
        ({"features": {"audio": torch.ones(2, 5)}}, "has 3 speakers but 2 features['audio']"),
        ({"features": {"smell": torch.ones(3, 5)}}, "unknown modality 'smell'; known are text, audio, visual"),
        ({"features": {"text": torch.ones(3)}}, "text features must be a float tensor (L, D), not torch.float32 (3,)"),
        ({"features": {"text": torch.ones(3, 2).long()}}, "text features must be a float tensor (L, D), not torch.int64"),
        ({"features": {"text": torch.tensor([[1.0], [float("nan")], [1.0]])}}, "text features of utterance 'd/1' hold NaN"),
        ({"features": {"text": torch.tensor([[1.0], [1.0], [-float("inf")]])}}, "text features of utterance 'd/2' hold NaN"),
        ({"speaker_names": ("Ann",)}, "numbers its speakers 0 to 1 but names 1"),
        ({"speaker_names": ("Ann", "Bob", "Cy")}, "numbers its speakers 0 to 1 but names 3"),
    ],
)
def test_a_bad_dialogue(changes, message):
    with pytest.raises(DataError) as caught:
        dialogue(**changes)
    assert "dialogue 'd'" in str(caught.value) and message in str(caught.value)


def test_the_names_of_speakers_are_kept():
    d = dialogue(speaker_names=("Ann", "Bob"))
    assert d.with_features("visual", torch.ones(3, 1)).speaker_names == ("Ann", "Bob")
    assert d.only(["text"]).speaker_names == ("Ann", "Bob")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train": [dialogue("a"), dialogue("b", ids=("b/0", "a/1", "b/2"))]},
            "utterance id 'a/1' stands in dialogue 'a' and again in 'b'",
        ),
        ({"train": [dialogue("a")], "test": [dialogue("a")]}, "utterance id 'a/0' stands in dialogue 'a' and again in 'a'"),
        ({"train": [dialogue("a", ids=("x", "y", "x"))]}, "utterance id 'x' stands in dialogue 'a' and again in 'a'"),
        (
            {"train": [dialogue("a")], "validation": [dialogue("b", features={"text": torch.ones(3, 5)})]},
            "text features are 5 wide in dialogue 'b' but 4 in 'a'",
        ),
        ({"train": [dialogue("a", labels=torch.tensor([0, 2, 1]))]}, "utterance 'a/1' has the label 2, outside 0 .. 1 (no, yes)"),
        ({"test": [dialogue("a", labels=torch.tensor([0, 1, -100]))]}, "utterance 'a/2' has the label -100"),
    ],
    ids=["id in two dialogues", "id in two splits", "id twice in one", "width", "label too large", "label too small"],
)
def test_a_bad_corpus(change, message):
    with pytest.raises(DataError) as caught:
        corpus(**change)
    assert "corpus 'toy'" in str(caught.value) and message in str(caught.value)


def test_labels_may_be_dimensions():
    assert len(corpus(dialogue(labels=torch.full((3, 4), -7.5))).train) == 1


def test_dims_are_those_every_dialogue_has():
    a, b = dialogue("a"), dialogue("b")
    assert corpus(a, b).dims == {"text": 4, "audio": 2}
    assert corpus(a, test=[b.only(["audio"])]).dims == {"audio": 2}
    assert corpus().dims == {}


def test_class_counts_by_split():
    c = corpus(dialogue("a", 3), dialogue("b", 2), test=[dialogue("c", 1)], label_names=("no", "yes", "never"))
    assert c.class_counts().tolist() == [3, 2, 0] and c.class_counts("test").tolist() == [1, 0, 0] and c.classes == 3


def test_an_utterance_without_the_modality_that_is_needed():
    c = corpus(dialogue("a"), test=[dialogue("b").only(["text"])])
    with pytest.raises(DataError, match=r"'b/0' \(test\) has no audio features, .*it has text. Extract .* or leave audio out"):
        c.only(["text", "audio"])
    assert c.only(["text"]).dims == {"text": 4}


def test_a_split_of_another_name():
    with pytest.raises(DataError, match="no split 'dev'; there are train, validation, test"):
        corpus().split("dev")


def test_map_changes_every_split():
    c = corpus(dialogue("a"), validation=[dialogue("b")], test=[dialogue("c")])
    changed = c.map(lambda d: d.with_features("visual", torch.ones(len(d), 9)))
    assert changed.dims["visual"] == 9 and "visual" not in c.dims
