"""Who may import whom (design.md, "The house"), read from the source: also imports inside functions count."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import erc_lib

ROOT = Path(erc_lib.__file__).parent
PLAIN = {"torch", "numpy", "sklearn", "scipy", "pandas"}
APPLICATION = ("cli", "reproduce", "book", "plots", "tables")  # the upper floor: nobody below imports it

# folder -> the parts of erc_lib it may import besides itself. A part "papers.published" allows that module and what it exports.
ALLOWED = {
    "layers": {"errors", "precision"},
    "losses": {"errors", "precision"},
    "evaluation": {"errors"},
    "data": {"errors", "paths"},
    "features": {"data", "errors", "paths", "evaluation"},
    "papers": {"layers", "losses", "data", "errors", "precision"},
    "training": {"data", "evaluation", "errors", "precision"},
    "runs": {"data", "features", "papers", "training", "evaluation", "errors", "paths"},
    "plots": {"runs", "evaluation", "data", "errors"},
    "tables": {"runs", "evaluation", "data", "errors", "papers"},
}
ONLY_PLAIN = ("layers", "losses", "evaluation")


def imports(source: str) -> set[str]:
    """Dotted names that ``source`` imports: ``from a.b import c`` gives ``a.b.c``."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here, so that they can be read without knowing the file"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(module: str) -> str:
    """The first name, and for ``plots_corpus``, a second file of the same idea, ``plots``."""
    first = module.split(".")[0]
    return next((p for p in ("plots", "tables", "book", "cli") if first.startswith(f"{p}_")), first)


def faults(module: str, source: str) -> list[str]:
    """What ``module`` (dotted, below erc_lib) imports and may not."""
    part = part_of(module)
    found = []
    for name in sorted(imports(source)):
        top, *rest = name.split(".")
        if top == "erc_lib":
            other = rest[0] if rest else ""
            allowed = ALLOWED[part] | {part}
            a_part = other and ((ROOT / other).is_dir() or (ROOT / f"{other}.py").exists())  # and no name such as __version__
            if a_part and part_of(other) not in allowed:
                found.append(f"{module} imports {name}")
            if part == "papers":
                room = module.split(".")[1] if module.count(".") > 1 else None
                if other == "data" and rest[-1] != "Batch":
                    found.append(f"{module} imports {name}: a paper knows data.Batch alone")
                if room and other == "papers" and (len(rest) < 2 or rest[1] not in (room, "config")):  # config: what all configurations share
                    found.append(f"{module} imports {name}: a paper knows no other paper")
        elif part in ONLY_PLAIN and top not in PLAIN and top not in sys.stdlib_module_names and top != "__future__":
            found.append(f"{module} imports {name}")
    return found


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        names = path.relative_to(ROOT).with_suffix("").parts
        if part_of(names[0]) in ALLOWED:
            # The package file of a room stands inside it: papers.multiemo.__init__.
            found.append((".".join(names), path))
    return found


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda x: x if isinstance(x, str) else "")
def test_a_module_keeps_to_its_arrows(module, path):
    assert faults(module, path.read_text(encoding="utf-8")) == []


def test_every_part_has_a_rule():
    parts = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert {part_of(p) for p in parts} - set(ALLOWED) <= {"__init__", "errors", "paths", "precision", *APPLICATION}
    for name in ("errors", "paths", "precision", "__init__"):
        assert not [i for i in imports((ROOT / f"{name}.py").read_text()) if i.startswith("erc_lib")]


def test_nobody_imports_a_notebook_or_the_tests():
    for path in ROOT.rglob("*.py"):
        names = {name.split(".")[0] for name in imports(path.read_text(encoding="utf-8"))}
        assert not names & {"notebooks", "tests", "book", "benchmarks"}, path


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("layers.x", "import transformers"),
        ("losses.x", "from erc_lib.layers import masks"),
        ("evaluation.x", "def f():\n    from erc_lib.data import Corpus"),
        ("data.x", "from erc_lib.papers.multiemo import MultiEMO"),
        ("features.x", "import erc_lib.training.loop"),
        ("papers.multiemo.model", "from erc_lib.data import Corpus"),
        ("papers.multiemo.model", "from erc_lib.papers.dimmn import DIMMN"),
        ("papers.multiemo.model", "from erc_lib.training import fit"),
        ("training.loop", "from erc_lib.papers import MODELS"),
        ("training.loop", "from erc_lib import runs"),
        ("runs.execute", "from erc_lib.cli import main"),
        ("plots", "from erc_lib.training import fit"),
    ],
)
def test_this_test_sees_a_wrong_arrow(module, source):
    assert faults(module, source)


def test_and_lets_right_ones_be():
    right = "import torch\nfrom erc_lib.data.batch import Batch\nfrom erc_lib.layers import DialogueRNN"
    assert faults("papers.multiemo.model", right) == []
    assert faults("papers.multiemo.model", "from erc_lib.papers.multiemo.config import MultiEMOConfig") == []
    assert faults("losses.x", "import math\nfrom torch import nn\nfrom erc_lib.errors import ConfigError") == []
