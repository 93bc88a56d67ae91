"""Corpus statistics against a conversation counted by hand, a slow restatement, and the numbers DialogueTRM prints."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_lib.data import Corpus, Dialogue, load_corpus
from erc_lib.data.statistics import (
    RELATIONS, class_counts, dialogue_table, earlier_turns, persistence, repeated_texts, split_sizes, transition_counts,
    transition_shares, turn_table,
)
from erc_lib.errors import ConfigError, DataError
from erc_lib.papers import published_results

NAMES = ("calm", "glad", "sad")


def dialogue(name: str, speakers: list[int], labels: list[int], texts: tuple[str, ...] = ()) -> Dialogue:
    return Dialogue(name, torch.tensor(speakers), torch.tensor(labels), texts=texts)


@pytest.fixture
def corpus() -> Corpus:
    # By hand, turn:        0  1  2  3  4  5
    #           speaker     A  B  B  A  C  B
    #           emotion     0  1  1  0  2  2
    #           own         -  -  1  0  -  1      (labels of the earlier turns)
    #           other       -  0  0  1  0  2
    #           reply       -  0  -  1  0  2
    #           before      -  0  1  1  0  2
    long = dialogue("long", [0, 1, 1, 0, 2, 1], [0, 1, 1, 0, 2, 2], ("a b c", "", "one", "two words", "x", "y"))
    short = dialogue("alone", [0, 0], [1, 0])
    return Corpus("hand", train=[long, short], validation=[], test=[dialogue("single", [0], [2])], label_names=NAMES)


def test_turns_of_the_hand_made_conversation(corpus):
    turns = turn_table(corpus)
    assert turns["dialogue"].tolist() == ["long"] * 6 + ["alone"] * 2 + ["single"]
    assert turns["split"].tolist() == ["train"] * 8 + ["test"]
    assert turns["position"].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 0]
    assert turns["words"].tolist() == [3, 0, 1, 2, 1, 1, 0, 0, 0]
    long = turns[turns["dialogue"] == "long"]
    assert long["own"].tolist() == [-1, -1, 1, 0, -1, 1]
    assert long["other"].tolist() == [-1, 0, 0, 1, 0, 2]
    assert long["reply"].tolist() == [-1, 0, -1, 1, 0, 2]
    assert long["before"].tolist() == [-1, 0, 1, 1, 0, 2]


def test_sizes_and_class_counts(corpus):
    turns = turn_table(corpus)
    sizes = split_sizes(turns)
    assert sizes.index.tolist() == ["train", "validation", "test", "all"]
    assert sizes["dialogues"].tolist() == [2, 0, 1, 3]
    assert sizes["utterances"].tolist() == [8, 0, 1, 9]
    assert sizes.loc["train", "turns_mean"] == 4 and sizes.loc["all", "turns_mean"] == 3
    assert sizes["turns_max"].tolist() == [6, 0, 1, 6]
    assert sizes.loc["train", "speakers_mean"] == 2 and sizes["speakers_max"].tolist() == [3, 0, 1, 3]
    assert math.isnan(sizes.loc["validation", "turns_mean"])
    counts = class_counts(turns, NAMES)
    assert counts.to_dict("index") == {
        "train": {"calm": 3, "glad": 3, "sad": 2}, "validation": {"calm": 0, "glad": 0, "sad": 0},
        "test": {"calm": 0, "glad": 0, "sad": 1}, "all": {"calm": 3, "glad": 3, "sad": 3},
    }


def test_shifts_of_each_dialogue(corpus):
    table = dialogue_table(turn_table(corpus)).set_index("dialogue")
    long = table.loc["long"]
    assert (long["turns"], long["speakers"], long["goes_on"]) == (6, 3, 1 / 5)
    assert [long[f"{r}_pairs"] for r in RELATIONS] == [3, 5, 4, 5]
    assert [long[f"{r}_shifts"] for r in RELATIONS] == [1, 4, 3, 3]
    assert table.loc["alone", "goes_on"] == 1 and table.loc["alone", "own_shifts"] == 1 and table.loc["alone", "other_pairs"] == 0
    assert math.isnan(table.loc["single", "goes_on"]) and table.loc["single", "before_pairs"] == 0


def test_transitions_by_hand(corpus):
    turns = turn_table(corpus)
    own = transition_counts(turns, NAMES, "own")
    assert own.to_numpy().tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert own.loc["glad", "sad"] == 1  # rows are the earlier emotion
    assert transition_counts(turns, NAMES, "other").to_numpy().tolist() == [[0, 2, 1], [1, 0, 0], [0, 0, 1]]
    assert transition_counts(turns, NAMES, "before").to_numpy().tolist() == [[0, 1, 1], [2, 1, 0], [0, 0, 1]]
    shares = transition_shares(own)
    assert shares.loc["glad"].tolist() == [1 / 3] * 3
    assert shares.loc["sad"].isna().all()
    with pytest.raises(ConfigError, match="no relation 'mine'; there are own, other, reply, before"):
        transition_counts(turns, NAMES, "mine")


def test_persistence_by_hand():
    # 10 pairs, 7 on the diagonal; margins 6, 4 and 5, 5: chance (6 * 5 + 4 * 5) / 100 = 0.5; excess 0.2 / 0.5
    table = pd.DataFrame([[4, 2], [1, 3]])
    found = persistence(table)
    assert found == {"pairs": 10, "stays": 0.7, "chance": 0.5, "excess": pytest.approx(0.4)}
    assert persistence(table * 0)["pairs"] == 0 and math.isnan(persistence(table * 0)["excess"])
    assert math.isnan(persistence(pd.DataFrame([[5, 0], [0, 0]]))["excess"])  # one class alone: all is chance


@given(st.floats(0, 0.95), st.lists(st.floats(0.05, 1), min_size=2, max_size=5))
def test_excess_is_the_probability_of_copying(copy, weights):
    p = np.array(weights) / sum(weights)
    table = pd.DataFrame(p[:, None] * (copy * np.eye(len(p)) + (1 - copy) * p[None, :]))
    assert persistence(table)["excess"] == pytest.approx(copy, abs=1e-9)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_earlier_turns_against_looking_back(speakers):
    found = earlier_turns(speakers)
    for t, speaker in enumerate(speakers):
        back = range(t - 1, -1, -1)
        assert found["own"][t] == next((s for s in back if speakers[s] == speaker), -1)
        assert found["other"][t] == next((s for s in back if speakers[s] != speaker), -1)
        assert found["reply"][t] == (t - 1 if t and speakers[t - 1] != speaker else -1)
        assert found["before"][t] == t - 1


def test_repeated_texts_are_found_and_not_shown():
    def corpus(*test: str) -> Corpus:
        train = dialogue("a", [0, 0], [1, 2], ("I never said that to you", "I never said that to you"))
        return Corpus("r", [train], [], [dialogue("b", [0] * len(test), [1] * len(test), test)], NAMES)

    found = repeated_texts(corpus("I NEVER said that to you", "I never said this to you"))
    assert found.to_dict("records") == [{"id": "b/0", "label": 1, "seen_labels": (1, 2)}]
    assert repeated_texts(corpus("I never said that to you"), longer_than=6).empty


def test_no_dialogues_and_dimensions():
    empty = turn_table(Corpus("none", [], [], [], NAMES))
    assert len(empty) == 0 and split_sizes(empty)["utterances"].tolist() == [0] * 4
    assert class_counts(empty, NAMES).to_numpy().sum() == 0 and dialogue_table(empty).empty
    continuous = Dialogue("c", torch.tensor([0]), torch.zeros(1, 4))
    with pytest.raises(DataError, match="'c' are dimensions"):
        turn_table(Corpus("avec", [continuous], [], [], NAMES))


def test_iemocap_shifts_as_dialogue_trm_counts_them(from_mirror):
    corpus = load_corpus("iemocap")
    table = dialogue_table(turn_table(corpus))
    test = table[table["split"] == "test"]
    printed = published_results().query("paper == 'dialogue_trm' and row == 'average count of shifts per conversation'")
    intra, inter = (printed.set_index("column")["value"][c] for c in ("Intra-ES", "Inter-ES"))
    assert round(test["own_shifts"].mean(), 1) == intra
    assert round(test["before_shifts"].mean(), 1) == inter
    assert round(test["reply_shifts"].mean(), 1) != inter and round(test["other_shifts"].mean(), 1) != inter
    assert len(repeated_texts(corpus)) == 70


def test_meld_has_one_dialogue_less_than_printed(from_mirror):
    sizes = split_sizes(turn_table(load_corpus("meld")))
    assert sizes["dialogues"].tolist() == [1038, 114, 280, 1432]
    printed = published_results().query("paper == 'dimmn' and table == '1' and dataset == 'MELD'").set_index("column")["value"]
    assert printed["Dialogues Train"] == sizes.loc["train", "dialogues"] + 1
