"""Two tables of the book's reference pages: the published feature files as the loader knows them, and what the published runs took."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path

from erc_lib.data import iemocap, meld
from erc_lib.data.sources import find_source
from erc_lib.features.published_files import LAYOUTS
from erc_lib.tables import modality_name

COUNTS = {"meld": meld.COUNTS, "iemocap": iemocap.COUNTS}
CORPORA, PAPERS = {"meld": "MELD", "iemocap": "IEMOCAP", "mosi": "MOSI"}, {"multiemo": "MultiEMO", "df_erc": "DF-ERC", "bc_lstm": "bc-LSTM"}


def files_table() -> str:
    """Every layout of the loader: name in the store, file, blob id, widths, size of what is stored, who uses it; as a MyST table."""
    lines = [":::{list-table}", ":header-rows: 1", ":class: differences", ":widths: 15 37 18 10 20", ""]
    lines += ["* - Name, corpus", "  - File and git blob id", "  - Widths", "  - In the store (MB)", "  - Used by"]
    for x in LAYOUTS:
        files = "; ".join(f"`{name}` {pin.git_blob}" for name, pin in x.pinned().items())
        widths = ", ".join(f"{m} {w or 'not said'}" for m, w in x.widths.items())
        size = sum(COUNTS[x.corpus].values()) * sum(w or 0 for w in x.widths.values()) * 4 / 1e6  # float32
        stored = f"{size:.0f}" if all(x.widths.values()) else "depends"
        lines += [f"* - `{x.name}`, {CORPORA[x.corpus]}", f"  - `{x.source}`: {files}", f"  - {widths}", f"  - {stored}", f"  - {x.used_by}"]
    return "\n".join([*lines, ":::", ""])


def fields_table() -> str:
    """The entries of each kind of tuple, in their order."""
    kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for x in LAYOUTS:
        kinds[x.fields].append(f"`{x.name}` {CORPORA[x.corpus]}")
    lines = ["| No. | " + " | ".join(", ".join(names) for names in kinds.values()) + " |", "|---|" + "---|" * len(kinds)]
    for k in range(max(map(len, kinds))):
        lines.append(f"| {k + 1} | " + " | ".join(fields[k] if k < len(fields) else "" for fields in kinds) + " |")
    return "\n".join([*lines, ""])


def origins_table() -> str:
    """What is known of how each set of features was made."""
    known: dict[str, list[str]] = defaultdict(list)
    for x in LAYOUTS:
        for m, text in x.origin.items():
            known[text].append(f"`{x.name}` {m}, {CORPORA[x.corpus]}")
    lines = [":::{list-table}", ":header-rows: 1", ":class: differences", ":widths: 36 64", "", "* - Features", "  - What is known"]
    for text, names in known.items():
        lines += [f"* - {'; '.join(names)}", f"  - {text}"]
    return "\n".join([*lines, ":::", ""])


def costs_table(store: Path) -> str:
    """Seconds of the published runs of three models, by corpus and modalities: median, longest, how many, and on what."""
    found = defaultdict(list)
    for path in sorted(store.glob("*/environment.json")):
        environment, spec = (
            json.loads((path.parent / name).read_text(encoding="utf8")) for name in ("environment.json", "spec.json")
        )
        if spec["paper"] not in PAPERS or spec["corpus"] not in CORPORA or (len(spec["modalities"]) < 3 and spec["corpus"] == "mosi"):
            continue
        if spec["paper"] == "df_erc" and not spec["features"] and spec["corpus"] != "mosi":
            continue  # with its encoder in the model, which published features are without
        key = spec["paper"], spec["corpus"], tuple(spec["modalities"]), environment["device"], environment["threads"]
        found[key].append((environment["seconds"], environment["peak_memory"] / 2**30, path.parent.name))
    lines = ["| Model | Corpus | Modalities | Runs | Median (s) | Longest (s) | Memory (GiB) | On | The longest run |", "|---|---|---|---|---|---|---|---|---|"]
    in_order = sorted(found.items(), key=lambda x: (list(PAPERS).index(x[0][0]), list(CORPORA).index(x[0][1])))
    for (paper, corpus, modalities, device, threads), runs in in_order:
        longest = max(runs)
        lines.append(
            f"| {PAPERS[paper]} | {CORPORA[corpus]} | {modality_name(modalities)} | {len(runs)} | {statistics.median(r[0] for r in runs):.0f} | {longest[0]:.0f} | "
            f"{max(r[1] for r in runs):.1f} | {device}, {threads} thread{'s' if threads > 1 else ''} | `{longest[2]}` |"
        )
    return "\n".join([*lines, ""])


def licence_lines() -> str:
    """One line for each source: repository, commit, licence."""
    names = dict.fromkeys(x.source for x in LAYOUTS)
    return "\n".join([*(f"- `{s.name}`: {s.repository} at {s.commit}; {s.licence}" for s in map(find_source, names)), ""])
