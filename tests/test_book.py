"""The book's shell: what enters it, what it would fetch from outside, and the table of differences against the configuration."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from erc_lib import book, book_published
from erc_lib.errors import DataError
from erc_lib.features.published_files import LAYOUTS
from erc_lib.papers.multiemo import MultiEMOConfig
from erc_lib.runs import RunSpec

ROOT = Path(__file__).resolve().parent.parent
LISTS = {name: yaml.safe_load(path.read_text(encoding="utf8")) for name, path in book.DIFFERENCES.items()}
ROWS = LISTS["multiemo"]
PROSE = sorted((ROOT / "book").glob("*.md"))


# The table of differences


def test_there_are_thirty_six_differences_numbered_in_order():
    assert [row["number"] for row in ROWS] == list(range(1, 37))
    assert [
        (row["number"], k)
        for row in ROWS
        for k in ("section", "place", "paper", "released", "default")
        if not str(row[k]).strip()
    ] == []
    sections = [row["section"] for row in ROWS]
    assert len(set(sections)) == sum(a != b for a, b in zip(sections, [None, *sections])), "a section is torn apart"


@pytest.mark.parametrize(("name", "letter"), [("dialogue_trm", "D"), ("dimmn", "W"), ("df_erc", "L")])
def test_open_choices_are_numbered_in_order_and_complete(name, letter):
    rows = LISTS[name]
    assert [row["number"] for row in rows] == [f"{letter}{n}" for n in range(1, len(rows) + 1)]
    assert all(str(row[k]).strip() for row in rows for k in ("section", "place", "paper", "other", "default"))
    sections = [row["section"] for row in rows]
    assert len(set(sections)) == sum(a != b for a, b in zip(sections, [None, *sections])), "a section is torn apart"


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, rows in LISTS.items() for row in rows], ids=lambda x: x if isinstance(x, str) else x["number"])
def test_each_difference_names_fields_that_exist_and_their_defaults(name, row):
    kind = book.PAPERS[name]
    config = kind.meld()
    for field in row["field"]:
        if field.startswith("RunSpec."):
            assert field.removeprefix("RunSpec.") in RunSpec.model_fields
        else:
            value = (
                getattr(config, field)
                if field in kind.model_fields
                else pytest.fail(f"{field} is no field of {kind.__name__}")
            )
            assert f"`{value}`" in row["default"], f"{field} is {value!r} by default, and the row says: {row['default']}"


def test_each_numbered_field_of_the_configuration_stands_in_its_row():
    """MultiEMOConfig's descriptions cite the numbers, so table and configuration cannot drift apart."""
    cited = {
        (int(n), name)
        for name, f in MultiEMOConfig.model_fields.items()
        for n in re.findall(r"\((\d+)\)", (f.description or "").split(":")[0][:12])
    }
    listed = {(row["number"], field) for row in ROWS for field in row["field"]}
    assert len(cited) > 20
    assert cited <= listed, f"not in the table: {sorted(cited - listed)}"


def test_the_released_variant_differs_wherever_a_row_says_so():
    """Rows whose fields the released preset leaves at the paper's value are those where nothing differs or a corpus decides."""
    paper, meld, iemocap = (
        MultiEMOConfig.meld(),
        MultiEMOConfig.meld(variant="released"),
        MultiEMOConfig.iemocap(variant="released"),
    )
    same = {
        row["number"]
        for row in ROWS
        for fields in [[f for f in row["field"] if not f.startswith("RunSpec.")]]
        if fields and all(getattr(paper, f) == getattr(meld, f) == getattr(iemocap, f) for f in fields)
    }
    assert same == {15, 21, 27, 29}


def test_the_table_has_a_row_for_each_difference(tmp_path):
    text = book.differences_table(book.DIFFERENCES["multiemo"])
    assert [int(n) for n in re.findall(r"(?m)^\* - (\d+)$", text)] == list(range(1, 37))
    assert text.count(":::{list-table}") == len({row["section"] for row in ROWS}) == len(re.findall(r"(?m)^:::$", text))


def test_the_table_of_fields_names_every_field_once():
    names = re.findall(r"(?m)^\* - `(\w+)`$", book.fields_table(MultiEMOConfig))
    assert names == list(MultiEMOConfig.model_fields)


# What enters the book


def test_the_table_of_contents_names_the_prose_and_the_notebooks():
    toc = (ROOT / "book" / "_toc.yml").read_text(encoding="utf8")
    named = set(re.findall(r"(?:file|root):\s*([\w./-]+)", toc))
    chapters = set(book.chapters_of(ROOT / "book" / "_toc.yml"))
    assert {"chapters/00_conversations", "chapters/10_dialogue_trm", "chapters/20_dimmn", "chapters/30_multiemo", "chapters/40_df_erc", "chapters/60_your_conversation"} <= chapters
    assert named - chapters == {page.stem for page in PROSE}


def notebook(folder: Path, *cells: dict) -> Path:
    path = folder / "chapter.ipynb"
    path.write_text(json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf8")
    return path


def code(count: int | None = 1, *, source: str = "1 + 1", outputs: tuple[dict, ...] = ()) -> dict:
    return {"cell_type": "code", "source": [source], "execution_count": count, "outputs": list(outputs), "metadata": {}}


def test_an_executed_chapter_may_enter(tmp_path):
    book.check_executed(
        notebook(tmp_path, {"cell_type": "markdown", "source": ["# A"], "metadata": {}}, code(), code(None, source="  "))
    )


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ([code(), code(None)], "cell 1 was not executed"),
        ([code(outputs=({"output_type": "error", "ename": "E", "evalue": "", "traceback": []},))], "cell 0 ended in an error"),
    ],
)
def test_a_chapter_that_did_not_run_to_its_end_may_not(tmp_path, cells, says):
    with pytest.raises(DataError, match=says):
        book.check_executed(notebook(tmp_path, *cells))


def test_a_missing_or_torn_chapter_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="not there"):
        book.check_executed(tmp_path / "chapter.ipynb")
    torn = notebook(tmp_path, code())
    torn.write_text(torn.read_text(encoding="utf8")[:40], encoding="utf8")
    with pytest.raises(DataError, match="not a whole notebook"):
        book.check_executed(torn)


def test_a_book_that_cannot_be_built_leaves_the_last_one(tmp_path, capsys):
    good = tmp_path / "html"
    good.mkdir()
    (good / "index.html").write_text("the last good book", encoding="utf8")
    assert book.main(["build", "--output", str(good), "--chapters", str(tmp_path / "none")]) == 1
    assert "not there" in capsys.readouterr().err
    assert (good / "index.html").read_text(encoding="utf8") == "the last good book"


# What a page would fetch


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example.org/a.js"></script>',
        '<script src="//cdn.example.org/a.js"></script>',
        '<SCRIPT SRC="HTTP://cdn.example.org/a.js"></SCRIPT>',
        '<link rel="stylesheet" href="https://fonts.example.org/css">',
        '<link rel="preconnect" href="https://fonts.example.org">',
        '<img src="https://example.org/a.png">',
        '<img src="a.png" srcset="a.png 1x, https://example.org/b.png 2x">',
        '<iframe src="https://example.org"></iframe>',
        '<video poster="https://example.org/a.png"></video>',
        '<svg><image href="https://example.org/a.png"/></svg>',
        '<div style="background: url(https://example.org/a.png)"></div>',
        "<style>@import 'https://example.org/a.css';</style>",
        "<style>@font-face { src: url('//example.org/a.woff') }</style>",
        '<script type="module">import mermaid from "https://cdn.example.org/mermaid.mjs";</script>',
        '<script>import("https://cdn.example.org/a.js")</script>',
        '<meta http-equiv="refresh" content="0; url=https://example.org">',
    ],
)
def test_a_request_to_the_outside_is_found(tmp_path, html):
    (tmp_path / "page.html").write_text(f"<html><body>{html}</body></html>", encoding="utf8")
    found = book.outside_requests(tmp_path)
    assert len(found) == 1 and found[0].startswith("page.html: ") and "example.org" in found[0].lower()


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://example.org">a link that a reader may follow</a>',
        '<link rel="canonical" href="https://example.org/page.html"><link rel="next" href="https://example.org/next.html">',
        '<script src="_static/a.js"></script><img src="data:image/png;base64,AAAA//AA"><img src="../_images/a.png">',
        "<p>@import 'https://example.org/a.css' in prose, and url(https://example.org/a.png)</p>",
        '<script>const address = "https://example.org/used/on/click";</script>',
        "<style>a { background: url(data:image/svg+xml;utf8,AAAA) } b { background: url(../a.png) }</style>",
    ],
)
def test_links_and_what_the_book_carries_itself_are_no_requests(tmp_path, html):
    (tmp_path / "page.html").write_text(html, encoding="utf8")
    assert book.outside_requests(tmp_path) == []


def test_style_sheets_are_read_too(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a.css").write_text(
        "@import url(https://example.org/b.css); a { background: url('b.png') }", encoding="utf8"
    )
    assert book.outside_requests(tmp_path) == [f"{Path('_static', 'a.css')}: https://example.org/b.css"]
    assert book.main(["check-offline", str(tmp_path)]) == 1


def test_mathjax_comes_from_an_installed_package(tmp_path):
    book.vendor_mathjax(tmp_path)
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))["sphinx"]["config"]
    carried = tmp_path / "_static" / config["mathjax_path"]
    assert carried.stat().st_size > 1e6


# Prose


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.stem)
def test_citations_stand_in_the_bibliography(page):
    known = set(re.findall(r"(?m)^@\w+\{([\w]+),", (ROOT / "book" / "references.bib").read_text(encoding="utf8")))
    cited = {
        key.strip() for group in re.findall(r"\{cite:\w+\}`([^`]+)`", page.read_text(encoding="utf8")) for key in group.split(",")
    }
    assert cited <= known
    if page.stem in {"what-is-erc", "data-and-protocol"}:
        assert len(cited) >= 5


def test_the_worked_example_of_weighted_f1_is_right():
    """The page's ten utterances, measured; the numbers it prints are these."""
    from erc_lib.evaluation import classification_metrics

    labels = [0] * 6 + [1] * 3 + [2]
    predicted = [0] * 5 + [1] + [1, 1, 0] + [0]
    scores, always = classification_metrics(labels, predicted, 3), classification_metrics(labels, [0] * 10, 3)
    text = (ROOT / "book" / "data-and-protocol.md").read_text(encoding="utf8")
    example = text[text.index("### A worked example") : text.index("## Is the difference one?")]
    for name, key in (("accuracy", "accuracy"), ("weighted F1", "weighted_f1"), ("macro F1", "macro_f1")):
        assert re.search(rf"{name}: .*= {scores[key]:.3f}\$", example)
        assert re.search(rf"{name} {always[key]:.3f}", example)
    for f1 in scores["f1"][:2]:
        assert f"= {f1:.3f}$" in example


def commands_of(page: Path) -> list[list[str]]:
    """The ``erc ...`` commands in the page's bash blocks, as words, continued lines joined and comments left out."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf8"), flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("erc ")]


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "book" / "how-to-read.md", ROOT / "book" / "data-and-protocol.md", ROOT / "book" / "your-data.md"], ids=lambda p: p.stem
)
def test_the_commands_shown_are_commands_that_exist(page):
    from erc_lib.cli import build_parser

    commands = commands_of(page)
    assert commands
    for words in commands:
        build_parser().parse_args(words[1:])


def test_bars_outside_literals_are_escaped():
    assert book.plain_bars("the norm |x| of ``a | b`` and |y|") == r"the norm \|x\| of ``a | b`` and \|y\|"


# The tables of the published feature files


def test_the_table_of_published_files_names_each_with_its_blob():
    text = book_published.files_table()
    for layout in LAYOUTS:
        assert text.count(f"* - `{layout.name}`, {book_published.CORPORA[layout.corpus]}") == 1
        assert all(f"`{name}` {pin.git_blob}" in text for name, pin in layout.pinned().items())
    assert "(its test list is empty)" in book_published.origins_table() and "| 10 | one more |  |  |" in book_published.fields_table()


def test_the_table_of_costs_reads_the_store(tmp_path):
    for name, seconds, paper, modalities in (("a", 10.0, "multiemo", ["text"]), ("b", 30.0, "multiemo", ["text"]), ("c", 5.0, "dimmn", ["text"])):
        (tmp_path / name).mkdir()
        environment = {"seconds": seconds, "peak_memory": 2**31, "device": "cpu", "threads": 1}
        (tmp_path / name / "environment.json").write_text(json.dumps(environment), encoding="utf8")
        (tmp_path / name / "spec.json").write_text(json.dumps({"paper": paper, "corpus": "meld", "modalities": modalities, "features": {}}), encoding="utf8")
    rows = book_published.costs_table(tmp_path).splitlines()
    assert rows[2:] == ["| MultiEMO | MELD | Text | 2 | 20 | 30 | 2.0 | cpu, 1 thread | `b` |"]
