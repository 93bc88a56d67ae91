"""One's own corpus in a folder: what is read, and that every fault of it is named, all at once."""

from __future__ import annotations

import re

import pytest

from erc_lib.data import PADDING_LABEL, SPLITS, load_corpus
from erc_lib.data.folder import SHOWN, check_folder, folder_digest, load_dialogues, load_folder
from erc_lib.errors import ConfigError, DataError
from erc_lib.paths import REPOSITORY

HEADER = "dialogue,order,speaker,text,split,label,start,end,media\n"
ROWS = [
    "d1,2,Ben,I am fine.,train,joy,0:00:03.5,5,clip.mp4",
    'd1,1,Anna,"Well, hello?",train,neutral,1,3,clip.mp4',
    "d2,10,Cleo,No!,validation,anger,,,",
    "d3,1,Ben,Yes.,test,joy,,,",
    "d3,2,Ben,Really.,test,anger,,,",
]
AUDIO = "dialogue,order,pitch,energy\nd1,1,1,0.5\nd1,2,2,0.5\nd2,10,3,0.5\nd3,2,5,0.5\nd3,1,4,0.5\n"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "family-dinners"
    (path / "features").mkdir(parents=True)
    (path / "utterances.csv").write_text(HEADER + "\n".join(ROWS) + "\n", "utf-8")
    (path / "labels.txt").write_text("neutral\njoy\nanger\n", "utf-8")
    (path / "features" / "audio.csv").write_text(AUDIO, "utf-8")
    (path / "clip.mp4").write_bytes(b"")
    return path


def rewrite(folder, rows, header=HEADER):
    (folder / "utterances.csv").write_text(header + "\n".join(rows), "utf-8")


def test_a_corpus_by_hand(folder):
    assert check_folder(folder) == []
    corpus = load_corpus("folder", path=str(folder))
    assert corpus.name == "family-dinners" and corpus.label_names == ("neutral", "joy", "anger") and corpus.dims == {"audio": 2}
    assert [[d.id for d in corpus.split(s)] for s in ("train", "validation", "test")] == [["d1"], ["d2"], ["d3"]]
    d = corpus.train[0]
    assert d.ids == ("d1/1", "d1/2") and d.texts == ("Well, hello?", "I am fine.") and d.speaker_names == ("Anna", "Ben")
    assert d.labels.tolist() == [0, 1] and d.features["audio"].tolist() == [[1.0, 0.5], [2.0, 0.5]]
    assert corpus.test[0].features["audio"][:, 0].tolist() == [4.0, 5.0]  # joined by dialogue and order, not by the row
    assert corpus.provenance["sha256"] == folder_digest(folder)


def test_the_smallest_table_is_all_test_and_needs_labels_only_to_be_scored(folder):
    (folder / "labels.txt").unlink(), (folder / "features" / "audio.csv").unlink()
    rewrite(folder, ["d,1,Anna,Hello.", "d,2,Ben,Hi."], "dialogue,order,speaker,text\n")
    assert check_folder(folder) == []
    (d,) = load_dialogues(folder)
    assert d.labels.tolist() == [PADDING_LABEL] * 2
    with pytest.raises(DataError, match=r"row 2: no label, as in 2 of 2 rows; .*load_dialogues"):
        load_folder(folder)
    rewrite(folder, ["d,1,Anna,Hello.,joy", "d,2,Ben,Hi.,anger"], "dialogue,order,speaker,text,label\n")
    corpus = load_folder(folder)
    assert corpus.label_names == ("anger", "joy") and not corpus.train and len(corpus.test) == 1
    rewrite(folder, ["d,1,Anna,Hello.,joy"], "dialogue,order,speaker,text,label\n")
    with pytest.raises(DataError, match="1 class of label; a corpus needs at least two"):
        load_folder(folder)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (",7,Ben,Hi.,test,joy,,,", "no dialogue"),
        ("d4,7,,Hi.,test,joy,,,", "no speaker"),
        ("d4,7,Ben,,test,joy,,,", "no text; write what is heard"),
        ("d4,1.5,Ben,Hi.,test,joy,,,", "order is '1.5', no whole number"),
        (f"d4,{5000 * '1'},Ben,Hi.,test,joy,,,", "order is '1111111111111111111111111111111111111111', no whole number of at most 18 digits"),
        (f"d4,1,Ben,Hi.,test,joy,,,{300 * 'a'}.mp4", "cannot be looked for (File name too long); correct the path"),
        ("d3,2,Ben,Hi.,test,joy,,,", "dialogue 'd3' has order 2 on row 6 already"),
        ("d3,3,Ben,Hi.,train,joy,,,", "dialogue 'd3' is 'train' here but 'test' on row 5"),
        ("d4,1,Ben,Hi.,dev,joy,,,", "split is 'dev'; did you mean 'validation'"),
        ("d4,1,Ben,Hi.,,joy,,,", "split is ''; write train, validation, test, or leave the whole column out"),
        ("d4,1,Ben,Hi.,test,jy,,,", "label 'jy' does not stand in labels.txt; did you mean 'joy'"),
        ("d4,1,Ben,Hi.,test,joy,soon,,", "start 'soon' is no time"),
        ("d4,1,Ben,Hi.,test,joy,5,4,", "it ends at 4 s, not after its start at 5 s"),
        ("d4,1,Ben,Hi.,test,joy,,,no.mp4", "there is no file 'no.mp4' in the folder"),
        ("d1,3,Ben,Hi.,train,joy,0.5,1,clip.mp4", "it starts at 0.5 s, before order 2 (row 2, 3.5 s)"),
        ("d4,1,Ben,Well, no.,test,joy,,,", "10 fields instead of 9; put a text that holds commas into quotes"),
    ],
)
def test_a_fault_of_a_row(folder, row, message):
    (folder / "features" / "audio.csv").unlink()
    rewrite(folder, [*ROWS, row])
    (fault,) = check_folder(folder)
    assert f"{folder / 'utterances.csv'}, row 7: " in fault and message in fault
    with pytest.raises(DataError, match="1 fault: "):
        load_folder(folder)
    with pytest.raises(DataError, match="1 fault: "):
        load_dialogues(folder)


def test_starts_in_clips_of_their_own_say_nothing_of_the_order(folder):
    (folder / "features" / "audio.csv").unlink()
    (folder / "other.mp4").write_bytes(b"")
    rewrite(folder, [*ROWS, "d1,3,Ben,Hi.,train,joy,0.5,1,other.mp4"])
    assert check_folder(folder) == []


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("dialogue,order,speaker,txt\n", "no column is called 'txt'; did you mean 'text'"),
        ("dialogue,order,speaker\n", "the column 'text' is missing"),
        ("dialogue,order,speaker,text,text\n", "there are 2 columns 'text'; keep one"),
        ("dialogue;order;speaker;text\n", "separated by semicolons"),
    ],
)
def test_a_fault_of_the_header(folder, header, message):
    rewrite(folder, ROWS, header)
    faults = [f for f in check_folder(folder) if "utterances.csv" in f]
    assert any(message in f and "row 1" in f for f in faults), faults


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("d1,1,1,0.5", "d1,1,nan,0.5"), "row 2, column 3: 'nan' is no finite number"),
        (("d1,1,1,0.5", "d1,1,1,loud"), "row 2, column 4: 'loud' is no finite number"),
        (("d1,1,1,0.5", "d1,1,1"), "row 2: 3 fields instead of 4"),
        (("d1,1,1,0.5", "d9,1,1,0.5"), "row 2: dialogue 'd9', order '1' is no row of utterances.csv"),
        (("d1,1,1,0.5", f"d1,{5000 * '1'},1,0.5"), "' is no row of utterances.csv"),
        (("d1,1,1,0.5", "d1,2,1,0.5"), "row 3: utterance 'd1/2' stands there a second time"),
        (("d1,1,1,0.5\n", ""), "no features of utterance 'd1/1' (row 3 of utterances.csv)"),
        (("dialogue,order", "id,order"), "row 1: the columns must be dialogue, order, and one or more of numbers"),
    ],
)
def test_a_fault_of_the_features(folder, change, message):
    path = folder / "features" / "audio.csv"
    path.write_text(AUDIO.replace(*change), "utf-8")
    faults = check_folder(folder)
    assert any(str(path) in f and message in f for f in faults), faults


def test_other_files(folder, tmp_path):
    (folder / "features" / "sound.csv").write_text(AUDIO)
    (folder / "labels.txt").write_text("neutral\n\njoy\njoy\nanger")
    faults = check_folder(folder)
    assert len(faults) == 3 and "line 2: it is empty" in faults[0] and "line 4: 'joy' stands there a second time" in faults[1]
    assert "features lie in text.csv, audio.csv, visual.csv" in faults[2]
    assert "is no folder" in check_folder(tmp_path / "nowhere")[0]
    (tmp_path / "meld").mkdir()
    named, empty = check_folder(tmp_path / "meld")
    assert "rename the folder" in named and "utterances.csv does not exist" in empty
    (folder / "utterances.csv").write_text(HEADER)
    assert "has a header but no rows" in check_folder(folder)[2]
    (folder / "utterances.csv").write_bytes(b"dialogue,order\n\xe9")
    assert "line 2: byte 0xe9 is not UTF-8" in check_folder(folder)[2]


def test_all_faults_are_listed_and_an_error_shows_the_first(folder):
    (folder / "features" / "audio.csv").unlink()
    rewrite(folder, [*ROWS, *(f"d4,{i},,Hi.,dev,joy,,," for i in range(30)), ",,,,,,,,", "d5,1,Ben,Hi.,test,joy,,,", ",,,,,,,,"])
    faults = check_folder(folder)
    assert len(faults) == 61 and "row 37: it is empty" in faults[-1]  # a last empty row is what spreadsheets leave, and no fault
    with pytest.raises(DataError, match=f"61 faults: .*; and {61 - SHOWN} more: `erc data check .*` lists them all") as caught:
        load_folder(folder)
    assert "\n" not in str(caught.value)


def test_the_option_is_needed():
    with pytest.raises(ConfigError, match="corpus 'folder' needs the option 'path'"):
        load_corpus("folder")
    with pytest.raises(ConfigError, match="did you mean 'path'"):
        load_corpus("folder", pth="x")


def test_the_worked_example_of_the_book(tmp_path):
    """The page's table is sound, and its three faults are the ones it prints."""
    page = (REPOSITORY / "book" / "your-data.md").read_text(encoding="utf-8")
    table = re.search(r"```text\n(dialogue,order.*?)```", page, flags=re.DOTALL)[1]
    folder = tmp_path / "family-dinners"
    (folder / "clips").mkdir(parents=True)
    (folder / "clips" / "monday.mp4").write_bytes(b"")
    (folder / "utterances.csv").write_text(table, encoding="utf-8")
    (folder / "labels.txt").write_text("neutral\njoy\nanger\n")
    corpus = load_folder(folder)
    assert [len(corpus.split(s)) for s in SPLITS] == [1, 1, 1]
    rows = table.splitlines()
    rows[2] = rows[2].replace("train", "dev")
    rows[4] = rows[4].replace("joy", "jy")
    rows[6] = rows[6].replace("friday,2", "friday,1")
    (folder / "utterances.csv").write_text("\n".join(rows), encoding="utf-8")
    printed = re.search(r"```text\n(family-dinners/utterances.csv, row 3.*?)erc:", page, flags=re.DOTALL)[1].splitlines()
    faults = [f.removeprefix(f"{tmp_path}/") for f in check_folder(folder)]
    for line in printed:
        assert line in faults, faults
