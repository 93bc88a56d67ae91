"""What ``erc study plan | run | status`` prints."""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from erc_lib.errors import ConfigError
from erc_lib.runs.many import RunsFailed, run_many
from erc_lib.runs.store import RunStore
from erc_lib.runs.study import Study, load_study, plan, status


def study(options: argparse.Namespace) -> int:
    """The exit status: 0, or 1 if runs failed."""
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {options.limit}")
    chosen = load_study(options.file).only(options.only, options.limit)
    store = RunStore(options.store)
    if options.action == "plan":
        print(_planned(chosen, plan(chosen, store), options.workers))
        return 0
    if options.action == "status":
        print(_status(chosen, status(chosen, store)))
        return 0
    try:
        run_many(
            chosen.specs, store, workers=options.workers, threads=options.threads, scheduler=options.scheduler,
            device=options.device, report=lambda line: print(line, flush=True), keep_weights=options.keep_weights,
        )  # fmt: skip
    except RunsFailed as error:
        for failure in error.failures:
            if options.debug and failure.trace:
                print(failure.trace, file=sys.stderr)
        print(f"erc: {error}", file=sys.stderr)
        return 1
    print(f"{chosen.title}: all {len({s.digest for s in chosen.specs})} runs are in {store.root}")
    return 0


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.4 h``; ``?`` for NaN."""
    if pd.isna(seconds):
        return "?"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _planned(chosen: Study, table: pd.DataFrame, workers: int) -> str:
    lines = [f"{chosen.title} ({chosen.path})"]
    for run, rows in table.groupby("run", sort=False):
        seeds = ", ".join(f"{r.seed} {r.state}" for r in rows.itertuples())
        lines.append(f"  {run}: seeds {seeds}; {duration(rows['seconds'].median())} each")
    unique = table.drop_duplicates("digest")
    todo = unique[unique["state"] != "done"]
    counts = ", ".join(f"{n} {state}" for state, n in unique["state"].value_counts().items())
    lines.append(f"{len(unique)} runs: {counts}")
    if len(todo):
        known, unknown = todo["seconds"].sum() / max(workers, 1), int(todo["seconds"].isna().sum())
        rest = f", besides {unknown} runs of which no like is finished" if unknown else ""
        estimate = f"about {duration(known)} with {workers or 1} worker(s){rest}"
        estimate = estimate if unknown < len(todo) else "no like run is finished yet"
        lines.append(f"to do: {estimate}")
    return "\n".join(lines)


def _status(chosen: Study, table: pd.DataFrame) -> str:
    lines = [f"{chosen.title} ({chosen.path}); test weighted F1 in percent (of dimensions Pearson's r), mean ± standard deviation over finished seeds"]
    for r in table.itertuples():
        digits, mark = (3, "r ") if r.metric == "mean_pearson" else (2, "")
        score = "" if pd.isna(r.mean) else f"  {mark}{r.mean:.{digits}f}" + ("" if pd.isna(r.std) else f" ± {r.std:.{digits}f}")
        lines.append(f"  {r.run}: {r.done}/{r.runs}{score}" + (f"  ({r.damaged} damaged)" if r.damaged else ""))
    return "\n".join(lines)
