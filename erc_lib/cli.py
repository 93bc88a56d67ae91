"""The command ``erc``: data, features, one run, a study of many, one's own conversations, and the book's notebooks.

An option or name that is unknown is an error with the nearest known one; nothing is abbreviated and nothing is passed over.
Exit status: 0 done, 1 some runs or notebooks failed, 2 a mistake in the command, the data or a specification, 130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from erc_lib import __version__
from erc_lib.errors import ConfigError, DataError, TrainingError
from erc_lib.paths import REPOSITORY, published_store

TIMEOUTS = {"quick": 600.0, "full": 24 * 3600.0}  # seconds for one notebook
# Modules with torch in them are imported by the subcommand that needs them: `erc data list` answers at once.


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line with the nearest known name."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **settings)

    def parse_known_args(self, args=None, namespace=None):
        self._given = list(sys.argv[1:] if args is None else args)
        namespace, rest = super().parse_known_args(args, namespace)
        if rest:  # here, and not in parse_args of the main parser, the options of the subcommand are known
            self._unknown(rest[0])
        return namespace, rest

    def _unknown(self, word: str) -> NoReturn:
        kind, word = "option" if word.startswith("-") else "argument", word.split("=")[0]
        self.error(f"unknown {kind} {word!r}" + (_near(word, list(self._option_string_actions)) if kind == "option" else ""))

    def error(self, message: str) -> NoReturn:
        choice = re.search(r"(.*): invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if choice:
            message = f"{choice[1]}: no {choice[2]!r}" + _near(choice[2], re.findall("'([^']+)'", choice[3]))
        if "arguments are required" in message and not self._subparsers:  # of a misspelt --corpus, that is what is wrong
            for word in self._given:
                if word.startswith("--") and word.split("=")[0] not in self._option_string_actions:
                    self._given = []
                    self._unknown(word)
        self.exit(2, f"{self.prog}: {message} (see `{self.prog} --help`)\n")


def _near(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def build_parser() -> Parser:
    parser = Parser(prog="erc", description="Emotion recognition in conversation: four papers, rebuilt and measured.")
    parser.add_argument("--version", action="version", version=f"erc_lib {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="data|features|train|study|export|predict|reproduce")
    _data_options(commands.add_parser("data", help="the pinned public files"))
    _features_options(commands.add_parser("features", help="stored features and the encoders that make them"))
    _train_options(commands.add_parser("train", help="one run into the store of runs"))
    _study_options(commands.add_parser("study", help="a declared list of runs"))
    _export_options(commands.add_parser("export", help="a finished run in one file"))
    _predict_options(commands.add_parser("predict", help="the emotions of one's own conversation"))
    _reproduce_options(commands.add_parser("reproduce", help="execute the notebooks of the book"))
    return parser


def _data_options(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|fetch|verify|check")
    actions.add_parser("list", help="what there is, and what of it is here").set_defaults(call=data_list)
    fetch = actions.add_parser("fetch", help="download or copy, and check")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="names of `erc data list`, or all")
    fetch.set_defaults(call=data_fetch)
    verify = actions.add_parser("verify", help="read every fetched file again and compare its hash")
    verify.add_argument("names", nargs="*", metavar="NAME", help="names of `erc data list`; none: all of them")
    verify.set_defaults(call=data_verify)
    check = actions.add_parser("check", help="read a corpus of one's own, and list every fault of it")
    check.add_argument("folder", type=Path, metavar="DIR", help="a folder with utterances.csv")
    check.set_defaults(call=data_check)


def data_list(options: argparse.Namespace) -> int:
    from erc_lib.data.sources import list_sources

    for s in list_sources():
        print(f"{s.name:22} {s.present} of {s.files} files here, {s.bytes / 2**20:.1f} MiB")
        print(f"    {s.note}\n    licence: {s.licence}")
    return 0


def data_fetch(options: argparse.Namespace) -> int:
    from erc_lib.data.sources import fetch, find_source, sources

    names = list(sources()) if options.names == ["all"] else options.names
    for name in names:
        find_source(name)  # a misspelt name is found before the first download
    for name in names:
        print(f"{name}: {fetch(name)}")
    return 0


def data_verify(options: argparse.Namespace) -> int:
    from erc_lib.data.sources import verify

    for check in [c for name in options.names or [None] for c in verify(name)]:
        print(f"{check.state:8} {check.path}  {check.message}")
    return 0


def data_check(options: argparse.Namespace) -> int:
    from erc_lib.data import SPLITS
    from erc_lib.data.folder import check_folder, load_dialogues, load_folder

    faults = check_folder(options.folder)
    if faults:
        print("\n".join(faults))
        raise DataError(f"{options.folder}: {len(faults)} fault{'s' * (len(faults) > 1)}, listed above; correct them and check again")
    dialogues = load_dialogues(options.folder)
    print(f"{options.folder}: {len(dialogues)} dialogues, {sum(map(len, dialogues))} utterances, no fault")
    if any((d.labels < 0).any() for d in dialogues):
        print("rows without a label: it can be predicted, but neither trained on nor scored")
        return 0
    corpus = load_folder(options.folder)
    for split in SPLITS:
        if corpus.split(split):
            counts = ", ".join(f"{c} {n}" for n, c in zip(corpus.label_names, corpus.class_counts(split).tolist(), strict=True))
            print(f"{split:10} {len(corpus.split(split))} dialogues: {counts}")
    empty = [s for s in SPLITS if not corpus.split(s)]
    if empty:
        print(f"no {' and no '.join(empty)} dialogues: it cannot be trained on")
    print(f"features: {', '.join(f'{m} ({d})' for m, d in corpus.dims.items()) or 'none of its own'}")
    return 0


def _features_options(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|text|published|extract|reduce")
    listing = actions.add_parser("list", help="the stored feature sets")
    listing.set_defaults(call=features_list)
    text = actions.add_parser("text", help="encode a corpus' transcripts")
    text.add_argument("--corpus", required=True, help="name of the corpus")
    text.add_argument("--encoder", default="all-MiniLM-L6-v2", help="text encoder")
    text.add_argument(
        "--paradigm", default="utterance", choices=("utterance", "one-stage", "two-stage", "cnn"),
        help="utterance: as published; one-stage, two-stage: fine-tuned on the corpus (MultiEMO 3.3.1); cnn: a text CNN trained on it (DIMMN 3.1.1)",
    )  # fmt: skip
    text.add_argument("--vectors", type=Path, help="of --paradigm cnn: a file of word vectors in GloVe's text format; default: learned")
    text.add_argument("--seed", type=int, default=0, help="of the training")
    text.add_argument("--epochs", type=int, default=argparse.SUPPRESS, help="of the training")
    text.add_argument("--name", help="name in the feature store; default: encoder, or paradigm, encoder and seed")
    text.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="a setting of the training, or corpus_options.NAME; may be given several times",
    )  # fmt: skip
    from erc_lib.cli_features import add_options

    for action in (listing, text, *add_options(actions)):
        action.add_argument("--store", type=Path, default=None, help="feature store; default: below ERC_DATA")
    text.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    text.set_defaults(call=features_text)


def features_list(options: argparse.Namespace) -> int:
    from erc_lib.features.store import FeatureStore, card_hash

    store = FeatureStore(options.store)
    for c in store.list():
        print(f"{c['corpus']:18} {c['modality']:7} {c['name']:40} {c['count']:6} x {c['dims']:<5} {card_hash(c)}")
    print(f"in {store.root}", file=sys.stderr)
    return 0


def features_text(options: argparse.Namespace) -> int:
    from erc_lib.data import load_corpus
    from erc_lib.features.store import FeatureStore
    from erc_lib.runs.study import parse_settings

    settings = parse_settings(options.settings)
    corpus = load_corpus(options.corpus, **settings.pop("corpus_options", {}))
    shared = {"store": FeatureStore(options.store), "name": options.name, "device": options.device}
    if options.vectors is not None and options.paradigm != "cnn":
        raise ConfigError("--vectors gives a text CNN its words; give --paradigm cnn with it")
    if options.paradigm == "utterance":
        if settings or "epochs" in options:
            setting = next(iter(settings), "epochs")
            raise ConfigError(f"{setting} is a setting of the training; give --paradigm one-stage, two-stage or cnn with it")
        from erc_lib.features.text import encode_corpus

        stored = encode_corpus(corpus, options.encoder, **shared)
    else:
        settings |= {"seed": options.seed} | ({"epochs": options.epochs} if "epochs" in options else {})
        if options.paradigm == "cnn":
            from erc_lib.features.text_cnn import text_cnn_corpus

            stored = text_cnn_corpus(corpus, vectors=options.vectors, **shared, **settings)
        else:
            from erc_lib.features.finetune import finetune_corpus

            stored = finetune_corpus(corpus, encoder=options.encoder, paradigm=options.paradigm, **shared, **settings)
    print(f"{stored.card['name']}: {stored.array.shape[0]} x {stored.array.shape[1]}, card {stored.card_hash}")
    return 0


def _train_options(parser: Parser) -> None:
    parser.add_argument("--paper", required=True, help="name of the model: multiemo, bc_lstm, dialogue_rnn, ...")
    parser.add_argument("--corpus", required=True, help="name of the corpus")
    parser.add_argument("--variant", default="paper", help="which reading of the paper")
    parser.add_argument("--modalities", default="text", metavar="LIST", help="such as text,audio")
    parser.add_argument(
        "--features", default="", metavar="M=NAME,...",
        help="stored feature sets, such as text=all-MiniLM-L6-v2; else the corpus' own",
    )
    parser.add_argument("--standardise", action="store_true", help="z-score the features by the training split")
    parser.add_argument("--measure", action="store_true", help="also keep what the model measures of each test utterance (df_erc)")
    parser.add_argument("--validation-fraction", type=float, metavar="F", help="draw a validation set anew (optimistic)")
    parser.add_argument("--preset", default="meld", help="which settings of the model to start from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--selection", default="validation", help="the split that chooses the epoch")
    parser.add_argument("--name", default="", help="a row label for tables")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="model.NAME, training.NAME or corpus_options.NAME; may be given several times",
    )  # fmt: skip
    parser.add_argument("--store", type=Path, default=Path("runs"), help="store of runs")
    parser.add_argument("--device", default="auto", choices=("cpu", "cuda", "auto"), help="auto: a GPU when there is one")
    parser.add_argument("--keep-weights", action="store_true", help="keep the selected weights beside the run")
    parser.set_defaults(call=train)


def train(options: argparse.Namespace) -> int:
    from erc_lib.runs import RunSpec, RunStore, parse_features, run_one
    from erc_lib.runs.spec import did_you_mean
    from erc_lib.runs.study import parse_settings

    settings = parse_settings(options.settings)
    for field in settings:
        if field not in ("model", "training", "corpus_options") or not isinstance(settings[field], dict):
            known = ("model.NAME", "training.NAME", "corpus_options.NAME")
            raise ConfigError(f"--set {field}: say which settings it belongs to{did_you_mean(f'{field}.NAME', known)}")
    features = parse_features(options.features)
    fields = ("paper", "variant", "corpus", "standardise", "measure", "validation_fraction", "preset", "seed", "selection", "name")
    modalities = [m for m in options.modalities.split(",") if m]
    spec = RunSpec(**{f: getattr(options, f) for f in fields}, modalities=modalities, features=features, **settings)
    run = run_one(spec, RunStore(options.store), device=options.device, progress=True, keep_weights=options.keep_weights)
    test, validation = run.metrics["test"], run.metrics["validation"]
    if "mean_pearson" in test:
        print(f"{run.spec}: test Pearson's r {test['mean_pearson']:.3f} on average, {', '.join(f'{r:.3f}' for r in test['pearson'])}")
        print(f"epoch {run.environment['best_epoch']}, of validation Pearson's r {validation['mean_pearson']:.3f}")
    else:
        print(f"{run.spec}: test weighted F1 {100 * test['weighted_f1']:.2f} %, accuracy {100 * test['accuracy']:.2f} %")
        print(f"epoch {run.environment['best_epoch']}, of validation weighted F1 {100 * validation['weighted_f1']:.2f} %")
    print(run.directory)
    return 0


def _study_options(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="plan|run|status")
    helps = {"plan": "what is done, and how long the rest takes", "run": "train what is missing", "status": "results so far"}
    for name, text in helps.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("file", type=Path, metavar="FILE", help="a study, such as book/studies/meld.yaml")
        action.add_argument("--store", type=Path, default=published_store(), help="store of runs")
        action.add_argument("--only", metavar="REGEX", help="only the runs whose label matches")
        action.add_argument("--limit", type=int, metavar="N", help="the first N of them")
        if name != "status":
            action.add_argument("--workers", type=int, default=1, help="local worker processes; 0: in this process")
        if name == "run":
            action.add_argument("--threads", type=int, default=1, help="CPU threads of each worker")
            action.add_argument("--device", default="cpu", choices=("cpu", "cuda", "auto"), help="cuda: one GPU for each run")
            action.add_argument("--scheduler", metavar="ADDRESS", help="of a dask scheduler, such as tcp://host:8786")
            action.add_argument("--keep-weights", action="store_true", help="keep the selected weights beside each run")
        action.set_defaults(call=study)


def study(options: argparse.Namespace) -> int:
    from erc_lib.runs import commands

    return commands.study(options)


def _export_options(parser: Parser) -> None:
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


def _predict_options(parser: Parser) -> None:
    parser.add_argument("input", type=Path, metavar="INPUT", help="a transcript (.csv, .json, .srt, .txt) or a video with subtitles")
    parser.add_argument("--model", required=True, metavar="FILE|RUN", help="a file of `erc export`, or a run's digest")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for predictions.csv, emotions.png and emotions.html")
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
    table = predict_turns(exported, turns, media=options.input)
    notes, title = what_it_is_worth(exported), f"Emotions in {options.input.name}, as predicted"
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


def _reproduce_options(parser: Parser) -> None:
    parser.add_argument("names", nargs="*", metavar="NOTEBOOK", help="names of notebooks; none: all")
    parser.add_argument("--profile", choices=tuple(TIMEOUTS), default="quick", help="the notebooks' parameter of that name")
    parser.add_argument("--notebooks", type=Path, default=REPOSITORY / "notebooks", help="folder of the notebooks")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "book" / "chapters", help="folder for the executed ones")
    limits = ", ".join(f"{profile}: {seconds:.0f}" for profile, seconds in TIMEOUTS.items())
    parser.add_argument(
        "--timeout", type=float, metavar="S", default=argparse.SUPPRESS, help=f"wall seconds for each notebook ({limits})"
    )
    parser.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="a parameter of the notebooks, its value as YAML, a path as seen from their folder; may be given several times",
    )  # fmt: skip
    parser.set_defaults(call=reproduce)


def reproduce(options: argparse.Namespace) -> int:
    from erc_lib import reproduce as notebooks
    from erc_lib.runs.study import parse_value

    timeout = getattr(options, "timeout", TIMEOUTS[options.profile])
    parameters = {name: parse_value(value) for name, value in options.parameters}
    if len(parameters) < len(options.parameters):
        raise ConfigError("-p gives the same parameter twice")
    found = notebooks.find_notebooks(options.notebooks, options.names)
    defaults = {"profile": options.profile}
    done = notebooks.reproduce(found, options.output, parameters=parameters, defaults=defaults, timeout=timeout or math.inf)
    failed = [e.notebook for e in done if e.error is not None]
    if failed:
        names = ", ".join(failed)
        print(f"erc: {len(failed)} of {len(done)} notebooks failed and are not new in {options.output}: {names}", file=sys.stderr)
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        return options.call(options)
    except (ConfigError, DataError, TrainingError) as error:
        if options.debug:
            raise
        print(f"erc: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("erc: interrupted; a run goes on from its last checkpoint when it is started again", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `erc ... | head`
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
