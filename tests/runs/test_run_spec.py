"""Specifications: what is in the digest, what is refused, and what follows from one."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erc_lib.data import load_corpus
from erc_lib.errors import ConfigError
from erc_lib.runs import RunSpec, build_config, build_training, parse_features
from erc_lib.runs.spec import check, did_you_mean


def test_digest_is_the_hash_of_the_canonical_json():
    model = {"b": 1, "a": [0.5, True]}
    spec = RunSpec(paper="tiny", corpus="meld", seed=3, model=model, modalities=["audio", "text"], preset="meld", name="x")
    text = '{"corpus":"meld","modalities":["text","audio"],"model":{"a":[0.5,true],"b":1},"paper":"tiny","seed":3}'  # no defaults
    assert spec.digest == hashlib.sha256(text.encode()).hexdigest()[:16]


CHANGES = {
    "paper": "bc_lstm", "variant": "released", "corpus": "mosi", "corpus_options": {"seed": 1}, "modalities": ["text", "audio"],
    "features": {"text": "x"}, "preset": "iemocap", "seed": 1, "model": {"layers": 2}, "training": {"epochs": 2},
    "standardise": True, "validation_fraction": 0.05, "measure": True,
}  # fmt: skip


def test_every_field_that_can_change_a_result_changes_the_digest():
    base = RunSpec(paper="tiny", corpus="meld")
    changed = [RunSpec(**{"paper": "tiny", "corpus": "meld", field: value}) for field, value in CHANGES.items()]
    digests = {base.digest} | {spec.digest for spec in changed}
    assert len(digests) == len(CHANGES) + 1
    # A field added to RunSpec has to be put into one of these two lists.
    assert set(RunSpec.model_fields) == {*CHANGES, "name", "selection"}
    assert RunSpec(paper="tiny", corpus="meld", name="w/o SWFC").digest == base.digest


def test_equal_meanings_have_equal_digests():
    a = RunSpec(paper="tiny", corpus="meld", modalities=["audio", "text"], training={"epochs": 5, "clip_norm": 1})
    b = RunSpec(paper="tiny", corpus="meld", modalities=("text", "audio"), training={"clip_norm": 1.0, "epochs": 5})
    assert a.digest == b.digest and a.modalities == ("text", "audio")
    true, one = (RunSpec(paper="tiny", corpus="meld", model={"x": x}) for x in (True, 1))
    assert true.digest != one.digest


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
settings = st.dictionaries(st.text(max_size=5), numbers | st.booleans() | st.text())


@given(model=settings, seed=st.integers(0, 2**32 - 1))
def test_a_specification_survives_json(model, seed):
    spec = RunSpec(paper="tiny", corpus="meld", model=model, seed=seed)
    again = RunSpec(**json.loads(json.dumps(spec.model_dump(mode="json"))))
    assert again == spec and again.digest == spec.digest and hash(again) == hash(spec)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sed": 1}, "unknown setting 'sed'; did you mean 'seed'"),
        ({"seed": -1}, "'seed'"),
        ({"modalities": "text"}, r"\[text, audio\]"),
        ({"modalities": ["txt"]}, "no modality 'txt'; did you mean 'text'"),
        ({"modalities": []}, "at least one"),
        ({"modalities": ["text", "text"]}, "each once"),
        ({"selection": "test"}, "'selection'.*'validation'"),
        ({"features": {"audio": "opensmile"}}, "'audio'.*add 'audio' to modalities"),
        ({"model": {"x": float("nan")}}, "'model'"),
        ({"model": {"x": {1, 2}}}, "'model'"),
        ({"paper": ""}, "'paper'"),
    ],
)
def test_bad_fields_are_one_clear_error(fields, message):
    with pytest.raises(ConfigError, match=message) as error:
        RunSpec(**{"paper": "tiny", "corpus": "meld", **fields})
    assert "\n" not in str(error.value)


def test_missing_fields_and_frozenness():
    with pytest.raises(ConfigError, match="'corpus' is missing"):
        RunSpec(paper="tiny")
    with pytest.raises(ValueError, match="frozen"):
        RunSpec(paper="tiny", corpus="meld").seed = 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"paper": "tinyy"}, "tinyy.*did you mean 'tiny'"),
        ({"corpus": "simulated_meld"}, "did you mean 'simulated-meld'"),
        ({"paper": "bc_lstm", "measure": True}, "measure: true, but bc_lstm has nothing to measure"),
        ({"preset": "melt"}, "no preset 'melt'; did you mean 'meld'"),
        ({"preset": "model_validate"}, "no preset"),  # a classmethod of pydantic, not of the model
        ({"model": {"widht": 3}}, "no model setting 'widht'; did you mean 'width'"),
        ({"model": {"dims": {}}}, "'dims' follows from modalities and features"),
        ({"training": {"epochs": 0}}, "epochs"),
        ({"training": {"epoch": 3}}, "no training setting 'epoch'; did you mean 'epochs'"),
    ],
)
def test_what_can_be_seen_without_the_corpus(make, fields, message):
    with pytest.raises(ConfigError, match=message):
        check(make(**fields))


def test_configurations_follow_from_specification_and_corpus(make):
    corpus = load_corpus("simulated-meld", train=6, validation=3, test=3)
    spec = make(modalities=["text", "visual"], preset="wide", model={"fails": "x"}, training={"epochs": 7})
    config = build_config(spec, corpus)
    assert config.dims == {"text": corpus.dims["text"], "visual": corpus.dims["visual"]}
    assert (config.width, config.fails, config.classes) == (32, "x", 7)
    counts = [sum(int((d.labels == c).sum()) for d in corpus.train) for c in range(7)]
    assert list(config.class_counts) == counts
    training = build_training(spec, config)
    assert (training.epochs, training.batch_size, training.schedule) == (7, 2, "none")
    with pytest.raises(ConfigError, match="epochs"):
        build_training(make(training={"epochs": 0}), config)
    with pytest.raises(ConfigError, match="'width'"):
        build_config(make(model={"width": "many"}), corpus)


def test_did_you_mean():
    assert did_you_mean("sedd", ["seed", "paper"]) == "; did you mean 'seed'?"
    assert did_you_mean("zzz", ["seed", "paper"]) == "; known are paper, seed"
    assert did_you_mean("zzz", []) == ""


def test_features_in_words():
    assert parse_features("") == parse_features(" , ") == {}
    named = parse_features("visual=mmgcn, text=one-stage/roberta-base/seed0 audio=mmgcn")
    assert list(named.items()) == [("text", "one-stage/roberta-base/seed0"), ("audio", "mmgcn"), ("visual", "mmgcn")]
    for text, message in (("text", "MODALITY=NAME"), ("text=", "MODALITY=NAME"), ("video=a", "no modality 'video'"), ("text=a text=b", "text twice")):
        with pytest.raises(ConfigError, match=message):
            parse_features(text)


def test_features_not_named_leave_a_digest_as_it_was():
    """The notebooks hand `features` and `standardise` on whether or not any were named."""
    plain = RunSpec(paper="bc_lstm", corpus="mosi")
    assert RunSpec(paper="bc_lstm", corpus="mosi", features=parse_features(""), standardise=bool(parse_features(""))).digest == plain.digest
