"""A training that was killed ends bit for bit where it would have ended; a checkpoint that cannot be trusted is never used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import toy_training
from toy_training import ToyConfig, ToyModel, toy_corpus, train

from erc_lib.errors import ConfigError, TrainingError
from erc_lib.training import FitResult, TrainingConfig, checkpoint, fit, remove_checkpoints


@pytest.fixture(scope="module")
def undisturbed() -> FitResult:
    return train()


@pytest.fixture(scope="module")
def run_process(tmp_path_factory):
    """Trains the toy in a process of its own; returns its exit status, -9 when it was killed."""
    # Three processes import the same libraries: they share the compiled files, also where the user wants none beside the sources.
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if not os.environ.get("PYTHONDONTWRITEBYTECODE"):
        environment.pop("PYTHONPYCACHEPREFIX")  # then they already exist

    def run(directory: Path, out: Path, where: str, at: int) -> int:
        out.mkdir(exist_ok=True)
        command = [sys.executable, toy_training.__file__, str(directory), str(out), where, str(at)]
        return subprocess.run(command, env=environment, timeout=240, check=False).returncode

    return run


def epochs_kept(directory: Path) -> list[int]:
    return sorted(int(p.name.removeprefix("epoch-")) for p in (directory / "checkpoints").glob("epoch-*"))


def same(result: FitResult, expected: FitResult) -> None:
    """Equal in every bit, except for the seconds."""
    for name, value in expected.model.state_dict().items():
        assert torch.equal(result.model.state_dict()[name], value), name
    histories = [r.history.drop(columns="seconds") for r in (result, expected)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    pd.testing.assert_frame_equal(result.predictions, expected.predictions, check_exact=True)
    assert (result.best_epoch, result.metrics) == (expected.best_epoch, expected.metrics)


def test_killed_in_the_middle_of_an_epoch(tmp_path, undisturbed, run_process):
    # 18 dialogues in batches of 4 are 5 or 6 steps an epoch: step 20 lies in epoch 4
    assert run_process(tmp_path / "run", tmp_path / "out", "in_training_step", 20) == -9
    assert not list((tmp_path / "out").iterdir())
    assert max(epochs_kept(tmp_path / "run")) == 3
    assert run_process(tmp_path / "run", tmp_path / "out", "nowhere", 0) == 0
    weights = torch.load(tmp_path / "out" / "weights.pt", weights_only=True)
    assert weights.keys() == undisturbed.model.state_dict().keys()
    assert all(torch.equal(weights[k], v) for k, v in undisturbed.model.state_dict().items())
    history = pd.read_pickle(tmp_path / "out" / "history.pkl")
    pd.testing.assert_frame_equal(history, undisturbed.history.drop(columns="seconds"), check_exact=True)
    predictions = pd.read_pickle(tmp_path / "out" / "predictions.pkl")
    pd.testing.assert_frame_equal(predictions, undisturbed.predictions, check_exact=True)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == [undisturbed.best_epoch, undisturbed.metrics]


def test_killed_while_a_checkpoint_is_written(tmp_path, undisturbed, run_process):
    assert run_process(tmp_path / "run", tmp_path / "out", "while_writing_checkpoint", 3) == -9
    assert max(epochs_kept(tmp_path / "run")) == 2
    assert list((tmp_path / "run" / "checkpoints").glob(".writing-*"))  # what the killed process left
    same(train(tmp_path / "run"), undisturbed)
    assert not list((tmp_path / "run" / "checkpoints").glob(".writing-*"))


def test_checkpoints_change_nothing_and_a_finished_training_is_not_repeated(tmp_path, undisturbed, monkeypatch):
    same(train(tmp_path), undisturbed)
    assert epochs_kept(tmp_path) == sorted({undisturbed.best_epoch, 6})
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: pytest.fail("trained again"))
    again = train(tmp_path)
    same(again, undisturbed)
    remove_checkpoints(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def interrupted(directory: Path, epoch: int) -> None:
    """A training that ends like a crash once the checkpoint of ``epoch`` is written."""
    save = checkpoint.Checkpoints.save

    def save_then_fail(self, number, *args):
        save(self, number, *args)
        if number == epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint.Checkpoints, "save", save_then_fail)
        train(directory)


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt", "checkpoint.json"])
def test_a_truncated_checkpoint_gives_way_to_the_one_before(tmp_path, undisturbed, name):
    best = undisturbed.history["val_weighted_f1"].tolist()
    stop = next(e for e in range(2, 6) if max(best[:e]) > best[e - 1])  # an epoch that is not the best so far
    interrupted(tmp_path, stop)
    assert len(epochs_kept(tmp_path)) == 2
    file = tmp_path / "checkpoints" / f"epoch-{stop:05d}" / name
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.warns(UserWarning, match=f"epoch-{stop:05d}.*going on from epoch"):
        result = train(tmp_path)
    same(result, undisturbed)


def test_no_whole_checkpoint_is_an_error_that_names_the_remedy(tmp_path):
    interrupted(tmp_path, 1)
    file = tmp_path / "checkpoints" / "epoch-00001" / "state.pt"
    file.write_bytes(file.read_bytes()[:100])
    says = "no checkpoint .* is whole .*state.pt is missing, truncated or changed.*delete that folder"
    with pytest.raises(TrainingError, match=says):
        train(tmp_path)


def test_lost_selected_weights_are_an_error(tmp_path, undisturbed):
    train(tmp_path)
    if undisturbed.best_epoch == 6:
        pytest.fail("the toy must select another epoch than its last for this test")
    file = tmp_path / "checkpoints" / f"epoch-{undisturbed.best_epoch:05d}" / "model.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1  # one bit
    file.write_bytes(damaged)
    with pytest.raises(TrainingError, match=f"selected weights, of epoch {undisturbed.best_epoch}, are lost"):
        train(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 6}, "seed was 5, now 6"),
        ({"learning_rate": 0.1}, r"training.learning_rate was 0.02, now 0.1"),
        ({"model": ToyModel(ToyConfig(dropout=0.4))}, r"model.config.dropout was 0.3, now 0.4"),
        ({"corpus": toy_corpus(noise=1.4)}, r"corpus.sha256 was"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, change, says):
    interrupted(tmp_path, 1)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=says):
        train(tmp_path, **change)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_every_random_generator_goes_on(tmp_path):
    import random

    import numpy as np

    torch.manual_seed(1), np.random.seed(2), random.seed(3)
    np.random.standard_normal()  # leaves one Gaussian in store, which is part of the state
    torch.save(checkpoint.random_state(), tmp_path / "state.pt")

    def draw():
        return [torch.rand(1).item(), np.random.standard_normal(), np.random.rand(), random.random(), random.gauss(0, 1)]

    expected = draw()
    assert draw() != expected
    checkpoint.restore_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draw() == expected


def test_tied_weights_are_kept_and_other_state_is_refused(tmp_path):
    class Tied(ToyModel):
        def __init__(self):
            super().__init__()
            self.again = self.classifier

    class Hidden(ToyModel):
        def get_extra_state(self):
            return {"calls": 1}

        def set_extra_state(self, state):
            pass

    torch.manual_seed(0)
    train(tmp_path / "tied", model=Tied(), epochs=1)
    with pytest.raises(ConfigError, match="'_extra_state' is a dict; keep state in parameters and buffers"):
        train(tmp_path / "hidden", model=Hidden(), epochs=1)


def test_state_outside_the_weights_is_noticed():
    class Forgetful(ToyModel):
        """After 20 training steps it turns its classes round, by a plain attribute that no checkpoint holds."""

        steps = 0

        def forward(self, batch):
            output = super().forward(batch)
            self.steps += self.training
            if not self.training and self.steps > 20:
                output.logits = output.logits.roll(1, dims=-1)
            return output

    with pytest.raises(TrainingError, match="state that is neither a parameter nor a persistent buffer"):
        torch.manual_seed(0)
        corpus = toy_corpus(noise=0.1)
        settings = TrainingConfig(epochs=8, batch_size=4, learning_rate=0.05, schedule="none")
        fit(Forgetful(), corpus, settings, seed=1, progress=False)
