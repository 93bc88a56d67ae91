"""The command ``erc``: data, features, one run, a study of many, one's own conversations, and the book's notebooks.

An option or name that is unknown is an error with the nearest known one; nothing is abbreviated and nothing is passed over.
Exit status: 0 done, 1 some runs or notebooks failed, 2 a mistake in the command, the data or a specification, or a
file that the system refuses, 130 interrupted.
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
from erc_lib.cli_features import features_options
from erc_lib.cli_predict import export_options, predict_options
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
    features_options(commands.add_parser("features", help="stored features and the encoders that make them"))
    _train_options(commands.add_parser("train", help="one run into the store of runs"))
    _study_options(commands.add_parser("study", help="a declared list of runs"))
    export_options(commands.add_parser("export", help="a finished run in one file"))
    predict_options(commands.add_parser("predict", help="the emotions of one's own conversation"))
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
    except OSError as error:  # a folder below a file, one that may not be written, a full disk
        if options.debug:
            raise
        print(f"erc: {_refused(error)}; choose another path, or give erc --debug to see what asked for it", file=sys.stderr)
        return 2


def _refused(error: OSError) -> str:
    """What the system refused, and its reason, in one line."""
    paths = " and ".join(str(p) for p in (error.filename, error.filename2) if p is not None)
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return f"{paths}: {reason}" if paths else reason


if __name__ == "__main__":
    sys.exit(main())
