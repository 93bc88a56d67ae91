"""Tables: published rows kept whole, ours beneath, spread and intervals against hand-computed cases."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from erc_lib import tables
from erc_lib.errors import ConfigError, DataError
from erc_lib.evaluation import classification_metrics, dimensional_metrics, paired_bootstrap
from erc_lib.papers import published_results, published_value
from erc_lib.runs import RunSpec

CLASSES = 7
LABELS = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")


def a_run(name="MultiEMO", seed=0, hits=0.5, **spec):
    """A run whose predictions are right with probability ``hits``."""
    rng = np.random.default_rng([seed, int(100 * hits)])
    labels = np.random.default_rng(1).integers(CLASSES, size=60)
    predicted = np.where(rng.random(60) < hits, labels, rng.integers(CLASSES, size=60))
    place = {"dialogue": [f"d{i // 6}" for i in range(60)], "position": [i % 6 for i in range(60)]}
    frame = pd.DataFrame({**place, "label": labels, "predicted": predicted})
    validation = frame.assign(split="validation", predicted=labels)  # perfect: a table that mixed it in would be seen
    test = classification_metrics(labels, predicted, CLASSES)
    fields = {"paper": "multiemo", "corpus": "meld", "modalities": ("text",), "features": {"text": "all-MiniLM-L6-v2"}, **spec}
    return SimpleNamespace(
        spec=RunSpec(name=name, seed=seed, **fields), predictions=pd.concat([validation, frame.assign(split="test")], ignore_index=True),
        metrics={"test": test, "test_best_epoch": {"weighted_f1": test["weighted_f1"] + 0.02}}, environment={},
    )  # fmt: skip


@pytest.fixture
def runs():
    return [a_run(seed=s) for s in range(3)] + [a_run("bc-LSTM", seed=s, hits=0.3, paper="bc_lstm") for s in range(2)]


def test_summary_is_mean_and_sample_deviation_over_seeds_in_percent(runs):
    summary = tables.runs_summary(runs)
    scores = [100 * r.metrics["test"]["weighted_f1"] for r in runs[:3]]
    row = summary.iloc[0]
    assert list(summary["model"]) == ["MultiEMO", "bc-LSTM"] and list(summary["runs"]) == [3, 2]
    assert row["mean"] == pytest.approx(np.mean(scores)) and row["std"] == pytest.approx(np.std(scores, ddof=1))
    assert row["low"] < row["mean"] < row["high"] < 100
    assert row["selection"] == "validation"


def test_a_single_seed_has_no_spread_and_no_runs_make_an_empty_table():
    assert np.isnan(tables.runs_summary([a_run()])["std"].iloc[0])
    assert tables.runs_summary([]).empty and "mean" in tables.runs_summary([])
    assert tables.runs_frame([]).empty and tables.difference_table([], "MultiEMO").empty and tables.selection_gain([]).empty


def test_runs_that_differ_in_more_than_the_seed_are_refused(runs):
    with pytest.raises(DataError, match="two runs of seed 0"):
        tables.runs_summary([runs[0], a_run(seed=0, hits=0.9, model={"layers": 2})])


def test_runs_are_selected_by_exact_model_settings():
    plain, ablated = a_run(model={"text_context": "transformer"}), a_run(model={"text_context": "transformer", "use_swfc": False})
    found = tables.select_runs([plain, ablated], paper="multiemo", corpus="meld", model={"text_context": "transformer"})
    assert found == [plain]
    assert tables.select_runs([plain, ablated], modalities=("text",)) == [plain, ablated]
    with pytest.raises(ConfigError, match="no field 'colour'"):
        tables.select_runs([plain], colour="red")


@pytest.mark.parametrize(("table", "dataset"), [("1", "IEMOCAP"), ("2", "MELD")])
def test_every_published_row_and_value_stands_in_the_table(table, dataset, runs):
    labels = LABELS[: 6 if dataset == "IEMOCAP" else 7]
    frame = tables.published_beside_ours(table, dataset, [], ours={"MultiEMO": "MultiEMO"}, label_names=labels)
    published = published_results().query("paper == 'multiemo' and table == @table and dataset == @dataset")
    mine = frame[frame["source"] == "published"].set_index("model")
    for row in published.itertuples():
        assert mine.loc[row.row, row.column] == row.value
    assert mine[published["column"].unique()].notna().sum().sum() == len(published)
    assert list(frame["source"])[-1] == "ours, not run yet"


def test_ours_stands_beneath_its_published_row_with_class_means(runs):
    frame = tables.published_beside_ours(
        "2", "MELD", runs, ours={"BC-LSTM": "bc-LSTM", "MultiEMO": "MultiEMO", "DialogueRNN": "DialogueRNN"}, label_names=LABELS,
        comparable=("other features", "erc features"), notes={"MultiEMO w/o VisExtNet": "needs video"},
    )  # fmt: skip
    ours = frame.index[(frame["model"] == "MultiEMO") & frame["source"].str.startswith("ours")][0]
    assert frame.loc[ours - 1, ["model", "source"]].tolist() == ["MultiEMO", "published"]
    assert frame.loc[ours, "source"] == "ours, 3 seeds" and frame.loc[ours, "not comparable because"] == "other features"
    assert frame.loc[ours, "Fear"] == pytest.approx(100 * np.mean([r.metrics["test"]["f1"][2] for r in runs[:3]]))
    assert frame.loc[ours, "Weighted-F1"] == pytest.approx(100 * np.mean([r.metrics["test"]["weighted_f1"] for r in runs[:3]]))
    assert (frame["source"] == "ours, not run yet").sum() == 1
    assert frame.set_index("model").loc["MultiEMO w/o VisExtNet", "what would close it"] == "needs video"


def test_several_of_our_models_may_stand_beneath_one_published_row(runs):
    frame = tables.published_beside_ours("2", "MELD", runs, ours={"MultiEMO": ("MultiEMO", "bc-LSTM", "absent")}, label_names=LABELS)
    assert frame["model"].tolist()[-4:] == ["MultiEMO", "MultiEMO", "bc-LSTM", "absent"]
    assert frame["source"].tolist()[-4:] == ["published", "ours, 3 seeds", "ours, 2 seeds", "ours, not run yet"]


def test_majority_is_what_one_answer_for_all_gets(runs):
    counts = np.bincount(tables.test_predictions(runs[0])["label"], minlength=CLASSES)
    share = counts.max() / counts.sum()
    assert tables.majority_score(runs[0], "accuracy") == pytest.approx(100 * share)
    assert tables.majority_score(runs[0]) == pytest.approx(100 * share * 2 * share / (1 + share))


def test_an_unknown_table_or_too_few_classes_are_errors():
    with pytest.raises(ConfigError, match="no table '9'"):
        tables.published_beside_ours("9", "MELD", [], ours={}, label_names=LABELS)
    with pytest.raises(ConfigError, match="do not fit 6 classes"):
        tables.published_beside_ours("2", "MELD", [], ours={}, label_names=LABELS[:6])


def test_comparability_names_what_differs_and_the_command_that_closes_it(runs):
    published, closes = {"text": "EmoBERTa", "audio": "openSMILE"}, {"text": "tune it", "audio": "erc features extract"}
    reason, remedy = tables.comparability(runs[:1], published, closes, protocol="its best test epoch")
    assert reason == "text: all-MiniLM-L6-v2 (published: EmoBERTa); no audio (published: openSMILE); its best test epoch"
    assert remedy == "tune it; erc features extract"
    assert tables.comparability(runs[:1], {"text": "all-MiniLM-L6-v2"}, closes) == ("yes", "")
    assert tables.comparability([], published, closes) == (tables.PENDING, "")


def test_notes_keep_every_word_and_number_each_pair_once(runs):
    frame = tables.published_beside_ours(
        "2", "MELD", runs, ours={"BC-LSTM": "bc-LSTM", "MultiEMO": "MultiEMO"}, label_names=LABELS, comparable=("features", "a command"),
        notes={"MultiEMO w/o VisExtNet": "needs video"},
    )  # fmt: skip
    table, notes = tables.with_notes(frame)
    assert table.set_index(["model", "source"])["comparable"].drop_duplicates().tolist() == ["", "no, note 1", "see note 2"]
    assert notes["rows"].tolist() == ["bc-LSTM; MultiEMO", "MultiEMO w/o VisExtNet"]
    assert notes["what would close it"].tolist() == ["a command", "needs video"]
    mine = frame[frame["source"] == "ours, 3 seeds"].iloc[0]
    assert table[table["source"] == "ours, 3 seeds"]["95 %"].tolist() == [f"{mine['low']:.1f}–{mine['high']:.1f}"]
    assert len(table) == len(frame) and "what would close it" not in table


def test_modalities_that_no_run_fills_are_said_and_published_values_kept(runs):
    frame = tables.modality_table({"meld": runs[:3], "mosi": []}, [("text",), ("text", "audio"), ("audio", "visual")])
    assert frame["meld (ours)", "runs"].tolist() == [3, 0, 0] and frame["mosi (ours)", "runs"].tolist() == [0, 0, 0]
    assert frame["published", "MELD"].tolist()[:2] == [61.23, 64.21] and np.isnan(frame["published", "MELD"][2])
    assert frame["meld (ours)", "mean"][0] == pytest.approx(tables.runs_summary(runs[:3])["mean"][0])


def test_difference_is_the_model_minus_the_reference_on_the_same_dialogues(runs):
    row = tables.difference_table(runs, "MultiEMO").iloc[0]
    parts = [[tables.test_predictions(r) for r in group] for group in (runs[3:], runs[:3])]
    expected = paired_bootstrap(*parts, classes=CLASSES, samples=tables.SAMPLES)
    assert row["model"] == "bc-LSTM" and row["seeds"] == "2 and 3"
    assert row["difference"] == pytest.approx(100 * expected["difference"]) and row["difference"] < 0
    assert (row["low"], row["high"]) == pytest.approx((100 * expected["low"], 100 * expected["high"]))


def test_selection_gain_is_the_best_test_epoch_minus_the_selected_one_in_points(runs):
    assert tables.selection_gain(runs)["gain"].tolist() == pytest.approx([2.0] * 5)


def test_styling_dresses_and_does_not_change(runs):
    frame = tables.published_beside_ours("2", "MELD", runs, ours={"MultiEMO": "MultiEMO"}, label_names=LABELS)
    before = frame.copy()
    page = tables.styled(frame, caption="Table 2", key="t2").to_html()
    assert "66.74" in page and "–" in page and "nan" not in page and "Table 2" in page
    assert page == tables.styled(frame, caption="Table 2", key="t2").to_html()
    assert page.count("font-weight: bold") >= 1
    pd.testing.assert_frame_equal(frame, before)


def a_dimensional_run(seed=0, agreement=0.8):
    """A run that predicts two emotion dimensions."""
    labels = np.random.default_rng(1).standard_normal((60, 2))
    predicted = agreement * labels + np.random.default_rng([seed, 5]).standard_normal((60, 2))
    frame = pd.DataFrame({"dialogue": [f"d{i // 6}" for i in range(60)], "position": [i % 6 for i in range(60)]})
    frame = frame.assign(split="test", **{f"label_{c}": labels[:, c] for c in (0, 1)}, **{f"predicted_{c}": predicted[:, c] for c in (0, 1)})
    test = dimensional_metrics(labels, predicted)
    return SimpleNamespace(
        spec=RunSpec(name="D", seed=seed, paper="dialogue_trm", corpus="avec"), predictions=frame,
        metrics={"test": test, "test_best_epoch": {"mean_pearson": 0.9}}, environment={},
    )  # fmt: skip


def test_dimensions_are_summed_up_as_correlations_not_percent():
    runs = [a_dimensional_run(s) for s in range(3)]
    row = tables.runs_summary(runs, metric="pearson_1").iloc[0]
    assert row["mean"] == pytest.approx(np.mean([r.metrics["test"]["pearson"][1] for r in runs])) and row["low"] < row["mean"] < row["high"] < 1
    frame = tables.runs_frame(runs)
    assert frame["pearson_0"].tolist() == [r.metrics["test"]["pearson"][0] for r in runs] and (frame["test_best_epoch"] == 0.9).all()
    worse = [SimpleNamespace(**{**vars(r), "spec": r.spec.model_copy(update={"name": "E"})}) for r in (a_dimensional_run(7, 0.1),)]
    assert tables.difference_table([*runs, *worse], "D", metric="mean_pearson")["difference"].iloc[0] < -0.1


def test_a_table_of_other_columns_takes_the_metric_of_each():
    runs = [a_run("DialogueTRM-U", seed=s) for s in (0, 1)]
    table = tables.published_beside_ours(
        "2", "MELD", runs, paper="dialogue_trm", ours={"DialogueTRM-U": "DialogueTRM-U"}, metrics={"ACC": "accuracy", "F1": "weighted_f1"}, average="F1",
    )
    row = table[table["source"] == "ours, 2 seeds"].iloc[0]
    assert row["ACC"] == pytest.approx(100 * np.mean([r.metrics["test"]["accuracy"] for r in runs])) and row["low"] < row["F1"] < row["high"]
    with pytest.raises(ConfigError, match="has no column 'F2'"):
        tables.published_beside_ours("2", "MELD", runs, paper="dialogue_trm", ours={}, metrics={"F2": "accuracy"}, average="F1")


def test_scores_on_some_cases_are_those_of_these_utterances(runs):
    cases = pd.DataFrame({"dialogue": ["d0", "d0", "d3", "elsewhere"], "position": [1, 4, 0, 0]})
    found = tables.case_scores(runs[:2], cases)
    rows = [1, 4, 18]
    hits = [np.mean([r.predictions[r.predictions.split == "test"].iloc[i].label == r.predictions[r.predictions.split == "test"].iloc[i].predicted for i in rows]) for r in runs[:2]]
    assert found["utterances"] == 3 and found["accuracy"] == pytest.approx(100 * np.mean(hits))
    with pytest.raises(DataError, match="none of the 1 cases is a test utterance"):
        tables.case_scores(runs, cases.tail(1))


def test_one_printed_number_or_an_error():
    assert published_value("dialogue_trm", "2", "IEMOCAP", "DialogueTRM-M", "F1") == 69.7
    with pytest.raises(ConfigError, match="has 0 numbers at 'Nobody', 'F1'"):
        published_value("dialogue_trm", "2", "IEMOCAP", "Nobody", "F1")


def test_recalls_of_classes_average_to_the_accuracy():
    run = a_run(hits=0.5)
    test, recalls = tables.test_predictions(run), tables.class_recalls(run)
    counts = test["label"].value_counts()
    weighted = sum(counts.get(c, 0) * r for c, r in enumerate(recalls) if c in counts) / len(test)
    assert weighted == pytest.approx((test["predicted"] == test["label"]).mean())
    row = tables.runs_frame([run]).iloc[0]
    assert row["recall_0"] == recalls[0] and tables.unit_of("recall_0") == 100


def test_differences_seed_by_seed_are_a_paired_t_test():
    """Differences 1, 2, 3 points: mean 2, deviation 1, t(2) = 2 / (1 / sqrt 3) = 3.46, interval 2 -+ 4.303 / sqrt 3."""
    made = []
    for seed, score in enumerate((0.50, 0.60, 0.70)):
        for name, extra in (("whole", 0.0), ("part", 0.01 * (seed + 1))):
            run = a_run(name, seed=seed)
            run.metrics["test"] = {**run.metrics["test"], "weighted_f1": score + extra}
            made.append(run)
    row = tables.seed_differences(made[::-1], "whole").iloc[0]  # the order of runs is of no account
    assert (row.model, row.seeds) == ("part", 3) and row.difference == pytest.approx(2) and row["std"] == pytest.approx(1)
    assert row.low == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-3) and row.high == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3) and row.p == pytest.approx(0.0742, abs=1e-3)
    assert np.isnan(tables.seed_differences(made[:2], "whole").p.iloc[0]) and tables.seed_differences(made, "other").empty
