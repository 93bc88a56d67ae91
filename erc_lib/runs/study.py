"""A study: a declared list of runs, read from YAML, planned, run and followed.

::

    title: MELD from text
    defaults: {corpus: meld, preset: meld, features: {text: all-MiniLM-L6-v2}, seeds: [0, 1, 2, 3, 4]}
    runs:
      - {name: bc-LSTM, paper: bc_lstm}
      - name: MultiEMO, {model.layers} layers
        paper: multiemo
        grid: {model.layers: [2, 6], modalities: [[text], [text, audio]]}     # every combination
        training: {epochs: 30}

An entry holds fields of :class:`RunSpec`, ``seeds`` (a list; ``seed`` is one) and ``grid``, whose keys are fields or
settings of one (``model.layers``). What ``defaults`` says holds where an entry says nothing else; mappings are merged.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from erc_lib.errors import ConfigError
from erc_lib.runs.execute import in_progress
from erc_lib.runs.spec import SETTINGS, RunSpec, check, did_you_mean
from erc_lib.runs.store import RunStore

ENTRY = (*RunSpec.model_fields, "seeds", "grid")


@dataclass(frozen=True)
class Study:
    """``specs``: the runs of the study file ``path``, in its order, no digest twice under one name."""

    title: str
    specs: tuple[RunSpec, ...]
    path: Path

    def only(self, pattern: str | None = None, limit: int | None = None) -> Study:
        """The runs whose label matches the regular expression, ``limit`` of them at most."""
        try:
            found = [s for s in self.specs if not pattern or re.search(pattern, str(s))]
        except re.error as error:
            raise ConfigError(f"--only {pattern!r} is not a regular expression: {error}") from None
        if not found:
            raise ConfigError(f"{self.path}: no run matches {pattern!r}; labels look like {str(self.specs[0])!r}")
        return Study(self.title, tuple(found[:limit]), self.path)


def load_study(path: str | Path) -> Study:
    """Reads a study file and checks every run of it.

    Raises:
        ConfigError: names the file, the entry and what is wrong there, with the nearest known name.
    """
    path = Path(path)
    declared = read_yaml(path)
    _only_known(declared, ("title", "defaults", "runs"), str(path))
    defaults = _mapping(declared.get("defaults") or {}, f"{path}: defaults")
    entries = declared.get("runs")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: `runs:` must be a list of at least one run")
    specs: list[RunSpec] = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: run {number}"
        entry = _mapping(entry, where)
        where += f" ({entry.get('name') or entry.get('paper') or 'without a name'})"
        for fields in _expand(_merged(defaults, entry), where):
            try:
                spec = RunSpec(**fields)
                check(spec)
            except ConfigError as error:
                raise ConfigError(f"{where}: {str(error).removeprefix('run specification: ')}") from None
            if spec in specs:
                raise ConfigError(f"{where}: the same run stands above already: {spec}; drop one, or give them different names")
            specs.append(spec)
    return Study(str(declared.get("title") or path.stem), tuple(specs), path)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a mapping of fields to values, not {value!r}")
    _only_known(value, ENTRY, where)
    for field in (*SETTINGS, "grid"):
        if not isinstance(value.get(field, {}), dict):
            raise ConfigError(f"{where}: {field!r} must be a mapping, not {value[field]!r}")
    return value


def _only_known(value: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must hold a mapping with {', '.join(known)}")
    for key in value:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}")


def _merged(defaults: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    merged = {**defaults, **entry}
    for field in (*SETTINGS, "grid"):
        if field in defaults and field in entry:
            merged[field] = {**defaults[field], **entry[field]}
    if "seed" in entry and "seeds" not in entry:
        merged.pop("seeds", None)  # one seed named in the entry goes before the list of the defaults, and the other way round
    if "seeds" in entry and "seed" not in entry:
        merged.pop("seed", None)
    return merged


def _expand(fields: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """One mapping of RunSpec fields for each combination of the grid and each seed; seeds change fastest."""
    fields = dict(fields)
    grid = dict(fields.pop("grid", {}))
    if "seeds" in fields:
        if "seed" in fields or "seed" in grid:
            raise ConfigError(f"{where}: give `seeds` or `seed`, not both")
        grid["seed"] = fields.pop("seeds")
    for key, values in grid.items():
        field, dot, setting = key.partition(".")
        if field not in RunSpec.model_fields or (dot and field not in SETTINGS) or (dot and not setting):
            raise ConfigError(f"{where}: unknown grid key {key!r}{did_you_mean(field, RunSpec.model_fields)}")
        if not isinstance(values, list) or not values:
            name = "seeds" if key == "seed" else f"grid: {key}"
            raise ConfigError(f"{where}: `{name}` must be a list of at least one value, not {values!r}")
    for combination in itertools.product(*grid.values()):
        chosen = {k: dict(v) if isinstance(v, dict) else v for k, v in fields.items()}
        for key, value in zip(grid, combination, strict=True):
            field, dot, setting = key.partition(".")
            if dot:
                chosen.setdefault(field, {})[setting] = value
            else:
                chosen[field] = value
        chosen["name"] = _name(str(chosen.get("name", "")), chosen, where)
        yield chosen


def _name(template: str, fields: dict[str, Any], where: str) -> str:
    """Fills ``{paper}``, ``{modalities}`` or ``{model.layers}`` in a name with what the run has there."""

    def fill(match: re.Match) -> str:
        field, dot, setting = match[1].partition(".")
        value = fields.get(field, {}).get(setting) if dot and field in SETTINGS else fields.get(field)
        if value is None:
            raise ConfigError(f"{where}: the name {template!r} asks for {{{match[1]}}}, which the run does not set")
        return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

    return re.sub(r"\{([\w.-]+)\}", fill, template)


class _Loader(yaml.SafeLoader):
    """YAML in which ``1e-4`` is a number (PyYAML reads a string) and a key given twice is an error (PyYAML keeps the last)."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = key.value
            if isinstance(name, str) and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} stands here twice", key.start_mark)
            seen.add(str(name))
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def parse_value(text: str) -> Any:
    """One YAML value, as on a command line: ``2``, ``1e-4``, ``true``, ``[0, 1]``, ``text``."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"cannot read the value {text!r}: {' '.join(str(error).split())}") from None


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``["model.layers=2", "epochs=5"]`` as ``{"model": {"layers": 2}, "epochs": 5}``; a value is read as YAML."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        *folders, last = name.split(".")
        if not equals or not last or not all(folders) or len(folders) > 1:
            raise ConfigError(f"--set takes NAME=VALUE, such as model.layers=2, not {pair!r}")
        place = settings.setdefault(folders[0], {}) if folders else settings
        if not isinstance(place, dict) or last in place:
            raise ConfigError(f"--set gives {name!r} twice")
        place[last] = parse_value(value)
    return settings


def read_yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    except FileNotFoundError:
        others = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(f"no file {path}{did_you_mean(path.name, others)}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from None


def plan(study: Study, store: RunStore) -> pd.DataFrame:
    """One row per run: label, seed, digest, state, and ``seconds`` that it took, or that it should take.

    States are ``done``, ``running``, ``started`` (interrupted, with checkpoints), ``damaged`` and ``missing``. The time of a run
    not done is the median of the finished runs most like it (other seeds; the same model on the corpus; on any modalities).
    """
    finished = store.frame()
    rows = []
    for spec in study.specs:
        fault = store.fault(spec)
        if fault is None:
            state = "done"
        elif in_progress(spec, store):
            state = "running"
        elif (store.root / spec.digest).exists():
            state = "damaged"
        else:
            state = "started" if (store.partial / spec.digest).exists() else "missing"
        seconds = _expected_seconds(spec, finished, exact=state == "done")
        rows.append({
            "run": str(spec).rsplit(" seed ", 1)[0], "seed": spec.seed, "digest": spec.digest, "state": state, "seconds": seconds,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _expected_seconds(spec: RunSpec, finished: pd.DataFrame, *, exact: bool) -> float:
    if not len(finished):
        return float("nan")
    if exact:
        return float(finished.loc[finished["digest"] == spec.digest, "seconds"].iloc[0])
    modalities = "+".join(spec.modalities)
    alike = finished[(finished["paper"] == spec.paper) & (finished["corpus"] == spec.corpus)]
    same = alike[alike["modalities"] == modalities]
    levels = [same[same["name"] == spec.name], same, alike]
    return next((float(level["seconds"].median()) for level in levels if len(level)), float("nan"))


def status(study: Study, store: RunStore) -> pd.DataFrame:
    """One row per label: how many runs are done, and their test weighted F1 in percent, mean and standard deviation (n - 1).

    Of emotion dimensions it is the mean Pearson's r, and ``metric`` says so.
    """
    table = plan(study, store)
    scores = store.frame()
    nothing = pd.Series(float("nan"), index=scores.index)
    f1, r = (scores.get(f"test_{name}", nothing).astype(float) for name in ("weighted_f1", "mean_pearson"))
    table["score"] = table["digest"].map(dict(zip(scores["digest"], (100 * f1).fillna(r), strict=True))).astype(float)
    table["metric"] = table["digest"].map(dict(zip(scores["digest"], r.isna(), strict=True))).map({True: "weighted_f1", False: "mean_pearson"})
    table["done"], table["damaged"] = table["state"] == "done", table["state"] == "damaged"
    groups = table.groupby("run", sort=False)
    return groups.agg(
        done=("done", "sum"), runs=("state", "size"), damaged=("damaged", "sum"), mean=("score", "mean"), std=("score", "std"), metric=("metric", "first"),
    ).reset_index()
