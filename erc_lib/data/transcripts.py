"""One conversation as people have it: a table, a JSON list, subtitles, or plain text with ``Name: words``.

A transcript is a list of :class:`Turn`, in the order of the file. Nothing is guessed that the file does not say: where subtitles
name no speaker all turns are of ``"unknown"``, and a turn without a time has none.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from erc_lib.data.conversation import PADDING_LABEL, Dialogue
from erc_lib.data.convert import number_speakers
from erc_lib.data.sources import did_you_mean
from erc_lib.data.text_files import parse_time, read_csv_rows, read_text
from erc_lib.errors import DataError

UNKNOWN = "unknown"  # the speaker of a subtitle that names none
FIELDS = ("speaker", "text", "start", "end")
MEDIA = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts")
KINDS = (".csv", ".json", ".srt", ".txt")

# A name: at most four words, none of the signs that end a sentence, then a colon and a blank or the end ("10:30" is no name).
_NAME = re.compile(r"(?P<name>[^\s:,;!?][^:,;!?\n]{0,39}):(?:\s+(?P<words>.*))?")
_STAMP = re.compile(r"\[(?P<time>[\d:.,]+)\]\s*")
_ARROW = re.compile(r"(?P<start>\S+)\s*-->\s*(?P<end>\S+)(?:\s.*)?")  # positions may stand behind the times
_MARKUP = re.compile(r"</?(?:[ibus]|font(?:\s[^<>]*)?)>|\{\\[^}]*\}", re.IGNORECASE)  # <i>, <font ...>, {\an8}; "I <3 you" has none
_DASH = re.compile(r"[-\u2010-\u2015]++\s*+(?!\d)")  # before the words of one speaker among several; "-5 degrees" has none


@dataclass(frozen=True)
class Turn:
    """What one speaker says at a time; ``start`` and ``end`` in seconds, None where not known."""

    speaker: str
    text: str
    start: float | None = None
    end: float | None = None


def read_transcript(path: str | Path) -> list[Turn]:
    """The turns of a transcript, or of a video's subtitles.

    Args:
        path: ``.csv``: columns speaker and text, optionally start and end. ``.json``: a list of objects with these keys, or
            ``{"turns": [...]}``. ``.srt``: subtitles, a speaker where a cue begins with ``Name: words``; speakers who share a
            cue share its times. ``.txt``: ``Name: words``, optionally after a time in brackets; a line without a name goes on with
            the turn above. A video (:data:`MEDIA`): the ``.srt`` beside it that has its name, else the first stream of subtitles
            inside it.

    Times are seconds (``12.5``) or ``hours:minutes:seconds`` (``0:00:12.5``).

    Raises:
        DataError: naming the file, the line, row or turn, and what to do.
    """
    path = Path(path)
    readers = {".csv": _read_csv, ".json": _read_json, ".srt": _read_srt, ".txt": _read_plain}
    kind = path.suffix.lower()
    if kind in MEDIA:
        return _read_video(path)
    if kind not in readers:
        given = kind or "one without an ending"
        raise DataError(f"{path}: a transcript is a file {', '.join(KINDS)}, or a video with subtitles ({', '.join(MEDIA)}), not {given!r}")
    return readers[kind](path)


def to_dialogue(turns: Sequence[Turn], name: str = "conversation") -> Dialogue:
    """``turns`` as a :class:`Dialogue` without features, each label :data:`PADDING_LABEL`: there is none, and nothing may be scored."""
    if not turns:
        raise DataError(f"{name}: a conversation needs at least one turn")
    speakers, names = number_speakers(t.speaker for t in turns)
    return Dialogue(
        id=name, speakers=speakers, labels=torch.full((len(turns),), PADDING_LABEL), texts=tuple(t.text for t in turns), speaker_names=names
    )


def _turn(where: str, speaker: str, text: str, start: Any, end: Any) -> Turn:
    """A checked turn; times as they are written, None or ``""`` where there is none."""
    speaker, text = " ".join(speaker.split()), " ".join(text.split())
    if not speaker:
        raise DataError(f"{where}: no speaker; name who speaks ({UNKNOWN!r} will do)")
    if not text:
        raise DataError(f"{where}: no words; write what was said, or remove the turn")
    times = []
    for which, written in (("start", start), ("end", end)):
        try:
            times.append(None if written in (None, "") else parse_time(str(written)))
        except ValueError as error:
            raise DataError(f"{where}: {which} {error}") from None
    if None not in times and times[1] <= times[0]:
        raise DataError(f"{where}: it ends at {times[1]:g} s, not after its start at {times[0]:g} s; correct the times")
    return Turn(speaker, text, *times)


def _read_csv(path: Path) -> list[Turn]:
    header, *rows = read_csv_rows(path)
    header = [name.strip() for name in header]
    for name in header:
        if name not in FIELDS:
            raise DataError(f"{path}, row 1: a transcript has no column {name!r}{did_you_mean(name, list(FIELDS))}")
        if header.count(name) > 1:
            raise DataError(f"{path}, row 1: there are two columns {name!r}; remove one")
    for name in ("speaker", "text"):
        if name not in header:
            raise DataError(f"{path}, row 1: no column {name!r}; the first row must name the columns speaker and text, and may name start and end")
    if not rows:
        raise DataError(f"{path} has a header but no turns; write a row for each turn")
    turns = []
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise DataError(f"{path}, row {number}: {len(row)} fields instead of {len(header)}; put a text that holds commas into quotes")
        field = {name: value.strip() for name, value in zip(header, row, strict=True)}
        turns.append(_turn(f"{path}, row {number}", field["speaker"], field["text"], field.get("start"), field.get("end")))
    return turns


def _read_json(path: Path) -> list[Turn]:
    try:
        found = json.loads(read_text(path), parse_int=_whole)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: no JSON ({error.msg}); correct it there") from None
    except RecursionError:
        raise DataError(f"{path}: lists or objects are nested too deep in it; write one list of turns, each an object of texts and numbers") from None
    found = found.get("turns") if isinstance(found, dict) else found
    if not isinstance(found, list) or not found:
        raise DataError(f'{path}: it must hold a list of turns, [{{"speaker": "Anna", "text": "Hello."}}, ...], or {{"turns": [...]}}')
    turns = []
    for number, item in enumerate(found, 1):
        where = f"{path}, turn {number}"
        if not isinstance(item, dict):
            raise DataError(f'{where}: not an object; write {{"speaker": ..., "text": ...}}')
        for name, value in item.items():
            if name not in FIELDS:
                raise DataError(f"{where}: a turn has no {name!r}{did_you_mean(name, list(FIELDS))}")
            if name in ("speaker", "text") and not isinstance(value, str):
                raise DataError(f"{where}: its {name} is {reprlib.repr(value)}, no text; put it into quotes")
            half = re.search("[\ud800-\udfff]", value) if isinstance(value, str) else None
            if half:
                raise DataError(f"{where}: its {name} holds {half[0]!r}, half a character, which no file holds; write the character itself")
        turns.append(_turn(where, item.get("speaker", ""), item.get("text", ""), item.get("start"), item.get("end")))
    return turns


def _whole(written: str) -> float:
    """A whole number of JSON; beyond what a float holds infinity, which is refused as a time, in its turn."""
    return int(written) if len(written) < 300 else float(written)


def _read_srt(path: Path) -> list[Turn]:
    """Cues are blocks between empty lines: a number (not needed), the times, the words."""
    blocks: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            blocks[-1].append((number, line.strip()))
        elif blocks[-1]:
            blocks.append([])
    turns = []
    for block in filter(None, blocks):
        if len(block) > 1 and block[0][1].isdigit():
            block = block[1:]
        (number, times), *rest = block
        where = f"{path}, line {number}"
        arrow = _ARROW.fullmatch(times)
        if not arrow:
            raise DataError(f"{where}: {times[:60]!r} is no line of times; a cue has 'hours:minutes:seconds,milliseconds --> ...' above its words")
        for inside, line in rest:
            if "-->" in line:
                raise DataError(f"{path}, line {inside}: '-->' stands inside the words of a cue; put an empty line between this cue and the next")
        start, end = _clock(where, arrow["start"]), _clock(where, arrow["end"])
        turns += [_turn(where, *spoken, start, end) for spoken in spoken_in([line for _, line in rest])]
    if not turns:
        raise DataError(f"{path} has no cue with words; give subtitles that hold what is said")
    return turns


def _clock(where: str, written: str) -> str:
    """A time of a subtitle, which is never mere seconds."""
    if ":" not in written:
        raise DataError(f"{where}: {written!r} is no time of a subtitle; write hours:minutes:seconds,milliseconds, as 00:01:02,500")
    return written


def spoken_in(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Speaker and words of each turn in one subtitle; none where it is empty, for players skip it too.

    ``"Anna: Hello."`` is Anna's, also after a dash. Where the first line names a speaker, or a line with a dash does, each line that
    names one begins a turn, and so does a line with a dash if the first has one (of :data:`UNKNOWN` without a name); other lines go
    on with the turn above. Else nobody is named, and all of it is one turn of :data:`UNKNOWN`.
    """
    lines = [line for line in (_MARKUP.sub("", line).strip() for line in lines) if line]
    dashes = [_DASH.match(line) for line in lines]
    rests = [line[dash.end() :] if dash else line for line, dash in zip(lines, dashes, strict=True)]
    names = [_named(rest) for rest in rests]
    # A name begins with no small letter: else "remember this: ..." would be a speaker. A name alone has its words below.
    names = [n if n and not n[0][0].islower() and (n[1] or i + 1 < len(lines)) else None for i, n in enumerate(names)]
    if not any(name and (dash or i == 0) for i, (name, dash) in enumerate(zip(names, dashes, strict=True))):
        return [(UNKNOWN, " ".join(lines))] if lines else []
    found: list[tuple[str, list[str]]] = []
    for line, rest, dash, name in zip(lines, rests, dashes, names, strict=True):
        if name and (not found or any(found[-1][1])):
            found.append((name[0], [name[1]]))
        elif not found or (dash and dashes[0]):
            found.append((UNKNOWN, [rest]))
        else:
            found[-1][1].append(line)
    return [(speaker, " ".join(words).strip()) for speaker, words in found]


def _named(line: str) -> tuple[str, str] | None:
    found = _NAME.fullmatch(line)
    if not found or len(found["name"].split()) > 4:
        return None
    return found["name"].strip(), (found["words"] or "").strip()


def _read_plain(path: Path) -> list[Turn]:
    found: list[tuple[int, str, list[str], str | None]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        line = line.strip()
        if not line:
            continue
        stamp = _STAMP.match(line)
        rest = line[stamp.end() :] if stamp else line
        named = _named(rest)
        if named:
            found.append((number, named[0], [named[1]], stamp["time"] if stamp else None))
        elif found and not stamp:
            found[-1][2].append(line)
        else:
            raise DataError(f"{path}, line {number}: {rest[:40]!r} has no speaker; begin the line of each turn with 'Name: '")
    return [_turn(f"{path}, line {number}", speaker, " ".join(words), start, None) for number, speaker, words, start in found]


def _read_video(path: Path) -> list[Turn]:
    if not path.is_file():
        raise DataError(f"{path} does not exist; give the path of a file that does")
    beside = next((p for p in (path.with_suffix(".srt"), path.with_suffix(".SRT")) if p.is_file()), None)
    if beside:
        return _read_srt(beside)
    import av  # only those who read a video pay

    hint = f"put {path.with_suffix('.srt').name} beside it"
    turns = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.subtitles:
                raise DataError(f"{path} has no subtitles, neither inside nor beside it; {hint}, with 'Name: words' in its cues where speakers are known")
            stream = container.streams.subtitles[0]
            kind = stream.codec_context.name
            for packet in container.demux(stream):
                if packet.pts is None or not packet.size:
                    continue
                start = float(packet.pts * packet.time_base) - (container.start_time or 0) / 1e6  # on the clock of the file's sound and pictures
                end = start + float((packet.duration or 0) * packet.time_base)
                where = f"{path}, the subtitle at {start:g} s"
                turns += [_turn(where, *spoken, start, end if end > start else None) for spoken in spoken_in(_subtitle_lines(packet))]
    except av.FFmpegError as error:
        raise DataError(f"{path} cannot be read as a video ({error.strerror}); {hint}, or convert the video") from None
    if not turns:
        raise DataError(f"{path}: its subtitles hold no text that can be read ({kind}); {hint}")
    return turns


def _subtitle_lines(packet: Any) -> list[str]:
    """The lines of one packet; none for pictures of words (DVD, Blu-ray), which would have to be recognised."""
    found = []
    for subtitle in packet.decode():
        written = getattr(subtitle, "dialogue", None) or getattr(subtitle, "text", None) or b""
        written = written.decode("utf-8", errors="replace") if isinstance(written, bytes) else written
        found += written.replace("\\N", "\n").replace("\\n", "\n").splitlines()
    return found
