"""Batches: the padding, and the order in which an epoch visits the dialogues."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from erc_lib.data import PADDING_LABEL, Batch, Dialogue, batches, load_corpus
from erc_lib.errors import DataError


def dialogue(name: str, length: int, modalities=("text", "audio")) -> Dialogue:
    return Dialogue(
        id=name, speakers=torch.arange(length) % 3, labels=torch.arange(length) % 2 + 1,
        features={m: torch.rand(length, 3) + 1 for m in modalities}, texts=tuple(f"{name} says {i}" for i in range(length)),
    )


def meld_like(count: int = 1038) -> list[Dialogue]:
    """As many dialogues as MELD trains on, of 1 to 24 turns in disorder."""
    return [dialogue(str(i), 1 + (i * 7919) % 24, ()) for i in range(count)]


def visited(order) -> list[str]:
    return [ids[0] for batch in order for ids in batch.ids]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_a_batch_holds_each_dialogue_and_nothing_else(lengths):
    dialogues = [dialogue(str(i), n) for i, n in enumerate(lengths)]
    batch = Batch.collate(dialogues)
    longest = max(lengths)
    assert batch.mask.shape == batch.speakers.shape == batch.labels.shape == (len(lengths), longest)
    assert batch.lengths.tolist() == lengths
    for row, d in enumerate(dialogues):
        n = len(d)
        assert batch.mask[row].tolist() == [True] * n + [False] * (longest - n)
        assert batch.labels[row].tolist() == d.labels.tolist() + [PADDING_LABEL] * (longest - n)
        assert batch.speakers[row].tolist() == d.speakers.tolist() + [0] * (longest - n)
        for m in ("text", "audio"):
            assert torch.equal(batch.features[m][row, :n], d.features[m]) and not batch.features[m][row, n:].any()
        assert batch.texts[row] == list(d.texts) and batch.ids[row] == list(d.ids)


def test_labels_of_four_dimensions_are_padded_with_nan():
    a, b = (Dialogue(id=str(n), speakers=torch.zeros(n).long(), labels=torch.full((n, 4), 0.5)) for n in (1, 3))
    labels = Batch.collate([a, b]).labels
    assert labels.shape == (2, 3, 4) and labels[0, 1:].isnan().all() and labels[1].eq(0.5).all()


def test_a_missing_modality_is_a_missing_key_unless_it_is_asked_for():
    whole, part = dialogue("a", 2), dialogue("b", 3, ("text",))
    assert list(Batch.collate([whole, part]).features) == ["text"]
    assert list(Batch.collate([whole], ["audio"]).features) == ["audio"]
    with pytest.raises(DataError, match="'b/0' has no audio features, which the model needs; extract them or leave audio out"):
        Batch.collate([whole, part], ["text", "audio"])
    with pytest.raises(DataError, match="utterance 'b/0' has no audio features"):
        list(batches([whole, part], 2, modalities=["audio"]))


def test_an_empty_batch_and_a_batch_size_that_is_none():
    with pytest.raises(DataError, match="at least one dialogue"):
        Batch.collate([])
    for size in (0, -3):
        with pytest.raises(DataError, match=f"batch_size must be at least 1, not {size}"):
            list(batches([dialogue("a", 1)], size))
    assert list(batches([], 4)) == [] and list(batches([], 4, generator=torch.Generator())) == []


def test_to_moves_every_tensor():
    batch = Batch.collate([dialogue("a", 2)]).to("meta")
    assert all(x.device.type == "meta" for x in (batch.mask, batch.speakers, batch.labels, *batch.features.values()))
    assert batch.ids == [["a/0", "a/1"]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=25), st.integers(1, 8), st.one_of(st.none(), st.integers(0, 99)))
def test_every_dialogue_is_visited_exactly_once(lengths, batch_size, seed):
    dialogues = [dialogue(str(i), n, ()) for i, n in enumerate(lengths)]
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    epoch = list(batches(dialogues, batch_size, generator=generator))
    assert sorted(visited(epoch)) == sorted(d.ids[0] for d in dialogues)
    assert all(1 <= len(b.ids) <= batch_size for b in epoch)
    assert len(epoch) <= math.ceil(len(dialogues) / batch_size) + (seed is not None)


def test_epochs_differ_and_a_seed_repeats_them():
    dialogues = meld_like(200)

    def epochs(seed: int) -> list[list[str]]:
        generator = torch.Generator().manual_seed(seed)
        return [visited(batches(dialogues, 16, generator=generator)) for _ in range(3)]

    first = epochs(1)
    assert first == epochs(1) and first[0] != first[1] != first[2] and first != epochs(2)
    generators = [torch.Generator().manual_seed(s) for s in (1, 2)]
    first, second = ({frozenset(i[0] for i in b.ids) for b in batches(dialogues, 16, generator=g)} for g in generators)
    assert len(first & second) <= 2  # not the same batches in another order: other neighbours


def test_training_does_not_go_from_short_to_long():
    dialogues = meld_like(400)
    lengths = [b.mask.shape[1] for b in batches(dialogues, 16, generator=torch.Generator().manual_seed(0))]
    rises = sum(a < b for a, b in zip(lengths, lengths[1:], strict=False))
    assert 0.2 < rises / (len(lengths) - 1) < 0.8
    fixed = [b.mask.shape[1] for b in batches(dialogues, 16)]
    assert fixed == sorted(fixed)


def test_evaluation_has_one_order_and_does_not_touch_the_global_seed():
    dialogues = meld_like(100)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert visited(batches(dialogues, 7)) == visited(batches(dialogues, 7))
    list(batches(dialogues, 7, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state)


def padding(epoch) -> float:
    """Share of all places of an epoch's batches that hold no utterance."""
    places, real = 0, 0
    for batch in epoch:
        places += batch.mask.numel()
        real += int(batch.mask.sum())
    return 1 - real / places


@pytest.mark.parametrize("batch_size", [32, 100])
def test_little_of_an_epoch_is_padding(batch_size):
    dialogues = meld_like()
    for seed in range(5):
        assert padding(batches(dialogues, batch_size, generator=torch.Generator().manual_seed(seed))) < 0.2
    assert padding(batches(dialogues, batch_size)) < 0.2
    as_they_come = [Batch.collate(dialogues[i : i + batch_size]) for i in range(0, len(dialogues), batch_size)]
    assert padding(as_they_come) > 0.4


@pytest.mark.parametrize("batch_size", [32, 100])
def test_little_of_a_meld_epoch_is_padding(from_mirror, batch_size):
    corpus = load_corpus("meld")
    for seed in range(5):
        assert padding(batches(corpus.train, batch_size, generator=torch.Generator().manual_seed(seed))) < 0.2
    assert padding(batches(corpus.train, batch_size)) < 0.2


def test_require_names_what_is_missing():
    batch = Batch.collate([dialogue("a", 3)])
    have = {m: x.shape[-1] for m, x in batch.features.items()}
    assert list(batch.require(have, "Model")) == list(have)
    name, width = next(iter(have.items()))
    with pytest.raises(DataError, match=f"Model expects {name} features of width {width + 1}, the batch has {width}"):
        batch.require({name: width + 1}, "Model")
    batch.features.pop(name)
    with pytest.raises(DataError, match=f"Model was built for {name}; the batch has no {name} features"):
        batch.require({name: width}, "Model")
