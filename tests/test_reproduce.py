"""Notebooks through papermill: only whole ones reach the book, and a misspelt parameter stops everything before it starts."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import nbformat
import pytest

from erc_lib.cli import main
from erc_lib.errors import ConfigError
from erc_lib.paths import REPOSITORY
from erc_lib.reproduce import clean, declared_parameters, find_notebooks, reproduce


def write(folder: Path, name: str, *cells: str, parameters: str | None = None, kernel: bool = True) -> Path:
    book = nbformat.v4.new_notebook()
    if kernel:
        book.metadata["kernelspec"] = {"name": "some-other-kernel", "display_name": "x", "language": "python"}
    if parameters is not None:
        book.cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    book.cells += [nbformat.v4.new_code_cell(c) for c in cells]
    folder.mkdir(exist_ok=True)
    nbformat.write(book, folder / name)
    return folder / name


GOOD = """import os, sys
from pathlib import Path
print(repr((seeds, profile, device)), sys.executable)
print(os.getcwd(), Path.home())"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Four notebooks, executed once: two good ones around one that fails and one whose kernel is killed."""
    root = tmp_path_factory.mktemp("reproduce")
    source, output = root / "notebooks", root / "chapters"
    write(source, "00_good.ipynb", GOOD, parameters="seeds = 1\nprofile: str = 'quick'  # or full\ndevice = 'cpu'", kernel=False)
    fails = ("x = 1", "raise RuntimeError('no such\\nluck')", "print('never')")
    write(source, "10_fails.ipynb", *fails, parameters="profile = 'quick'")
    write(source, "20_killed.ipynb", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    write(source, "30_bare.ipynb", "print(6 * 7)")
    output.mkdir()
    (output / "10_fails.ipynb").write_text("the last whole one")
    lines = []
    given, defaults = {"seeds": [1, 2]}, {"profile": "full"}
    done = reproduce(find_notebooks(source), output, parameters=given, defaults=defaults, report=lines.append)
    return source, output, {e.notebook: e for e in done}, lines


def test_good_notebooks_reach_the_book_with_their_parameters(executed):
    source, output, done, lines = executed
    assert done["00_good.ipynb"].error is None and done["30_bare.ipynb"].error is None
    book = json.loads((output / "00_good.ipynb").read_text())
    nbformat.validate(nbformat.from_dict(book))
    printed = "".join(book["cells"][-1]["outputs"][0]["text"])
    assert printed.startswith("([1, 2], 'full', 'cpu') ")
    assert "".join(json.loads((output / "30_bare.ipynb").read_text())["cells"][0]["outputs"][0]["text"]) == "42\n"
    assert lines[0].startswith("00_good.ipynb: ") and lines[0].endswith(" s") and done["00_good.ipynb"].seconds > 0.1


def test_executed_notebooks_carry_provenance_and_no_machine(executed):
    source, output, _, _ = executed
    text = (output / "00_good.ipynb").read_text()
    for path in (str(REPOSITORY), sys.prefix, str(Path.home())):
        assert path not in text, path
    book = json.loads(text)
    assert "<environment>/bin/python" in text  # it ran with the interpreter that runs this test
    assert "papermill" not in text and "iopub" not in text and "start_time" not in text
    provenance = book["metadata"]["erc"]
    assert provenance["source"] == "notebooks/00_good.ipynb" and provenance["parameters"] == {"profile": "full", "seeds": [1, 2]}
    assert {"commit", "dirty", "source_sha256"} <= set(provenance)
    assert [c["id"] for c in book["cells"] if "injected-parameters" in c["metadata"]["tags"]] == ["injected-parameters"]


def test_failing_and_killed_notebooks_do_not(executed):
    source, output, done, lines = executed
    assert "RuntimeError: no such luck" in done["10_fails.ipynb"].error and "cell 4" in done["10_fails.ipynb"].error
    assert "killed" in done["20_killed.ipynb"].error
    assert (output / "10_fails.ipynb").read_text() == "the last whole one"
    assert sorted(p.name for p in output.iterdir()) == ["00_good.ipynb", "10_fails.ipynb", "30_bare.ipynb"]
    kept = done["10_fails.ipynb"].kept
    assert kept.exists() and "no such" in kept.read_text() and output not in kept.parents
    assert sum("FAILED" in line for line in lines) == 2 and not any("\n" in line for line in lines)


def test_a_timed_out_notebook_is_stopped_with_its_kernel(tmp_path):
    pid = tmp_path / "pid"
    cells = [f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid()))", "time.sleep(1)", "time.sleep(600)"]
    source = write(tmp_path / "notebooks", "slow.ipynb", *cells)
    began = time.monotonic()
    (done,) = reproduce([source], tmp_path / "chapters", timeout=8, report=lambda line: None)
    assert "timed out" in done.error and "8 s" in done.error and time.monotonic() - began < 120
    assert list((tmp_path / "chapters").iterdir()) == []
    if pid.exists():  # on a very busy machine the kernel may not have come to its first cell
        for _ in range(100):
            if not Path(f"/proc/{pid.read_text()}").exists():
                return
            time.sleep(0.1)
        pytest.fail("the kernel is still running")


def test_misspelt_parameters_stop_everything_before_it_starts(tmp_path):
    source = write(tmp_path / "notebooks", "a.ipynb", "open('ran', 'w')", parameters="seeds = 1\nprofile = 'quick'")
    other = write(tmp_path / "notebooks", "b.ipynb", "open('ran', 'w')")
    with pytest.raises(ConfigError, match="no notebook has a parameter 'sedes'; did you mean 'seeds'"):
        reproduce([source, other], tmp_path / "chapters", parameters={"sedes": 2})
    with pytest.raises(ConfigError, match="none has parameters"):
        reproduce([other], tmp_path / "chapters", parameters={"seeds": 2})
    with pytest.raises(ConfigError, match="above 0"):
        reproduce([other], tmp_path / "chapters", timeout=-1)
    assert not (tmp_path / "chapters").exists() and not (source.parent / "ran").exists()
    assert declared_parameters(source) == {"seeds", "profile"} and declared_parameters(other) == set()


def test_files_that_are_no_notebooks(tmp_path):
    bad = tmp_path / "bad.ipynb"
    bad.write_text('{"cells": [')
    with pytest.raises(ConfigError, match="bad.ipynb cannot be read as a notebook"):
        reproduce([bad], tmp_path / "chapters")
    with pytest.raises(ConfigError, match="--notebooks"):
        find_notebooks(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no notebook 'bda'.*did you mean 'bad'"):
        find_notebooks(tmp_path, ["bda"])
    assert find_notebooks(tmp_path, ["bad.ipynb"]) == [bad]


def test_the_command(tmp_path, capsys):
    cell = "assert seeds == [0, 1e-4] and profile == 'full'"
    write(tmp_path / "notebooks", "a.ipynb", cell, parameters="seeds = 1\nprofile = 'quick'")
    common = ["reproduce", "--notebooks", str(tmp_path / "notebooks"), "--output", str(tmp_path / "chapters")]
    assert main([*common, "-p", "sed", "1"]) == 2 and "did you mean 'seeds'" in capsys.readouterr().err
    assert main([*common, "--profile", "full", "-p", "seeds", "[0, 1e-4]"]) == 0
    assert (tmp_path / "chapters" / "a.ipynb").exists() and "a.ipynb: " in capsys.readouterr().out
    (tmp_path / "chapters" / "a.ipynb").unlink()
    assert main(common) == 1  # the assertion in the notebook fails
    captured = capsys.readouterr()
    assert "AssertionError" in captured.out and "1 of 1 notebooks failed" in captured.err
    assert not (tmp_path / "chapters" / "a.ipynb").exists()


def test_paths_are_written_relative_but_longer_names_are_kept(tmp_path):
    root, home = str(REPOSITORY), str(Path.home())
    texts = [f"{root}/book/x.py", f"File {sys.prefix}/lib/y.py", f"{root}", f"{home}/z", f"{root}-copy/x", "no path"]
    author = {"cell_type": "code", "metadata": {}, "source": root, "outputs": [{"text": texts}]}
    book = {"metadata": {"papermill": {}}, "cells": [author]}
    source = tmp_path / "n.ipynb"
    source.write_text("{}")
    cell = clean(book, source, {"store": f"{root}/book/results"})["cells"][0]
    expected = ["book/x.py", "File <environment>/lib/y.py", ".", "~/z", f"{root}-copy/x".replace(home + os.sep, "~/"), "no path"]
    assert cell["outputs"][0]["text"] == expected
    assert cell["source"] == root  # an author's own cell is left alone
    assert book["metadata"]["erc"]["parameters"] == {"store": "book/results"}
