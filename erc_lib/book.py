"""Builds the book: gathers its pages and executed chapters, runs jupyter-book, and refuses a page that asks for anything outside.

    python -m erc_lib.book build --output book/_build/html [--chapters FOLDER] [--announcement TEXT]
    python -m erc_lib.book check-offline FOLDER

The pages are gathered in a folder of their own beside the output, so nothing is generated among the sources and an
interrupted build leaves the last good book where it was.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from erc_lib import book_extraction, book_published
from erc_lib.errors import DataError
from erc_lib.papers.df_erc import DFERCConfig
from erc_lib.papers.dialogue_trm import DialogueTRMConfig
from erc_lib.papers.dimmn import DIMMNConfig
from erc_lib.papers.multiemo import MultiEMOConfig
from erc_lib.paths import REPOSITORY

MATHJAX = "tex-svg-full.js"  # one file, its glyphs inside: nothing further is loaded, not even a font
PAPERS = {"multiemo": MultiEMOConfig, "dialogue_trm": DialogueTRMConfig, "dimmn": DIMMNConfig, "df_erc": DFERCConfig}  # with a page of fields and a list of differences each
DIFFERENCES = {name: Path(__file__).parent / "papers" / name / "differences.yaml" for name in PAPERS}
COMPARED = {"released": "The released code", "other": "What else it could mean"}  # key of a list -> title of its column


def chapters_of(toc: Path) -> list[str]:
    """The pages that ``toc`` names under ``chapters/``, without their endings, in reading order."""
    return re.findall(r"file:\s*(chapters/[\w.-]+?)(?:\.ipynb)?\s*$", toc.read_text(encoding="utf8"), flags=re.MULTILINE)


def check_executed(notebook: Path) -> None:
    """Raises DataError unless every code cell of ``notebook`` was executed and none ended in an error."""
    if not notebook.is_file():
        raise DataError(
            f"{notebook}: the table of contents names this chapter, but it is not there; execute it with `erc reproduce`"
        )
    try:
        cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
    except (ValueError, KeyError) as error:
        raise DataError(f"{notebook}: not a whole notebook ({error!r}); execute it again") from None
    for position, cell in enumerate(cells):
        if cell["cell_type"] != "code" or not "".join(cell["source"]).strip():
            continue
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            raise DataError(f"{notebook}: cell {position} ended in an error; mend the notebook and execute it again")
        if cell.get("execution_count") is None:
            raise DataError(f"{notebook}: cell {position} was not executed; execute the whole notebook before it enters the book")


def differences_table(path: Path) -> str:
    """A paper's numbered differences, from its released code or among its readings, as MyST tables, one per section of the list."""
    rows = yaml.safe_load(path.read_text(encoding="utf8"))
    against = next(key for key in COMPARED if key in rows[0])
    lines: list[str] = []
    section = None
    for row in rows:
        if row["section"] != section:
            section = row["section"]
            lines += ([":::", ""] if lines else []) + [
                f"## {section}",
                "",
                ":::{list-table}",
                ":header-rows: 1",
                ":class: differences",
                ":widths: 4 14 28 30 24",
                "",
            ]
            lines += ["* - No.", "  - Where", "  - The paper", f"  - {COMPARED[against]}", "  - Here"]
        fields = ", ".join(f"`{field}`" for field in row["field"])
        here = f"{fields}: {row['default']}" if fields else row["default"]
        lines += [f"* - {row['number']}", f"  - {row['place']}", f"  - {row['paper']}", f"  - {row[against]}", f"  - {here}"]
    return "\n".join([*lines, ":::", ""])


def fields_table(config: type[BaseModel]) -> str:
    """The fields of a configuration with their defaults and descriptions, as a MyST table."""
    lines = [
        ":::{list-table}",
        ":header-rows: 1",
        ":class: differences",
        ":widths: 22 26 52",
        "",
        "* - Field",
        "  - Default",
        "  - What it decides",
    ]
    for name, field in config.model_fields.items():
        # a description is written for a terminal: nothing in it is markup
        description = re.sub(r"([\\`*_$<\[{|])", r"\\\1", field.description or "")
        lines += [f"* - `{name}`", f"  - `{field.default!r}`", f"  - {description}"]
    return "\n".join([*lines, ":::", ""])


def stage(folder: Path, *, book: Path, chapters: Path, announcement: str = "") -> None:
    """Gathers in ``folder`` the prose of ``book``, the executed ``chapters`` its table of contents names, and the generated pages."""
    shutil.copytree(book, folder, ignore=shutil.ignore_patterns("_build", "results", "chapters", ".ipynb_checkpoints"))
    (folder / "chapters").mkdir()
    for name in chapters_of(book / "_toc.yml"):
        notebook = chapters / f"{Path(name).name}.ipynb"
        check_executed(notebook)
        shutil.copy(notebook, folder / "chapters")
    (folder / "_generated").mkdir()
    for name, config in PAPERS.items():
        (folder / "_generated" / f"{name}_differences.md").write_text(differences_table(DIFFERENCES[name]), encoding="utf8")
        (folder / "_generated" / f"{name}_config.md").write_text(fields_table(config), encoding="utf8")
    published = {"files": book_published.files_table(), "fields": book_published.fields_table(), "origins": book_published.origins_table()}
    published |= {"sources": book_published.licence_lines(), "costs": book_published.costs_table(book / "results")}
    for name, text in published.items():
        (folder / "_generated" / f"published_{name}.md").write_text(text, encoding="utf8")
    (folder / "_generated" / "extractors.md").write_text(book_extraction.extractors_table(), encoding="utf8")
    speed = book_extraction.speed_table(book.parent / "benchmarks" / "results" / "extract.json")
    (folder / "_generated" / "extraction_speed.md").write_text(speed, encoding="utf8")
    config = yaml.safe_load((book.parent / "_config.yml").read_text(encoding="utf8"))
    if announcement:
        config["sphinx"]["config"]["html_theme_options"]["announcement"] = announcement
    (folder / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf8")


def build(output: Path, *, book: Path = REPOSITORY / "book", chapters: Path | None = None, announcement: str = "") -> Path:
    """Builds the book into ``output`` (replaced only by a whole new book) and returns the page to open.

    Args:
        chapters: folder of the executed notebooks; None: those committed under ``book/chapters``.
        announcement: a line above every page, HTML.

    Raises:
        DataError: a chapter is missing or was not executed to its end, jupyter-book warned or failed, or a page asks for
            something outside the book.
    """
    output = output.resolve()
    work = output.with_name(f".{output.name}-work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    stage(work / "source", book=book, chapters=chapters or book / "chapters", announcement=announcement)
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        str(work / "source"),
        "--config",
        str(work / "source" / "_config.yml"),
        "--toc",
        str(work / "source" / "_toc.yml"),
        "--path-output",
        str(work),
        "-W",
        "--keep-going",
        "--quiet",
    ]
    # its closing words point into the work folder; warnings go to stderr
    finished = subprocess.run(command, env={**os.environ, "PYTHONWARNINGS": "ignore"}, stdout=subprocess.DEVNULL, check=False)
    html = work / "_build" / "html"
    if finished.returncode or not (html / "index.html").is_file():
        raise DataError(
            f"jupyter-book ended with {finished.returncode}: its warnings above name page and line in {work / 'source'}"
        )
    vendor_mathjax(html)
    requests = outside_requests(html)
    if requests:
        raise DataError("pages of the book ask for something outside it:\n" + "\n".join(requests))
    shutil.rmtree(output, ignore_errors=True)
    os.replace(html, output)
    shutil.rmtree(work)
    return output / "index.html"


def vendor_mathjax(html: Path) -> None:
    """Copies MathJax from the installed package sphinx-mathjax-offline into the book."""
    # not loaded as an extension: that would copy all 24 MB of MathJax, and by another entry
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None or package.origin is None:
        raise DataError("sphinx-mathjax-offline is not installed: run `make setup`")
    target = html / "_static" / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(package.origin).parent / "static" / "mathjax" / MATHJAX, target)


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this: docstrings speak of ``|R|`` and ``|theta|^2``, which are bars to their authors and markup to Sphinx."""
    app.connect(
        "autodoc-process-docstring",
        lambda _app, _what, _name, _object, _options, lines: lines.__setitem__(slice(None), map(plain_bars, lines)),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def plain_bars(line: str) -> str:
    """``line`` with the bars outside double backticks escaped."""
    return "``".join(part if inside % 2 else part.replace("|", r"\|") for inside, part in enumerate(line.split("``")))


OUTSIDE = re.compile(r"\s*(?:(?:https?|wss?|ftp):)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])((?:https?:)?//[^'")\s]+)""", re.IGNORECASE)
IN_SCRIPT = re.compile(
    r"""(?:\bimport\s*\(?\s*|\bfrom\s+|\bimportScripts\(\s*|\bfetch\(\s*|\.src\s*=\s*)['"]((?:https?:)?//[^'"\s]+)"""
)
FETCHING_LINKS = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "manifest",
    "apple-touch-icon",
}
FETCHING_ATTRIBUTES = {
    "script": {"src"},
    "img": {"src", "srcset"},
    "iframe": {"src"},
    "frame": {"src"},
    "embed": {"src"},
    "object": {"data"},
    "video": {"src", "poster"},
    "audio": {"src"},
    "source": {"src", "srcset"},
    "track": {"src"},
    "input": {"src"},
    "image": {"href", "xlink:href"},
    "use": {"href", "xlink:href"},
    "body": {"background"},
}


class _Requests(HTMLParser):
    """Collects what a browser would fetch from elsewhere on opening the page; links that a reader may follow are not among it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.inside = tag if tag in {"script", "style"} else self.inside
        wanted = FETCHING_ATTRIBUTES.get(tag, set())
        if tag == "link" and FETCHING_LINKS & set(values.get("rel", "").lower().split()):
            wanted = {"href"}
        for name in wanted & values.keys():
            candidates = values[name].split(",") if name == "srcset" else [values[name]]
            self.found += [f"<{tag} {name}> {c.strip()}" for c in candidates if OUTSIDE.match(c)]
        self.found += [f"<{tag} style> {address}" for address in IN_STYLE.findall(values.get("style", ""))]
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh" and "//" in values.get("content", ""):
            self.found.append(f"<meta refresh> {values['content']}")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data: str) -> None:
        pattern = {"style": IN_STYLE, "script": IN_SCRIPT}.get(self.inside)
        if pattern:
            self.found += [f"<{self.inside}> {address}" for address in pattern.findall(data)]


def outside_requests(folder: Path) -> list[str]:
    """What the pages and style sheets under ``folder`` would fetch from elsewhere, one line "page: element address" each."""
    lines = []
    for page in sorted(folder.rglob("*.html")):
        parser = _Requests()
        parser.feed(page.read_text(encoding="utf8", errors="replace"))
        lines += [f"{page.relative_to(folder)}: {request}" for request in parser.found]
    for sheet in sorted(folder.rglob("*.css")):
        found = IN_STYLE.findall(sheet.read_text(encoding="utf8", errors="replace"))
        lines += [f"{sheet.relative_to(folder)}: {address}" for address in found]
    return lines


def main(arguments: list[str] | None = None) -> int:
    """The command line of this module; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m erc_lib.book", description="Builds the book and checks that it needs nothing outside."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="build the book and print the page to open")
    builder.add_argument("--output", type=Path, required=True, help="folder of the built pages")
    builder.add_argument("--chapters", type=Path, help="folder of executed notebooks (default: those committed)")
    builder.add_argument("--announcement", default="", help="a line above every page (HTML)")
    checker = commands.add_parser("check-offline", help="list what built pages would fetch from outside")
    checker.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "check-offline":
        requests = outside_requests(options.folder)
        print("\n".join(requests) or f"{options.folder}: nothing is fetched from outside")
        return int(bool(requests))
    try:
        print(build(options.output, chapters=options.chapters, announcement=options.announcement))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
