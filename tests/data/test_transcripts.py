"""Transcripts in every form, and each way in which one can be wrong: one line that names the place."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from erc_lib.data import PADDING_LABEL
from erc_lib.data.text_files import parse_time
from erc_lib.data.transcripts import Turn, read_transcript, to_dialogue
from erc_lib.errors import DataError

SRT = """1
00:00:01,000 --> 00:00:02,500
Anna: Where <i>were</i> you?

2
00:00:03,000 --> 00:00:04,000 X1:40 X2:600
{\\an8}At home,
all evening.

101:00:00.5 --> 101:00:01,5
BEN: remember this: no.
"""
TURNS = [Turn("Anna", "Where were you?", 1.0, 2.5), Turn("unknown", "At home, all evening.", 3.0, 4.0), Turn("BEN", "remember this: no.", 363600.5, 363601.5)]


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_subtitles(tmp_path, encoding, ends):
    assert read_transcript(write(tmp_path, "a.srt", SRT.replace("\n", ends).encode(encoding))) == TURNS


@pytest.mark.parametrize(
    ("words", "spoken"),
    [
        ("Anna: Hi.\nBen: Bye.", [("Anna", "Hi."), ("Ben", "Bye.")]),
        ("- Anna: Hi,\nyou.\n-Ben: Bye.", [("Anna", "Hi, you."), ("Ben", "Bye.")]),
        ("<i>- Hi.</i>\n- Ben: Bye.", [("unknown", "Hi."), ("Ben", "Bye.")]),
        ("\u2013 Anna: Hi.\n\u2013 Bye.", [("Anna", "Hi."), ("unknown", "Bye.")]),
        ("Anna: It was\n-5 degrees.", [("Anna", "It was -5 degrees.")]),
        ("Anna:\nHi.\nBen:\nBye.", [("Anna", "Hi."), ("Ben", "Bye.")]),
        ("Anna:\nBen: Bye.", [("Anna", "Ben: Bye.")]),
        ("Anna: I saw\nBen:", [("Anna", "I saw Ben:")]),
        ("- Anna: Hi.", [("Anna", "Hi.")]),
        ("-Anna: Hi.", [("Anna", "Hi.")]),
        ("- Hi.\n- Bye.", [("unknown", "- Hi. - Bye.")]),  # nothing says who they are
        ("I have one thing\nLeft: you.", [("unknown", "I have one thing Left: you.")]),
        ("I <3 you and 5 > 4", [("unknown", "I <3 you and 5 > 4")]),
        ("{\\an8}<B>Anna</B>: <font color='red'>a</font> <u>b</u> <c>", [("Anna", "a b <c>")]),
    ],
)
def test_who_speaks_in_a_cue(tmp_path, words, spoken):
    path = write(tmp_path, "a.srt", f"1\n00:00:01,000 --> 00:00:02,000\n{words}\n")
    assert read_transcript(path) == [Turn(speaker, text, 1.0, 2.0) for speaker, text in spoken]


def test_a_table(tmp_path):
    path = write(tmp_path, "a.csv", '\ufeffspeaker,text,start,end\nAnna,"Well, ""no"".",1:05,66.5\nBen,Hé,,\n\n')
    assert read_transcript(path) == [Turn("Anna", 'Well, "no".', 65.0, 66.5), Turn("Ben", "Hé")]


@pytest.mark.parametrize("wrap", [lambda turns: turns, lambda turns: {"turns": turns}])
def test_json(tmp_path, wrap):
    turns = [{"speaker": "Anna", "text": "Hello.", "start": 1, "end": "0:02"}, {"speaker": "Ben", "text": "Hi."}]
    assert read_transcript(write(tmp_path, "a.json", json.dumps(wrap(turns)))) == [Turn("Anna", "Hello.", 1.0, 2.0), Turn("Ben", "Hi.")]


def test_plain_text(tmp_path):
    text = "Anna: Hello.\n  It is 10:30, you know.\n\n[00:01:02] Dr. Ben Ott: [laughs] Hi.\nanna:\nBye.\n"
    found = read_transcript(write(tmp_path, "a.txt", text))
    assert found == [Turn("Anna", "Hello. It is 10:30, you know."), Turn("Dr. Ben Ott", "[laughs] Hi.", 62.0), Turn("anna", "Bye.")]


def test_a_video_takes_the_subtitles_beside_it(tmp_path):
    write(tmp_path, "film.srt", SRT)
    assert read_transcript(write(tmp_path, "film.mp4", b"not read")) == TURNS


def video(path, cues=()):
    """A video of one grey second, with ``cues`` (start in ms, words) as a stream of subtitles."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 32
        picture.pix_fmt = "yuv420p"
        words = container.add_mux_stream("subrip") if cues else None
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 128, np.uint8), format="rgb24")
            for packet in picture.encode(frame):
                container.mux(packet)
        for packet in picture.encode():
            container.mux(packet)
        for start, text in cues:
            packet = av.Packet(text.encode())
            packet.stream = words
            packet.time_base = Fraction(1, 1000)
            packet.pts = packet.dts = start
            packet.duration = 400
            container.mux(packet)
    return path


def test_a_video_with_subtitles_inside(tmp_path):
    found = read_transcript(video(tmp_path / "film.mkv", [(0, "Anna: <i>Hello,</i>\nyou.\nBen: Yes."), (500, "Hi.")]))
    assert found == [Turn("Anna", "Hello, you.", 0.0, 0.4), Turn("Ben", "Yes.", 0.0, 0.4), Turn("unknown", "Hi.", 0.5, 0.9)]


def test_a_video_without_subtitles(tmp_path):
    with pytest.raises(DataError, match=r"film.mkv has no subtitles, neither inside nor beside it; put film.srt beside it"):
        read_transcript(video(tmp_path / "film.mkv"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.docx", "x", "a transcript is a file .csv, .json, .srt, .txt, or a video"),
        ("a", "x", "not 'one without an ending'"),
        ("a.txt", "", "a.txt is empty; write at least one turn"),
        ("a.txt", " \n\n", "a.txt is empty"),
        ("a.txt", "Anna: Hi.\nBen: Caf\xe9".encode("latin-1"), "a.txt, line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("a.txt", "Anna: Hi.".encode("utf-16"), "a.txt is UTF-16, not UTF-8"),
        ("a.txt", b"Anna: \0", "holds zero bytes"),
        ("a.txt", "\nHello there\nAnna: Hi.", "a.txt, line 2: 'Hello there' has no speaker; begin the line of each turn with 'Name: '"),
        ("a.txt", "Anna: Hi.\n\nBen:\n", "a.txt, line 3: no words"),
        ("a.txt", "Anna: Hi.\n[00:61:00] Ben: Hi.", "a.txt, line 2: start '00:61:00' is no time; write seconds (12.5) or hours:minutes:seconds"),
        ("a.csv", "speaker,text\n", "has a header but no turns"),
        ("a.csv", "speaker,words\nAnna,Hi.", "a.csv, row 1: a transcript has no column 'words'"),
        ("a.csv", "speaker,txet\nAnna,Hi.", "did you mean 'text'"),
        ("a.csv", "speaker\nAnna", "a.csv, row 1: no column 'text'"),
        ("a.csv", "speaker,text,text\nA,b,c", "two columns 'text'"),
        ("a.csv", "speaker;text\nAnna;Hi.", "separated by semicolons; save it with commas"),
        ("a.csv", "speaker,text\nAnna,Hi.\nBen,Well, no.", "a.csv, row 3: 3 fields instead of 2"),
        ("a.csv", 'speaker,text\nAnna,"Hi.', "a.csv is no CSV file"),
        ("a.csv", "speaker,text\n,Hi.", "a.csv, row 2: no speaker"),
        ("a.csv", "speaker,text,start,end\nAnna,Hi.,5,4", "a.csv, row 2: it ends at 4 s, not after its start at 5 s"),
        ("a.csv", "speaker,text,end\nAnna,Hi.,-4", "a.csv, row 2: end '-4' is no time"),
        ("a.json", '[\n{"speaker": "Anna",}]', "a.json, line 2: no JSON"),
        ("a.json", "[]", "it must hold a list of turns"),
        ("a.json", '["Anna"]', "a.json, turn 1: not an object"),
        ("a.json", '[{"speaker": "Anna", "text": "Hi."}, {"speker": "Ben"}]', "a.json, turn 2: a turn has no 'speker'; did you mean 'speaker'"),
        ("a.json", '[{"speaker": 1, "text": "Hi."}]', "a.json, turn 1: its speaker is 1, no text"),
        ("a.json", '[{"speaker": "Anna"}]', "a.json, turn 1: no words"),
        ("a.json", '[{"speaker": "Anna", "text": "Hi.", "start": "soon"}]', "a.json, turn 1: start 'soon' is no time"),
        ("a.srt", "1\n00:00:01 -> 00:00:02\nHi.", "a.srt, line 2: '00:00:01 -> 00:00:02' is no line of times"),
        ("a.srt", "1\n00:00:01,0 --> 00:00:72,0\nHi.", "a.srt, line 2: end '00:00:72,0' is no time"),
        ("a.srt", "1\n1 --> 2\nHi.", "a.srt, line 2: '1' is no time of a subtitle"),
        ("a.srt", "1\n00:00:02,0 --> 00:00:01,0\nHi.", "a.srt, line 2: it ends at 1 s"),
        ("a.srt", "1\n00:00:01,0 --> 00:00:02,0\n", "has no cue with words"),
        ("a.srt", "1\n00:00:01,0 --> 00:00:02,0\nHi.\n2\n00:00:03,0 --> 00:00:04,0\nBen: Bye.", "a.srt, line 5: '-->' stands inside the words of a cue"),
        ("a.json", "[" * 100_000, "a.json: lists or objects are nested too deep"),
        ("a.json", '[{"speaker": "Anna", "text": "Hi.", "start": ' + 5000 * "1" + "}]", "a.json, turn 1: start 'inf' is no time"),
        ("a.json", '[{"speaker": ' + 5000 * "1" + ', "text": "Hi."}]', "a.json, turn 1: its speaker is inf, no text"),
        ("a.json", '[{"speaker": "Anna", "text": "Hi \\ud800."}]', "a.json, turn 1: its text holds '\\ud800', half a character"),
        ("a.json", '[{"speaker": "\\udc00", "text": "Hi."}]', "a.json, turn 1: its speaker holds '\\udc00'"),
        ("a.mp4", "no video", "a.mp4 cannot be read as a video"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_place(tmp_path, name, content, message):
    with pytest.raises(DataError) as caught:
        read_transcript(write(tmp_path, name, content))
    assert message in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


@pytest.mark.parametrize("name", ["none.txt", "none.mp4", "none.csv"])
def test_a_file_that_is_not_there(tmp_path, name):
    with pytest.raises(DataError, match=f"{name} does not exist"):
        read_transcript(tmp_path / name)
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(DataError, match="is a folder, not a file"):
        read_transcript(tmp_path / "folder.txt")


def test_a_dialogue_has_no_labels():
    d = to_dialogue(TURNS)
    assert d.speakers.tolist() == [0, 1, 2] and d.speaker_names == ("Anna", "unknown", "BEN")
    assert d.labels.tolist() == [PADDING_LABEL] * 3 and d.texts[0] == "Where were you?"
    with pytest.raises(DataError, match="at least one turn"):
        to_dialogue([])


def test_times():
    assert [parse_time(t) for t in ("0", "1:02.5", "100:00:00")] == [0.0, 62.5, 360000.0]
    for bad in (5000 * "1" + ":00:00", 400 * "1" + ":00:00", 5000 * "1", "", "nan", "inf", "-1", "1:2:3:4", "1:75", "x"):
        with pytest.raises(ValueError, match="is no time") as caught:
            parse_time(bad)
        assert len(str(caught.value)) < 150
