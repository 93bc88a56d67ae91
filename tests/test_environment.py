"""pyproject.toml, requirements.lock, environment.yml and the Makefile say the same about the environment."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf8")
DECLARED = [Requirement(r) for r in PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])]
PLATFORMS = {
    "linux x86_64": {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"},
    "linux aarch64": {"sys_platform": "linux", "platform_machine": "aarch64", "platform_system": "Linux"},
    "macOS arm64": {"sys_platform": "darwin", "platform_machine": "arm64", "platform_system": "Darwin"},
}


def locked() -> list[tuple[Requirement, list[str]]]:
    """Each entry of the lock with its hashes."""
    entries = [e for e in re.split(r"\n(?=\S)", LOCK) if e.strip()]
    return [(Requirement(e.split("\\")[0]), re.findall(r"--hash=sha256:([0-9a-f]{64})\b", e)) for e in entries]


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("requirement", DECLARED, ids=lambda r: r.name)
def test_the_lock_holds_each_declared_package_within_its_range(requirement, platform):
    environment = {**default_environment(), "python_version": "3.11", "python_full_version": "3.11.0", **PLATFORMS[platform]}
    name = canonicalize_name(requirement.name)
    pins = [r for r, _ in locked() if canonicalize_name(r.name) == name and (r.marker is None or r.marker.evaluate(environment))]
    assert len(pins) == 1, f"{name} on {platform}: {pins}"
    (pin,) = pins[0].specifier
    assert pin.operator == "==" and requirement.specifier.contains(Version(pin.version), prereleases=True)


def test_every_locked_package_has_a_hash_and_no_address():
    assert len(locked()) > len(DECLARED)
    assert [r.name for r, hashes in locked() if not hashes] == []
    assert not re.search(r"://|--(extra-)?index-url|--find-links| @ ", LOCK)
    assert not re.search(r"(?m)^(-e|erc-lib)", LOCK), "the project itself does not belong in its lock"


def test_conda_users_get_the_same_python_and_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf8"))
    conda = {re.split(r"[=<>]", d)[0]: d for d in environment["dependencies"] if isinstance(d, str)}
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    python = conda.pop("python").removeprefix("python=")
    assert Version(python) in Requirement(f"python{PROJECT['requires-python']}").specifier
    assert pip == ["-r requirements.lock"], "versions stand in the lock and nowhere else"
    assert not {r.name for r, _ in locked()} & set(conda), "conda would install another version of a locked package"


def test_the_project_is_for_one_python():
    assert PROJECT["requires-python"] == ">=3.11,<3.12"
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    assert set(re.findall(r"\(3, (\d+)\)", makefile)) == {"11"}


def make(*arguments: str, path: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(command, cwd=folder, env={**environment, "PATH": path}, capture_output=True, text=True, timeout=60)


@pytest.fixture
def bare(tmp_path):
    """A folder with a lock and metadata, and a PATH with the shell's tools but no Python 3.11."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("awk", "sed", "touch", "rm"):
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
        (tools / tool).symlink_to(found)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("", encoding="utf8")
    old = tools / "python3"
    old.write_text('#!/bin/bash\n[ "$1" = --version ] && echo Python 3.9.2 || exit 1\n', encoding="utf8")
    old.chmod(0o755)
    make_itself = subprocess.run(["which", "make"], capture_output=True, text=True, check=True).stdout.strip()
    (tools / "make").symlink_to(make_itself)
    return tmp_path


def test_without_python_3_11_make_says_so_in_one_line_and_leaves_nothing(bare):
    result = make("setup", path=str(bare / "bin"), folder=bare)
    assert result.returncode != 0
    said = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1 and "Python 3.11" in said[0] and "3.9.2" in said[0] and "PYTHON=" in said[0]
    assert not (bare / ".venv").exists()


def test_the_uv_that_make_starts_with_is_the_locked_one(bare):
    """The Makefile's awk takes exactly one whole entry out of the lock."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    program = re.search(r"awk '(.*?)' requirements.lock", makefile)[1].replace("$$", "$")
    printed = subprocess.run(["awk", program, str(ROOT / "requirements.lock")], capture_output=True, text=True, check=True).stdout
    entry = next(e for e in re.split(r"\n(?=\S)", LOCK) if e.startswith("uv=="))
    assert printed.strip() == entry.strip()
