"""What a training records, selects and refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from toy_training import SETTINGS, ToyConfig, ToyModel, ToyOutput, toy_corpus, train
from torch import nn

from erc_lib.data import Batch, Corpus
from erc_lib.errors import ConfigError, DataError, TrainingError
from erc_lib.precision import full_precision
from erc_lib.training import TrainingConfig, fit, predict, seed_everything, select
from erc_lib.training.selection import should_stop


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return toy_corpus()


@pytest.fixture(scope="module")
def result():
    return train()


def test_it_learns():
    learned = train(corpus=toy_corpus(noise=0.3), epochs=12)
    assert learned.metrics["test"]["weighted_f1"] > 0.85
    assert learned.history["train_total"].iloc[-1] < 0.6 * learned.history["train_total"].iloc[0]


def test_history_has_every_term(result):
    assert result.history.columns.tolist() == [
        "epoch", "train_total", "train_cross_entropy", "train_small", "val_total", "val_cross_entropy", "val_small",
        "val_weighted_f1", "val_accuracy", "val_macro_f1", "test_weighted_f1_monitor", "lr", "seconds",
    ]  # fmt: skip
    assert result.history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    total = result.history["train_cross_entropy"] + result.history["train_small"]
    assert np.allclose(result.history["train_total"], total, rtol=1e-6)
    assert result.seconds == pytest.approx(result.history["seconds"].sum())


def test_selection_is_on_validation_and_test_selection_is_only_noted(result):
    history = result.history
    assert result.best_epoch == history["epoch"][history["val_weighted_f1"].idxmax()]  # idxmax: the first of equals
    row = history.iloc[result.best_epoch - 1]
    assert result.metrics["validation"]["weighted_f1"] == row["val_weighted_f1"]
    assert result.metrics["test"]["weighted_f1"] == row["test_weighted_f1_monitor"]
    noted = result.metrics["test_best_epoch"]
    assert noted["weighted_f1"] == history["test_weighted_f1_monitor"].max()
    assert noted["epoch"] == history["epoch"][history["test_weighted_f1_monitor"].idxmax()]
    assert noted.keys() == {"weighted_f1", "accuracy", "macro_f1", "f1", "epoch"}


def test_predictions_are_those_of_each_dialogue_alone(result, corpus):
    """Joined back by id: the frame equals running every dialogue by itself, in the corpus' order."""
    rows = []
    with torch.no_grad():
        for split in ("validation", "test"):
            for d in corpus.split(split):
                p = result.model(Batch.collate([d], ["text"])).logits[0].double().softmax(-1).float().numpy()
                rows += [(split, d.id, i, int(d.labels[i]), int(p[i].argmax()), *p[i]) for i in range(len(d))]
    expected = pd.DataFrame(rows, columns=["split", "dialogue", "position", "label", "predicted", "p_0", "p_1", "p_2"])
    got = result.predictions
    assert got.columns.tolist() == expected.columns.tolist()
    assert (got.drop(columns=["p_0", "p_1", "p_2"]) == expected.drop(columns=["p_0", "p_1", "p_2"])).all(axis=None)
    probabilities = got[["p_0", "p_1", "p_2"]]
    assert (probabilities.dtypes == np.float32).all()
    assert np.allclose(probabilities, expected[["p_0", "p_1", "p_2"]], atol=1e-6)
    test = got[got["split"] == "test"]
    assert f1_score(test["label"], test["predicted"], average="weighted") == pytest.approx(result.metrics["test"]["weighted_f1"])
    again = predict(result.model, corpus.test, batch_size=4)
    pd.testing.assert_frame_equal(again, test.reset_index(drop=True), rtol=1e-6)


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(result):
    torch.rand(100)  # whatever was drawn before
    again = train()
    pd.testing.assert_frame_equal(again.history.drop(columns="seconds"), result.history.drop(columns="seconds"), check_exact=True)
    pd.testing.assert_frame_equal(again.predictions, result.predictions, check_exact=True)
    assert not np.allclose(train(seed=6).history["train_total"], result.history["train_total"])


def test_fit_seeds_order_and_dropout_by_itself():
    model = ToyModel()
    start = {k: v.clone() for k, v in model.state_dict().items()}
    histories = []
    for seed, noise in ((3, 1), (3, 2), (4, 3)):
        model.load_state_dict(start)
        torch.manual_seed(noise)
        histories.append(fit(model, toy_corpus(), TrainingConfig(**SETTINGS), seed=seed, progress=False).history["train_total"])
    assert histories[0].equals(histories[1]) and not histories[0].equals(histories[2])


def test_select_takes_the_earlier_of_equals():
    rows = [{"epoch": e, "val_weighted_f1": v} for e, v in ((1, 0.2), (2, 0.5), (3, 0.5), (4, 0.4))]
    assert select(rows) == select(pd.DataFrame(rows)) == 2
    assert not should_stop(rows, None) and not should_stop(rows, 3)
    assert should_stop(rows, 2) and should_stop(pd.DataFrame(rows), 2)
    with pytest.raises(TrainingError):
        select([])


def test_early_stopping():
    full = train(epochs=30).history
    stopped = train(epochs=30, patience=3)
    best = stopped.best_epoch
    assert len(stopped.history) == best + 3 < 30
    assert stopped.history["val_weighted_f1"].equals(full["val_weighted_f1"][: best + 3])


class Breaking(ToyModel):
    """Its loss becomes NaN in the given training step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.steps = at, 0

    def objective(self, output, batch):
        terms = super().objective(output, batch)
        self.steps += self.training
        if self.training and self.steps == self.at:
            terms["small"] = terms["small"] * float("nan")
            terms["total"] = terms["cross_entropy"] + terms["small"]
        return terms


def test_a_nan_loss_stops_with_the_place_and_the_terms(tmp_path):
    torch.manual_seed(0)
    says = r"epoch 1, step 3: .*total = nan, cross_entropy = \d.*small = nan.*smaller learning_rate"
    with pytest.raises(TrainingError, match=says):
        train(tmp_path, model=Breaking(3))
    assert not list(tmp_path.rglob("epoch-*"))
    model = Breaking(20)
    with pytest.raises(TrainingError, match=r"epoch 4, step .*checkpoint of epoch 3 is kept in"):
        train(tmp_path, model=model)
    assert all(torch.isfinite(p).all() for p in model.parameters())  # stopped before the step


def test_weights_that_became_nan_stop_in_the_evaluation():
    class Poisoned(ToyModel):
        def objective(self, output, batch):
            terms = super().objective(output, batch)
            if self.training:  # finite, but its gradient at 0 is not
                terms["total"] = terms["total"] + (self.classifier.weight * 0).sum().sqrt()
            return terms

    with pytest.raises(TrainingError, match=r"epoch 1, (step 2|validation)"):
        train(model=Poisoned())
    with pytest.raises(TrainingError, match="epoch 1, validation"):
        train(model=Poisoned(), batch_size=64)


def test_a_model_without_configuration_gets_every_modality(corpus):
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 3)
            self.seen = set()

        def forward(self, batch):
            self.seen |= set(batch.features)
            x = torch.cat([batch.features["text"], batch.features["audio"]], dim=-1)
            return ToyOutput(self.layer(x), x)

        objective = ToyModel.objective
        mean = torch.zeros(5)

    bare = Bare()
    train(model=bare, epochs=1)
    assert bare.seen == {"text", "audio"}
    seen = []
    model = ToyModel()
    model.register_forward_pre_hook(lambda _, args: seen.append(set(args[0].features)))
    train(model=model, epochs=1)
    assert seen and all(s == {"text"} for s in seen)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda: {"corpus": toy_corpus(validation=0)}, ConfigError, "no validation dialogues: the epoch is selected there"),
        (lambda: {"corpus": toy_corpus(train=0)}, ConfigError, "no train dialogues"),
        (lambda: {"model": ToyModel(ToyConfig(dims={"text": 4}))}, ConfigError, "text features 4 wide, corpus 'toy' has 3"),
        (lambda: {"model": ToyModel(ToyConfig(dims={"visual": 4}))}, DataError, "needs visual features.*all have text, audio"),
        (lambda: {"model": ToyModel(ToyConfig(classes=4))}, ConfigError, "4 classes, corpus 'toy' has 3"),
        (lambda: {"model": nn.Linear(1, 1)}, ConfigError, "must be a torch Module with forward and objective"),
        (lambda: {"mixed_precision": "fp16"}, ConfigError, "needs a GPU"),
        (lambda: {"seed": -1}, ConfigError, "seed must lie"),
    ],
)
def test_what_cannot_work_is_said_at_once(change, error, says):
    with pytest.raises(error, match=says):
        train(**change())


def test_devices(corpus):
    with pytest.raises(ConfigError, match="device='gpu' is unknown"):
        fit(ToyModel(), corpus, TrainingConfig(**SETTINGS), seed=1, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="torch sees no GPU"):
            fit(ToyModel(), corpus, TrainingConfig(**SETTINGS), seed=1, device="cuda")
    fit(ToyModel(), corpus, TrainingConfig(**{**SETTINGS, "epochs": 1}), seed=1, device="auto", progress=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_on_a_gpu(precision, tmp_path):
    seed_everything(5)
    settings = TrainingConfig(**{**SETTINGS, "epochs": 12, "mixed_precision": precision})
    for _ in range(2):  # the second goes on from the finished checkpoint
        result = fit(ToyModel(), toy_corpus(noise=0.3), settings, seed=5, device="cuda", directory=tmp_path, progress=False)
        assert result.metrics["test"]["weighted_f1"] > 0.8


def test_bfloat16_runs_on_a_cpu_with_losses_in_float32():
    seen = set()

    class Watching(ToyModel):
        def forward(self, batch):
            output = super().forward(batch)
            seen.add(("forward", output.logits.dtype))
            return output

        def objective(self, output, batch):
            seen.add(("objective", output.logits.dtype))
            return super().objective(output, batch)

    seed_everything(5)
    result = train(model=Watching(), corpus=toy_corpus(noise=0.3), epochs=12, mixed_precision="bf16")
    assert seen == {("forward", torch.bfloat16), ("objective", torch.float32)}
    assert result.metrics["test"]["weighted_f1"] > 0.8


def test_full_precision_reaches_nested_outputs():
    half = torch.ones(2, dtype=torch.bfloat16)
    output = full_precision(ToyOutput(logits=half, hidden={"a": [half, (half,)], "ids": torch.arange(2), "name": "x"}))
    assert output.logits.dtype == output.hidden["a"][0].dtype == output.hidden["a"][1][0].dtype == torch.float32
    assert output.hidden["ids"].dtype == torch.int64 and output.hidden["name"] == "x"
