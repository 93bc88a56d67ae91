"""The papers' tables: counts, totals, and the arithmetic the papers print."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import erc_lib.papers
from erc_lib.papers.published import PAPERS, RESULT_COLUMNS, published_results, published_tables

ROOMS = Path(erc_lib.papers.__file__).parent
RESULTS = published_results()

# Counted by hand in the papers: rows x columns, less dashes.
COUNTS = {
    "dialogue_trm": {
        "2": 10 * 2 + 4 + 7 + 8 * 4,      # IEMOCAP; MELD accuracy, F1; AVEC
        "3": 8 * 2 - 3,
        "4": 12 * 2,
        "5": 9 * 3,
        "6": 2 * 6 + 2,                   # and the two counts in the header
    },
    "dimmn": {
        "1": 4 + 6,
        "2": 10 * 14 + 1,
        "3": 3 * 16 + 8 + 2 + 1,
        "4": 4 * 14, "5": 4 * 14, "6": 4 * 14,
        "7": 4 * 2,
        "8": 16 * 4,
    },
    "multiemo": {"1": 11 * 7 + 1, "2": 10 * 8 + 2, "3": 6 * 2},
    "df_erc": {
        "1": 9 * 15 + (2 + 2 + 1 + 1) + 4 * 2 + 3 * 4,     # full rows; text; text + knowledge; multimodal averages
        "2": 9 * 4 + 8 * 4,                                # scores and drops
        "3": 7 * 4, "4": 4 * 8, "5": 4 * 7, "6": 12 * 2,
    },
}

SPOTS = [     # the first and the last cell of every table, and the headline figures
    ("dialogue_trm", "2", "IEMOCAP", "c-LSTM-U", "ACC", 56.3), ("dialogue_trm", "2", "AVEC", "DialogueTRM-M", "Power", 0.40),
    ("dialogue_trm", "2", "IEMOCAP", "DialogueTRM-M", "F1", 69.70), ("dialogue_trm", "2", "MELD", "DialogueTRM-M", "F1", 63.50),
    ("dialogue_trm", "2", "AVEC", "c-LSTM-M", "Power", -0.04), ("dialogue_trm", "2", "AVEC", "CMN", "Arousal", 0.30),
    ("dialogue_trm", "3", "IEMOCAP", "BERTbase", "ACC", 56.7),
    ("dialogue_trm", "3", "IEMOCAP", "remove [SEP] tokens", "F1", 65.2),
    ("dialogue_trm", "4", "IEMOCAP", "u\u0307", "ACC", 56.7), ("dialogue_trm", "4", "IEMOCAP", "ā+v\u0304+ū", "F1", 68.8),
    ("dialogue_trm", "5", "IEMOCAP", "Additive", "U", 68.1),
    ("dialogue_trm", "5", "IEMOCAP", "w/o prototype dependency", "gain", 0.8),
    ("dialogue_trm", "6", "IEMOCAP", "DialogueTRM-U", "OG ACC", 68.2),
    ("dialogue_trm", "6", "IEMOCAP", "DialogueTRM-M", "Inter-ES F1", 74.3),
    ("dialogue_trm", "6", "IEMOCAP", "average count of shifts per conversation", "Inter-ES", 22.0),
    ("dimmn", "1", "IEMOCAP", "IEMOCAP", "Dialogues Train+Val", 120), ("dimmn", "1", "MELD", "MELD", "Utterances Test", 2610),
    ("dimmn", "2", "IEMOCAP", "c-LSTM", "Happy acc", 25.7), ("dimmn", "2", "IEMOCAP", "Our Model", "Avg w-F1", 64.1),
    ("dimmn", "2", "IEMOCAP", "TL-ERC", "Avg w-F1", 58.5),
    ("dimmn", "3", "MELD", "test-CNN", "Anger acc", 34.5), ("dimmn", "3", "MELD", "Our Model", "Avg w-F1", 58.6),
    ("dimmn", "4", "IEMOCAP", "H=2", "Happy acc", 23.6), ("dimmn", "4", "IEMOCAP", "H=5", "Avg w-F1", 62.7),
    ("dimmn", "5", "IEMOCAP", "K=3", "Happy acc", 24.0), ("dimmn", "5", "IEMOCAP", "K=8", "Avg w-F1", 64.1),
    ("dimmn", "6", "IEMOCAP", "L=5", "Happy acc", 22.2), ("dimmn", "6", "IEMOCAP", "L=8", "Avg w-F1", 63.6),
    ("dimmn", "7", "IEMOCAP", "A+V+T", "acc", 62.8), ("dimmn", "7", "IEMOCAP", "VT+AT", "w-F1", 59.5),
    ("dimmn", "8", "IEMOCAP", "1", "H", 2), ("dimmn", "8", "IEMOCAP", "16", "Result(acc)", 63.7),
    ("multiemo", "1", "IEMOCAP", "BC-LSTM", "Happiness", 34.43), ("multiemo", "1", "IEMOCAP", "MultiEMO", "Weighted-F1", 72.84),
    ("multiemo", "2", "MELD", "BC-LSTM", "Neutral", 73.80), ("multiemo", "2", "MELD", "MultiEMO", "Weighted-F1", 66.74),
    ("multiemo", "3", "IEMOCAP", "Text", "Weighted-F1", 64.48),
    ("multiemo", "3", "MELD", "Text + Audio + Visual", "Weighted-F1", 66.74),
    ("df_erc", "1", "IEMOCAP", "DiaGCN", "Hap", 51.57), ("df_erc", "1", "MELD", "DF-ERC", "W-F1", 67.03),
    ("df_erc", "1", "IEMOCAP", "DF-ERC", "W-F1", 71.75),
    ("df_erc", "2", "MELD", "DF-ERC", "Acc", 68.28), ("df_erc", "2", "IEMOCAP", "- CRM + Att", "W-F1 drop", 2.41),
    ("df_erc", "3", "MELD", "DF-ERC(T+A+V)", "Acc", 68.28), ("df_erc", "3", "IEMOCAP", "A+V", "W-F1", 55.07),
    ("df_erc", "4", "MELD", "Train", "Neut", 4710), ("df_erc", "4", "MELD", "Total", "Total", 13708),
    ("df_erc", "5", "IEMOCAP", "Train", "Hap", 448), ("df_erc", "5", "IEMOCAP", "Total", "Total", 7433),
    ("df_erc", "6", "MELD", "Text Embedding Dim.", "Value", 1024), ("df_erc", "6", "IEMOCAP", "Weight Decay", "Value", 0.01),
]


def grid(paper: str, table: str, dataset: str) -> pd.DataFrame:
    """One table as rows x columns, in the paper's order; NaN where nothing is printed."""
    part = RESULTS.query("paper == @paper and table == @table and dataset == @dataset")
    wide = part.pivot(index="row", columns="column", values="value")
    return wide.loc[part["row"].unique(), part["column"].unique()]


# -- shape ------------------------------------------------------------------------------------------------------------

def test_counts_per_paper_and_table():
    counted = {paper: frame.groupby("table").size().to_dict() for paper, frame in RESULTS.groupby("paper")}
    assert counted == COUNTS
    assert len(RESULTS) == sum(sum(tables.values()) for tables in COUNTS.values()) == 1104


def test_columns_keys_and_finite_values():
    assert list(RESULTS.columns) == RESULT_COLUMNS
    assert not RESULTS.duplicated(RESULT_COLUMNS[:-1]).any()
    assert RESULTS["value"].dtype == float and RESULTS["value"].notna().all()
    assert set(RESULTS["dataset"]) == {"IEMOCAP", "MELD", "AVEC"}
    assert erc_lib.papers.published_results is published_results


@pytest.mark.parametrize("paper,table,dataset,row,column,value", SPOTS)
def test_spot_values(paper, table, dataset, row, column, value):
    assert grid(paper, table, dataset).loc[row, column] == value


def test_every_table_is_described_and_has_numbers():
    tables = published_tables()
    assert (tables[["caption", "place", "unit"]] != "").all(axis=None)
    described = set(map(tuple, tables[["paper", "table", "dataset"]].to_numpy()))
    assert described == set(map(tuple, RESULTS[["paper", "table", "dataset"]].to_numpy()))


def test_a_changed_copy_changes_nothing():
    frame = published_results()
    frame.loc[:, "value"] = 0.0
    pd.testing.assert_frame_equal(published_results(), RESULTS)


def test_every_room_has_its_tables():
    assert {path.parent.name for path in ROOMS.glob("*/published.yaml")} == set(PAPERS)


# -- totals and arithmetic the papers print ---------------------------------------------------------------------------

@pytest.mark.parametrize("table,dataset,total", [("4", "MELD", 13708), ("5", "IEMOCAP", 7433)])
def test_df_erc_dataset_totals(table, dataset, total):
    counts = grid("df_erc", table, dataset)
    assert (counts.drop(columns="Total").sum(axis=1) == counts["Total"]).all()
    assert (counts.drop(index="Total").sum() == counts.loc["Total"]).all()
    assert counts.loc["Total", "Total"] == total


def test_dimmn_splits_add_up_to_the_datasets():
    iemocap, meld = grid("dimmn", "1", "IEMOCAP").loc["IEMOCAP"], grid("dimmn", "1", "MELD").loc["MELD"]
    assert iemocap.filter(like="Dialogues").sum() == 151 and iemocap.filter(like="Utterances").sum() == 7433
    assert meld.filter(like="Dialogues").sum() == 1433 and meld.filter(like="Utterances").sum() == 13708


@pytest.mark.parametrize("dataset", ["MELD", "IEMOCAP"])
@pytest.mark.parametrize("score", ["Acc", "W-F1"])
def test_df_erc_drops_are_differences(dataset, score):
    ablation = grid("df_erc", "2", dataset)
    drops = ablation.loc["DF-ERC", score] - ablation[score].drop("DF-ERC")
    pd.testing.assert_series_equal(drops, ablation[f"{score} drop"].dropna(), atol=1e-9, check_names=False)


def test_dialogue_trm_gains_are_differences():
    fusion = grid("dialogue_trm", "5", "IEMOCAP")
    pd.testing.assert_series_equal(fusion["M"] - fusion["U"], fusion["gain"], atol=1e-9, check_names=False)


def test_dimmn_orthogonal_design_and_its_repeats():
    trials = grid("dimmn", "8", "IEMOCAP")
    for a, b in (("H", "K"), ("H", "L"), ("K", "L")):      # every pair of levels once: 16 trials, 3 factors, 4 levels
        assert len(set(zip(trials[a], trials[b]))) == 16 and trials[a].nunique() == trials[b].nunique() == 4
    assert trials.loc["15", "Result(acc)"] == grid("dimmn", "4", "IEMOCAP").loc["H=5", "Avg acc"]
    assert trials.loc["5", "Result(acc)"] == grid("dimmn", "5", "IEMOCAP").loc["K=3", "Avg acc"]
    assert trials.loc["7", "Result(acc)"] == 64.5 != grid("dimmn", "6", "IEMOCAP").loc["L=8", "Avg acc"]     # see the note


def test_rows_that_a_paper_prints_twice():
    ours = grid("dimmn", "2", "IEMOCAP").loc["Our Model"]
    for table, row in (("4", "H=3"), ("5", "K=6"), ("6", "L=6")):
        assert (grid("dimmn", table, "IEMOCAP").loc[row] == ours).all()
    assert list(grid("dimmn", "7", "IEMOCAP").loc["TA+VA"]) == [64.7, 64.1] == list(ours[["Avg acc", "Avg w-F1"]])
    for dataset, table in (("IEMOCAP", "1"), ("MELD", "2")):
        all_three = grid("multiemo", "3", dataset).loc["Text + Audio + Visual", "Weighted-F1"]
        assert all_three == grid("multiemo", table, dataset).loc["MultiEMO", "Weighted-F1"]
    for dataset in ("IEMOCAP", "MELD"):
        main = grid("df_erc", "1", dataset).loc["DF-ERC", ["Acc", "W-F1"]]
        assert (grid("df_erc", "2", dataset).loc["DF-ERC", ["Acc", "W-F1"]] == main).all()
        assert (grid("df_erc", "3", dataset).loc["DF-ERC(T+A+V)"] == main).all()
    main, settings, shifts = (grid("dialogue_trm", table, "IEMOCAP") for table in "246")
    for row, setting in (("DialogueTRM-U", "ū"), ("DialogueTRM-M", "ȧ+v\u0307+ū")):
        assert list(main.loc[row]) == list(settings.loc[setting]) == list(shifts.loc[row, ["OG ACC", "OG F1"]])
    assert list(grid("dialogue_trm", "3", "IEMOCAP").loc["BERTbase"]) == list(settings.loc["u\u0307"])


def test_papers_that_cite_each_other_agree():
    trm, df_erc = (lambda dataset: grid("dialogue_trm", "2", dataset)), (lambda dataset: grid("df_erc", "1", dataset))
    for dataset, table in (("IEMOCAP", "1"), ("MELD", "2")):
        assert list(df_erc(dataset).loc["DiaTRM", ["Acc", "W-F1"]]) == list(trm(dataset).loc["DialogueTRM-M", ["ACC", "F1"]])
        assert df_erc(dataset).loc["UniMSE", "W-F1"] == grid("multiemo", table, dataset).loc["UniMSE", "Weighted-F1"]


def test_improvements_claimed_in_the_text():
    """MultiEMO Section 5.1 (relative percent), DF-ERC Section 4.2 (points)."""
    iemocap, meld = grid("multiemo", "1", "IEMOCAP"), grid("multiemo", "2", "MELD")
    for table, row, column, percent in [
        (iemocap, "MVN", "Happiness", 17.97), (iemocap, "DialogueRNN", "Sadness", 8.49), (iemocap, "MVN", "Frustration", 10.54),
        (meld, "MVN", "Fear", 153.59), (meld, "IterativeERC", "Angry", 11.31), (meld, "MVN", "Disgust", 68.12),
    ]:
        assert 100 * (table.loc["MultiEMO", column] / table.loc[row, column] - 1) == pytest.approx(percent, abs=0.0051)
    iemocap, meld = grid("df_erc", "1", "IEMOCAP"), grid("df_erc", "1", "MELD")
    for table, row, column, points in [
        (meld, "DiaCRN", "Acc", 7.17), (meld, "EmoFlow", "W-F1", 0.53), (iemocap, "DiaCRN", "Acc", 4.68),
        (iemocap, "DiaCRN", "W-F1", 4.54), (meld, "CoMpM", "W-F1", 0.51), (iemocap, "CoMpM", "W-F1", 2.29),
        (meld, "M2FNet", "Acc", 0.43), (meld, "M2FNet", "W-F1", 0.32),
        (iemocap, "UniMSE", "Acc", 1.28), (iemocap, "UniMSE", "W-F1", 1.09),
    ]:
        assert table.loc["DF-ERC", column] - table.loc[row, column] == pytest.approx(points, abs=1e-9)


# -- averages recomputed from the classes -----------------------------------------------------------------------------

TEST_COUNTS = {     # of the two test sets, by the first three letters of the class
    "IEMOCAP": {"Hap": 144, "Sad": 245, "Neu": 384, "Ang": 170, "Exc": 299, "Fru": 381},
    "MELD": {"Neu": 1256, "Sur": 281, "Fea": 50, "Sad": 208, "Joy": 402, "Dis": 68, "Ang": 345},
}
AVERAGES = [     # paper, table, dataset, column of the average, ending of the classes' columns, half a unit of rounding in both
    ("multiemo", "1", "IEMOCAP", "Weighted-F1", "", 0.015), ("multiemo", "2", "MELD", "Weighted-F1", "", 0.035),
    ("df_erc", "1", "IEMOCAP", "W-F1", "", 0.025),
    *[("dimmn", table, "IEMOCAP", f"Avg {score}", f" {score}", 0.105) for table in "2456" for score in ("acc", "w-F1")],
    *[("dimmn", "3", "MELD", f"Avg {score}", f" {score}", 0.105) for score in ("acc", "w-F1")],
]
# Averages that do not follow from the printed classes (printed - recomputed). They are the papers' own: test_published_text
# compares every cell with the text.
APART = {
    ("multiemo", "1", "Weighted-F1"): {"QMNN": -0.48, "MMGCN": 0.43},
    ("multiemo", "2", "Weighted-F1"): {"QMNN": 0.55},
    ("df_erc", "1", "W-F1"): {"DiaCRN": -1.32, "MMGCN": -0.39, "M2FNet": -0.17},
    ("dimmn", "2", "Avg acc"): {"c-LSTM": -0.81, "CMN": -0.13, "MFN": -0.42, "ICON": -1.45, "QMNN": 1.27,
                                "Our Model remove multiview": 0.13},
    ("dimmn", "2", "Avg w-F1"): {"c-LSTM": -0.13, "MFN": 0.84, "ICON": -0.86, "QMNN": -0.46, "Our Model remove multiview": 0.69,
                                 "Our Model remove TCN": 0.85, "Our Model": 0.70},
    ("dimmn", "3", "Avg acc"): {"c-LSTM": -1.67},
    ("dimmn", "3", "Avg w-F1"): {"c-LSTM": -3.24, "Dialogue-RNN": 1.34, "Our Model": 1.92},
    ("dimmn", "4", "Avg acc"): {"H=2": -0.64},
    ("dimmn", "4", "Avg w-F1"): {"H=2": 2.96, "H=3": 0.70, "H=4": 0.29, "H=5": 0.91},
    ("dimmn", "5", "Avg acc"): {"K=3": 0.38, "K=4": 0.19},
    ("dimmn", "5", "Avg w-F1"): {"K=3": 0.68, "K=4": 1.07, "K=6": 0.70, "K=8": 0.98},
    ("dimmn", "6", "Avg acc"): {"L=5": 0.95, "L=7": 0.47, "L=8": 0.75},
    ("dimmn", "6", "Avg w-F1"): {"L=5": 3.04, "L=6": 0.70, "L=7": 2.44, "L=8": 2.22},
}


@pytest.mark.parametrize("paper,table,dataset,average,ending,tolerance", AVERAGES)
def test_averages_follow_from_the_classes(paper, table, dataset, average, ending, tolerance):
    scores = grid(paper, table, dataset)
    classes = [c for c in scores.columns if c[:3] in TEST_COUNTS[dataset] and c.endswith(ending)]
    assert len(classes) == len(TEST_COUNTS[dataset])
    weights = pd.Series({c: TEST_COUNTS[dataset][c[:3]] for c in classes})
    whole = scores.dropna(subset=[*classes, average])
    difference = whole[average] - (whole[classes] * weights).sum(axis=1) / weights.sum()
    apart = APART.get((paper, table, average), {})
    assert set(difference.index[difference.abs() > tolerance]) == set(apart)
    for row, expected in apart.items():
        assert difference[row] == pytest.approx(expected, abs=0.0051)


def test_df_erc_meld_averages_leave_room_for_fear_and_disgust():
    """Both are not printed; what the averages leave for them lies between 0 and 22 (the sum of the rounding is about 0.1)."""
    scores = grid("df_erc", "1", "MELD").dropna()
    printed = sum(scores[c] * n for c, n in (("Neut", 1256), ("Surp", 281), ("Sad", 208), ("Joy", 402), ("Ang", 345)))
    rest = (scores["W-F1"] * 2610 - printed) / (50 + 68)
    assert len(rest) == 9 and rest.between(-0.25, 22).all()
