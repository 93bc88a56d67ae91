"""Fetching pinned files: from a server that breaks off, from a mirror, and what is never left behind."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading

import pytest
import yaml

from erc_lib.data import download, sources
from erc_lib.data.sources import PinnedFile, Source
from erc_lib.errors import ConfigError, DataError

CONTENT = bytes(range(256)) * 1024  # 256 KiB: many chunks
HALF = len(CONTENT) // 2


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content``; of its n-th answer it sends only ``drops[n]`` bytes before it closes the connection."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.drops, self.ranges, self.status = CONTENT, [], True, 200
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.status != 200:
            return self.send_error(server.status)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        if start >= len(server.content):
            return self.send_error(416)
        body = server.content[start:]
        self.send_response(206 if wanted and server.ranges else 200)
        if wanted and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        turn = len(server.asked) - 1
        self.wfile.write(body[: server.drops[turn]] if turn < len(server.drops) else body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def toy(server, monkeypatch):
    """One source of one file, published by ``server``."""
    return pin(monkeypatch, PinnedFile("toy/file.bin", server.url, sha256=hashlib.sha256(CONTENT).hexdigest()))


def pin(monkeypatch, *files: PinnedFile) -> Source:
    source = Source("toy", "someone/toy", "0" * 40, "free", "a toy", files)
    monkeypatch.setattr(sources, "sources", lambda: {"toy": source})
    return source


def left(folder) -> list[str]:
    """Names of all files below ``folder`` but locks."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


# --- the list ---------------------------------------------------------------------------------------------------------------


def test_the_list_pins_what_the_manifest_pins(mirror):
    manifest = yaml.safe_load((mirror / "MANIFEST.yaml").read_text())
    ours = sources.sources()
    assert set(ours) == set(manifest)
    for name, theirs in manifest.items():
        assert (ours[name].repository, ours[name].commit) == (theirs["repository"], theirs["commit"])
        base = f"https://raw.githubusercontent.com/{theirs['repository']}/{theirs['commit']}/"
        assert {(f.url, f.sha256, f.git_blob) for f in ours[name].files} == {
            (base + f["upstream"], f.get("sha256"), f.get("git_blob")) for f in theirs["files"]
        }
        assert {f["path"] for f in theirs["files"] if "path" in f} <= {f.path for f in ours[name].files}


def test_every_file_has_one_hash_and_its_own_place():
    files = [(name, f) for name, s in sources.sources().items() for f in s.files]
    assert len({f.path for _, f in files}) == len(files) > 25
    for name, file in files:
        assert file.path.startswith(name + "/")
        assert bool(re.fullmatch(r"[0-9a-f]{64}", file.sha256 or "")) != bool(re.fullmatch(r"[0-9a-f]{40}", file.git_blob or ""))


def test_an_unknown_source_names_those_there_are():
    with pytest.raises(ConfigError, match=r"'iemocpa'; did you mean 'iemocap'\? There are: meld, iemocap, mosi"):
        sources.fetch("iemocpa")
    with pytest.raises(ConfigError, match="no source is named 'zzz'. There are"):
        sources.verify("zzz")


# --- downloading ------------------------------------------------------------------------------------------------------------


def test_a_broken_connection_is_continued(toy, server, data_folder):
    server.drops = [HALF]
    folder = sources.fetch("toy", progress=False)
    assert (folder / "file.bin").read_bytes() == CONTENT
    assert server.asked[0] is None and len(server.asked) == 2
    continued_at = int(re.fullmatch(r"bytes=(\d+)-", server.asked[1])[1])
    assert HALF - download.CHUNK <= continued_at <= HALF  # at most one chunk is asked for twice
    assert left(data_folder) == ["raw/toy/file.bin"]


def test_a_connection_may_break_any_number_of_times_while_it_gets_on(toy, server):
    server.drops = [HALF // 4] * 6  # twice as many as attempts without progress are allowed
    assert (sources.fetch("toy", progress=False) / "file.bin").read_bytes() == CONTENT
    assert len(server.asked) == 7


def test_what_has_arrived_is_kept_for_the_next_call(toy, server, data_folder):
    server.drops = [HALF, 0, 0, 0, 0, 0, 0]
    with pytest.raises(DataError, match="kept and continued") as caught:
        sources.fetch("toy", progress=False)
    assert server.url in str(caught.value) and "ERC_MIRROR" in str(caught.value)
    assert left(data_folder) == ["raw/toy/file.bin.part"]
    have = (data_folder / "raw/toy/file.bin.part").stat().st_size
    assert HALF - download.CHUNK <= have <= HALF
    server.drops, server.asked = [], []
    assert (sources.fetch("toy", progress=False) / "file.bin").read_bytes() == CONTENT
    assert server.asked == [f"bytes={have}-"]
    assert left(data_folder) == ["raw/toy/file.bin"]


def test_a_complete_file_is_never_fetched_again(toy, server, data_folder):
    sources.fetch("toy", progress=False)
    sources.fetch("toy", progress=False)
    assert len(server.asked) == 1


def test_a_complete_part_needs_no_more_bytes(toy, server, data_folder):
    part = data_folder / "raw/toy/file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert (sources.fetch("toy", progress=False) / "file.bin").read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("kept", [b"x" * 1000, b"x" * (len(CONTENT) + 5)], ids=["other bytes", "too many"])
def test_a_wrong_part_is_thrown_away(toy, server, data_folder, kept):
    part = data_folder / "raw/toy/file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(kept)
    assert (sources.fetch("toy", progress=False) / "file.bin").read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(kept)}-", None]


def test_a_server_without_ranges_is_asked_for_everything(toy, server, data_folder):
    server.ranges, server.drops = False, [HALF]
    assert (sources.fetch("toy", progress=False) / "file.bin").read_bytes() == CONTENT


def test_a_damaged_file_is_fetched_again(toy, server, data_folder):
    target = sources.fetch("toy", progress=False) / "file.bin"
    target.write_bytes(CONTENT[:HALF])
    assert (sources.fetch("toy", progress=False) / "file.bin").read_bytes() == CONTENT
    target.write_bytes(CONTENT[:HALF])
    server.status = 404
    with pytest.raises(DataError):
        sources.fetch("toy", progress=False)
    assert left(data_folder) == []  # nothing broken under the final name


def test_other_bytes_than_pinned_are_refused(toy, server, data_folder):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DataError, match="sha256 .* is pinned") as caught:
        sources.fetch("toy", progress=False)
    assert server.url in str(caught.value)
    assert len(server.asked) == 1 and left(data_folder) == []


def test_a_refusal_is_not_repeated(toy, server, data_folder):
    server.status = 404
    with pytest.raises(DataError, match="the server answers 404.*ERC_MIRROR"):
        sources.fetch("toy", progress=False)
    assert len(server.asked) == 1


def test_without_a_network_there_is_one_clear_error(monkeypatch, server, data_folder):
    server.shutdown()
    server.server_close()
    pin(monkeypatch, PinnedFile("toy/file.bin", server.url, sha256="0" * 64))
    with pytest.raises(DataError) as caught:
        sources.fetch("toy", progress=False)
    assert f"{server.url} cannot be downloaded" in str(caught.value)
    assert "ERC_MIRROR to a folder that holds toy/file.bin" in str(caught.value)
    assert left(data_folder) == []


def test_the_progress_bar_counts_from_where_it_continues(toy, server, capsys):
    server.drops = [HALF]
    sources.fetch("toy")
    bars = capsys.readouterr().err
    assert "file.bin" in bars and "100%" in bars and "262k/262k" in bars


def test_git_blob_ids(monkeypatch, server, data_folder):
    server.content = b"hello\n"  # its blob id is in every introduction to git
    pin(monkeypatch, PinnedFile("toy/a", server.url, git_blob="ce013625030ba8dba906f756967f9e9ca394464a"))
    assert (sources.fetch("toy", progress=False) / "a").read_bytes() == b"hello\n"
    pin(monkeypatch, PinnedFile("toy/b", server.url, git_blob="0" * 40))
    with pytest.raises(DataError, match="git blob ce0136.*git blob 0000"):
        sources.fetch("toy", progress=False)
    assert left(data_folder) == ["raw/toy/a"]


def test_a_data_root_that_cannot_be_written(toy, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ERC_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot be written .*set ERC_DATA"):
        sources.fetch("toy", progress=False)


# --- the mirror -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_mirror(tmp_path, monkeypatch):
    folder = tmp_path / "mirror"
    (folder / "toy").mkdir(parents=True)
    (folder / "toy/file.bin").write_bytes(CONTENT)
    monkeypatch.setenv("ERC_MIRROR", str(folder))
    return folder


def test_a_mirror_is_read_instead_of_the_network(toy, server, own_mirror, data_folder):
    assert (sources.fetch("toy") / "file.bin").read_bytes() == CONTENT
    assert server.asked == [] and left(data_folder) == ["raw/toy/file.bin"]


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"!", b""], ids=["truncated", "changed", "empty"])
def test_a_mirror_is_checked_as_well(toy, server, own_mirror, data_folder, content):
    (own_mirror / "toy/file.bin").write_bytes(content)
    with pytest.raises(DataError, match=f"{len(content):,} bytes are truncated.*unset ERC_MIRROR") as caught:
        sources.fetch("toy")
    assert str(own_mirror / "toy/file.bin") in str(caught.value)
    assert server.asked == [] and left(data_folder) == []


def test_what_a_mirror_lacks_is_downloaded(toy, server, own_mirror):
    (own_mirror / "toy/file.bin").unlink()
    assert (sources.fetch("toy", progress=False) / "file.bin").read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_mirror_that_is_no_folder(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("ERC_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="nowhere, which is no folder"):
        sources.fetch("toy")


def test_real_files_from_the_mirror(from_mirror):
    folder = sources.fetch("meld")
    assert {p.name for p in folder.glob("*.csv")} == {"train_sent_emo.csv", "dev_sent_emo.csv", "test_sent_emo.csv"}
    assert [c.state for c in sources.verify("meld")] == ["ok"] * 3


# --- what is there ----------------------------------------------------------------------------------------------------------


def test_list_and_verify(toy, server, data_folder):
    status = sources.list_sources()[0]
    assert (status.name, status.files, status.present, status.bytes, status.licence) == ("toy", 1, 0, 0, "free")
    assert [(c.path, c.state) for c in sources.verify()] == [("toy/file.bin", "missing")]
    target = sources.fetch("toy", progress=False) / "file.bin"
    status = sources.list_sources()[0]
    assert (status.present, status.bytes) == (1, len(CONTENT))
    assert [(c.path, c.state) for c in sources.verify("toy")] == [("toy/file.bin", "ok")]
    target.write_bytes(CONTENT[:10])
    with pytest.raises(DataError, match="erc data fetch toy replaces it") as caught:
        sources.verify()
    assert str(target) in str(caught.value)


def test_a_mirrored_file_counts_as_present(toy, own_mirror):
    assert sources.list_sources()[0].present == 1
