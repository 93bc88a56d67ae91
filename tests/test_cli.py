"""The command ``erc``: what it does, and that every mistake is one line on stderr, exit status 2, no traceback."""

from __future__ import annotations

import json

import pytest

from erc_lib.cli import build_parser, main
from erc_lib.errors import ConfigError

SIZES = ("train=6", "validation=3", "test=3")
TINY = ["--corpus", "simulated-meld"] + [x for size in SIZES for x in ("--set", f"corpus_options.{size}")]


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ERC_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("ERC_MIRROR", raising=False)


def erc(*arguments: str) -> int:
    try:
        return main(list(arguments))
    except SystemExit as stop:  # argparse's own errors
        return stop.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean 'train'"),
        (["data", "lst"], "did you mean 'list'"),
        (["data", "fetch", "meldd"], "did you mean 'meld'"),
        (["data", "fetch", "meld", "--forse"], "unknown option '--forse'"),
        (["data", "verify", "mosii"], "did you mean 'mosi'"),
        (["train", "--papr", "bc_lstm", "--corpus", "meld"], "unknown option '--papr'; did you mean '--paper'"),
        (["train", "--paper", "bc_lstm", "--corpus", "meld", "--sed=2"], "unknown option '--sed'; did you mean '--seed'"),
        (["train", "--pap", "bc_lstm", "--corpus", "meld"], "unknown option '--pap'"),  # no abbreviations
        (["train", "--paper", "bc_lstm"], "--corpus"),
        (["train", "--paper", "bc_lstmm", *TINY], "did you mean 'bc_lstm'"),
        (["train", "--paper", "bc_lstm", "--corpus", "melt"], "did you mean 'meld'"),
        (["train", "--paper", "bc_lstm", *TINY, "--modalities", "txt"], "did you mean 'text'"),
        (["train", "--paper", "bc_lstm", *TINY, "--preset", "melt"], "did you mean 'meld'"),
        (["train", "--paper", "bc_lstm", *TINY, "--features", "text"], "MODALITY=NAME"),
        (["train", "--paper", "bc_lstm", *TINY, "--features", "text=nothing"], "'nothing'"),
        (["train", "--paper", "bc_lstm", *TINY, "--set", "training.epoch=2"], "did you mean 'epochs'"),
        (["train", "--paper", "bc_lstm", *TINY, "--set", "trainign.epochs=2"], "did you mean 'training.NAME'"),
        (["train", "--paper", "bc_lstm", *TINY, "--set", "training.epochs=many"], "epochs"),
        (["train", "--paper", "bc_lstm", *TINY, "--set", "seed=2"], "model.NAME"),
        (["train", "--paper", "bc_lstm", *TINY, "--selection", "test"], "'validation'"),
        (["train", "--paper", "bc_lstm", *TINY, "--device", "gpu"], "no 'gpu'"),
        (["features", "text", "--corpus", "melt"], "did you mean 'meld'"),
        (["features", "text", "--corpus", "simulated-meld", "--paradigm", "one_stage"], "did you mean 'one-stage'"),
        (["features", "text", "--corpus", "simulated-meld", "--epochs", "2"], "epochs is a setting of the training"),
        (["features", "text", "--corpus", "simulated-meld", "--encoder", "all-MiniLM-L6-v3"], "all-MiniLM-L6-v2"),
        (["study", "plan", "nowhere.yaml"], "nowhere.yaml"),
        (["data", "chek", "."], "did you mean 'check'"),
        (["train", "--paper", "bc_lstm", "--corpus", "folder"], "needs the option 'path'"),
        (["train", "--paper", "bc_lstm", "--corpus", "folder", "--set", "corpus_options.path=nowhere"], "nowhere is no folder"),
        (["export", "abcd"], "--output"),
        (["export", "abcd", "--output", "a.erc"], "'abcd' names no run in runs"),
        (["predict", "talk.txt", "--output", "out"], "--model"),
        (["predict", "talk.txt", "--model", "a.erc", "--output", "out", "--forse"], "did you mean '--force'"),
        (["predict", "talk.txt", "--model", "a.erc", "--output", "out"], "talk.txt does not exist"),
        (["reproduce", "--profile", "quik"], "did you mean 'quick'"),
        (["reproduce", "--notebooks", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert erc(*arguments) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("erc") and message in lines[0], captured.err
    assert captured.out == "" and not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback():
    with pytest.raises(ConfigError, match="did you mean"):
        main(["--debug", "data", "fetch", "meldd"])


def one_line(capsys) -> str:
    """The last line of stderr, the only one of an error: what loads weights may show its progress above."""
    captured = capsys.readouterr()
    line = captured.err.strip().splitlines()[-1]
    assert line.startswith("erc: ") and captured.err.count("erc: ") == 1 and "Traceback" not in captured.err and captured.out == ""
    return line


def test_what_the_system_refuses_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    options = [x for n in ("train=2", "validation=1", "test=1") for x in ("--set", f"corpus_options.{n}")]
    text = ["features", "text", "--corpus", "simulated-meld", *options, "--store"]
    assert erc(*text, "file/below") == 2
    line = one_line(capsys)
    assert "file/below" in line and "Not a directory" in line
    with pytest.raises(NotADirectoryError):
        main(["--debug", *text, "file/below"])
    capsys.readouterr()
    assert erc("train", "--paper", "bc_lstm", *TINY, "--set", "training.epochs=1", "--device", "cpu", "--store", "file/below") == 2
    assert "file/below" in (line := one_line(capsys)) and "Not a directory" in line
    assert erc("export", "abcd", "--output", f"{300 * 'a'}.erc", "--store", "file/below") == 2 and "names no run" in one_line(capsys)
    (tmp_path / "talk.txt").write_text("Anna: Hi.")
    assert erc("predict", "talk.txt", "--model", "m.erc", "--output", 300 * "a") == 2 and "File name too long" in one_line(capsys)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "/locked/x"), "erc: /locked/x: Permission denied; choose another path"),
        (OSError(18, "Invalid cross-device link", "a", None, "b"), "erc: a and b: Invalid cross-device link"),
        (OSError("two\nlines"), "erc: two lines"),
        (TimeoutError(), "erc: TimeoutError"),
    ],
)
def test_the_reason_of_the_system(error, message, capsys, monkeypatch):
    def refuse(options):
        raise error

    monkeypatch.setattr("erc_lib.cli.data_list", refuse)
    assert erc("data", "list") == 2 and one_line(capsys).startswith(message)
    with pytest.raises(type(error)):
        main(["--debug", "data", "list"])


def test_data_from_the_mirror(mirror, monkeypatch, capsys):
    monkeypatch.setenv("ERC_MIRROR", str(mirror))
    assert erc("data", "verify", "meld") == 0 and "missing" in capsys.readouterr().out
    assert erc("data", "fetch", "meld") == 0 and "raw/meld" in capsys.readouterr().out
    assert erc("data", "list") == 0 and "3 of 3 files" in capsys.readouterr().out
    assert erc("data", "verify", "meld") == 0 and capsys.readouterr().out.count("ok ") == 3


def test_train_takes_every_field_of_a_specification(capsys, tmp_path):
    from erc_lib.runs import RunSpec, RunStore

    actions = build_parser()._subparsers._group_actions[0].choices["train"]._option_string_actions
    for field in RunSpec.model_fields:
        if field not in ("model", "training", "corpus_options"):  # these are --set's
            assert f"--{field.replace('_', '-')}" in actions, field
    store = tmp_path / "store"
    arguments = ["train", "--paper", "bc_lstm", *TINY, "--modalities", "audio,text", "--seed", "3", "--name", "a label"]
    arguments += ["--standardise", "--set", "training.epochs=1", "--set", "model.dropout=0.1"]
    arguments += ["--set", "training.learning_rate=1e-3"]
    assert erc(*arguments, "--store", str(store), "--device", "cpu") == 0
    options = {"train": 6, "validation": 3, "test": 3}
    spec = RunSpec(
        paper="bc_lstm", corpus="simulated-meld", corpus_options=options, modalities=["text", "audio"], seed=3,
        standardise=True, model={"dropout": 0.1}, training={"epochs": 1, "learning_rate": 1e-3},
    )  # fmt: skip
    run = RunStore(store).load(spec)
    assert run.spec.name == "a label"
    out = capsys.readouterr().out
    assert f"{100 * run.metrics['test']['weighted_f1']:.2f} %" in out and str(run.directory) in out


def test_a_study_from_plan_to_status(capsys, tmp_path):
    file, store = tmp_path / "study.yaml", str(tmp_path / "store")
    runs = [{"name": "good", "paper": "bc_lstm", "seeds": [0, 1]}, {"name": "bad", "paper": "bc_lstm", "modalities": ["visual"]}]
    defaults = {"corpus": "simulated-meld", "corpus_options": {"train": 6, "validation": 3, "test": 3}, "training": {"epochs": 1}}
    runs[1]["features"] = {"visual": "which do not exist"}
    file.write_text(json.dumps({"title": "Two", "defaults": defaults, "runs": runs}))  # JSON is YAML
    assert erc("study", "plan", str(file), "--store", store) == 0
    out = capsys.readouterr().out
    assert "3 runs: 3 missing" in out and "no like run is finished" in out
    assert erc("study", "run", str(file), "--store", store, "--workers", "0") == 1
    captured = capsys.readouterr()
    assert "1 of 3 runs failed" in captured.err and "which do not exist" in captured.err and "Traceback" not in captured.err
    assert captured.out.count("good") == 2
    assert erc("study", "run", str(file), "--store", store, "--workers", "0", "--only", "^good") == 0
    assert "all 2 runs" in capsys.readouterr().out
    assert erc("study", "plan", str(file), "--store", store) == 0 and "2 done, 1 missing" in capsys.readouterr().out
    assert erc("study", "status", str(file), "--store", store) == 0
    out = capsys.readouterr().out
    assert "2/2" in out and "0/1" in out and "±" in out
    assert erc("study", "run", str(file), "--store", store, "--limit", "0") == 2


def test_features_of_a_simulated_corpus(capsys, tmp_path):
    options = [x for n in ("train=2", "validation=1", "test=1") for x in ("--set", f"corpus_options.{n}")]
    assert erc("features", "text", "--corpus", "simulated-meld", *options) == 0
    assert "x 384" in capsys.readouterr().out
    assert erc("features", "list") == 0
    out = capsys.readouterr().out
    assert "simulated-meld" in out and "all-MiniLM-L6-v2" in out and "384" in out


@pytest.fixture
def dinners(tmp_path):
    folder = tmp_path / "dinners"
    folder.mkdir()
    (folder / "utterances.csv").write_text("dialogue,order,speaker,text\nd,1,Anna,happy yes\nd,2,Ben,sad no\n", encoding="utf-8")
    return folder


def test_a_folder_is_checked(dinners, capsys):
    assert erc("data", "check", str(dinners)) == 0
    assert "1 dialogues, 2 utterances, no fault\nrows without a label" in capsys.readouterr().out
    table = dinners / "utterances.csv"
    table.write_text("dialogue,order,speaker,text,label\nd,1,Anna,happy,joy\nd,2,Ben,sad,anger\n", encoding="utf-8")
    assert erc("data", "check", str(dinners)) == 0
    out = capsys.readouterr().out
    assert "test       1 dialogues: 1 anger, 1 joy" in out and "no train and no validation dialogues: it cannot be trained on" in out
    table.write_text("dialogue,order,speaker,text\nd,1,,happy yes\nd,x,Ben,sad no\n", encoding="utf-8")
    assert erc("data", "check", str(dinners)) == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2 and "row 2: no speaker" in captured.out and "row 3: order is 'x'" in captured.out
    assert captured.err == f"erc: {dinners}: 2 faults, listed above; correct them and check again\n"


def test_from_training_to_the_emotions_of_a_conversation(capsys, tmp_path, monkeypatch, encoders_folder):
    monkeypatch.setenv("ERC_ENCODERS", str(encoders_folder))
    monkeypatch.chdir(tmp_path)
    sizes = [x for size in SIZES for x in ("--set", f"corpus_options.{size}")]
    assert erc("features", "text", "--corpus", "simulated-meld", "--encoder", "tiny", *sizes) == 0
    train = ["train", "--paper", "bc_lstm", *TINY, "--features", "text=tiny", "--standardise", "--set", "training.epochs=1", "--device", "cpu"]
    assert erc(*train) == 0
    bare = capsys.readouterr().out.strip().splitlines()[-1].split("/")[-1]
    assert erc("export", bare, "--output", "model.erc") == 2
    assert "erc train --keep-weights" in capsys.readouterr().err and not (tmp_path / "model.erc").exists()
    assert erc(*train, "--seed", "1", "--keep-weights") == 0
    digest = capsys.readouterr().out.strip().splitlines()[-1].split("/")[-1]
    assert erc("export", digest[:8], "--output", "model.erc") == 0 and digest in capsys.readouterr().out
    assert erc("export", digest, "--output", "model.erc") == 2 and "--force" in capsys.readouterr().err

    (tmp_path / "talk.txt").write_text("Anna: happy yes\nBen: oh no\nAnna: what?", encoding="utf-8")
    assert erc("predict", "talk.txt", "--model", "model.erc", "--output", "out") == 0
    out = capsys.readouterr().out
    assert f"run {digest}" in out and "modalities used: text\n" in out and "another corpus" in out and "is simulated" in out
    written = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert sorted(written) == ["emotions.html", "emotions.png", "predictions.csv"]
    assert written["predictions.csv"].decode().splitlines()[0].startswith("turn,speaker,start,end,text,predicted,p_neutral,")
    assert erc("predict", "talk.txt", "--model", "model.erc", "--output", "out") == 2 and "--force" in capsys.readouterr().err
    assert erc("predict", "talk.txt", "--model", digest, "--output", "out", "--force") == 0  # the run itself says the same
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == written
    capsys.readouterr()
    for command in (["export", digest], ["predict", "talk.txt", "--model", "model.erc"]):
        assert erc(*command, "--output", "model.erc/below/it") == 2
        line = one_line(capsys)
        assert "model.erc/below/it" in line and "cannot be written (Not a directory)" in line
    assert erc("export", digest, "--output", "out", "--force") == 2 and "out cannot be written (Is a directory)" in one_line(capsys)
    (tmp_path / "talk.txt").write_text("nobody speaks", encoding="utf-8")
    assert erc("predict", "talk.txt", "--model", "model.erc", "--output", "new") == 2
    assert "line 1" in capsys.readouterr().err and not (tmp_path / "new").exists()
