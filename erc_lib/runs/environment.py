"""Where and with what a run was made: commit, versions, machine, memory. Written into ``environment.json``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
from pathlib import Path
from typing import Any

import torch

import erc_lib
from erc_lib.paths import REPOSITORY

PACKAGES = ("torch", "numpy", "transformers", "scikit-learn", "pandas")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # an installed copy, or no git on this machine
    return done.stdout.strip()


def code_state() -> dict[str, Any]:
    """``commit`` of the checkout, ``code_commit`` that last changed ``erc_lib``, and ``dirty``: erc_lib differs from both."""
    status = _git("status", "--porcelain", "--", "erc_lib")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "code_commit": _git("log", "-1", "--format=%H", "--", "erc_lib"),
        "dirty": None if status is None else bool(status),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe(device: str | torch.device = "cpu") -> dict[str, Any]:
    """Commit, versions and machine, without any path or host name of it."""
    device = torch.device(device)
    versions = {"python": platform.python_version(), "erc_lib": erc_lib.__version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        **code_state(),
        "versions": versions,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device.type),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_model(),
    }


class PeakMemory:
    """The most bytes this process held at once since :meth:`start`: resident memory, or GPU memory on a GPU."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

    def start(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            try:
                Path("/proc/self/clear_refs").write_text("5")  # Linux: sets the high-water mark back to what is held now
            except OSError:
                pass  # then the mark is that of the whole process, an upper bound
        return self

    def read(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        try:
            for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if platform.system() == "Darwin" else peak * 1024  # macOS counts bytes, Linux KiB
