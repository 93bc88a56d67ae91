"""A corpus of small films, some of them broken: what is stored, what is said of the rest, and that an interrupted run goes on."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from erc_lib.cli import main
from erc_lib.data import Corpus, Dialogue, load_corpus
from erc_lib.errors import ConfigError, DataError
from erc_lib.features import extract as module
from erc_lib.features.audio import AudioExtractor
from erc_lib.features.clips import Clip, clips_of
from erc_lib.features.extract import extract_features, extractor_of
from erc_lib.features.media import Piece
from erc_lib.features.reduce import load_reduction, reduce_features
from erc_lib.features.store import FeatureStore
from erc_lib.features.visual import FaceExtractor
from tests.features.film import film, grey, portrait, tone


class Brightness:
    """The mean brightness and the seconds of an utterance; counts its calls in a file, and dies of a film that is told to kill."""

    modality, dims, name = "visual", 2, "brightness"

    def __init__(self, log: str) -> None:
        self.log = log

    def __call__(self, pieces):
        from erc_lib.features.media import length, pictures

        with open(self.log, "a") as file:
            file.write(pieces[0].path.name + "\n")
        if "kills" in pieces[0].path.name:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.array([np.mean([p.mean() for _, p in pictures(pieces, 3)]), length(pieces)], np.float32), ""

    def card(self):
        return {"extractor": "brightness", "version": "1", "units": "grey levels and seconds", "empty": "zeros"}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    (folder / "d0").mkdir()
    film(folder / "d0" / "0.mp4", [grey(50)] * 25, tone(1))
    (folder / "d0" / "1.mp4").write_text("a text file called .mp4")
    film(folder / "d0_3.mkv", [grey(100)] * 50, tone(2))  # another way to be called like an utterance
    film(folder / "d1_0.mp4", [grey(150)] * 25)  # no sound
    return folder


@pytest.fixture
def corpus():
    def dialogue(name, length):
        return Dialogue(name, torch.zeros(length, dtype=torch.long), torch.zeros(length, dtype=torch.long), {}, ("words",) * length)

    return Corpus("mine", [dialogue("d0", 4)], [dialogue("d1", 1)], [], ("x", "y"))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_stored_and_what_is_said(media, corpus, tmp_path, workers):
    store = FeatureStore(tmp_path)
    clips = clips_of(corpus, media)
    summary = extract_features(corpus, clips, [AudioExtractor("eGeMAPSv02"), Brightness(str(tmp_path / "log"))], store=store, workers=workers, progress=False)
    seen = store.load("mine", "visual", "brightness")
    assert seen.ids == ("d0/0", "d0/1", "d0/2", "d0/3", "d1/0")
    assert np.allclose(seen.array[[0, 3, 4], 0], [50, 100, 150], atol=3) and np.allclose(seen.array[[0, 3, 4], 1], [1, 2, 1], atol=0.1)
    assert not seen.array[[1, 2]].any()
    assert list(seen.card["failed"]) == ["d0/1", "d0/2"] and "no media file" in seen.card["failed"]["d0/1"] and "no file for it" in seen.card["failed"]["d0/2"]
    heard = store.load("mine", "audio", "eGeMAPSv02")
    assert heard.card["empty_utterances"] == {"no sound": 1} and not heard.array[4].any() and heard.array[0].any()
    direct, _ = AudioExtractor("eGeMAPSv02")([Piece(media / "d0" / "0.mp4")])
    assert np.array_equal(heard.array[0], direct)
    assert summary.failed["brightness"] == seen.card["failed"] and summary.taken == 0 and summary.utterances == 5
    text = str(summary)
    assert "1 with no sound; 2 failed" in text and "d0/1: " in text and not (tmp_path / ".extracting").exists()


def test_an_interrupted_run_goes_on_and_tries_again_what_failed(media, corpus, tmp_path, monkeypatch):
    store, log = FeatureStore(tmp_path / "store"), tmp_path / "log"
    clips = clips_of(corpus, media)
    done = 0
    write = module._Journal.write

    def interrupted(self, *arguments):
        nonlocal done
        done += 1
        if done == 4:
            raise KeyboardInterrupt
        write(self, *arguments)

    monkeypatch.setattr(module._Journal, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract_features(corpus, clips, [Brightness(str(log))], store=store, progress=False)
    monkeypatch.undo()
    assert not store.has("mine", "visual", "brightness")
    film(media / "d0" / "2.mp4", [grey(10)] * 5)  # the missing one has come meanwhile, but clips were listed before
    before = log.read_text().split()
    summary = extract_features(corpus, clips, [Brightness(str(log))], store=store, progress=False)
    (media / "d0" / "2.mp4").unlink()
    again = log.read_text().split()[len(before) :]
    assert summary.taken == 1 and "0.mp4" not in again and set(again) == {"d0_3.mkv", "d1_0.mp4"}
    assert np.allclose(store.load("mine", "visual", "brightness").array[[0, 3, 4], 0], [50, 100, 150], atol=3)


def test_other_clips_begin_anew(media, corpus, tmp_path, monkeypatch):
    store, log = FeatureStore(tmp_path / "store"), tmp_path / "log"
    clips = clips_of(corpus, media)
    monkeypatch.setattr(module, "_finish", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        extract_features(corpus, clips, [Brightness(str(log))], store=store, progress=False)
    monkeypatch.undo()
    changed = {**clips, "d0/0": Clip((Piece(media / "d0" / "0.mp4", 0.2, 0.8),))}
    summary = extract_features(corpus, changed, [Brightness(str(log))], store=store, progress=False)
    assert summary.taken == 0 and store.load("mine", "visual", "brightness").array[0, 1] == pytest.approx(0.6)


class Odd(Brightness):
    """NaN of one film, a fault of every film without sound."""

    name = "odd"

    def __call__(self, pieces):
        if pieces[0].path.name == "0.mp4":
            return np.array([np.nan, 1.0], np.float32), ""
        return super().__call__(pieces)


def test_numbers_that_are_not_finite_are_a_fault_of_their_clip_alone(media, corpus, tmp_path):
    summary = extract_features(corpus, clips_of(corpus, media), [Odd(str(tmp_path / "log"))], store=FeatureStore(tmp_path / "store"), progress=False)
    assert "odd gave (2,) with 1 values that are not finite" in summary.failed["odd"]["d0/0"] and summary.stored[0].array[3, 0] == pytest.approx(100, abs=3)


def test_an_extractor_that_fails_everywhere_does_not_take_the_others_with_it(corpus, tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name in ("d0_0", "d0_1", "d0_2", "d0_3", "d1_0"):
        film(folder / f"{name}.m4a", sound=tone(0.5))
    store = FeatureStore(tmp_path / "store")
    with pytest.raises(DataError, match=r"mine, brightness: not one of 5 utterances could be read; first: .* has no pictures.*\(eGeMAPSv02 stored\)"):
        extract_features(corpus, clips_of(corpus, folder), [AudioExtractor("eGeMAPSv02"), Brightness(str(tmp_path / "log"))], store=store, progress=False)
    assert store.load("mine", "audio", "eGeMAPSv02").array.any(axis=1).all() and not store.has("mine", "visual", "brightness")


class Threads(Brightness):
    """How many threads torch has in the worker."""

    name = "threads"

    def __call__(self, pieces):
        return np.array([torch.get_num_threads(), 0], np.float32), ""


def test_a_worker_has_one_thread(media, corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # what torch would take in a fresh process
    summary = extract_features(corpus, clips_of(corpus, media), [Threads(str(tmp_path / "log"))], store=FeatureStore(tmp_path / "store"), workers=1, progress=False)
    assert summary.stored[0].array[0, 0] == 1


def test_ids_that_a_file_name_could_not_tell_apart(media, tmp_path):
    names = ("a/b", "a__b", "x" * 300)
    dialogue = Dialogue("d", torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.long), {}, ids=names)
    clips = {n: Clip((Piece(media / f),)) for n, f in zip(names, ("d0/0.mp4", "d0_3.mkv", "d1_0.mp4"), strict=True)}
    summary = extract_features(Corpus("odd", [dialogue], [], [], ("x", "y")), clips, [Brightness(str(tmp_path / "log"))], store=FeatureStore(tmp_path / "store"), progress=False)
    assert np.allclose(summary.stored[0].array[:, 0], [50, 100, 150], atol=3)


def unfinished(corpus, clips, extractors, store, monkeypatch):
    """An extraction that was interrupted just before its end; its folder."""
    monkeypatch.setattr(module, "_finish", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        extract_features(corpus, clips, extractors, store=store, progress=False)
    monkeypatch.undo()
    (folder,) = (store.root / ".extracting" / "mine").iterdir()
    return folder


def test_what_was_damaged_meanwhile_is_done_again(media, corpus, tmp_path, monkeypatch):
    store, log = FeatureStore(tmp_path / "store"), tmp_path / "log"
    folder = unfinished(corpus, clips_of(corpus, media), [Brightness(str(log))], store, monkeypatch)
    one, other, *_ = sorted(folder.glob("*.npz"))
    one.write_bytes(b"")
    other.write_bytes(other.read_bytes()[:100])
    before = len(log.read_text().split())
    summary = extract_features(corpus, clips_of(corpus, media), [Brightness(str(log))], store=store, progress=False)
    assert summary.taken <= 3 and len(log.read_text().split()) > before - 1
    assert np.allclose(summary.stored[0].array[[0, 3, 4], 0], [50, 100, 150], atol=3)
    folder = unfinished(corpus, clips_of(corpus, media), [Brightness(str(log))], store, monkeypatch)
    (folder / "basis.json").write_text("")
    assert extract_features(corpus, clips_of(corpus, media), [Brightness(str(log))], store=store, progress=False).taken == 0


def test_other_weights_begin_anew(media, corpus, tmp_path, monkeypatch):
    store = FeatureStore(tmp_path / "store")

    class Other(Brightness):
        def card(self):
            return {**super().card(), "weights_sha256": "other"}

    unfinished(corpus, clips_of(corpus, media), [Brightness(str(tmp_path / "log"))], store, monkeypatch)
    assert extract_features(corpus, clips_of(corpus, media), [Other(str(tmp_path / "log"))], store=store, progress=False).taken == 0


def test_two_processes_do_not_extract_the_same(media, corpus, tmp_path):
    store, clips = FeatureStore(tmp_path / "store"), clips_of(corpus, media)

    class Nested(Brightness):
        def __call__(self, pieces):
            with pytest.raises(DataError, match="another process is extracting these features of mine"):
                extract_features(corpus, clips, [Brightness(self.log)], store=store, progress=False)
            return super().__call__(pieces)

    assert extract_features(corpus, clips, [Nested(str(tmp_path / "log"))], store=store, progress=False).utterances == 5


def test_a_pool_that_dies_between_two_clips_loses_none(media, corpus, tmp_path, monkeypatch):
    """The worker of the first clip dies while the journal is written, so that the next submission finds a broken pool."""
    import time

    killer = tmp_path / "kills.mp4"
    killer.write_bytes((media / "d0" / "0.mp4").read_bytes())
    good = media / "d0" / "0.mp4"
    names = [f"d0/{i}" for i in range(24)]
    dialogue = Dialogue("d0", torch.zeros(24, dtype=torch.long), torch.zeros(24, dtype=torch.long), {}, ids=tuple(names))
    clips = {n: Clip((Piece(killer if i == 9 else good),)) for i, n in enumerate(names)}
    write = module._Journal.write
    monkeypatch.setattr(module._Journal, "write", lambda *a: (time.sleep(0.05), write(*a)))
    summary = extract_features(Corpus("mine", [dialogue], [], [], ("x", "y")), clips, [Brightness(str(tmp_path / "log"))], store=FeatureStore(tmp_path / "store"), workers=2, progress=False)
    assert list(summary.failed["brightness"]) == ["d0/9"] and (summary.stored[0].array[:, 0] > 40).sum() == 23


def test_two_files_for_one_utterance_are_an_error(media, corpus, tmp_path):
    for folder in ("s1", "s2"):
        (tmp_path / folder).mkdir()
        film(tmp_path / folder / "d0_0.mp4", [grey(9)] * 3)
    with pytest.raises(DataError, match="2 files could be utterance 'd0/0': s1/d0_0.mp4, s2/d0_0.mp4; keep one"):
        clips_of(corpus, tmp_path)


def test_a_clip_that_kills_its_worker_is_recorded_and_the_others_are_done(media, corpus, tmp_path):
    killer = tmp_path / "kills.mp4"
    killer.write_bytes((media / "d0" / "0.mp4").read_bytes())
    clips = {**clips_of(corpus, media), "d0/1": Clip((Piece(killer),))}
    summary = extract_features(corpus, clips, [Brightness(str(tmp_path / "log"))], store=FeatureStore(tmp_path / "store"), workers=2, progress=False)
    assert "a worker died of it" in summary.failed["brightness"]["d0/1"] and set(summary.failed["brightness"]) == {"d0/1", "d0/2"}
    assert np.allclose(summary.stored[0].array[[0, 3, 4], 0], [50, 100, 150], atol=3)


def test_a_table_of_clips_with_times(media, corpus, tmp_path):
    table = tmp_path / "clips.csv"
    f = media / "d0_3.mkv"
    table.write_text(f"utterance,file,start,end\nd0/0,{f},0,0.5\nd0/1,{f},0.5,1.5\nd0/2,{f},1.5,1.0\nd1/0,{f},,\nd1/0,{media / 'd0' / '0.mp4'},,\n")
    clips = clips_of(corpus, table)
    assert clips["d0/1"].pieces == (Piece(f, 0.5, 1.5),) and "row 4" in clips["d0/2"].fault and "mend its times" in clips["d0/2"].fault
    assert len(clips["d1/0"].pieces) == 2 and "no file for it" in clips["d0/3"].fault
    summary = extract_features(corpus, clips, [Brightness(str(tmp_path / "log"))], store=FeatureStore(tmp_path / "store"), progress=False)
    assert np.allclose(summary.stored[0].array[:, 1], [0.5, 1.0, 0, 0, 3.0], atol=0.15)


def test_one_s_own_corpus_names_its_media_itself(media, tmp_path):
    folder = tmp_path / "dinner"
    (folder / "clips").mkdir(parents=True)
    film(folder / "clips" / "monday.mp4", [grey(50)] * 25 + [grey(150)] * 25)
    (folder / "utterances.csv").write_text(
        "dialogue,order,speaker,text,label,start,end,media\nmonday,01, Anna,\"Well, where?\",joy,0,1,clips/monday.mp4\nmonday,2,Ben,Home,anger,0:00:01,0:00:02,clips/monday.mp4\nmonday,4,Ben,No,joy,,,\n"
    )
    corpus = load_corpus("folder", path=str(folder))
    clips = clips_of(corpus, folder / "utterances.csv")
    summary = extract_features(corpus, clips, [Brightness(str(tmp_path / "log"))], store=FeatureStore(tmp_path / "store"), progress=False)
    (stored,) = summary.stored
    assert stored.ids == ("monday/1", "monday/2", "monday/4") and np.allclose(stored.array, [[50, 1], [150, 1], [0, 0]], atol=3)
    assert "no file for it" in summary.failed["brightness"]["monday/4"]
    options = ["--corpus", "folder", "--set", f"corpus_options.path={folder}", "--store", str(tmp_path / "store")]
    assert main(["features", "extract", *options, "--media", str(folder / "utterances.csv"), "--visual", "densenet342", "--weights", "none", "--frames", "1", "--workers", "0"]) == 0
    assert FeatureStore(tmp_path / "store").has("dinner", "visual", "faces-densenet342-1frames-random")
    assert main(["features", "extract", *options, "--media", str(folder)]) == 2, "nothing to extract"


def test_tables_that_are_none(corpus, tmp_path):
    for text, words in (("a,b\n1,2\n", "no column 'utterance'"), ("utterance,file\nd0/0,a.mp4,3\n", "row 2: 3 cells for 2 columns"), ("utterance,file,start\nd0/0,a.mp4,soon\n", None)):
        (tmp_path / "t.csv").write_text(text)
        if words:
            with pytest.raises(DataError, match=words):
                clips_of(corpus, tmp_path / "t.csv")
        else:
            assert "'soon' is no time" in clips_of(corpus, tmp_path / "t.csv")["d0/0"].fault


def test_a_real_face_in_a_real_film_the_same_twice(corpus, tmp_path):
    for name in ("d0_0", "d0_1", "d0_2", "d0_3", "d1_0"):
        film(tmp_path / f"{name}.mp4", [portrait()] * 3, tone(0.5))
    both = []
    for workers, store in ((0, "a"), (1, "b")):
        extractors = [AudioExtractor(), FaceExtractor("vggface2", "none", frames=2)]
        summary = extract_features(corpus, clips_of(corpus, tmp_path), extractors, store=FeatureStore(tmp_path / store), workers=workers, progress=False)
        assert not any(summary.failed.values()) and not summary.empty["visextnet-vggface2-2frames-random"]
        both.append(summary.stored)
    for a, b in zip(*both, strict=True):
        assert np.array_equal(a.array, b.array) and a.array.any(axis=1).all() and a.card_hash == b.card_hash
    assert both[0][0].array.shape == (5, 6373) and both[0][1].array.shape == (5, 512)


def test_bad_arguments(media, corpus, tmp_path):
    clips = clips_of(corpus, media)
    with pytest.raises(ConfigError, match="nothing to extract"):
        extract_features(corpus, clips, [])
    with pytest.raises(ConfigError, match="two extractors are called 'eGeMAPSv02'"):
        extract_features(corpus, clips, [AudioExtractor("eGeMAPSv02")] * 2)
    with pytest.raises(ConfigError, match="workers counts from 0"):
        extract_features(corpus, clips, [AudioExtractor("eGeMAPSv02")], workers=-1)
    nothing = {u: Clip((), "no file") for u in clips}
    with pytest.raises(DataError, match="not one of 5 utterances could be read; first: no file"):
        extract_features(corpus, nothing, [AudioExtractor("eGeMAPSv02")], store=FeatureStore(tmp_path), progress=False)
    with pytest.raises(DataError, match="is not there"):
        clips_of(corpus, tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no clip of 'mine'"):
        clips_of(corpus, tmp_path)
    with pytest.raises(ConfigError, match="MELD-FAIR cuts MELD's clips, not those of 'mine'"):
        clips_of(corpus, media, alignment="fair")
    with pytest.raises(ConfigError, match="alignment is 'best'"):
        clips_of(corpus, media, alignment="best")


# MELD's archive and MELD-FAIR


@pytest.fixture
def meld(tmp_path):
    """Three utterances as in MELD, their clips as in its archive, and MELD-FAIR's tables for them: the second is joined from two clips."""
    a = Dialogue("train/dia0", torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long), {}, ("a", "b"), ids=("train/dia0_utt0", "train/dia0_utt2"))
    b = Dialogue("test/dia0", torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), {}, ("c",), ids=("test/dia0_utt0",))
    archive = tmp_path / "MELD.Raw"
    for folder, name, level in (("train_splits", "dia0_utt0", 50), ("train_splits", "dia0_utt2", 100), ("output_repeated_splits_test", "dia0_utt0", 150), ("output_repeated_splits_test", "final_videos_testdia0_utt0", 9)):
        (archive / folder).mkdir(parents=True, exist_ok=True)
        film(archive / folder / f"{name}.mp4", [grey(level)] * 50)
    fair = tmp_path / "meld-fair"
    fair.mkdir()
    (fair / "MELD_video_realignment_timestamps.csv").write_text(
        "Split,Dialogue ID,Utterance ID,Original Dialogue ID,Original Utterance ID,Start Time,End Time\ntrain,0,0,0,0,0.0,1.0\ntrain,0,1,0,0,1.0,2.0\ntrain,0,1,0,2,0.0,1.0\ntest,0,0,0,0,0.5,1.5\n"
    )
    head = ",Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Original Utterance_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
    (fair / "realigned_train_sent_emo.csv").write_text(head + "0,1,a,X,joy,p,0,0,0,1,1,0,1\n1,2,b,X,joy,p,0,2,1,1,1,0,1\n")
    (fair / "realigned_dev_sent_emo.csv").write_text(head)
    (fair / "realigned_test_sent_emo.csv").write_text(head + "0,1,c,X,joy,p,0,0,0,1,1,0,1\n")
    return Corpus("meld", [a], [], [b], ("x", "y")), archive, fair


def test_meld_s_archive_by_split_dialogue_and_utterance(meld, tmp_path):
    corpus, archive, _ = meld
    summary = extract_features(corpus, clips_of(corpus, archive), [Brightness(str(tmp_path / "log"))], store=FeatureStore(tmp_path / "store"), progress=False)
    assert np.allclose(summary.stored[0].array[:, 0], [50, 100, 150], atol=3)


@pytest.mark.parametrize("there", [False, True])
def test_meld_s_known_broken_clips_are_expected(meld, tmp_path, there):
    corpus, archive, _ = meld
    (train,) = corpus.train
    broken = Dialogue("train/dia125", train.speakers, train.labels, {}, train.texts, ids=("train/dia125_utt2", "train/dia125_utt3"))
    corpus = Corpus("meld", [*corpus.train, broken], [], corpus.test, ("x", "y"))
    if there:
        for name in ("dia125_utt2", "dia125_utt3"):
            (archive / "train_splits" / f"{name}.mp4").write_bytes(b"cannot be read")
    summary = extract_features(corpus, clips_of(corpus, archive), [Brightness(str(tmp_path / "log"))], store=FeatureStore(tmp_path / "store"), progress=False)
    failed = summary.failed["brightness"]
    assert failed["train/dia125_utt3"].endswith("(known: cannot be read in MELD's archive)") and "(known" not in failed["train/dia125_utt2"]
    assert ("no media file" if there else "no file for it") in failed["train/dia125_utt3"]


def test_meld_fair_joins_chunks_and_numbers_go_back_to_meld_s(meld, tmp_path):
    corpus, archive, fair = meld
    clips = clips_of(corpus, archive, alignment="fair", fair=fair)
    assert [(p.path.stem, p.start, p.end) for p in clips["train/dia0_utt2"].pieces] == [("dia0_utt0", 1.0, 2.0), ("dia0_utt2", 0.0, 1.0)]
    summary = extract_features(corpus, clips, [Brightness(str(tmp_path / "log"))], store=FeatureStore(tmp_path / "store"), alignment="fair", progress=False)
    assert np.allclose(summary.stored[0].array, [[50, 1], [75, 2], [150, 1]], atol=9) and summary.stored[0].card["name"] == "brightness-fair"
    (archive / "train_splits" / "dia0_utt2.mp4").unlink()
    assert "its chunk of train/dia0_utt2 has no file" in clips_of(corpus, archive, alignment="fair", fair=fair)["train/dia0_utt2"].fault
    with pytest.raises(DataError, match="erc data fetch meld-fair"):
        clips_of(corpus, archive, alignment="fair", fair=tmp_path / "nowhere")


def test_meld_fair_s_boxes_reach_the_face_extractor(meld, tmp_path):
    corpus, archive, fair = meld
    rows = "Split,Dialogue ID,Utterance ID,Frame Number,X Left,Y Top,X Right,Y Bottom\n" + "".join(f"train,0,0,{i},8,8,40,40\n" for i in range(30))
    (fair / "MELD_active_speaker_face_bboxes.csv").write_text(rows)
    clips = clips_of(corpus, archive, alignment="fair", fair=fair)
    assert clips["train/dia0_utt0"].boxes[3] == (8.0, 8.0, 40.0, 40.0) and clips["train/dia0_utt2"].boxes == {}
    assert clips["train/dia0_utt0"].box_rate == pytest.approx(23.976, abs=1e-3)
    extractor = FaceExtractor("densenet342", "none", frames=2)
    summary = extract_features(corpus, clips, [extractor], store=FeatureStore(tmp_path / "store"), alignment="fair", progress=False)
    array = summary.stored[0].array
    assert summary.stored[0].card["faces_of"].startswith("the active speaker")
    with pytest.raises(DataError, match="look at the active speaker alone"):
        extractor_of(summary.stored[0].card)
    assert array[0].any() and not array[1:].any() and summary.empty["faces-densenet342-2frames-random-fair"] == {"no face": 2}
    (fair / "MELD_active_speaker_face_bboxes.csv").write_text("Split,Dialogue ID\ntrain,0\n")
    with pytest.raises(DataError, match="no column 'Utterance ID'"):
        clips_of(corpus, archive, alignment="fair", fair=fair)


# The fitted reduction


def test_a_reduction_is_fitted_on_training_alone(tmp_path):
    g = np.random.default_rng(0)
    lengths = (12, 5, 7)
    splits = [[Dialogue(f"{s}{i}", torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long), {}) for i in range(3)] for s, n in zip("abc", lengths, strict=True)]
    corpus = Corpus("toy", *splits, ("x", "y"))
    ids = [u for part in splits for d in part for u in d.ids]
    x = g.normal(size=(len(ids), 8)) @ g.normal(size=(8, 8)) + 5
    x[:, 3] = 2.0  # never changes
    x[1] = 0  # an utterance without content
    card = {"extractor": "e", "version": "1", "units": "u", "empty": "zeros"}
    store = FeatureStore(tmp_path)
    store.save(corpus="toy", modality="audio", name="wide", ids=ids, array=x, card=card)
    narrow = reduce_features(corpus, "audio", "wide", 3, store=store)
    training = x[:36][x[:36].any(axis=1)].astype(np.float32).astype(np.float64)
    z = (training - training.mean(0)) / np.where(training.std(0) > 1e-6, training.std(0), np.inf)
    values, vectors = np.linalg.eigh(z.T @ z)
    top = vectors[:, ::-1][:, :3]
    everything = (x - training.mean(0)) / np.where(training.std(0) > 1e-6, training.std(0), np.inf) @ top
    everything[1] = 0
    assert np.allclose(np.abs(narrow.array), np.abs(everything), atol=1e-4) and narrow.card["name"] == "wide-pca3"  # a component's sign is free
    assert narrow.card["explained_variance"] == pytest.approx(values[::-1][:3].sum() / values.sum(), abs=1e-5) and narrow.card["reduced_from"]["name"] == "wide"
    changed = x.copy()
    changed[36:] += 100
    store.save(corpus="toy", modality="audio", name="moved", ids=ids, array=changed, card=card)
    assert np.array_equal(reduce_features(corpus, "audio", "moved", 3, store=store).array[:36], narrow.array[:36]), "test utterances have no say"
    reduction = load_reduction("toy", "audio", "wide-pca3", store=store)
    assert np.array_equal(reduction(x.astype(np.float32)), narrow.array)
    path = store.folder("toy", "audio", "wide-pca3") / "reduction.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(DataError, match="is damaged"):
        load_reduction("toy", "audio", "wide-pca3", store=store)
    with pytest.raises(DataError, match="were not reduced here"):
        load_reduction("toy", "audio", "wide", store=store)
    with pytest.raises(ConfigError, match="40 dimensions cannot be fitted on 35 training utterances with 8 features; take at most 8"):
        reduce_features(corpus, "audio", "wide", 40, store=store)
    with pytest.raises(DataError, match="fitted on features 8 wide"):
        reduction(np.zeros((2, 5)))
