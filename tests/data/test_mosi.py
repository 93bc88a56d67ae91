"""MOSI: how its nine files belong together, its drawn validation set, and each way in which the files can be wrong."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from erc_lib.data import load_corpus, mosi
from erc_lib.data.convert import draw_validation, to_corpus
from erc_lib.errors import ConfigError, DataError

# the rows of transcripts.csv (sorted as text, so 10 before 2), and which of them stand in which order in the split files
TRANSCRIPTS = [("a_1", 1), ("a_10", 0), ("a_2", 1), ("b_c_1", 0), ("b_c_2", 1)]
ROWS = {"train": [2, 0, 1], "test": [4, 3]}


def value(utterance: int, modality: str, column: int) -> float:
    return utterance * 1000 + {"text": 0, "audio": 100, "visual": 200}[modality] + column / 8


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "transcripts.csv", [[name, f"words of {name}", "1", str(label)] for name, label in TRANSCRIPTS])
    for split, rows in ROWS.items():
        for modality, width in mosi.DIMS.items():
            lines = [[value(u, modality, c) for c in range(width)] for u in rows]
            labelled = [[*x, TRANSCRIPTS[u][1]] for x, u in zip(lines, rows, strict=True)]
            write(tmp_path / f"{mosi.FILES[modality]}_{split}0.csv", labelled)
            if modality == "text":
                write(tmp_path / f"text_{split}.csv", [[u, *x] for x, u in zip(lines, rows, strict=True)])
    return tmp_path


def write(path, rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)


def lines_of(path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def edit(path, row: int, column: int, text: str) -> None:
    rows = lines_of(path)
    rows[row][column] = text
    write(path, rows)


def test_a_small_corpus_by_hand(folder):
    corpus = to_corpus("mosi", mosi.read(folder), mosi.LABEL_NAMES, {})
    (a,), (b,) = corpus.train, corpus.test
    assert a.id == "a" and a.ids == ("a_1", "a_2", "a_10") and a.labels.tolist() == [1, 1, 0]
    assert b.id == "b_c" and b.ids == ("b_c_1", "b_c_2") and b.labels.tolist() == [0, 1]
    assert a.texts == ("words of a_1", "words of a_2", "words of a_10")
    assert a.speakers.tolist() == [0, 0, 0] and a.speaker_names == ("speaker",)
    assert corpus.dims == {"text": 100, "audio": 73, "visual": 100}
    for modality in mosi.DIMS:
        for position, utterance in enumerate([0, 2, 1]):  # rows of transcripts.csv
            assert a.features[modality][position, 3].item() == value(utterance, modality, 3)


@pytest.mark.parametrize(
    ("file", "row", "column", "text", "message"),
    [
        ("audio_train0.csv", 1, 4, "nan", "row 2, column 5: 'nan' is no finite number"),
        ("video_test0.csv", 0, 0, "-inf", "row 1, column 1: '-inf' is no finite number"),
        ("audio_test0.csv", 1, 72, "much", "row 2, column 73: 'much' is no finite number"),
        ("video_train0.csv", 2, -1, "2", "row 3: unknown label 2"),
        ("transcripts.csv", 1, 3, "-1", "row 2: unknown label -1"),
        ("video_train0.csv", 2, -1, "1", "row 3: the label is 1, but transcripts.csv says 0 for 'a_10'"),
        ("transcripts.csv", 1, 0, "a_1", "row 2: utterance 'a_1' stands there a second time"),
        ("transcripts.csv", 2, 0, "a", "row 3: 'a' is no id <video>_<n>"),
        ("text_test.csv", 1, 0, "5", "row 2: 5.0 is no row of transcripts.csv, which has 0 to 4"),
        ("text_test.csv", 0, 0, "1.5", "row 1: 1.5 is no row of transcripts.csv"),
        ("text_train.csv", 1, 0, "2", "row 2: utterance 2 of transcripts.csv was named by"),
        ("text_test.csv", 1, 0, "1", "row 2: utterance 1 of transcripts.csv was named by"),
        ("text_train0.csv", 1, 7, "0.5", "row 2: other text features than on that row of text_train.csv"),
    ],
)
def test_bad_values(folder, file, row, column, text, message):
    edit(folder / file, row, column, text)
    with pytest.raises(DataError) as caught:
        mosi.read(folder)
    assert str(folder / file) in str(caught.value) and message in str(caught.value)


def test_bad_shapes(folder):
    path = folder / "audio_train0.csv"
    rows = lines_of(path)
    write(path, [r[1:] for r in rows])
    with pytest.raises(DataError, match="audio_train0.csv, row 1: 73 columns instead of 74"):
        mosi.read(folder)
    write(path, [rows[0], rows[1][:50], rows[2]])
    with pytest.raises(DataError, match="audio_train0.csv, row 2: 50 columns instead of 74"):
        mosi.read(folder)
    write(path, [rows[0], [*rows[1], "1"], rows[2]])
    with pytest.raises(DataError, match="audio_train0.csv, row 2: 75 columns instead of 74"):
        mosi.read(folder)
    write(path, rows[:2])
    with pytest.raises(DataError, match="audio_train0.csv has 2 rows for 3 utterances"):
        mosi.read(folder)
    path.write_text("")
    with pytest.raises(DataError, match="audio_train0.csv is empty"):
        mosi.read(folder)
    path.unlink()
    with pytest.raises(DataError, match="audio_train0.csv does not exist"):
        mosi.read(folder)
    write(folder / "transcripts.csv", [["a_1", "words", "1"]])
    with pytest.raises(DataError, match="transcripts.csv, row 1: 3 columns instead of 4"):
        mosi.read(folder)


def test_the_real_corpus_row_by_row(from_mirror):
    """Against a second reading with the csv module."""
    corpus = load_corpus("mosi")
    raw = from_mirror / "mosi"
    transcripts = lines_of(raw / "transcripts.csv")
    wanted = {}
    for split in ("train", "test"):
        files = {m: lines_of(raw / f"{mosi.FILES[m]}_{split}0.csv") for m in mosi.DIMS}
        for k, indexed in enumerate(lines_of(raw / f"text_{split}.csv")):
            name, words, _, label = transcripts[int(float(indexed[0]))]
            wanted[name] = split, words, int(label), {m: np.array(files[m][k][:-1], dtype=np.float32) for m in mosi.DIMS}
    count = 0
    for split, published in (("train", "train"), ("validation", "train"), ("test", "test")):
        for d in corpus.split(split):
            numbers = [int(u.removeprefix(d.id + "_")) for u in d.ids]
            assert numbers == sorted(numbers)
            for i, utterance in enumerate(d.ids):
                where, words, label, features = wanted[utterance]
                assert (where, words, label) == (published, d.texts[i], int(d.labels[i]))
                assert all(np.array_equal(d.features[m][i].numpy(), features[m]) for m in mosi.DIMS)
                count += 1
    assert count == len(wanted) == 2199
    assert len(corpus.train) + len(corpus.validation) == 62 and len(corpus.test) == 31
    assert sum(map(len, corpus.train + corpus.validation)) == 1447 and sum(map(len, corpus.test)) == 752


def test_the_validation_set_is_drawn_by_seed(from_mirror):
    def drawn(seed):
        return {d.id for d in load_corpus("mosi", seed=seed).validation}

    assert all(len(drawn(seed)) == 6 for seed in range(4))
    assert drawn(1) == drawn(1) and len({frozenset(drawn(seed)) for seed in range(4)}) == 4
    assert load_corpus("mosi").provenance["validation_videos"] == sorted(drawn(0))
    assert draw_validation(np.array(["b", "a"] * 10), 3) == draw_validation(np.array(["a", "b"] * 10), 3)



@pytest.mark.parametrize("seed", [-1, 1.5, "0", True])
def test_a_seed_that_is_none(seed):
    with pytest.raises(ConfigError, match="seed must be a whole number"):
        load_corpus("mosi", seed=seed)
