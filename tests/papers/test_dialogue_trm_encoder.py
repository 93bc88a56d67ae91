"""Self dependency (eq. 1): the text encoder inside the model, on a tiny random BERT."""

from __future__ import annotations

import dataclasses
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from erc_lib.data import Batch, Dialogue
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.encoders import TextEncoder, load_encoder
from erc_lib.papers.dialogue_trm import DialogueTRM, DialogueTRMConfig, indi_context
from erc_lib.papers.dialogue_trm.self_dependency import utterance_with_context
from erc_lib.runs import RunSpec, RunStore, load_model, load_run_corpus, run_one
from erc_lib.runs.compact import STEPS
from erc_lib.training import TrainingConfig, fit
from erc_lib.training.optimisation import build_optimizer
from erc_lib.training.scoring import predict

CLS, SEP = 101, 102
TEXTS = ["oh really ?", "yes yes yes", "you happy", "no", "what me , angry", "fine ."]
SPEAKERS = [0, 1, 0, 0, 1, 0]


@pytest.fixture
def encoder(encoders_folder, monkeypatch) -> TextEncoder:
    monkeypatch.setenv("ERC_ENCODERS", str(encoders_folder))
    return load_encoder("tiny")


def config(**fields) -> DialogueTRMConfig:
    small = {
        "dims": {"text": 16}, "classes": 3, "model_dim": 8, "intra_layers": 1, "intra_heads": 2, "inter_layers": 1, "inter_heads": 2,
        "feedforward": 16, "dropout": 0.0, "text": "encoder", "encoder": "tiny", "max_tokens": 16, "context_window": 3,
    }  # fmt: skip
    return DialogueTRMConfig(**{**small, **fields})


def build(encoder: TextEncoder, **fields) -> DialogueTRM:
    torch.manual_seed(0)
    return DialogueTRM(config(**fields), encoder=encoder).eval()


def dialogue(texts=tuple(TEXTS), speakers=tuple(SPEAKERS), name="d") -> Dialogue:
    return Dialogue(name, torch.tensor(speakers), torch.arange(len(texts)) % 3, {}, tuple(texts), tuple(f"{name}/{i}" for i in range(len(texts))))


def batch(*dialogues: Dialogue) -> Batch:
    return Batch.collate(dialogues or [dialogue()], modalities=[])


@pytest.mark.parametrize(
    ("utterance", "context", "limit", "separator", "sequence", "segment"),
    [
        ([1, 2], [3, 4, 5], 20, True, [CLS, 1, 2, SEP, 3, 4, 5, SEP], [0, 0, 0, 0, 1, 1, 1, 1]),
        ([1, 2], [3, 4, 5], 7, True, [CLS, 1, 2, SEP, 4, 5, SEP], [0, 0, 0, 0, 1, 1, 1]),  # its far end goes first
        ([1, 2], [3, 4, 5], 5, True, [CLS, 1, 2, SEP, SEP], [0, 0, 0, 0, 1]),
        ([1, 2, 6, 7], [3], 5, True, [CLS, 1, 2, SEP, SEP], [0, 0, 0, 0, 1]),  # the utterance's own end is cut
        ([1], [], 20, True, [CLS, 1, SEP, SEP], [0, 0, 0, 1]),  # nobody's first turn
        ([], [3], 20, True, [CLS, SEP, 3, SEP], [0, 0, 1, 1]),  # nothing said
        ([1, 2], None, 20, True, [CLS, 1, 2, SEP], [0, 0, 0, 0]),
        ([1, 2, 3], None, 4, True, [CLS, 1, 2, SEP], [0, 0, 0, 0]),
        ([1, 2], [3, 4, 5], 5, False, [CLS, 1, 2, 4, 5], [0, 0, 0, 1, 1]),
    ],
)
def test_the_input_of_equation_1_by_hand(utterance, context, limit, separator, sequence, segment):
    found = utterance_with_context(utterance, context, limit, cls=CLS, sep=SEP, separator=separator)
    assert found == (sequence, segment)


@pytest.mark.parametrize("fields", [{}, {"self_context": False}, {"segment_ids": False}, {"separator": False}, {"context_window": 0}])
def test_each_utterance_is_encoded_as_if_alone(encoder, fields):
    """One call per utterance, its input written down again from the paper's words; the model pads and sorts them together."""
    built = build(encoder, **fields)
    f = built.self_dependency(batch(dialogue(), dialogue(TEXTS[:2], SPEAKERS[:2], "e")))
    assert f.shape == (2, 6, 16) and (f[1, 2:] == 0).all()
    token = encoder.tokenizer.convert_tokens_to_ids
    ends = [encoder.sep] if built.config.separator else []
    for turn, text in enumerate(TEXTS):
        first = [encoder.cls, *token(text.split()), *ends]
        second = [t for j in indi_context(SPEAKERS, turn, built.config.context_window) for t in token(TEXTS[j].split())] + ends
        if not built.config.self_context:
            second = []
        room = built.config.max_tokens - len(first)
        second = second if len(second) <= room else second[len(second) - room :]
        types = [0] * len(first) + [int(built.config.segment_ids)] * len(second)
        alone = encoder.model(torch.tensor([first + second]), token_type_ids=torch.tensor([types])).last_hidden_state[0, 0]
        torch.testing.assert_close(f[0, turn], alone, rtol=1e-4, atol=1e-5)


def test_a_dialogue_s_outputs_are_its_own(encoder):
    built = build(encoder)
    together = built(batch(dialogue(), dialogue(TEXTS[3:], SPEAKERS[3:], "e"))).logits
    torch.testing.assert_close(together[0], built(batch()).logits[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1, :3], built(batch(dialogue(TEXTS[3:], SPEAKERS[3:]))).logits[0], rtol=1e-4, atol=1e-5)


def test_nothing_later_matters(encoder):
    built, changed = build(encoder), [*TEXTS[:4], "sad sad", *TEXTS[5:]]
    before, after = built(batch()).logits[0], built(batch(dialogue(changed))).logits[0]
    torch.testing.assert_close(before[:4], after[:4], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(before[4], after[4])


def test_the_encoder_learns_with_its_own_rate(encoder):
    built = build(encoder, encoder_learning_rate=1e-5)
    training = TrainingConfig(**built.config.training_settings())
    groups = build_optimizer(built, training).param_groups
    assert [g["lr"] for g in groups] == [6e-6, 1e-5]
    assert sum(p.numel() for p in groups[1]["params"]) == sum(p.numel() for p in encoder.model.parameters())
    data = batch()
    built.train().objective(built(data), data)["total"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.model.encoder.parameters() if p.dim() > 1)
    assert built.state_dict().keys() >= {f"self_dependency.encoder.{k}" for k in encoder.model.state_dict()}


def test_it_overfits_one_batch(encoder):
    torch.manual_seed(1)
    built, data = DialogueTRM(config(), encoder=encoder), batch()
    optimizer = torch.optim.Adam(built.parameters(), lr=5e-3)
    for _ in range(100):
        loss = built.objective(built(data), data)["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 and (built.eval()(data).logits[0].argmax(-1) == data.labels[0]).all()


def test_long_utterances_are_cut_counted_and_reported_once(encoder):
    built, long = build(encoder, max_tokens=8), "yes " * 6
    data = batch(dialogue([long, "no", long], [0, 0, 1]))
    with pytest.warns(UserWarning, match="utterance 'd/0' has 6 tokens, more than max_tokens = 8"):
        built(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built(data)
    assert built.describe_encoder([long, "no", long]) == {**encoder.describe(), "max_tokens": 8, "utterances_cut": 2}
    assert built.describe_encoder(["yes " * 5]) | {"utterances_cut": 0} == built.describe_encoder(["yes " * 5])  # five fit beside [CLS] and two [SEP]
    torch.testing.assert_close(built(data).logits[0, 0], built(batch(dialogue(["yes " * 5], [0]))).logits[0, 0], rtol=1e-4, atol=1e-5)


def test_bad_input(encoder):
    with pytest.raises(ConfigError, match=r"needs the encoder itself: DialogueTRM\(config, encoder=load_encoder\('tiny'\)\)"):
        DialogueTRM(config())
    with pytest.raises(ConfigError, match="text='features' takes no encoder"):
        DialogueTRM(config(text="features", encoder="bert-base-uncased", max_tokens=512), encoder=encoder)
    with pytest.raises(ConfigError, match="vectors 16 wide, dims says text is 12; write 16 there"):
        DialogueTRM(config(dims={"text": 12}), encoder=encoder)
    with pytest.raises(ConfigError, match="max_tokens is 65, but the text encoder has 64 positions"):
        DialogueTRM(config(max_tokens=65), encoder=encoder)
    with pytest.raises(ConfigError, match="dims has audio alone; add text"):
        config(dims={"audio": 4})
    with pytest.raises(ConfigError, match="encoder, max_tokens, encoder_learning_rate: given, but text is 'features', so there is no encoder to heed it"):
        config(text="features", encoder_learning_rate=1e-5)
    with pytest.raises(DataError, match=r"no words to encode \(first utterance: 'd/0'\)"):
        build(encoder)(batch(dialogue([""] * 6)))
    one_segment = dataclasses.replace(encoder)
    one_segment.model.config.type_vocab_size = 1
    with pytest.raises(ConfigError, match="has no second segment .* set segment_ids to false"):
        DialogueTRM(config(), encoder=one_segment)
    assert DialogueTRM(config(segment_ids=False), encoder=one_segment).self_dependency.segments is False


def spec(**fields) -> RunSpec:
    given = {
        "paper": "dialogue_trm", "preset": "cpu", "corpus": "simulated-meld", "corpus_options": {"train": 6, "validation": 3, "test": 3},
        "model": {"text": "encoder", "encoder": "tiny", "max_tokens": 24, "epochs": 1, "encoder_learning_rate": 1e-3},
    }
    return RunSpec(**{**given, **fields})


def test_a_run_stores_what_it_read_and_can_be_loaded_again(encoder, tmp_path):
    """The words are read, not the corpus' text vectors; the stored weights hold the trained encoder."""
    store = RunStore(tmp_path / "store")
    run = run_one(spec(), store, keep_weights=True)
    assert run.environment["text_encoder"] == {**encoder.describe(), "max_tokens": 24, "utterances_cut": 0}
    assert load_run_corpus(spec()).dims == {}
    model = load_model(run)
    assert not torch.equal(model.self_dependency.encoder.embeddings.word_embeddings.weight, encoder.model.embeddings.word_embeddings.weight)
    again = predict(model, load_run_corpus(spec()).test)
    stored = run.predictions[run.predictions["split"] == "test"]
    assert abs(again[["p_0", "p_6"]].to_numpy() - stored[["p_0", "p_6"]].to_numpy()).max() <= 2 / STEPS


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_training_with_an_encoder_goes_on_bit_for_bit(encoder, tmp_path, precision):
    """Dropout of the encoder included: two epochs and two more give what four give."""
    corpus = load_run_corpus(spec())

    def trained(directory, stop=None):
        torch.manual_seed(3)
        fields = {"dims": {"text": 16}, "classes": 7, "max_tokens": 24, "dropout": 0.1, "epochs": 4}
        model = DialogueTRM(config(**fields), encoder=load_encoder("tiny"))
        settings = TrainingConfig(**{**model.config.training_settings(), "learning_rate": 1e-3, "mixed_precision": precision})
        if stop is not None:
            model.objective = Stop(model.objective, stop)
        try:
            return fit(model, corpus, settings, seed=3, directory=directory, progress=False)
        except KeyboardInterrupt:
            return None

    class Stop:
        def __init__(self, inner, calls):
            self.inner, self.left = inner, calls

        def __call__(self, output, data):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return self.inner(output, data)

    whole = trained(tmp_path / "whole")
    assert trained(tmp_path / "parts", stop=8) is None and list((tmp_path / "parts").rglob("epoch-*"))
    parts = trained(tmp_path / "parts")
    assert parts.history["train_total"].tolist() == whole.history["train_total"].tolist()
    assert all(torch.equal(a, b) for a, b in zip(parts.model.state_dict().values(), whole.model.state_dict().values(), strict=True))


def test_another_encoder_under_the_same_name_is_noticed(encoder, encoders_folder, tmp_path, monkeypatch):
    run = run_one(spec(), RunStore(tmp_path / "store"), keep_weights=True)
    shutil.copytree(encoders_folder / "tiny", tmp_path / "encoders" / "tiny")
    monkeypatch.setenv("ERC_ENCODERS", str(tmp_path / "encoders"))
    weights = load_file(tmp_path / "encoders" / "tiny" / "model.safetensors")
    save_file({k: 2 * v for k, v in weights.items()}, tmp_path / "encoders" / "tiny" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="was trained with another tiny .weights_sha256"):
        load_model(run)


def test_an_encoder_that_is_none_is_refused(tmp_path, monkeypatch, encoders_folder):
    monkeypatch.setenv("ERC_ENCODERS", str(tmp_path))
    with pytest.raises(ConfigError, match="model.encoder is 5, not the name of a text encoder"):
        run_one(spec(model={"text": "encoder", "encoder": 5}), RunStore(tmp_path / "store"))
    shutil.copytree(encoders_folder / "tiny", tmp_path / "distil")
    (tmp_path / "distil" / "config.json").write_text('{"dim": 16}')
    with pytest.raises(DataError, match="names no hidden_size; take an encoder of the BERT family"):
        run_one(spec(model={"text": "encoder", "encoder": "distil"}), RunStore(tmp_path / "store"))


def test_features_beside_an_encoder_are_refused(encoder, tmp_path):
    with pytest.raises(ConfigError, match="so the text features 'x' would go unread"):
        run_one(spec(features={"text": "x"}), RunStore(tmp_path))
