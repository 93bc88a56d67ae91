"""Executes the notebooks through papermill, so that what reaches the book ran from its first cell to its last.

papermill runs on a notebook's defaults when a parameter is misspelt, and leaves what it got through when a cell fails. Here a
parameter that no notebook declares is an error before anything runs, and a notebook is executed in a temporary folder and
moved into the book only when it is whole. One that fails, is killed or times out fails the command, after the others have run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erc_lib.errors import ConfigError
from erc_lib.paths import REPOSITORY
from erc_lib.runs.environment import code_state
from erc_lib.runs.spec import did_you_mean


@dataclass(frozen=True)
class Execution:
    """One notebook: its name, wall seconds, and why it failed (None if it is in the output folder).

    ``kept``: where what a failed notebook got through lies, outside the book.
    """

    notebook: str
    seconds: float
    error: str | None = None
    kept: Path | None = None


def find_notebooks(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The notebooks of ``folder`` in order, or those named (with or without ``.ipynb``)."""
    found = {p.stem: p for p in sorted(folder.glob("*.ipynb"))} if folder.is_dir() else {}
    if not found:
        raise ConfigError(f"no notebooks (*.ipynb) in {folder}; name their folder with --notebooks")
    for name in names:
        if Path(name).stem not in found:
            raise ConfigError(f"no notebook {name!r} in {folder}{did_you_mean(Path(name).stem, found)}")
    return [found[Path(n).stem] for n in names] if names else list(found.values())


def declared_parameters(notebook: Path) -> set[str]:
    """The names assigned in the cell tagged ``parameters``; empty if there is none."""
    import papermill

    with _quiet():
        return set(papermill.inspect_notebook(_read(notebook)))


def _read(notebook: Path) -> Any:
    """The notebook, with the kernel that papermill insists on where its outputs and metadata have been stripped."""
    import nbformat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of cell ids that an older notebook lacks
            book = nbformat.read(notebook, as_version=4)
    except Exception as error:  # nbformat raises a dozen kinds for a file that is no notebook
        raise ConfigError(f"{notebook} cannot be read as a notebook: {' '.join(str(error).split())[:200]}") from None
    book.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return book


def reproduce(
    notebooks: Sequence[Path],
    output: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    timeout: float = math.inf,
    report: Callable[[str], None] = print,
) -> list[Execution]:
    """Executes ``notebooks`` one after another, each in its own folder as working directory, into ``output``.

    Args:
        parameters: given by the user; each must be declared by at least one notebook and goes to those that declare it.
        defaults: for the notebooks that declare them; a parameter that none declares is passed over.
        timeout: wall seconds for each notebook as a whole; a cell that would go beyond is stopped there.

    Raises:
        ConfigError: before any notebook runs, for a parameter that no notebook declares or a file that is no notebook.
    """
    parameters, defaults = dict(parameters or {}), dict(defaults or {})
    if not timeout > 0:
        raise ConfigError(f"the timeout must be a number of seconds above 0, not {timeout}")
    declared = {n: declared_parameters(n) for n in notebooks}
    everywhere = set().union(*declared.values())
    for name in parameters:
        if name not in everywhere:
            raise ConfigError(f"no notebook has a parameter {name!r}{did_you_mean(name, everywhere) or '; none has parameters'}")
    output.mkdir(parents=True, exist_ok=True)
    done = []
    with _this_interpreter():
        for notebook in notebooks:
            chosen = {k: v for k, v in {**defaults, **parameters}.items() if k in declared[notebook]}
            execution = _execute(notebook, output / notebook.name, chosen, timeout)
            done.append(execution)
            if execution.error is None:
                report(f"{notebook.name}: {execution.seconds:.0f} s")
            else:
                report(f"{notebook.name}: FAILED after {execution.seconds:.0f} s: {execution.error} (kept in {execution.kept})")
    return done


def _execute(notebook: Path, target: Path, parameters: dict[str, Any], timeout: float) -> Execution:
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    began = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="erc-reproduce-"))
    partial = work / notebook.name

    def remaining(cell: Any) -> int:
        return max(1, math.ceil(began + timeout - time.monotonic()))

    error = None
    try:
        with _quiet():
            papermill.execute_notebook(
                _read(notebook), str(partial), parameters=parameters, kernel_name="python3", cwd=str(notebook.parent),
                progress_bar=False, **({} if math.isinf(timeout) else {"timeout_func": remaining}),
            )  # fmt: skip
    except papermill.PapermillExecutionError as failed:
        error = f"cell {failed.exec_count}: {failed.ename}: {' '.join(str(failed.evalue).split())}"
    except CellTimeoutError:
        error = f"timed out: it may take {timeout:.0f} s in all"
    except DeadKernelError:
        error = "its kernel was killed (out of memory?)"
    except Exception as failed:
        error = f"{type(failed).__name__}: {' '.join(str(failed).split())}"
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    seconds = time.monotonic() - began
    if error is None and seconds > timeout:
        error = f"timed out: it took {seconds:.0f} s, and may take {timeout:.0f} s in all"
    if error is not None:
        return Execution(notebook.name, seconds, error, partial if partial.exists() else work)
    book = clean(json.loads(partial.read_text(encoding="utf-8")), notebook, parameters)
    # Beside the target, for a rename is whole only within one file system; the name is hidden and no chapter's.
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        fresh.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    return Execution(notebook.name, seconds)


def clean(book: dict[str, Any], source: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """An executed notebook without this machine's paths and clock, and with where it comes from.

    papermill's and nbclient's records of paths and times go. ``metadata.erc`` says the source, its SHA-256, the parameters and
    the commit. Paths below the repository, the environment and the home folder in outputs or in an injected parameter are
    written relative, ``<environment>/...`` and ``~/...``, so that the executed notebook is the same on every machine.
    """
    code = code_state()
    book["metadata"].pop("papermill", None)
    book["metadata"]["erc"] = {
        "source": f"notebooks/{source.name}",
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "parameters": dict(parameters),
        "commit": code["commit"],
        "dirty": code["dirty"],
    }
    for cell in book["cells"]:
        cell["metadata"].pop("papermill", None)
        cell["metadata"].pop("execution", None)
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["id"] = "injected-parameters"  # papermill draws a new one each time
            cell["source"] = _without_paths(cell["source"])
        cell.update({"outputs": _without_paths(cell["outputs"])} if "outputs" in cell else {})
    book["metadata"]["erc"]["parameters"] = _without_paths(book["metadata"]["erc"]["parameters"])
    return book


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):  # pictures are base64 and cannot hold a path
        return {k: v if k.startswith(("image/png", "image/jpeg")) else _without_paths(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_paths(v) for v in value]
    if isinstance(value, str):
        for path, short in ((sys.prefix, "<environment>"), (str(REPOSITORY), "."), (str(Path.home()), "~")):
            if len(path) > 1 and path in value:
                value = re.sub(re.escape(path) + "/", "" if short == "." else short + "/", value)
                value = re.sub(re.escape(path) + r"(?![\w-])", short, value)  # not the first half of a longer name
    return value


@contextlib.contextmanager
def _this_interpreter() -> Iterator[None]:
    """Makes ``python3`` mean the running interpreter; else a kernel of that name in the user's home folder goes before it."""
    with tempfile.TemporaryDirectory(prefix="erc-kernel-") as folder:
        kernel = Path(folder) / "kernels" / "python3"
        kernel.mkdir(parents=True)
        options = ["-f", "{connection_file}", "--log-level=CRITICAL"]  # its warning of unencrypted TCP is no news here
        start = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", *options]
        description = {"argv": start, "display_name": "Python 3 (ipykernel)", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(description))
        before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = folder + (os.pathsep + before if before else "")
        try:
            yield
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """papermill logs a failing cell with its traceback; the report says it in one line, and the kept notebook holds the rest."""
    logger = logging.getLogger("papermill")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
