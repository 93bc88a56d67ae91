"""Tables: finished runs beside what was published. Plain DataFrames of numbers in percent; :func:`styled` dresses one for the book.

A run is taken by what it carries (``spec``, ``environment``, ``predictions``, ``metrics``), so nothing is read or trained here. What
no run fills yet is said in words, never left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from scipy import stats

from erc_lib.errors import ConfigError, DataError
from erc_lib.evaluation import bootstrap_interval, classification_metrics, mean_and_spread, paired_bootstrap
from erc_lib.papers import published_results

PENDING = "not run yet"
NAMES = {"text": "Text", "audio": "Audio", "visual": "Visual"}
SAMPLES = 1000  # of every bootstrap


def modality_name(modalities: Sequence[str]) -> str:
    """``("text", "audio")`` as Table 3 writes it: ``Text + Audio``."""
    return " + ".join(NAMES[m] for m in modalities)


def unit_of(metric: str) -> int:
    """By what a metric is multiplied for a table: 100 (percent) for F1 scores and accuracies, 1 for correlations and errors."""
    return 100 if "f1" in metric or metric.startswith("recall") or metric in ("accuracy", "test_best_epoch") else 1


def test_predictions(run: Any) -> pd.DataFrame:
    """The test rows of a run's predictions."""
    return run.predictions[run.predictions["split"] == "test"]


test_predictions.__test__ = False  # no test, though pytest would think so where it is imported


def class_recalls(run: Any) -> list[float]:
    """Share of each class' test utterances that the run got right (a fraction; NaN where there are none). Their mean, weighted by counts, is the accuracy."""
    test = test_predictions(run)
    right = (test["predicted"] == test["label"]).groupby(test["label"]).mean()
    return [float(right.get(c, float("nan"))) for c in range(len(run.metrics["test"]["f1"]))]


def select_runs(runs: Sequence[Any], *, model: Mapping[str, Any] | None = None, **fields: Any) -> list[Any]:
    """The runs whose specification has these values; ``model`` names settings that must be *exactly* the changes made to the model.

    ``select_runs(runs, paper="multiemo", corpus="mosi", modalities=("text",), model={"text_context": "transformer"})``
    """
    found = []
    for run in runs:
        for field in fields:
            if not hasattr(run.spec, field):
                raise ConfigError(f"select_runs: a specification has no field {field!r}")
        fits = all(getattr(run.spec, k) == v for k, v in fields.items())
        if fits and (model is None or dict(run.spec.model) == dict(model)):
            found.append(run)
    return found


def runs_frame(runs: Sequence[Any]) -> pd.DataFrame:
    """One row per run: model, corpus, modalities, seed, weighted_f1, accuracy, macro_f1, f1_0 ..., recall_0 ..., test_best_epoch (fractions), digest.

    Of emotion dimensions mean_pearson, mean_squared_error and pearson_0 ... stand instead.
    """
    rows = []
    for run in runs:
        test = run.metrics["test"]
        headline = "mean_pearson" if "mean_pearson" in test else "weighted_f1"
        rows.append({
            "model": run.spec.name or run.spec.paper, "corpus": run.spec.corpus, "modalities": modality_name(run.spec.modalities),
            "seed": run.spec.seed, "selection": run.spec.selection,
            **{k: value for k, value in test.items() if not isinstance(value, list)},
            **{f"{k}_{c}": value for k in ("f1", "pearson") for c, value in enumerate(test.get(k, ()))},
            **({f"recall_{c}": value for c, value in enumerate(class_recalls(run))} if "f1" in test else {}),
            "test_best_epoch": run.metrics.get("test_best_epoch", {}).get(headline, float("nan")),
            "digest": run.spec.digest,
        })  # fmt: skip
    columns = ["model", "corpus", "modalities", "seed", "selection", "weighted_f1", "accuracy", "macro_f1", "test_best_epoch", "digest"]
    return pd.DataFrame(rows, columns=None if rows else columns)


def runs_summary(runs: Sequence[Any], *, by: Sequence[str] = ("model",), metric: str = "weighted_f1") -> pd.DataFrame:
    """Test ``metric`` of each group of runs, which differ in their seed alone.

    Columns: ``by``, runs, mean and std over seeds (n - 1; NaN for one), low and high (95 % percentile bootstrap of the mean over
    dialogues), all in percent (correlations as they are), and selection. In the order in which the groups come. A seed that stands twice in a group is an error.
    """
    frame = runs_frame(runs)
    columns = [*by, "runs", "mean", "std", "low", "high", "selection"]
    if not len(frame):
        return pd.DataFrame(columns=columns)
    if metric not in frame or frame[metric].isna().any():
        raise ConfigError(f"runs_summary: not every run has the metric {metric!r}; runs of classes have weighted_f1, of dimensions mean_pearson")
    rows = []
    for key, group in frame.groupby(list(by), sort=False):
        if group["seed"].duplicated().any():
            seed = group.loc[group["seed"].duplicated(), "seed"].iloc[0]
            raise DataError(
                f"runs_summary: {' / '.join(map(str, key))} holds two runs of seed {seed} ({', '.join(group['digest'])}), so they differ in more "
                f"than the seed; select by settings, or group by more than {', '.join(by)}"
            )
        members = [runs[i] for i in group.index]
        test, unit = members[0].metrics["test"], unit_of(metric)
        classes = len(test["pearson" if "pearson" in metric else "f1"])
        mean, std = mean_and_spread(group[metric])
        low, high = bootstrap_interval([test_predictions(r) for r in members], metric, classes=classes, samples=SAMPLES)
        rows.append([*key, len(members), unit * mean, unit * std, unit * low, unit * high, ", ".join(group["selection"].unique())])
    return pd.DataFrame(rows, columns=columns)


def comparability(runs: Sequence[Any], published: Mapping[str, str], closes: Mapping[str, str], *, protocol: str = "") -> tuple[str, str]:
    """Why runs cannot be compared with a published number, and what would close it.

    Args:
        published: modality -> the features the published number used.
        closes: modality -> the command that would make them, or who has them.
        protocol: what else the published number did otherwise, such as its selection.
    """
    if not runs:
        return PENDING, ""
    spec = runs[0].spec
    reasons, remedies = [], []
    for modality, features in published.items():
        if modality not in spec.modalities:
            reasons.append(f"no {modality} (published: {features})")
        elif spec.features.get(modality) != features:
            reasons.append(f"{modality}: {spec.features.get(modality, 'the corpus' + chr(39) + ' own')} (published: {features})")
        else:
            continue
        remedies += [closes[modality]] if modality in closes else []
    return "; ".join([*reasons, *([protocol] if protocol else [])]) or "yes", "; ".join(dict.fromkeys(remedies))


def published_beside_ours(
    table: str,
    dataset: str,
    runs: Sequence[Any],
    *,
    ours: Mapping[str, str | Sequence[str]],
    label_names: Sequence[str] = (),
    metrics: Mapping[str, str] | None = None,
    paper: str = "multiemo",
    average: str = "Weighted-F1",
    comparable: tuple[str, str] = ("", ""),
    notes: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """A published table with every one of its rows, and beneath each row that we have a model for, ours.

    Args:
        runs: finished runs of one corpus and one set of features, several seeds of each model.
        ours: published row -> the model name of our runs, or several names.
        label_names: our classes, in the order of the published class columns, for a table of F1 scores per class and ``average``.
        metrics: for any other table, published column -> metric of :func:`runs_frame`; ``average`` is the column with spread and interval.
        comparable: (why ours cannot be compared, what would close it), of :func:`comparability`.
        notes: published row -> why there is no row of ours.

    Returns:
        Columns model, source ("published" or "ours, n seeds"), the published columns (percent; correlations as they are), std, low, high of the average, not
        comparable because, what would close it. A model without a finished run has a row that says so.
    """
    published = published_results()
    published = published[(published["paper"] == paper) & (published["table"] == str(table)) & (published["dataset"] == dataset)]
    if published.empty:
        raise ConfigError(f"{paper} has no table {table!r} for {dataset!r}; see published_results()")
    columns = list(dict.fromkeys([*(c for c in metrics or () if c in set(published["column"])), *published["column"]]))
    if metrics is None:
        classes = [c for c in columns if c != average]
        if average not in columns or len(classes) != len(label_names):
            raise ConfigError(f"{paper}, table {table}: {len(classes)} class columns and {average!r} do not fit {len(label_names)} classes")
        metrics = {**{c: f"f1_{i}" for i, c in enumerate(classes)}, average: "weighted_f1"}
    if unknown := [c for c in (*metrics, average) if c not in columns]:
        raise ConfigError(f"{paper}, table {table} for {dataset!r} has no column {unknown[0]!r}; it has {', '.join(columns)}")
    if average not in metrics:
        raise ConfigError(f"published_beside_ours: no metric is named for {average!r}, the column with the spread; metrics has {', '.join(metrics)}")
    frame, summary = runs_frame(runs), runs_summary(runs, metric=metrics[average])
    rows = []
    for name in dict.fromkeys(published["row"]):
        values = published[published["row"] == name].set_index("column")["value"]
        note = (notes or {}).get(name, "")
        printed = {c: values.get(c, float("nan")) for c in columns}
        rows.append({"model": name, "source": "published", **printed, "what would close it": note})
        mine = ours.get(name, ())
        for model in [mine] if isinstance(mine, str) else mine:
            group = frame[frame["model"] == model]
            if not len(group):
                rows.append({"model": model, "source": f"ours, {PENDING}"})
                continue
            score = summary[summary["model"] == model].iloc[0]
            rows.append({
                "model": model, "source": f"ours, {len(group)} seed{'s' if len(group) > 1 else ''}",
                **{c: unit_of(metric) * group[metric].mean() for c, metric in metrics.items()}, "std": score["std"], "low": score["low"], "high": score["high"],
                "not comparable because": comparable[0], "what would close it": comparable[1],
            })  # fmt: skip
    order = ["model", "source", *columns, "std", "low", "high", "not comparable because", "what would close it"]
    table_ = pd.DataFrame(rows).reindex(columns=order)
    words = ["not comparable because", "what would close it"]
    return table_.assign(**{c: table_[c].astype(object).fillna("").astype(str) for c in words})


def with_notes(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table of :func:`published_beside_ours` narrow enough for a page, and its notes.

    Returns:
        The table, low and high joined as text in ``95 %``, its two columns of words replaced by ``comparable`` ("no, note 1"; "see note 2" for a published row with a remark), and
        the notes: note, rows, not comparable because, what would close it; one for each distinct pair of words.
    """
    words = ["not comparable because", "what would close it"]
    pairs = [tuple(pair) for pair in frame[words].to_numpy()]
    numbered = {pair: n for n, pair in enumerate((p for p in dict.fromkeys(pairs) if any(p)), 1)}
    marks = ["" if pair not in numbered else f"{'no' if pair[0] else 'see'}, note {numbered[pair]}" for pair in pairs]
    notes = [
        [n, "; ".join(m for m, p in zip(frame["model"], pairs, strict=True) if p == pair), pair[0] or "–", pair[1]]
        for pair, n in numbered.items()
    ]
    interval = ["" if pd.isna(low) else f"{low:.1f}–{high:.1f}" for low, high in zip(frame["low"], frame["high"], strict=True)]
    narrow = frame.drop(columns=[*words, "low", "high"]).assign(**{"95 %": interval, "comparable": [m.replace("see, ", "see ") for m in marks]})
    return narrow, pd.DataFrame(notes, columns=["note", "rows", *words])


def modality_table(
    runs: Mapping[str, Sequence[Any]], subsets: Sequence[Sequence[str]], *, paper: str = "multiemo", table: str = "3"
) -> pd.DataFrame:
    """Table 3: one row per subset of modalities; ours (mean, std, low, high, runs) per corpus, then the published values.

    Args:
        runs: corpus -> runs of one model on all subsets. A subset without a finished run is NaN with 0 runs.
    """
    published = published_results()
    published = published[(published["paper"] == paper) & (published["table"] == table)]
    rows = []
    summaries = {corpus: runs_summary(of_corpus, by=("modalities",)).set_index("modalities") for corpus, of_corpus in runs.items()}
    for subset in subsets:
        name = modality_name(subset)
        row: dict[tuple[str, str], Any] = {("", "modalities"): name}
        for corpus, summary in summaries.items():
            found = summary.loc[name] if name in summary.index else None
            for column in ("mean", "std", "low", "high"):
                row[f"{corpus} (ours)", column] = float("nan") if found is None else found[column]
            row[f"{corpus} (ours)", "runs"] = 0 if found is None else int(found["runs"])
        for dataset in dict.fromkeys(published["dataset"]):
            value = published[(published["dataset"] == dataset) & (published["row"] == name)]["value"]
            row["published", dataset] = value.iloc[0] if len(value) else float("nan")
        rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.set_axis(pd.MultiIndex.from_tuples(frame.columns), axis=1)


def difference_table(runs: Sequence[Any], reference: str, *, metric: str = "weighted_f1") -> pd.DataFrame:
    """Each model against ``reference`` on the same dialogues: mean, difference in points, its 95 % interval, p, seeds of both.

    ``difference`` is *the model minus the reference*; negative: taking the part away costs that much.
    """
    columns = ["model", "mean", "difference", "low", "high", "p", "seeds"]
    names = [r.spec.name or r.spec.paper for r in runs]
    base = [r for r, n in zip(runs, names, strict=True) if n == reference]
    if not base:
        return pd.DataFrame(columns=columns)
    classes, unit = len(base[0].metrics["test"]["pearson" if "pearson" in metric else "f1"]), unit_of(metric)
    rows = []
    for name in dict.fromkeys(n for n in names if n != reference):
        group = [r for r, n in zip(runs, names, strict=True) if n == name]
        mean = unit * mean_and_spread([r.metrics["test"][metric] for r in group])[0]
        d = paired_bootstrap(
            [test_predictions(r) for r in group], [test_predictions(r) for r in base], metric, classes=classes, samples=SAMPLES
        )  # fmt: skip
        seeds = f"{len(group)} and {len(base)}"
        rows.append([name, mean, unit * d["difference"], unit * d["low"], unit * d["high"], d["p"], seeds])
    return pd.DataFrame(rows, columns=columns)


def seed_differences(runs: Sequence[Any], reference: str, *, metric: str = "weighted_f1") -> pd.DataFrame:
    """Each model against ``reference``, seed by seed: does the difference outlast another draw of initial weights and order?

    Columns: model, seeds (that both have), difference (mean of the paired differences, in points), std (of them), low, high (95 %, Student's t), p. With fewer
    than two common seeds std and what follows are NaN. :func:`difference_table` asks the same of other *dialogues*.
    """
    by_model: dict[str, dict[int, float]] = {}
    for r in runs:
        by_model.setdefault(r.spec.name or r.spec.paper, {})[r.spec.seed] = unit_of(metric) * r.metrics["test"][metric]
    base, rows = by_model.get(reference, {}), []
    for name, scores in by_model.items():
        d = [scores[s] - base[s] for s in sorted(scores.keys() & base.keys())]
        if name == reference or not d:
            continue
        mean, std = mean_and_spread(d)
        test = stats.ttest_1samp(d, 0.0) if len(d) > 1 and std > 0 else None
        low, high = test.confidence_interval(0.95) if test is not None else (float("nan"),) * 2
        rows.append([name, len(d), mean, std, low, high, test.pvalue if test is not None else float("nan")])
    return pd.DataFrame(rows, columns=["model", "seeds", "difference", "std", "low", "high", "p"])


def case_scores(runs: Sequence[Any], cases: pd.DataFrame) -> dict[str, float]:
    """Test accuracy and weighted F1 (percent, mean over ``runs``) on some utterances alone, and how many they are.

    Args:
        cases: columns dialogue and position; further ones are not looked at. Those of other splits fall away.

    Raises:
        DataError: no test utterance is among the cases.
    """
    if any("f1" not in run.metrics["test"] for run in runs):
        raise DataError("case_scores: accuracy and F1 need runs of classes, and there is one of dimensions")
    scores, counts = [], set()
    for run in runs:
        part = test_predictions(run).merge(cases[["dialogue", "position"]].drop_duplicates(), on=["dialogue", "position"])
        if part.empty:
            raise DataError(f"none of the {len(cases)} cases is a test utterance of {run.spec}; take them from the same corpus")
        scores.append(classification_metrics(part["label"], part["predicted"], len(run.metrics["test"]["f1"])))
        counts.add(len(part))
    if len(counts) != 1:
        raise DataError(f"case_scores: the runs hold {' and '.join(map(str, sorted(counts)))} of the cases; take runs of one corpus")
    means = {k: 100 * mean_and_spread([s[k] for s in scores])[0] for k in ("accuracy", "weighted_f1")}
    return {**means, "utterances": counts.pop()}


def provenance_line(runs: Sequence[Any]) -> str:
    """How many runs, their digests, seeds, selection, features, commits and machines, in one line of Markdown; every value that occurs."""
    if not runs:
        return PENDING

    def all_of(values: Iterable[Any]) -> str:
        return ", ".join(dict.fromkeys(sorted(map(str, values))))

    environments = [r.environment for r in runs]
    digests = [r.spec.digest for r in runs]
    encoders = all_of(e["text_encoder"]["encoder"] for e in environments if "text_encoder" in e)
    uncommitted = any(e.get("dirty") for e in environments)
    return (
        f"{len(runs)} runs ({digests[0]}" + (f" and {len(digests) - 1} more" if len(digests) > 1 else "") + f"), seeds {sorted({r.spec.seed for r in runs})}, "
        f"selection {all_of(r.spec.selection for r in runs)}, features "
        + (all_of(f"{m}={n}" for r in runs for m, n in r.spec.features.items()) or "the corpus' own")
        + (f", encoder inside the model {encoders}" if encoders else "")
        + f", commit {all_of((e['commit'] or 'unknown')[:7] for e in environments)}{' with uncommitted changes' if uncommitted else ''}, "
        f"{all_of(e['device_name'] for e in environments)}, torch {all_of(e['versions']['torch'] for e in environments)}"
    )


def majority_score(run: Any, metric: str = "weighted_f1") -> float:
    """The test ``metric`` (percent) of always answering the class that is most frequent in the run's test labels: what knowing nothing gets."""
    labels = test_predictions(run)["label"].to_numpy()
    classes = len(run.metrics["test"]["f1"])
    answer = [int(pd.Series(labels).value_counts().idxmax())] * len(labels)
    return 100 * classification_metrics(labels, answer, classes)[metric]


def selection_gain(runs: Sequence[Any]) -> pd.DataFrame:
    """What selecting on the test set would have added to each run, in points of weighted F1 (``gain``). Not a result of any model."""
    frame = runs_frame(runs)
    frame = frame[frame["test_best_epoch"].notna()]
    gain = 100 * (frame["test_best_epoch"] - frame["weighted_f1"])
    return frame[["model", "corpus", "modalities", "seed"]].assign(gain=gain)


def styled(frame: pd.DataFrame, *, caption: str = "", key: str = "table", ours: str = "source", compact: bool = False, digits: int = 2) -> Any:
    """``frame`` dressed for the book: ``digits`` decimals, a dash for what is not known, rows of ours set off. The frame stays as it is.

    ``key`` names the table in the page, so that the same notebook gives the same page. ``compact``: smaller, for a dozen columns.
    """
    numbers = frame.select_dtypes("number").columns
    decimals = {c: "{:.0f}" if pd.api.types.is_integer_dtype(frame[c]) else f"{{:.{digits}f}}" for c in numbers}
    decimals |= {c: "{:.3f}" for c in numbers if (c[-1] if isinstance(c, tuple) else c) == "p"}
    style = frame.style.format(decimals, na_rep="–").hide(axis="index").set_uuid(key).set_table_styles([
        {"selector": "", "props": f"font-size: {0.68 if compact else 0.78}rem; width: auto; max-width: 100%; border-collapse: collapse"},
        {"selector": "th, td", "props": f"padding: 0.15rem {0.2 if compact else 0.4}rem; text-align: left; vertical-align: top"},
        {"selector": "th", "props": "border-bottom: 1px solid currentColor; vertical-align: bottom"},
        {"selector": "caption", "props": "caption-side: top; text-align: left"},
    ])  # fmt: skip
    if ours in frame:
        mine = frame[ours].astype(str).str.startswith("ours")
        shade = "font-weight: bold; background-color: rgba(1, 115, 178, 0.12)"
        style = style.apply(lambda row: [shade * bool(mine[row.name])] * len(row), axis=1)
    return style.set_caption(caption) if caption else style
