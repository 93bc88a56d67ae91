"""Studies: what a declared list expands to, what it refuses, and what plan and status say."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from erc_lib.errors import ConfigError
from erc_lib.runs import RunSpec, load_study, run_one
from erc_lib.runs.commands import duration
from erc_lib.runs.study import parse_settings, parse_value, plan, status

CORPUS = "corpus: simulated-meld\n  corpus_options: {train: 6, validation: 3, test: 3}"


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return path

    return write


def test_grids_seeds_and_defaults(write):
    study = load_study(write(f"""
title: A study
defaults:
  {CORPUS}
  seeds: [0, 1]
  training: {{epochs: 2, learning_rate: 1e-3}}
runs:
  - name: "{{paper}} {{model.width}} {{modalities}}"
    paper: tiny
    grid: {{model.width: [4, 8], modalities: [[text], [audio, text]]}}
    training: {{epochs: 5}}
  - {{name: single, paper: tiny, seed: 7}}
"""))
    options = {"train": 6, "validation": 3, "test": 3}
    expected = [
        RunSpec(
            paper="tiny", corpus="simulated-meld", corpus_options=options, seed=seed, model={"width": width},
            modalities=modalities, training={"epochs": 5, "learning_rate": 0.001}, name=f"tiny {width} {label}",
        )
        for width in (4, 8) for modalities, label in ((["text"], "text"), (["text", "audio"], "audio+text")) for seed in (0, 1)
    ]  # fmt: skip
    training = {"epochs": 2, "learning_rate": 1e-3}
    expected.append(
        RunSpec(paper="tiny", corpus="simulated-meld", corpus_options=options, seed=7, training=training, name="single")
    )
    assert list(study.specs) == expected and study.title == "A study"
    assert [s.name for s in study.only("single|seed 1").specs] == [s.name for s in expected if s.seed != 0]
    assert len(study.only(None, 3).specs) == 3


RUN = "{name: good, paper: tiny, corpus: simulated-meld}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"rnus: [{RUN}]", r"unknown key 'rnus'; did you mean 'runs'"),
        ("runs: []", "at least one run"),
        ("runs: [3]", "run 1 must be a mapping"),
        (f"defaults: {{sede: 1}}\nruns: [{RUN}]", "defaults: unknown key 'sede'; did you mean 'seed'"),
        (f"runs: [{RUN}, {{papr: tiny}}]", r"run 2: unknown key 'papr'; did you mean 'paper'"),
        ("runs: [{name: x, paper: tinyy, corpus: simulated-meld}]", r"run 1 \(x\): .*did you mean 'tiny'"),
        ("runs: [{name: x, paper: tiny, corpus: simulated-melt}]", r"run 1 \(x\): .*did you mean 'simulated-meld'"),
        ("runs: [{name: x, paper: tiny, corpus: mosi, model: {widht: 2}}]", r"run 1 \(x\): .*'widht'; did you mean 'width'"),
        ("runs: [{name: x, paper: tiny, corpus: mosi, training: {epoch: 2}}]", r"run 1 \(x\): .*did you mean 'epochs'"),
        ("runs: [{paper: tiny, corpus: mosi, grid: {modle.width: [2]}}]", r"\(tiny\): .*'modle.width'; did you mean 'model'"),
        ("runs: [{paper: tiny, corpus: mosi, grid: {model.width: 2}}]", r"grid: model.width` must be a list"),
        ("runs: [{paper: tiny, corpus: mosi, seeds: 3}]", r"`seeds` must be a list"),
        ("runs: [{paper: tiny, corpus: mosi, seeds: [1], seed: 2}]", "not both"),
        ("runs: [{paper: tiny, corpus: mosi, model: 3}]", "'model' must be a mapping"),
        ("runs: [{paper: tiny, corpus: mosi, name: 'T = {model.T}'}]", "{model.T}"),
        (f"runs: [{RUN}, {RUN}]", "the same run stands above"),
        ("runs: [{paper: tiny, paper: tiny}]", "'paper' stands here twice"),
        ("runs: [", "cannot be read"),
    ],
)
def test_mistakes_name_file_and_entry(write, text, message):
    path = write(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_study(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_misspelt_file(write):
    path = write(f"runs: [{RUN}]")
    with pytest.raises(ConfigError, match="did you mean 'study.yaml'"):
        load_study(path.with_name("studdy.yaml"))
    with pytest.raises(ConfigError, match="no run matches"):
        load_study(path).only("nothing like it")
    with pytest.raises(ConfigError, match="regular expression"):
        load_study(path).only("(")


def test_plan_and_status(write, store):
    study = load_study(write(f"""
defaults:
  {CORPUS}
runs:
  - {{name: a, paper: tiny, seeds: [0, 1, 2]}}
  - {{name: b, paper: bc_lstm}}
"""))
    assert set(plan(study, store)["state"]) == {"missing"} and plan(study, store)["seconds"].isna().all()
    runs = [run_one(s, store) for s in study.specs[:2]]
    (runs[1].directory / "metrics.json").unlink()
    (store.partial / study.specs[3].digest).mkdir(parents=True)
    with pytest.warns(UserWarning, match="metrics.json is missing"):
        table = plan(study, store)
    assert table["state"].tolist() == ["done", "damaged", "missing", "started"]
    seconds = runs[0].environment["seconds"]
    assert table["seconds"].tolist()[:3] == [seconds] * 3 and table["seconds"].isna().tolist() == [False] * 3 + [True]
    run_one(study.specs[1], store)
    row = status(study, store).iloc[0]
    scores = [100 * store.load(s).metrics["test"]["weighted_f1"] for s in study.specs[:2]]
    assert (row["done"], row["runs"], row["damaged"]) == (2, 3, 0)
    assert row["mean"] == pytest.approx(sum(scores) / 2)
    assert row["std"] == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5, abs=1e-9)


def test_the_status_of_dimensions_is_a_correlation(write, store):
    study = load_study(write("""
runs:
  - {name: d, paper: dialogue_trm, preset: cpu, corpus: simulated-avec, corpus_options: {train: 3, validation: 2, test: 2}, model: {head: dimensional, epochs: 1}}
"""))
    assert pd.isna(status(study, store).iloc[0]["metric"])
    run = run_one(study.specs[0], store)
    row = status(study, store).iloc[0]
    assert row["metric"] == "mean_pearson" and row["mean"] == pytest.approx(run.metrics["test"]["mean_pearson"])


def test_values_are_numbers_where_they_look_like_it():
    assert [parse_value(t) for t in ("1e-4", "2E+3", "-1e2", ".5e1", "3", "0.5", "text", "[0, 1e-2]", "null", "1e", "e5")] == [
        1e-4, 2000.0, -100.0, 5.0, 3, 0.5, "text", [0, 0.01], None, "1e", "e5",
    ]  # fmt: skip
    assert yaml.safe_load("1e-4") == "1e-4"  # which is why the loader is not PyYAML's own
    assert parse_settings(["model.layers=2", "training.learning_rate=1e-4", "epochs=3"]) == {
        "model": {"layers": 2}, "training": {"learning_rate": 1e-4}, "epochs": 3,
    }  # fmt: skip
    for pair in ("model.layers", "=3", "a.b.c=1", ".x=1", "model.=1"):
        with pytest.raises(ConfigError, match="NAME=VALUE"):
            parse_settings([pair])
    with pytest.raises(ConfigError, match="twice"):
        parse_settings(["model.layers=2", "model.layers=3"])
    assert [duration(s) for s in (45, 600, 7200, float("nan"))] == ["45 s", "10 min", "2.0 h", "?"]
