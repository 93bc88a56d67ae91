"""The pinned public files: which there are, how they get onto this machine, and whether they are still what was pinned.

``sources.yaml`` beside this file is the list. Files are kept under ``<data root>/raw``; each gets its final name only
once its hash fits.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pooch
import yaml

from erc_lib.data.download import ResumableDownloader
from erc_lib.errors import ConfigError, DataError
from erc_lib.paths import data_root

ADDRESS = "https://raw.githubusercontent.com"
LIST = Path(__file__).with_name("sources.yaml")


@dataclass(frozen=True)
class PinnedFile:
    """One file: where it lies below a root, where it is published, and a hash of its bytes (sha256, or git's blob id)."""

    path: str
    url: str
    sha256: str | None = None
    git_blob: str | None = None

    @property
    def pin(self) -> str:
        """The hash that this file must have, with its kind."""
        return f"sha256 {self.sha256}" if self.sha256 else f"git blob {self.git_blob}"

    def hash_of(self, file: Path) -> str:
        """The hash of ``file``, of the kind this file is pinned by."""
        if self.sha256:
            return "sha256 " + pooch.file_hash(str(file), alg="sha256")
        digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size)
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return "git blob " + digest.hexdigest()

    def check(self, file: Path, *, shown: Path | str | None = None, remedy: str = "fetch it again") -> None:
        """Raises DataError if ``file`` has another hash; ``shown`` stands in the message in its stead."""
        found = self.hash_of(file)
        if found != self.pin:
            raise DataError(
                f"{shown or file} has the {found}, but {self.pin} is pinned: its {file.stat().st_size:,} bytes are truncated, "
                f"damaged or another version; {remedy}"
            )


@dataclass(frozen=True)
class Source:
    """One published data set at one commit."""

    name: str
    repository: str
    commit: str
    licence: str
    note: str
    files: tuple[PinnedFile, ...]

    def below(self, folder: str) -> Source:
        """This source with the files of one folder alone; the empty name is all of it. ConfigError where it holds none."""
        files = tuple(f for f in self.files if not folder or f.path.startswith(f"{self.name}/{folder}/"))
        if not files:
            raise ConfigError(f"source {self.name!r} has no files in {folder!r}")
        return replace(self, files=files)

    @property
    def provenance(self) -> dict[str, object]:
        """What a reader needs to get the same bytes."""
        return {
            "source": self.name, "repository": self.repository, "commit": self.commit, "licence": self.licence,
            "files": {f.path: f.pin for f in self.files},
        }


@dataclass(frozen=True)
class SourceStatus:
    """One line of ``erc data list``: ``present`` of ``files`` files (``bytes`` in all) are here, cached or in the mirror."""

    name: str
    files: int
    present: int
    bytes: int
    licence: str
    note: str


@dataclass(frozen=True)
class FileCheck:
    """One line of ``erc data verify``: ``state`` is ``"ok"``, ``"missing"`` (not fetched yet) or ``"broken"``."""

    source: str
    path: str
    state: str
    message: str = ""


@cache
def sources() -> dict[str, Source]:
    """All pinned sources by name."""
    listed = yaml.safe_load(LIST.read_text(encoding="utf-8"))

    def pinned(s: dict, f: dict) -> PinnedFile:
        address = f"{ADDRESS}/{s['repository']}/{s['commit']}/{f['upstream']}"
        return PinnedFile(f["path"], address, f.get("sha256"), f.get("git_blob"))

    return {
        name: Source(
            name=name, repository=s["repository"], commit=s["commit"], licence=s["licence"], note=s["note"],
            files=tuple(pinned(s, f) for f in s["files"]),
        )
        for name, s in listed.items()
    }


def did_you_mean(name: str, known: list[str]) -> str:
    """The end of a message about an unknown name: what was probably meant, and what there is."""
    close = difflib.get_close_matches(name, known, n=1)
    return (f"; did you mean {close[0]!r}?" if close else ".") + f" There are: {', '.join(known)}"


def find_source(name: str) -> Source:
    """The source of that name; raises ConfigError with the names there are."""
    known = sources()
    if name not in known:
        raise ConfigError(f"no source is named {name!r}{did_you_mean(name, list(known))}")
    return known[name]


def raw_root() -> Path:
    """Folder of the fetched files."""
    return data_root() / "raw"


def mirror_root() -> Path | None:
    """``$ERC_MIRROR``, a folder that holds the same files, or None."""
    mirror = os.environ.get("ERC_MIRROR")
    if not mirror:
        return None
    if not Path(mirror).is_dir():
        raise DataError(f"ERC_MIRROR names {mirror}, which is no folder; correct or unset it")
    return Path(mirror)


def list_sources() -> list[SourceStatus]:
    """What is pinned and how much of it is on this machine. Looks at names and sizes alone; :func:`verify` reads the bytes."""
    mirror, lines = mirror_root(), []
    for source in sources().values():
        found = []
        for file in source.files:
            places = [raw_root() / file.path] + ([mirror / file.path] if mirror else [])
            found += [p for p in places if p.is_file()][:1]
        size = sum(p.stat().st_size for p in found)
        lines.append(SourceStatus(source.name, len(source.files), len(found), size, source.licence, source.note))
    return lines


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Holds a lock beside ``target``, so that one process fetches or converts and the others wait and find it done."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(f".{target.name}.lock").open("w")
    except OSError as error:
        raise DataError(f"{target.parent} cannot be written ({error.strerror}); set ERC_DATA to a folder that can") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch(name: str, *, below: str = "", progress: bool = True) -> Path:
    """The folder ``<data root>/raw/<name>`` with every file of a source, each checked against its hash.

    ``below``: only the files in this folder of the source, for a source that holds several corpora.

    Files already there are kept; the others are taken from ``$ERC_MIRROR`` or, where that has them not, downloaded
    (an interrupted download is continued). Raises ConfigError for an unknown name, DataError for a
    wrong hash or where no network is to be had.
    """
    source, mirror = find_source(name), mirror_root()
    for file in source.below(below).files:
        target = raw_root() / file.path
        with locked(target):
            if target.is_file():
                if file.hash_of(target) == file.pin:
                    continue
                target.unlink()  # damaged since it was fetched: never left under its final name
            copy = mirror / file.path if mirror else None
            if copy is not None and copy.is_file():
                _copy(file, copy, target)
            else:
                _download(file, target, mirror=mirror, progress=progress)
    return raw_root() / name


def verify(name: str | None = None) -> list[FileCheck]:
    """Reads every fetched file of one source, or of all, again. Returns one line per file.

    Raises DataError, naming all of them, if any file is broken; files not fetched yet are no error.
    """
    chosen = [find_source(name)] if name is not None else list(sources().values())
    checks = []
    for source in chosen:
        for file in source.files:
            target = raw_root() / file.path
            if not target.is_file():
                checks.append(FileCheck(source.name, file.path, "missing", f"not fetched yet: erc data fetch {source.name}"))
                continue
            try:
                file.check(target, remedy=f"erc data fetch {source.name} replaces it")
                checks.append(FileCheck(source.name, file.path, "ok"))
            except DataError as error:
                checks.append(FileCheck(source.name, file.path, "broken", str(error)))
    broken = [c.message for c in checks if c.state == "broken"]
    if broken:
        raise DataError("\n".join(broken))
    return checks


def _copy(file: PinnedFile, copy: Path, target: Path) -> None:
    temporary = target.with_name(target.name + ".copy")
    try:
        shutil.copyfile(copy, temporary)
        file.check(temporary, shown=copy, remedy="copy it into the mirror again, or unset ERC_MIRROR to download it")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _download(file: PinnedFile, target: Path, *, mirror: Path | None, progress: bool) -> None:
    remedy = f", or put the file at {mirror / file.path}" if mirror else f", or set ERC_MIRROR to a folder that holds {file.path}"
    downloader = ResumableDownloader(
        target.with_name(target.name + ".part"),
        lambda part: file.check(part, shown=file.url, remedy="try again; if it stays so, the published file has changed"),
        progress=progress, remedy=remedy,
    )
    known = f"sha256:{file.sha256}" if file.sha256 else None  # pooch knows no git blob ids: the downloader checks those alone
    pooch.retrieve(file.url, known, fname=target.name, path=target.parent, downloader=downloader)
