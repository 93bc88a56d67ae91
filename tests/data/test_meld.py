"""MELD: what its CSV files become, and each way in which they can be wrong."""

from __future__ import annotations

import csv

import pytest
import torch

from erc_lib.data import load_corpus, meld
from erc_lib.data.convert import to_corpus
from erc_lib.errors import DataError

HEADER = ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"]


TEXT = "It\u2019s \u201cfine\u201d, really"


def row(dialogue: object, utterance: object, speaker: str = "Ann", emotion: str = "joy") -> list[str]:
    return ["1", TEXT, speaker, emotion, "positive", str(dialogue), str(utterance)]


@pytest.fixture
def folder(tmp_path):
    """Three small files: dialogue 0 of train has gaps, and its rows stand in disorder."""
    train = [row(0, 7, " Bob ", "anger"), row(0, 1, "Ann"), row(0, 9, "Bob", "neutral"), row(2, 0, "Cy", "fear")]
    write(tmp_path, "train", train)
    write(tmp_path, "dev", [row(0, 1, "Ann")])
    write(tmp_path, "test", [row(0, 1, "Dee", "disgust")])
    return tmp_path


def write(folder, split: str, rows: list[list[str]], header: list[str] = HEADER) -> None:
    with (folder / f"{split}_sent_emo.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def test_a_small_corpus_by_hand(folder):
    corpus = to_corpus("meld", meld.read(folder), meld.LABEL_NAMES, {})
    first, second = corpus.train
    assert (first.id, second.id) == ("train/dia0", "train/dia2")
    assert first.ids == ("train/dia0_utt1", "train/dia0_utt7", "train/dia0_utt9")
    assert first.speakers.tolist() == [0, 1, 1] and first.speaker_names == ("Ann", "Bob")
    assert first.labels.tolist() == [4, 6, 0] and second.labels.tolist() == [2]
    assert first.texts[0] == TEXT
    assert [d.ids for d in corpus.validation + corpus.test] == [("dev/dia0_utt1",), ("test/dia0_utt1",)]
    assert corpus.test[0].labels.tolist() == [5] and corpus.dims == {}


@pytest.mark.parametrize("column", meld.NEEDED)
def test_a_missing_column(folder, column):
    header = [h if h != column else "Other" for h in HEADER]
    write(folder, "dev", [row(0, 0)], header)
    with pytest.raises(DataError, match=f"dev_sent_emo.csv, row 1: no column '{column}'; there are Sr No.*erc data fetch"):
        meld.read(folder)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(0, 0), row(0, 1, emotion="boredom")], "row 3: unknown emotion 'boredom'; MELD's are neutral, surprise"),
        ([row(0, 0), row(1, 0), row(0, 0)], "row 4: utterance 'test/dia0_utt0' stands on row 2 already"),
        ([row(0, 0), row(0, "x")], "row 3: Utterance_ID is 'x', no whole number"),
        ([row(0, 0), row("0.5", 1)], "row 3: Dialogue_ID is '0.5', no whole number"),
        ([row(0, 0), row(0, 1, speaker="  ")], "row 3: no speaker"),
        ([row(0, 0), row(0, 1)[:4]], "row 3: 4 columns instead of 7"),
        ([], "has no utterances"),
    ],
    ids=["label", "duplicate", "utterance number", "dialogue number", "speaker", "short row", "empty"],
)
def test_bad_rows(folder, rows, message):
    write(folder, "test", rows)
    with pytest.raises(DataError) as caught:
        meld.read(folder)
    assert "test_sent_emo.csv" in str(caught.value) and message in str(caught.value)


def test_files_that_are_no_csv(folder):
    path = folder / "dev_sent_emo.csv"
    path.write_bytes("Utterance,Speaker\nIt\u2019s,Ann\n".encode("cp1252"))
    with pytest.raises(DataError, match="dev_sent_emo.csv is not UTF-8"):
        meld.read(folder)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="dev_sent_emo.csv is empty"):
        meld.read(folder)
    path.write_text('Utterance,Speaker\n"cut in a quo')
    with pytest.raises(DataError, match="dev_sent_emo.csv is cut short or no CSV file"):
        meld.read(folder)
    path.unlink()
    with pytest.raises(DataError, match="dev_sent_emo.csv does not exist"):
        meld.read(folder)


def test_every_utterance_of_the_real_corpus(from_mirror):
    """Against a second reading with the csv module, row by row."""
    corpus = load_corpus("meld")
    assert [sum(map(len, corpus.split(s))) for s in ("train", "validation", "test")] == [9989, 1109, 2610]
    assert [len(corpus.split(s)) for s in ("train", "validation", "test")] == [1038, 114, 280]
    assert corpus.class_counts().tolist() == [4710, 1205, 268, 683, 1743, 271, 1109]
    found = {}
    for split in ("train", "validation", "test"):
        for d in corpus.split(split):
            for i, utterance in enumerate(d.ids):
                found[utterance] = (d.id, d.texts[i], d.speaker_names[d.speakers[i]], corpus.label_names[d.labels[i]])
            numbers = [int(u.rsplit("utt", 1)[1]) for u in d.ids]
            assert numbers == sorted(numbers)
            assert list(dict.fromkeys(d.speakers.tolist())) == list(range(len(d.speaker_names)))
    wanted = {}
    for split in ("train", "dev", "test"):
        with (from_mirror / f"meld/{split}_sent_emo.csv").open(newline="", encoding="utf-8") as file:
            for r in csv.DictReader(file):
                dialogue = f"{split}/dia{r['Dialogue_ID']}"
                wanted[f"{dialogue}_utt{r['Utterance_ID']}"] = (dialogue, r["Utterance"], r["Speaker"].strip(), r["Emotion"])
    assert found == wanted and len(found) == 13_708
    assert "train/dia60" not in {d.id for d in corpus.train}  # MELD has none of that number
    assert max(len(d.speaker_names) for d in corpus.train) == 9


def test_the_converted_corpus_needs_no_raw_files(from_mirror, data_folder, monkeypatch):
    first = load_corpus("meld")
    monkeypatch.delenv("ERC_MIRROR")
    for path in (data_folder / "raw/meld").glob("*.csv"):
        path.unlink()  # the raw files are needed no more
    again = load_corpus("meld")
    for a, b in zip(first.test, again.test, strict=True):
        assert a.ids == b.ids and a.texts == b.texts and torch.equal(a.labels, b.labels)
    assert again.provenance["commit"] == "2d2011b409d3ca2d7e94460cd007d434b1d0a102"
