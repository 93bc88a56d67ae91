"""`erc export` and `erc predict`: options and what they call."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="digest of a run trained with --keep-weights, or its beginning")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="such as my-model.erc")
    parser.add_argument("--store", type=Path, default=Path("runs"), help="store of runs")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.set_defaults(call=export)


def export(options: argparse.Namespace) -> int:
    from erc_lib.runs import RunStore, export_run
    from erc_lib.runs.export import find_run

    run = find_run(options.run, RunStore(options.store))
    path = export_run(run, options.output, force=options.force)
    print(f"{run.spec}, run {run.spec.digest}\n{path}: {path.stat().st_size / 2**20:.1f} MiB")
    return 0


def predict_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="INPUT", help="a transcript (.csv, .json, .srt, .txt) or a video with subtitles")
    parser.add_argument("--model", required=True, metavar="FILE|RUN", help="a file of `erc export`, or a run's digest")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for predictions.csv, emotions.png and emotions.html")
    parser.add_argument("--media", type=Path, metavar="FILE", help="the recording of a transcript with times, for a model that reads audio or visual; default: INPUT")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the visual network, if the model's features were made with a file of weights")
    parser.add_argument("--store", type=Path, default=Path("runs"), help="store of runs")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.set_defaults(call=predict)


def predict(options: argparse.Namespace) -> int:
    from erc_lib.data.transcripts import read_transcript
    from erc_lib.runs.export import write_whole
    from erc_lib.runs.predict import check_output, open_model, predict_turns, what_it_is_worth

    names = ("predictions.csv", "emotions.png", "emotions.html")
    check_output(options.output, names, force=options.force)
    turns = read_transcript(options.input)
    exported = open_model(options.model, options.store)
    table = predict_turns(exported, turns, media=options.media or options.input, weights=options.weights)
    notes, title = what_it_is_worth(exported, table), f"Emotions in {options.input.name}, as predicted"
    contents = (_csv(table), _png(table, title), _page(table, title, notes))
    write_whole({options.output / name: content for name, content in zip(names, contents, strict=True)})
    print("\n".join([*notes, f"{len(table)} turns: {', '.join(names)} in {options.output}"]))
    return 0


def _csv(table: Any) -> bytes:
    return table.to_csv(index=False, float_format="%.4f", lineterminator="\n").encode()


def _png(table: Any, title: str) -> bytes:
    import matplotlib

    matplotlib.use("Agg")  # a file is written; no screen is needed
    from erc_lib.plots_emotions import emotions_over_time, png_bytes

    return png_bytes(emotions_over_time(table, title=title))


def _page(table: Any, title: str, notes: list[str]) -> bytes:
    from erc_lib.plots_emotions import emotions_page

    return emotions_page(table, title=title, notes=notes).encode()
