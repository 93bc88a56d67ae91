"""A conversation and a trained run: the table, and what is said when the run needs more than the conversation has."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from erc_lib.data import load_corpus
from erc_lib.data.transcripts import Turn
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.audio import AudioExtractor
from erc_lib.features.backbones import load_backbone
from erc_lib.features.clips import clips_of
from erc_lib.features.extract import extract_features, extractor_of
from erc_lib.features.reduce import reduce_features
from erc_lib.features.text import encode_corpus, encode_like
from erc_lib.features.visual import ClipExtractor, FaceExtractor
from erc_lib.runs import RunSpec, export_run, load_export, open_model, predict_dialogues, predict_turns, run_one
from erc_lib.runs.predict import check_output, what_it_is_worth
from tests.features.film import film

TURNS = [Turn("Ben", "happy yes", 0.0, 1.5), Turn("Anna", "sad no", 2.0, 3.0), Turn("Ben", "oh", None, None)]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch, encoders_folder):
    monkeypatch.setenv("ERC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ERC_ENCODERS", str(encoders_folder))


@pytest.fixture
def corpus():
    found = load_corpus("simulated-meld", train=6, validation=3, test=3)
    encode_corpus(found, "tiny", name="mine", progress=False)
    return found


@pytest.fixture
def run(store, make, corpus):
    return run_one(make(features={"text": "mine"}, standardise=True), store, keep_weights=True)


def test_the_table(run, store):
    exported = open_model(run.spec.digest[:8], store)
    table = predict_turns(exported, TURNS)
    names = run.environment["corpus"]["label_names"]
    assert table.columns.tolist() == ["turn", "speaker", "start", "end", "text", "predicted", *(f"p_{n}" for n in names)]
    assert table["turn"].tolist() == [1, 2, 3] and table["speaker"].tolist() == ["Ben", "Anna", "Ben"] and table["text"].tolist() == [t.text for t in TURNS]
    assert table["start"].tolist()[:2] == [0.0, 2.0] and np.isnan(table["end"].iloc[2])
    chances = table.filter(like="p_").to_numpy()
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert table["predicted"].tolist() == [names[k] for k in chances.argmax(axis=1)]
    # turn by turn: the tiny model reads each turn alone, so another first turn leaves the second as it was
    other = predict_turns(exported, [Turn("Ben", "angry", 0.0, 1.5), *TURNS[1:]])
    assert np.allclose(other.filter(like="p_").to_numpy()[1:], chances[1:], atol=1e-6) and not np.allclose(other.filter(like="p_").iloc[0], chances[0])


def test_what_is_said_of_it(run, store):
    told = " ".join(what_it_is_worth(open_model(run.spec.digest, store)))
    assert run.spec.digest in told and "modalities used: text" in told and f"{100 * run.metrics['test']['weighted_f1']:.2f} %" in told
    assert "another corpus" in told and "simulated-meld is simulated" in told


def test_a_run_that_reads_more_than_words(store, make, corpus, tmp_path):
    run = run_one(make(modalities=["text", "audio", "visual"], features={"text": "mine"}), store, keep_weights=True)
    exported = open_model(run.spec.digest, store)
    for media in (None, Path("talk.srt")):
        with pytest.raises(DataError, match=r"reads text and audio and visual, but a transcript alone has no audio and visual; give a video, or predict with a run on text"):
            predict_turns(exported, TURNS, media=media)
    with pytest.raises(DataError, match="cut out of film.mp4 by each turn's start and end"):
        predict_turns(exported, TURNS, media=Path("film.mp4"))
    with pytest.raises(DataError, match="the audio features this model was trained on came with its corpus, and nothing says how to make them of film.mp4"):
        predict_turns(exported, TURNS[:2], media=Path("film.mp4"))
    with pytest.raises(DataError, match="has no audio features, which the run"):
        predict_dialogues(exported, [corpus.test[0].only(["visual"])])
    with pytest.raises(DataError, match="has text features of width 64, but the run .* reads 16; make them with the extractor"):
        predict_dialogues(exported, corpus.test[:1])
    assert len(predict_dialogues(exported, [corpus.test[0].only(["audio", "visual"])])) == len(corpus.test[0])


def test_a_video_is_heard_as_the_training_clips_were(store, make, corpus, tmp_path, monkeypatch):
    """Every utterance of the corpus is a third of a second of one recording; a test dialogue told as turns of it is predicted as the run did."""
    t = np.arange(40 * 44100) / 44100
    recording = film(tmp_path / "talk.m4a", sound=(0.3 * np.sin(2 * np.pi * (150 + 20 * t) * t)).astype(np.float32))
    dialogues = [d for split in ("train", "validation", "test") for d in corpus.split(split)]
    ids = [u for d in dialogues for u in d.ids]
    assert len(ids) < 119
    table = tmp_path / "clips.csv"
    table.write_text("utterance,file,start,end\n" + "".join(f"{u},{recording},{i / 3:.6f},{(i + 1) / 3:.6f}\n" for i, u in enumerate(ids)))
    extract_features(corpus, clips_of(corpus, table), [AudioExtractor("eGeMAPSv02")], progress=False)
    reduce_features(corpus, "audio", "eGeMAPSv02", 4)
    for name in ("eGeMAPSv02", "eGeMAPSv02-pca4"):
        run = run_one(make(modalities=["audio"], features={"audio": name}, standardise=True), store, keep_weights=True)
        dialogue = corpus.test[0]
        turns = [Turn(str(s), text, ids.index(u) / 3, (ids.index(u) + 1) / 3) for s, text, u in zip(dialogue.speakers.tolist(), dialogue.texts, dialogue.ids, strict=True)]
        found = predict_turns(open_model(run.spec.digest, store), turns, media=recording)
        own = run.predictions[(run.predictions.split == "test") & (run.predictions.dialogue == dialogue.id)]
        chances = found[[c for c in found if c.startswith("p_")]].to_numpy()
        assert np.abs(chances - own[[f"p_{c}" for c in range(7)]].to_numpy()).max() < 4 / 1024, name  # times are rounded to a microsecond
        elsewhere = export_run(run, tmp_path / f"{name}.erc")
        with monkeypatch.context() as other:
            other.setenv("ERC_DATA", str(tmp_path / "elsewhere"))  # where no feature set and no reduction lies
            packed = predict_turns(load_export(elsewhere), turns, media=recording)
        assert np.array_equal(packed[[c for c in packed if c.startswith("p_")]].to_numpy(), chances) and (packed.remark == "").all()
        with pytest.raises(DataError, match="turn 1 begins at 500 s, but .*talk.m4a ends at 40"):
            predict_turns(load_export(elsewhere), [replace(turns[0], start=500.0, end=501.0)], media=recording)
        shifted = [replace(turn, start=turn.start + 5, end=turn.end + 5) for turn in turns]
        assert np.abs(predict_turns(open_model(run.spec.digest, store), shifted, media=recording)[f"p_{corpus.label_names[0]}"].to_numpy() - own["p_0"].to_numpy()).max() > 0.01


def test_which_extractor_made_stored_features(tmp_path):
    assert extractor_of(AudioExtractor("IS10").card()).name == "IS10"
    made = FaceExtractor("densenet342", "none", frames=3, faces="concatenate", most_faces=2)
    again = extractor_of({**made.card(), "modality": "visual", "name": "x"})
    assert (again.backbone, again.frames, again.faces, again.dims) == ("densenet342", 3, "concatenate", 684)
    assert extractor_of(ClipExtractor("none").card()).name == "r3d_18-random"
    with pytest.raises(DataError, match="were made with weights_sha256 0000.*, here it is"):
        extractor_of({**made.card(), "weights_sha256": "0" * 64})
    with pytest.raises(DataError, match="the audio features 'mmgcn' were not extracted here"):
        extractor_of({"modality": "audio", "name": "mmgcn", "extractor": "openSMILE, by others"})
    weights = tmp_path / "w.pt"
    torch.save(load_backbone("densenet342", "none")[0].state_dict(), weights)
    card = FaceExtractor("densenet342", weights).card()
    assert card["recipe"]["faces"]["weights"] == "w.pt"
    with pytest.raises(DataError, match="were made with the weights w.pt; name that file"):
        extractor_of(card)
    assert extractor_of(card, weights=weights).backbone == "densenet342"


def test_text_features_that_cannot_be_made_anew(store, make, corpus):
    run = run_one(make(), store, keep_weights=True)
    with pytest.raises(DataError, match="text features that came with simulated-meld, and new texts cannot be encoded like them; .*erc features text"):
        predict_turns(open_model(run.spec.digest, store), TURNS)
    card = encode_corpus(corpus, "tiny", name="mine", progress=False).card
    assert np.allclose(encode_like(card, ["happy"]), encode_like(card, ["happy", "sad"])[:1], atol=1e-6)
    with pytest.raises(DataError, match="were made by erc_lib.features.finetune, version 1, which cannot encode new texts"):
        encode_like({**card, "extractor": "erc_lib.features.finetune"}, ["happy"])
    with pytest.raises(DataError, match="were made with weights of tiny whose sha256 is 0"):
        encode_like({**card, "weights_sha256": "0"}, ["happy"])


def test_a_name_is_a_file_or_a_run(store, tmp_path):
    with pytest.raises(DataError, match="does not exist; make it with `erc export`"):
        open_model("model.erc", store)
    with pytest.raises(DataError, match="'abcd' names no run in"):
        open_model("abcd", store)
    with pytest.raises(DataError, match="does not exist"):
        load_export(tmp_path / "x")


def test_the_place_of_the_results(tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    check_output(tmp_path / "new", ["a.csv"], force=False)
    check_output(tmp_path, ["a.csv"], force=True)
    with pytest.raises(ConfigError, match="holds a.csv already; give --force"):
        check_output(tmp_path, ["a.csv", "b.csv"], force=False)
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        check_output(tmp_path / "a.csv", ["a.csv"], force=False)


def test_a_text_encoder_inside_the_model(store, tmp_path, encoders_folder, monkeypatch):
    """The words go in as they are: no stored features, and the encoder must be the one of the training."""
    spec = RunSpec(
        paper="dialogue_trm", preset="cpu", corpus="simulated-meld", corpus_options={"train": 4, "validation": 2, "test": 2},
        model={"text": "encoder", "encoder": "tiny", "max_tokens": 32}, training={"epochs": 1},
    )  # fmt: skip
    run = run_one(spec, store, keep_weights=True)
    path = export_run(run, tmp_path / "model.erc")
    exported = load_export(path)
    assert exported.features == {} and exported.statistics == {}
    found = predict_dialogues(exported, [d.only([]) for d in load_corpus("simulated-meld", **spec.corpus_options).test])
    own = run.predictions.query("split == 'test'")
    assert (found["p_joy"].to_numpy() - own[f"p_{exported.label_names.index('joy')}"].to_numpy()).__abs__().max() < 2 / 1024
    assert len(predict_turns(exported, TURNS)) == 3
    other = tmp_path / "others" / "tiny"
    shutil.copytree(encoders_folder / "tiny", other)
    weights = load_file(other / "model.safetensors")
    save_file({k: 2 * v for k, v in weights.items()}, other / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setenv("ERC_ENCODERS", str(other.parent))
    with pytest.raises(DataError, match=r"model.erc was trained with another tiny \(weights_sha256 "):
        load_export(path)
