"""A run in one file: it gives the run's own predictions back, and every damage is one clear error."""

from __future__ import annotations

import json
import zipfile

import pandas as pd
import pytest
import torch

from erc_lib.errors import ConfigError, DataError
from erc_lib.features.store import FeatureStore
from erc_lib.features.text import encode_corpus
from erc_lib.runs import export_run, load_export, load_run_corpus, open_model, predict_dialogues, run_one
from erc_lib.runs.execute import load_corpus
from erc_lib.runs.export import VERSION, find_run, write_whole
from erc_lib.runs.store import WEIGHTS, RunStore


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch, encoders_folder):
    monkeypatch.setenv("ERC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ERC_ENCODERS", str(encoders_folder))


@pytest.fixture
def run(store, make):
    return run_one(make(modalities=["text", "audio"], standardise=True, validation_fraction=0.3), store, keep_weights=True)


@pytest.fixture
def packed(run, tmp_path):
    return export_run(run, tmp_path / "out" / "model.erc")


def altered(path, changes, name="other.erc"):
    """A copy of the archive with other contents of some members; None leaves one out."""
    copy = path.with_name(name)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for member in old.namelist():
            content = changes.get(member, old.read(member))
            if content is not None:
                new.writestr(member, content)
    return copy


def raw_test(spec):
    """The test dialogues as the corpus has them, before any standardisation."""
    return load_corpus(spec.corpus, **spec.corpus_options).test


@pytest.mark.parametrize("fields", [{"standardise": True}, {"standardise": False}, {"modalities": ["audio"], "standardise": True}])
def test_an_exported_run_predicts_what_the_run_predicted(store, make, tmp_path, fields):
    run = run_one(make(**{"modalities": ["text", "audio"], **fields}), store, keep_weights=True)
    exported = load_export(export_run(run, tmp_path / "model.erc"))
    assert not exported.model.training and exported.spec.digest == run.spec.digest
    assert exported.label_names == tuple(run.environment["corpus"]["label_names"]) and exported.metrics == run.metrics
    for found in (predict_dialogues(exported, raw_test(run.spec)), predict_dialogues(open_model(run.spec.digest, store), raw_test(run.spec))):
        own = run.predictions[run.predictions["split"] == "test"].reset_index(drop=True)
        assert found["dialogue"].tolist() == own["dialogue"].tolist() and found["position"].tolist() == own["position"].tolist()
        assert found["predicted"].tolist() == [exported.label_names[c] for c in own["predicted"]]
        for c, name in enumerate(exported.label_names):
            assert (found[f"p_{name}"] - own[f"p_{c}"]).abs().max() < 2 / 1024  # the store keeps steps of 1/1024
    # and this is no matter of course: without the training's statistics they are others
    if run.spec.standardise:
        bare = predict_dialogues(type(exported)(**{**vars(exported), "statistics": {}}), raw_test(run.spec))
        assert (bare.filter(like="p_") - found.filter(like="p_")).abs().max(axis=None) > 0.01


def test_a_run_on_stored_text_features(store, make, tmp_path):
    corpus = load_corpus("simulated-meld", train=6, validation=3, test=3)
    encode_corpus(corpus, "tiny", name="mine", progress=False)
    run = run_one(make(features={"text": "mine"}, standardise=True), store, keep_weights=True)
    path = export_run(run, tmp_path / "model.erc")
    FeatureStore().folder("simulated-meld", "text", "mine").joinpath("card.json").unlink()  # the file needs no store
    exported = load_export(path)
    assert exported.features["text"]["extractor"] == "erc_lib.features.text"
    bare = [d.only([]) for d in corpus.test]  # texts alone: they are encoded anew
    found, own = predict_dialogues(exported, bare), run.predictions.query("split == 'test'")
    assert found["predicted"].tolist() == [exported.label_names[c] for c in own["predicted"]]
    assert abs(found["p_joy"].to_numpy() - own[f"p_{exported.label_names.index('joy')}"].to_numpy()).max() < 2 / 1024
    with pytest.raises(DataError, match="no text features 'mine'"):
        export_run(run, tmp_path / "again.erc")
    encode_corpus(corpus, "tiny", name="mine", max_tokens=5, progress=False)
    with pytest.raises(DataError, match="are not those that run .* was trained on"):
        export_run(run, tmp_path / "again.erc")
    assert not (tmp_path / "again.erc").exists()


def test_the_same_run_gives_the_same_file(run, packed, tmp_path):
    assert export_run(run, tmp_path / "again.erc").read_bytes() == packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        assert sorted(archive.namelist()) == ["card.json", "manifest.json", WEIGHTS, "spec.json", "statistics.safetensors"]
        assert json.loads(archive.read("spec.json"))["settings"] == run.settings


def test_an_existing_file_stays_unless_forced(run, packed):
    before = packed.read_bytes()
    packed.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="model.erc exists; give --force"):
        export_run(run, packed)
    assert packed.read_bytes() == b"mine"
    assert export_run(run, packed, force=True).read_bytes() == before
    assert [p.name for p in packed.parent.iterdir()] == ["model.erc"]  # nothing half-written beside it


def test_a_run_that_cannot_be_exported(store, make, run, tmp_path):
    without = run_one(make(seed=1), store)
    with pytest.raises(DataError, match="holds no weights .*erc train --keep-weights"):
        export_run(without, tmp_path / "model.erc")
    (run.directory / WEIGHTS).write_bytes(b"x")
    with pytest.raises(DataError, match="is damaged"):
        export_run(run, tmp_path / "model.erc")
    run.metrics["test"] = {"mean_pearson": 0.1}
    with pytest.raises(ConfigError, match="predicts emotion dimensions"):
        export_run(run, tmp_path / "model.erc")
    assert not (tmp_path / "model.erc").exists()


def test_statistics_of_another_corpus_are_refused(run, tmp_path):
    run.environment["corpus"]["provenance"]["seed_of_another"] = 3
    with pytest.raises(DataError, match="differs from the one here in its seed_of_another"):
        export_run(run, tmp_path / "model.erc")


@pytest.mark.parametrize("member", ["spec.json", "card.json", WEIGHTS, "statistics.safetensors"])
def test_every_damage_is_found(packed, member):
    with pytest.raises(DataError, match=f"the SHA-256 of {member} is not the one in its manifest.json; export the run again"):
        load_export(altered(packed, {member: b"{}"}))
    with pytest.raises(DataError, match=f"is damaged: {member} is missing"):
        load_export(altered(packed, {member: None}))


def test_files_that_are_no_exported_run(packed, tmp_path):
    with pytest.raises(DataError, match=r"nothing.erc does not exist; make it with `erc export`"):
        load_export(tmp_path / "nothing.erc")
    (tmp_path / "a.erc").write_bytes(b"no zip")
    with pytest.raises(DataError, match="cut short or no exported run"):
        load_export(tmp_path / "a.erc")
    whole = packed.read_bytes()
    (tmp_path / "a.erc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cut short or no exported run"):
        load_export(tmp_path / "a.erc")
    for place in range(40, len(whole) - 200, max(1, len(whole) // 60)):  # a bit that fell over, anywhere in the contents
        (tmp_path / "a.erc").write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        try:
            load_export(tmp_path / "a.erc")
        except DataError as error:
            assert "\n" not in str(error)
    with pytest.raises(DataError, match="it has no manifest.json"):
        load_export(altered(packed, {"manifest.json": None}))
    with pytest.raises(DataError, match="manifest.json is no JSON object"):
        load_export(altered(packed, {"manifest.json": b"[1]"}))
    with zipfile.ZipFile(packed) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    with pytest.raises(DataError, match=rf"version {VERSION + 1}; this erc reads 'erc-run', version {VERSION}"):
        load_export(altered(packed, {"manifest.json": json.dumps({**manifest, "version": VERSION + 1})}))
    with pytest.raises(DataError, match="names no hashes"):
        load_export(altered(packed, {"manifest.json": json.dumps({**manifest, "sha256": None})}))


def test_a_run_that_this_version_cannot_rebuild(packed):
    import hashlib

    with zipfile.ZipFile(packed) as archive:
        manifest, spec = (json.loads(archive.read(n)) for n in ("manifest.json", "spec.json"))
    for change in ({"a_new_field": 1}, {"paper": "unheard_of"}, {"settings": {"model": {}}}):
        written = json.dumps({**spec, **change}).encode()
        manifest["sha256"]["spec.json"] = hashlib.sha256(written).hexdigest()
        with pytest.raises(DataError, match="holds a run this erc cannot rebuild") as caught:
            load_export(altered(packed, {"spec.json": written, "manifest.json": json.dumps(manifest)}))
        assert "\n" not in str(caught.value)


def test_a_run_by_the_beginning_of_its_digest(run, store):
    assert find_run(run.spec.digest[:6], store).spec == run.spec
    for name in (run.spec.digest[:3], "zzzz", "0" * 16):
        with pytest.raises(DataError, match="no run"):
            find_run(name, store)
    assert RunStore(store.root).digests() == [run.spec.digest]


def test_a_folder_of_ones_own_is_trained_exported_and_noticed_when_it_changes(store, make, tmp_path):
    folder = tmp_path / "dinners"
    (folder / "features").mkdir(parents=True)
    table = pd.DataFrame([(f"d{d}", t, "AB"[t % 2], f"words {d} {t}", s, ["sad", "happy"][(d + t) % 2]) for d, s in enumerate(["train"] * 4 + ["validation"] * 2 + ["test"] * 2) for t in range(5)],
                         columns=["dialogue", "order", "speaker", "text", "split", "label"])  # fmt: skip
    table.to_csv(folder / "utterances.csv", index=False)
    features = table[["dialogue", "order"]].assign(a=torch.linspace(-1, 1, len(table)).numpy(), b=(table["label"] == "sad") * 1.0)
    features.to_csv(folder / "features" / "audio.csv", index=False)
    spec = make(corpus="folder", corpus_options={"path": str(folder)}, modalities=["audio"], standardise=True)
    run = run_one(spec, store, keep_weights=True)
    assert run.environment["corpus"]["name"] == "dinners" and run_one(spec, store).directory == run.directory
    found = predict_dialogues(load_export(export_run(run, tmp_path / "m.erc")), load_corpus("folder", path=str(folder)).test)
    own = run.predictions.query("split == 'test'")
    assert (found["p_sad"].to_numpy() - own["p_1"].to_numpy()).__abs__().max() < 2 / 1024
    table.assign(text="other words").to_csv(folder / "utterances.csv", index=False)
    with pytest.raises(DataError, match="has changed since the run .* was trained on it"):
        run_one(spec, store)
    with pytest.raises(DataError, match="differs from the one here in its sha256"):
        export_run(run, tmp_path / "again.erc")
    table.query("split != 'train'").to_csv(folder / "utterances.csv", index=False)
    features[table["split"] != "train"].to_csv(folder / "features" / "audio.csv", index=False)
    with pytest.raises(DataError, match="'dinners' has no training dialogues to standardise by"):
        load_run_corpus(spec)
    with pytest.raises((ConfigError, DataError), match="'dinners' has no train dialogues"):
        run_one(make(corpus="folder", corpus_options={"path": str(folder)}, modalities=["audio"]), store)


def test_files_are_written_all_or_none(tmp_path, monkeypatch):
    import os

    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be written"):
        write_whole({tmp_path / "a": b"new", tmp_path / "file" / "b": b"new"})

    def full(*_):
        raise OSError(28, "No space left on device")  # the system names no file

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(DataError, match="/a cannot be written .No space left on device.; choose another place"):
        write_whole({tmp_path / "a": b"new"})
    assert (tmp_path / "a").read_bytes() == b"old" and not list(tmp_path.glob(".writing-*"))
