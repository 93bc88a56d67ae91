"""A downloader for pooch that continues where a broken connection left off.

Pooch itself starts a file again from its first byte. Here the bytes that have arrived stay in ``<name>.part`` beside the final
file, over as many calls and interruptions as it takes, and only a complete file whose hash fits is handed to pooch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import requests
from tqdm import tqdm

from erc_lib.errors import DataError

CHUNK = 1 << 14
REFUSED = range(400, 500)
WORTH_ANOTHER_TRY = (408, 425, 429)


class ResumableDownloader:
    """``downloader=`` of :func:`pooch.retrieve`: HTTP with ranges, retries and a progress bar.

    Args:
        part: where the bytes gather, kept when the connection breaks.
        check: called with ``part`` once it is complete; raises DataError where its hash does not fit.
        attempts: connections in a row that may fail without bringing one byte.
        pause: seconds before the second attempt, doubled with each further one.
    """

    def __init__(
        self, part: Path, check: Callable[[Path], None], *, progress: bool = True, attempts: int = 3, pause: float = 1.0,
        remedy: str = "",
    ) -> None:
        self.part, self.check, self.progress = part, check, progress
        self.attempts, self.pause, self.remedy = attempts, pause, remedy

    def __call__(self, url: str, output_file: str, pooch: object = None) -> None:
        """Puts the file of ``url`` at ``output_file``; raises DataError, with nothing there, where that cannot be done."""
        continued = self._complete(url)
        try:
            self.check(self.part)
        except DataError:
            self.part.unlink()
            if not continued:
                raise
            # Bytes of an earlier attempt may be what is wrong: once more from the first byte.
            self._complete(url)
            try:
                self.check(self.part)
            except DataError:
                self.part.unlink()
                raise
        os.replace(self.part, output_file)

    def _complete(self, url: str) -> bool:
        """Fills ``part`` up to its end; True if its bytes came over more than one connection."""
        failures, continued = 0, False
        while True:
            have = self.part.stat().st_size if self.part.exists() else 0
            continued |= have > 0
            try:
                self._receive(url, have)
                return continued
            except requests.RequestException as error:
                status = error.response.status_code if error.response is not None else None
                if status in REFUSED and status not in WORTH_ANOTHER_TRY:
                    raise self._failure(url, f"the server answers {status}") from error
                now = self.part.stat().st_size if self.part.exists() else 0
                failures = 0 if now > have else failures + 1
                if failures >= self.attempts:
                    raise self._failure(url, f"{type(error).__name__}, {self.attempts} times") from error
                time.sleep(self.pause * 2 ** max(failures - 1, 0))

    def _receive(self, url: str, have: int) -> None:
        """One connection: asks for the bytes from ``have`` on and appends them to ``part``."""
        # A compressed answer would make byte positions meaningless.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as answer:
            if answer.status_code == 416:
                # Nothing from `have` on: the part is the whole file, or longer than it, which its hash tells.
                return
            answer.raise_for_status()
            if answer.status_code != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = 0  # the server knows no ranges and sends everything
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            label = self.part.name.removesuffix(".part")
            with (
                self.part.open("ab" if have else "wb") as file,
                tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=label, disable=not self.progress) as bar,
            ):
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
            if total is not None and self.part.stat().st_size != total:
                raise requests.ConnectionError(f"{self.part.stat().st_size} of {total} bytes arrived")

    def _failure(self, url: str, reason: str) -> DataError:
        kept = " (what has arrived is kept and continued)" if self.part.exists() else ""
        return DataError(f"{url} cannot be downloaded: {reason}. Check the network and try again{kept}{self.remedy}")
