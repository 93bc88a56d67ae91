"""IEMOCAP: what its pickle becomes, and each way in which it can be wrong. No assertion here may show a transcript."""

from __future__ import annotations

import pickle

import pytest

from erc_lib.data import iemocap, load_corpus
from erc_lib.data.convert import to_corpus
from erc_lib.data.unpickle import load_pickle
from erc_lib.errors import DataError


def content() -> list:
    """A corpus of three invented dialogues, in the published file's form."""
    speakers = {"a": ["F", "M", "F"], "b": ["M"], "c": ["M", "F"]}
    labels = {"a": [0, 5, 2], "b": [1], "c": [3, 4]}
    texts = {"a": ["x", "y", "z"], "b": ["u"], "c": ["v", "w"]}
    return [speakers, labels, texts, ["a"], ["c"], ["b"]]


def read(folder, changed: object):
    (folder / "iemocap.pkl").write_bytes(pickle.dumps(changed))
    return iemocap.read(folder)


def test_a_small_corpus_by_hand(tmp_path):
    corpus = to_corpus("iemocap", read(tmp_path, content()), iemocap.LABEL_NAMES, {})
    (a,), (b,), (c,) = corpus.train, corpus.validation, corpus.test
    assert (a.id, b.id, c.id) == ("a", "b", "c")
    assert a.ids == ("a/0", "a/1", "a/2") and a.texts == ("x", "y", "z")
    assert a.speakers.tolist() == [0, 1, 0] and a.speaker_names == ("F", "M")
    assert c.speakers.tolist() == [0, 1] and c.speaker_names == ("M", "F")
    assert a.labels.tolist() == [0, 5, 2] and corpus.label_names[5] == "frustrated"


def put(part: int, dialogue: str, value: object):
    def change(corpus):
        corpus[part][dialogue] = value
    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(1, "a", [0, 6, 2]), "dialogue 'a', utterance 1: unknown label 6; known are 0 to 5"),
        (put(1, "a", [0, -1, 2]), "dialogue 'a', utterance 1: unknown label -1"),
        (put(1, "a", [0, "hap", 2]), "dialogue 'a', utterance 1: unknown label 'hap'"),
        (put(0, "c", ["M", "X"]), "dialogue 'c', utterance 1: unknown speaker 'X'"),
        (put(2, "b", [7]), "dialogue 'b', utterance 0: the transcript is no string but int"),
        (put(2, "a", ["secret", "words"]), "dialogue 'a' has 3 speakers, 3 labels and 2 transcripts"),
        (lambda c: [c[k].update(b=[]) for k in range(3)], "dialogue 'b' has no utterances"),
        (lambda c: c[1].pop("b"), "dialogue 'b', which is listed for validation, has no labels"),
        (lambda c: c[4].append("a"), "dialogue 'a' stands in train and again in test"),
        (lambda c: c.pop(), "is not a list of three dictionaries"),
        (lambda c: c.__setitem__(3, {"a"}), "is not a list of three dictionaries"),
    ],
    ids=["label", "negative", "no number", "speaker", "text", "lengths", "empty", "absent", "duplicate", "five parts", "a set"],
)
def test_bad_content(tmp_path, change, message):
    changed = content()
    change(changed)
    with pytest.raises(DataError) as caught:
        read(tmp_path, changed)
    text = str(caught.value)
    assert str(tmp_path / "iemocap.pkl") in text and message in text and "erc data fetch iemocap" in text
    assert "secret" not in text and "words" not in text


def test_the_real_corpus(from_mirror):
    corpus = load_corpus("iemocap")
    assert [len(corpus.split(s)) for s in ("train", "validation", "test")] == [108, 12, 31]
    assert [sum(map(len, corpus.split(s))) for s in ("train", "validation", "test")] == [5163, 647, 1623]
    # happy, sad, neutral, angry, excited, frustrated: the counts that the papers report
    assert corpus.class_counts("test").tolist() == [144, 245, 384, 170, 299, 381]
    assert all(d.id.startswith("Ses05") for d in corpus.test)  # the test set is the fifth session, and only that
    assert not any(d.id.startswith("Ses05") for d in corpus.train + corpus.validation)
    speakers, labels, texts, *_ = load_pickle(from_mirror / "iemocap/iemocap.pkl")
    for split in ("train", "validation", "test"):
        for d in corpus.split(split):
            same = (
                list(d.texts) == texts[d.id], d.labels.tolist() == labels[d.id],
                [d.speaker_names[s] for s in d.speakers] == speakers[d.id], int(d.speakers[0]) == 0,
            )
            assert same == (True, True, True, True), d.id


def test_a_count_that_differs_is_noticed(from_mirror, monkeypatch):
    monkeypatch.setattr(iemocap, "COUNTS", {**iemocap.COUNTS, "test": 1622})
    with pytest.raises(DataError, match="1,622 test utterances, but 5,163 train, 647 validation, 1,623 test were read"):
        load_corpus("iemocap")
