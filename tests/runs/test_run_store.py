"""The store: the contract on disk, and that nothing interrupted or damaged is taken for a finished run."""

from __future__ import annotations

import json
import shutil
import warnings

import pandas as pd
import pytest

from erc_lib.errors import ConfigError, DataError
from erc_lib.runs import RunStore
from erc_lib.runs.store import FILES, plain, sha256


def fake(store: RunStore, spec, f1: float = 0.5):
    predictions = pd.DataFrame({
        "split": ["validation", "test"], "dialogue": ["a", "b"], "position": [0, 0], "label": [1, 0], "predicted": [1, 1],
        "p_0": [0.25, 0.5], "p_1": [0.75, 0.5],
    })  # fmt: skip
    scores = {"weighted_f1": f1, "accuracy": 0.5, "macro_f1": 0.4, "f1": [0.0, 0.5]}
    return store.write(
        spec, settings={"model": {"width": 8}, "training": {"epochs": 1}},
        environment={"seconds": 3.0, "best_epoch": 1, "device": "cpu"},
        history=pd.DataFrame({"epoch": [1], "lr": [0.1]}), predictions=predictions,
        metrics={"validation": scores, "test": scores, "test_best_epoch": {"weighted_f1": float("nan")}},
    )  # fmt: skip


def test_a_run_is_read_as_it_was_written(store, make):
    spec = make(modalities=["text", "audio"], name="a label")
    assert not store.has(spec)
    run = fake(store, spec)
    assert run.directory == store.root / spec.digest
    assert {p.name for p in run.directory.iterdir()} == {*FILES, "environment.json"}
    assert store.has(spec) and store.has(spec.digest)
    again = store.load(spec.digest)
    assert again.spec == spec and again.settings["model"] == {"width": 8}
    assert list(again.predictions) == ["split", "dialogue", "position", "label", "predicted", "p_0", "p_1"]
    assert again.predictions["p_1"].dtype == "float32" and again.predictions["p_1"].tolist() == [0.75, 0.5]
    assert again.metrics["test"]["f1"] == [0.0, 0.5] and again.metrics["test_best_epoch"]["weighted_f1"] is None
    assert again.environment["files"] == {name: sha256(run.directory / name) for name in FILES}
    stored = json.loads((run.directory / "spec.json").read_text())
    contract = {"paper", "variant", "corpus", "modalities", "features", "seed", "selection"}
    assert contract <= set(stored) and stored["digest"] == spec.digest
    assert store.load(make(modalities=["text", "audio"], name="another")).spec.name == "another"
    assert store.load(make(modalities=["text", "audio"])).spec.name == "a label"
    assert list(store.partial.iterdir()) == []


@pytest.mark.parametrize("name", [*FILES, "environment.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_a_damaged_run_is_never_taken_for_a_finished_one(store, make, name, damage):
    spec, other = make(), make(seed=1)
    fake(store, spec), fake(store, other)
    path = store.root / spec.digest / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif name == "environment.json":
        path.write_bytes(content.replace(b'"metrics.json": "', b'"metrics.json": "0'))
    else:
        path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    assert not store.has(spec) and store.has(other)
    with pytest.raises(DataError, match=r"(missing|damaged).*delete .* and train the run again") as error:
        store.load(spec)
    assert str(store.root / spec.digest) in str(error.value)
    if name != "environment.json" or damage != "changed":
        assert name in str(error.value)
    with pytest.warns(UserWarning, match=spec.digest):
        assert store.frame()["digest"].tolist() == [other.digest]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it has been reported
        assert store.frame()["seed"].tolist() == [1]
        assert [r.spec for r in store.find()] == [other]
    fake(store, spec)  # trained again, it takes the damaged one's place
    assert store.has(spec) and list(store.partial.iterdir()) == []


def test_a_run_under_a_foreign_digest_is_refused(store, make):
    fake(store, make())
    shutil.copytree(store.root / make().digest, store.root / make(seed=1).digest)
    assert "describes the run" in store.fault(make(seed=1)) and not store.has(make(seed=1))


def test_what_is_no_run_is_passed_over(store, make):
    fake(store, make())
    (store.root / ".partial" / make(seed=1).digest).mkdir(parents=True)
    (store.root / "notes.txt").write_text("mine")
    (store.root / "figures").mkdir()
    assert store.digests() == [make().digest] and len(store.frame()) == 1 and not store.has(make(seed=1))
    with pytest.raises(DataError, match="train it"):
        store.load(make(seed=1))


def test_find_and_frame(store, make):
    for seed in (2, 0):
        fake(store, make(seed=seed, name="b"), f1=0.1 * seed)
    fake(store, make(modalities=["audio"], model={"width": 9}, name="a"))
    assert [(r.spec.name, r.spec.seed) for r in store.find()] == [("a", 0), ("b", 0), ("b", 2)]
    assert [r.spec.seed for r in store.find(name="b", seed=2)] == [2]
    assert len(store.find(modalities=["audio"])) == 1 and len(store.find(model={"width": 9})) == 1
    with pytest.raises(ConfigError, match="did you mean 'corpus'"):
        store.find(corpsu="meld")
    frame = store.frame().set_index(["name", "seed"])
    assert frame.loc[("b", 2), "test_weighted_f1"] == pytest.approx(0.2) and frame.loc[("b", 2), "seconds"] == 3.0
    assert frame.loc[("a", 0), "modalities"] == "audio" and frame.loc[("a", 0), "model"] == '{"width": 9}'


def test_an_empty_store_is_an_empty_frame(tmp_path):
    store = RunStore(tmp_path / "nowhere")
    assert store.frame().empty and "paper" in store.frame() and store.find() == [] and not (tmp_path / "nowhere").exists()


def test_a_failed_write_leaves_nothing(store, make):
    with pytest.raises(DataError, match="'dialogue'"):
        wrong = pd.DataFrame({"split": []})
        store.write(make(), settings={}, environment={}, history=pd.DataFrame(), predictions=wrong, metrics={})
    right = fake(store, make(seed=1)).predictions
    with pytest.raises(TypeError):  # half-way: the specification has been written by then
        store.write(make(), settings={}, environment={}, history=None, predictions=right, metrics={})
    assert not store.has(make()) and list(store.partial.iterdir()) == []


def test_plain_is_json():
    import numpy as np

    value = {1: np.float32(0.5), "a": np.array([[1, 2]]), "b": (float("inf"), np.nan, None, True), "c": np.bool_(False)}
    assert plain(value) == {"1": 0.5, "a": [[1, 2]], "b": [None, None, None, True], "c": False}
