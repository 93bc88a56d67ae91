"""Reading text that people made with their own tools: one clear error for another encoding, an empty file, a wrong separator."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

from erc_lib.errors import DataError

_CLOCK = re.compile(r"(?:(?P<h>\d+):)?(?P<m>\d{1,2}):(?P<s>\d{1,2}(?:[.,]\d+)?)")


def read_text(path: Path) -> str:
    """A UTF-8 file, with or without a byte order mark, its line ends as they are.

    Raises:
        DataError: no such file, a folder, another encoding (with the line of the first byte that is not UTF-8), nothing in it.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give the path of a file that does") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a file; name a file in it") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path} is UTF-16, not UTF-8; save it again as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = raw[error.start]
        raise DataError(f"{path}, line {line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8 (a spreadsheet calls it 'CSV UTF-8')") from None
    if "\0" in text:
        raise DataError(f"{path} is no text: it holds zero bytes; save it as UTF-8 text")
    if not text.strip():
        raise DataError(f"{path} is empty; write at least one turn into it")
    return text


def read_csv_rows(path: Path) -> list[list[str]]:
    """All rows of a CSV file, the header first; empty ones at its end are left out.

    Raises:
        DataError: as :func:`read_text`; a quotation that does not end; columns separated by something else than commas.
    """
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is no CSV file ({error}); put a text that holds commas or quotes into quotes, with each quote inside doubled") from None
    while rows and not any(rows[-1]):
        rows.pop()
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(rows[0]) == 1 and separator in rows[0][0]:
            raise DataError(f"{path}, row 1: its columns are separated by {name}; save it with commas")
    return rows


def parse_time(written: str) -> float:
    """Seconds, from ``"12.5"``, ``"1:05"``, ``"01:02:03.250"`` or ``"01:02:03,250"``; hours may have any number of digits.

    Raises:
        ValueError: anything else; its message says what is expected.
    """
    clock = _CLOCK.fullmatch(written.strip())
    if clock:
        minutes, seconds = int(clock["m"]), float(clock["s"].replace(",", "."))
        whole = 3600 * float(clock["h"] or 0) + 60 * minutes + seconds
        if minutes < 60 and seconds < 60 and math.isfinite(whole):
            return whole
    else:
        try:
            seconds = float(written)
        except ValueError:
            seconds = math.nan
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    raise ValueError(f"{written.strip()[:40]!r} is no time; write seconds (12.5) or hours:minutes:seconds (0:00:12.5)")
