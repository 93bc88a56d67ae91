"""One run: what it writes, that an interrupted one goes on bit for bit, and that two processes do not train the same one."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from erc_lib.data import load_corpus
from erc_lib.errors import ConfigError, DataError, TrainingError
from erc_lib.evaluation import classification_metrics
from erc_lib.features.store import FeatureStore
from erc_lib.runs import load_model, load_run_corpus, run_one
from erc_lib.runs.compact import STEPS as STORED_STEPS
from erc_lib.runs.execute import in_progress
from erc_lib.runs.spec import build_config, build_model
from erc_lib.runs.store import sha256
from erc_lib.training.scoring import measure

STEPS = 3 * 3  # 3 epochs of 6 dialogues in batches of 2; a shifted first cut can add one batch to an epoch


def test_a_run_holds_what_the_contract_says(store, make, tmp_path):
    run = run_one(make(modalities=["text", "audio"], model={"log": str(tmp_path / "log")}), store, keep_weights=True)
    corpus = load_corpus("simulated-meld", train=6, validation=3, test=3)
    assert run.history["epoch"].tolist() == [1, 2, 3]
    assert list(run.predictions.columns[:5]) == ["split", "dialogue", "position", "label", "predicted"]
    for split in ("validation", "test"):
        rows = run.predictions[run.predictions["split"] == split]
        assert rows["label"].tolist() == [int(x) for d in corpus.split(split) for x in d.labels]
        assert rows["dialogue"].tolist() == [d.id for d in corpus.split(split) for _ in range(len(d))]
        p = rows[[f"p_{c}" for c in range(7)]].to_numpy()
        assert p.dtype == np.float32 and np.allclose(p.sum(1), 1, atol=1e-5) and (p.argmax(1) == rows["predicted"]).all()
        expected = classification_metrics(rows["label"].to_numpy(), rows["predicted"].to_numpy(), 7)
        assert run.metrics[split]["weighted_f1"] == pytest.approx(expected["weighted_f1"])
    environment = run.environment
    assert environment["best_epoch"] == int(run.history["val_weighted_f1"].idxmax()) + 1
    width = corpus.dims["text"] + corpus.dims["audio"]
    assert environment["parameters"] == (width + 1) * 8 + 9 * 7
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0] and environment["device"] == "cpu"
    assert environment["peak_memory"] > 50e6 and environment["seconds"] > 0 and environment["cores"] >= 1
    assert set(environment["commit"] or "0") <= set("0123456789abcdef") and environment["dirty"] in (True, False, None)
    assert environment["corpus"]["utterances"]["test"] == sum(map(len, corpus.test)) and environment["corpus"]["provenance"]
    assert str(Path.home()) not in json.dumps(environment) and str(tmp_path) not in json.dumps(environment)
    assert run.settings["training"]["epochs"] == 3
    assert run.settings["model"]["dims"] == {m: corpus.dims[m] for m in ("text", "audio")}
    assert not store.partial.exists()

    model = load_model(run)
    from erc_lib.training import predict

    again = predict(model, corpus.only(["text", "audio"]).test)
    rows = run.predictions[run.predictions["split"] == "test"]
    columns = [c for c in again if str(c).startswith("p_")]
    assert np.allclose(again[columns].to_numpy(), rows[columns].to_numpy(), atol=2 / STORED_STEPS)

    # The second call reads; were it to train, the log would grow.
    before = (tmp_path / "log").read_text()
    assert run_one(run.spec, store).metrics == run.metrics and (tmp_path / "log").read_text() == before
    (run.directory / "model.safetensors").unlink()  # not part of what makes a run finished
    assert store.has(run.spec)
    with pytest.raises(DataError, match="holds no weights.*keep_weights"):
        load_model(run)


def test_what_the_model_measures_is_kept_of_the_test_set(store, make):
    run = run_one(make(measure=True, modalities=["text"]), store, keep_weights=True)
    plain = run_one(make(modalities=["text"]), store)
    same = list(plain.predictions.columns)
    pd.testing.assert_frame_equal(run.predictions[same], plain.predictions)  # measuring changes nothing
    assert list(run.predictions.columns) == [*same, "mean_text"] and "mean_text" not in plain.predictions
    rows = run.predictions[run.predictions["split"] == "test"]
    corpus = load_corpus("simulated-meld", train=6, validation=3, test=3)
    expected = np.concatenate([d.features["text"].mean(dim=1).numpy() for d in corpus.test])
    assert np.allclose(rows["mean_text"].to_numpy(np.float64), expected, atol=1e-3)
    assert run.predictions.loc[run.predictions["split"] == "validation", "mean_text"].isna().all()


def test_what_is_measured_must_be_finite(make):
    model = build_model(make(), build_config(make(), corpus := load_corpus("simulated-meld", train=6, validation=3, test=3)))
    model.measure = lambda output, batch: {"odd": torch.full((int(batch.mask.sum()),), float("nan"))}
    with pytest.raises(TrainingError, match="measuring test: odd is not finite in"):
        measure(model, corpus.test)


def test_the_seed_decides(store, make, tmp_path):
    a = run_one(make(seed=1), store)
    from erc_lib.runs import RunStore

    b = run_one(make(seed=1), RunStore(tmp_path / "other"))
    pd.testing.assert_frame_equal(a.predictions, b.predictions)
    c = run_one(make(seed=2), store)
    assert not np.allclose(a.predictions["p_0"], c.predictions["p_0"])


KILLED = """
import sys
sys.path.insert(0, {here!r})
import tiny_model
from erc_lib.runs import RunSpec, run_one
import json
run_one(RunSpec(**json.loads(sys.argv[1])), sys.argv[2])
"""


def test_an_interrupted_run_goes_on_bit_for_bit(store, make, tiny, tmp_path):
    """Killed in its last epoch by SIGKILL: not finished, then continued to what an undisturbed run gives."""
    from erc_lib.runs import RunStore

    def spec(log: str, kills: int):
        return make(model={"log": str(tmp_path / log), "kills": kills, "kill_at": 2 * 4 + 1}, training={"epochs": 4})

    interrupted = spec("log", 1)
    program, fields = KILLED.format(here=str(tiny.parent)), json.dumps(interrupted.model_dump(mode="json"))
    command = [sys.executable, "-c", program, fields, str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == -9, done.stderr
    assert not store.has(interrupted) and store.digests() == [] and store.frame().empty
    assert list(store.partial.glob(f"{interrupted.digest}/checkpoints/epoch-*")) and not in_progress(interrupted, store)

    run = run_one(interrupted, store)
    after = (tmp_path / "log").read_text().split("k")[1]
    assert 0 < len(after) <= 2 * 4, "it started from the beginning, or trained nothing"
    undisturbed = run_one(spec("log2", 0), RunStore(tmp_path / "other"))
    pd.testing.assert_frame_equal(run.predictions, undisturbed.predictions)
    pd.testing.assert_frame_equal(run.history.drop(columns="seconds"), undisturbed.history.drop(columns="seconds"))
    assert run.metrics == undisturbed.metrics and not store.partial.exists()


def test_checkpoints_of_other_settings_are_not_gone_on_from(store, make, tmp_path):
    spec = make(model={"log": str(tmp_path / "log")})
    folder = store.partial / spec.digest
    folder.mkdir(parents=True)
    (folder / "basis.json").write_text('{"settings": "others"}')
    (folder / "checkpoints" / "epoch-00003").mkdir(parents=True)  # fit would refuse this one
    assert len(run_one(spec, store).history) == 3 and len((tmp_path / "log").read_text()) >= STEPS


def test_two_at_once_train_once(store, make, tmp_path):
    spec = make(model={"log": str(tmp_path / "log")})
    runs = []
    threads = [threading.Thread(target=lambda: runs.append(run_one(spec, store.root))) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(timeout=120)
    assert len(runs) == 3 and len({r.environment["files"]["metrics.json"] for r in runs}) == 1
    assert STEPS <= len((tmp_path / "log").read_text()) <= STEPS + 3
    assert not store.partial.exists()


def test_errors_leave_no_run(store, make):
    with pytest.raises(ValueError, match="broken"):
        run_one(make(model={"fails": "broken", "log": ""}), store)
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        run_one(make(paper="tinyy"), store)
    with pytest.raises(TrainingError):
        run_one(make(model={"nan": True}), store)
    with pytest.raises(ConfigError, match="no device 'gpu'"):
        run_one(make(), store, device="gpu")
    assert store.digests() == [] and store.frame().empty


def test_a_mistake_makes_no_folder(store, make):
    with pytest.raises(DataError, match="'nothing'"):
        run_one(make(features={"text": "nothing"}), store)
    assert not store.root.exists()


def test_a_damaged_run_is_trained_again(store, make, tmp_path):
    spec = make(model={"log": str(tmp_path / "log")})
    first = run_one(spec, store)
    (first.directory / "predictions.parquet").write_bytes(b"PAR1")
    second = run_one(spec, store)
    assert store.has(spec) and second.metrics == first.metrics and len((tmp_path / "log").read_text()) >= 2 * STEPS


def test_stored_features_reach_the_model(store, make, tmp_path, monkeypatch):
    monkeypatch.setenv("ERC_DATA", str(tmp_path / "data"))
    corpus = load_corpus("simulated-meld", train=6, validation=3, test=3)
    ids = [u for s in ("train", "validation", "test") for d in corpus.split(s) for u in d.ids]
    card = {"extractor": "test", "version": "1", "units": "none", "empty": "zero"}
    stored = FeatureStore().save(
        corpus=corpus.name, modality="text", name="ones", ids=ids, array=np.ones((len(ids), 5), "float32"), card=card
    )
    spec = make(features={"text": "ones"})
    assert load_run_corpus(spec).dims == {"text": 5}
    run = run_one(spec, store)
    assert run.settings["model"]["dims"] == {"text": 5}
    features = run.environment["corpus"]["provenance"]["features"]
    file = next((tmp_path / "data").rglob("*.safetensors"))
    assert features == {"text": {"name": "ones", "card": stored.card_hash, "sha256": sha256(file)}}
    with pytest.raises(DataError, match="'twos'.*ones"):
        run_one(make(features={"text": "twos"}), store)


def test_standardised_features_and_a_redrawn_validation_set(make):
    z = load_run_corpus(make(standardise=True))
    train = torch.cat([d.features["text"] for d in z.train])
    assert torch.allclose(train.mean(0), torch.zeros(train.shape[1]), atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = load_run_corpus(make(validation_fraction=0.2, seed=4))
    assert len(drawn.validation) == round(0.2 * 9) and len(drawn.train) + len(drawn.validation) == 9
