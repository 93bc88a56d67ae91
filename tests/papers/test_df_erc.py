from __future__ import annotations

import typing
import warnings

import pytest
import torch
import torch.nn.functional as F

from erc_lib.data import Batch, Corpus, Dialogue
from erc_lib.errors import ConfigError, DataError
from erc_lib.features.encoders import TextEncoder, load_encoder
from erc_lib.papers.df_erc import DFERC, DFERCConfig
from erc_lib.papers.df_erc.encoding import parts
from erc_lib.training import TrainingConfig, fit
from tests.papers import invariants
from tests.papers.invariants import WIDTHS, toy
from tests.reference import df_erc as slow

SMALL = {
    "dims": WIDTHS, "classes": 4, "disentangled_dim": 12, "fusion_dim": 10, "aligned_dim": 9, "lstm_hidden": 8, "dropout": 0.0, "prototypes": "training",
}  # fmt: skip
VARIANTS = [
    {}, {"modality_level": False}, {"utterance_level": False}, {"modality_level": False, "utterance_level": False}, {"fusion": "sum"},
    {"fusion": "attention"}, {"weigh": "input"}, {"equalise": "features"}, {"reduction": "mean"},
]  # fmt: skip
CONTEXTS = ["full", "zero", "attention"]


def config(**fields) -> DFERCConfig:
    small = {k: v for k, v in SMALL.items() if fields.get("context", "refusion") == "refusion" or k not in ("aligned_dim", "prototypes")}
    return DFERCConfig(**{**small, **fields})


def model(**fields) -> DFERC:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DFERC(config(**fields)).eval()


@pytest.mark.parametrize("fields", [*VARIANTS, *({"context": c} for c in CONTEXTS)], ids=str)
def test_invariants(fields):
    built, data = model(**fields), toy()
    invariants.padding_changes_nothing(built, data)
    invariants.order_changes_nothing(built, data)
    if fields.get("context") != "zero":  # there the LSTM is multiplied by nothing
        model(**fields).objective(built(Batch.collate(data)), Batch.collate(data))
        invariants.every_parameter_learns(built, data)


def test_it_overfits_one_batch_and_repeats_itself():
    invariants.overfits_one_batch(model(reduction="mean"), toy())
    invariants.same_seed_same_numbers(lambda: DFERC(config(dropout=0.3)), toy())


@pytest.mark.parametrize("modalities", [("text",), ("audio",), ("visual",), ("text", "audio"), ("text", "visual"), ("audio", "visual")])
def test_any_subset_of_modalities(modalities):
    built = model(dims={m: WIDTHS[m] for m in modalities})
    batch = Batch.collate(toy(), modalities)
    terms = built.objective(built(batch), batch)
    assert built(batch).logits.shape == (3, 6, 4)
    assert ("contrast_modality" in terms) == ("contrast_utterance" in terms) == (len(modalities) > 1)


def test_one_modality_is_reported_once_and_has_the_full_context():
    with pytest.warns(UserWarning, match="audio alone.*dropped, and context has its full weight") as seen:
        built = DFERC(config(dims={"audio": 5})).eval()
        batch = Batch.collate(toy(), ["audio"])
        output = built(batch)
        built(batch)
    assert len(seen) == 1 and output.consistency is None
    inside = output.embedding[batch.mask][:, built.fuse.width :]
    context = built.refuse.lstm(output.embedding[:1, :4, : built.fuse.width])[0][0]
    assert torch.allclose(inside[:4], context, atol=1e-6)


def test_equations_2_to_23_turn_by_turn():
    built = model().double()
    (dialogue,) = toy(lengths=(5,))
    batch = Batch.collate([dialogue])
    batch.features = {m: x.double() for m, x in batch.features.items()}
    output = built(batch)
    x = {m: f[0] for m, f in batch.features.items()}
    hf, psi = [], []
    for i in range(5):
        joined, added = {}, torch.zeros(10, dtype=torch.float64)
        for k, m in enumerate(WIDTHS):
            level_m, level_u = built.disentangle.modality[m](x[m][i]), built.disentangle.utterance[m](x[m][i])
            assert torch.allclose(output.levels["modality"][k, i], level_m) and torch.allclose(output.levels["utterance"][k, i], level_u)
            joined[m] = torch.cat([x[m][i], level_m, level_u])
            omega = 1 / (1 + torch.exp(-built.fuse.student[m](joined[m])[0]))
            assert torch.allclose(output.contributions[k, i], omega)
            added = added + omega * built.fuse.equal[m](joined[m])
        r = [built.refuse.align[m](joined[m]) for m in WIDTHS]
        psi.append((slow.cosine(r[0], r[1]) + slow.cosine(r[0], r[2]) + slow.cosine(r[1], r[2])) / 3)
        hf.append(added)
    context = built.refuse.lstm(torch.stack(hf)[None])[0][0]
    for i in range(5):
        h = torch.cat([hf[i], context[i] * (1 - psi[i])])
        assert torch.allclose(output.embedding[0, i], h, atol=1e-9) and torch.allclose(output.consistency[i], psi[i])
        assert torch.allclose(output.logits[0, i], built.classify(h), atol=1e-9)


def test_the_variants_turn_by_turn():
    """Fusion by sum and attention, equal features, and footnote 1, where the context is weighed before the BiLSTM."""
    (dialogue,) = toy(lengths=(5,))
    batch = Batch.collate([dialogue])
    x = {m: f[0] for m, f in batch.features.items()}

    def joined(built):
        raw = x if built.disentangle.project is None else {m: built.disentangle.project[m](v) for m, v in x.items()}
        return {m: torch.cat([raw[m], built.disentangle.modality[m](raw[m]), built.disentangle.utterance[m](raw[m])], dim=-1) for m in WIDTHS}

    built = model(fusion="sum")
    h = sum(built.fuse.equal[m](v) for m, v in joined(built).items())
    assert torch.allclose(built(batch).embedding[0, :, :10], h, atol=1e-6)

    built = model(fusion="attention")
    stacked = torch.stack([built.fuse.equal[m](v) for m, v in joined(built).items()], dim=1)  # (5, 3, 10)
    w, b = built.fuse.attention.in_proj_weight, built.fuse.attention.in_proj_bias
    q, k, v = (stacked @ w[10 * i : 10 * i + 10].T + b[10 * i : 10 * i + 10] for i in range(3))
    mixed = torch.softmax(q @ k.transpose(1, 2) / 10**0.5, dim=-1) @ v
    h = built.fuse.attention.out_proj(mixed).sum(dim=1)
    assert torch.allclose(built(batch).embedding[0, :, :10], h, atol=1e-5)

    built = model(equalise="features")
    parts_ = joined(built)
    h = sum(torch.sigmoid(built.fuse.student[m](v)) * v for m, v in parts_.items())
    assert torch.allclose(built(batch).embedding[0, :, : h.shape[1]], h, atol=1e-6)

    built = model(weigh="input")
    output = built(batch)
    h = output.embedding[0, :, :10]
    context = built.refuse.lstm((h * (1 - output.consistency)[:, None])[None])[0][0]
    assert torch.allclose(output.embedding[0, :, 10:], context, atol=1e-6)


def test_dropout_acts_on_the_features_and_before_the_classifier():
    batch = Batch.collate(toy())
    built = model(dropout=0.5).train()
    seen = {}
    built.disentangle.register_forward_pre_hook(lambda module, args: seen.update(raw=args[0]))
    built.classify[1].register_forward_pre_hook(lambda module, args: seen.update(h=args[0]))
    built(batch)
    for m, x in seen["raw"].items():
        assert 0.2 < (x == 0).float().mean() < 0.8, m
    assert 0.2 < (seen["h"] == 0).float().mean() < 0.8


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_objective_term_by_term(reduction):
    built, data = model(reduction=reduction), toy()
    batch = Batch.collate(data)
    labels, real = batch.labels[batch.mask], batch.mask.sum(dim=1).tolist()
    built.refuse.bank.update(torch.randn(3, 11, 9), labels)
    output = built(batch)
    terms = built.objective(output, batch)
    starts = [sum(real[:b]) for b in range(3)]
    n = len(labels)
    pairs = {"modality": 3 * sum(l * (l - 1) for l in real), "utterance": 6 * n}
    for level, tau in (("modality", 0.5), ("utterance", 0.3)):
        views = output.levels[level]
        expected = sum(slow.dual_level_contrastive_loss(views[:, s : s + l], level=level, temperature=tau) for s, l in zip(starts, real, strict=True))
        assert terms[f"contrast_{level}"].item() == pytest.approx(0.3 * expected.item() / (pairs[level] if reduction == "mean" else 1), rel=1e-4)
    l_p, l_q = slow.true_class_probability_losses(output.teacher_logits, output.contributions, labels)
    scale = 0.8 / (3 * n if reduction == "mean" else 1)
    assert terms["teacher"].item() == pytest.approx(scale * l_p, rel=1e-4) and terms["student"].item() == pytest.approx(scale * l_q, rel=1e-4)
    known = dict(enumerate(built.refuse.bank.prototypes))
    assert terms["similarity"].item() == pytest.approx(0.3 * slow.prototype_loss(known, output.aligned, labels.tolist(), 0.1), rel=1e-4)
    emotion = F.cross_entropy(output.logits[batch.mask], labels, reduction=reduction)
    assert terms["emotion"].item() == pytest.approx(emotion.item())
    assert terms["total"].item() == pytest.approx(sum(v.item() for k, v in terms.items() if k != "total"), rel=1e-5)


def test_what_it_measures_turn_by_turn():
    built, data = model(), toy()
    batch = Batch.collate(data)
    output = built(batch)
    measured = built.measure(output, batch)
    assert list(measured)[:2] == ["cross_entropy", "psi"] and all(v.shape == (11,) for v in measured.values())
    labels, logits = batch.labels[batch.mask], output.logits[batch.mask]
    for i in range(11):
        odds = logits[i].exp()
        aligned = output.aligned[:, i]
        pairs = [slow.cosine(aligned[a], aligned[b]).item() for a, b in ((0, 1), (0, 2), (1, 2))]
        assert measured["psi"][i].item() == pytest.approx(sum(pairs) / 3, abs=1e-6)
        assert measured["cross_entropy"][i].item() == pytest.approx(-(odds[labels[i]] / odds.sum()).log().item(), rel=1e-5)
        for k, m in enumerate(WIDTHS):
            teacher = output.teacher_logits[k, i].exp()
            assert measured[f"true_class_{m}"][i].item() == pytest.approx((teacher[labels[i]] / teacher.sum()).item(), rel=1e-5)
            assert measured[f"teacher_right_{m}"][i].item() == float(teacher.argmax() == labels[i])
            assert measured[f"contribution_{m}"][i] == output.contributions[k, i]
    assert list(model(fusion="sum", context="zero").measure(model(fusion="sum", context="zero")(batch), batch)) == ["cross_entropy"]


def test_eq_19_as_printed_aligns_nothing_at_the_start_and_the_squared_distance_does():
    """L12: the mean squared error of what fresh networks of the paper's width give is below its margin."""
    batch = Batch.collate(toy())
    for distance, dead in (("mean", True), ("sum", False)):
        built = model(aligned_dim=500, disentangled_dim=300, distance=distance).train()
        built.objective(built(batch), batch)
        assert (built.objective(built(batch), batch)["similarity"].item() == 0) == dead


def test_the_ablations_are_what_table_2_says():
    data = Batch.collate(toy())
    assert set(model(modality_level=False, utterance_level=False)(data).levels) == set()
    assert model(fusion="sum")(data).contributions is None and model(fusion="attention")(data).teacher_logits is None
    zero, full = model(context="zero"), model(context="full")
    full.load_state_dict(zero.state_dict())
    half = zero.fuse.width
    assert (zero(data).embedding[..., half:] == 0).all() and (full(data).embedding[data.mask][:, half:].abs().sum(-1) > 0).all()
    assert torch.equal(zero(data).embedding[..., :half], full(data).embedding[..., :half])
    other = Batch.collate(toy())
    other.features["text"][0, 1] += 1
    moved = (zero(other).logits - zero(data).logits)[0].abs().amax(-1)
    assert moved[1] > 1e-6 and (moved[[0, 2, 3]] == 0).all(), "without context a turn is alone"


def test_the_sum_as_printed_grows_with_the_dialogue_and_the_mean_does_not():
    """Eq. 3 sums over pairs: twice the turns, about four times the loss, beside a cross-entropy that doubles."""
    shares = {}
    for reduction in ("sum", "mean"):
        built = model(reduction=reduction)
        for length in (10, 40):
            batch = Batch.collate(toy(lengths=(length,)))
            terms = built.objective(built(batch), batch)
            shares[reduction, length] = (terms["contrast_modality"] / terms["emotion"]).item()
    assert shares["sum", 40] > 3 * shares["sum", 10] and shares["mean", 40] < 2 * shares["mean", 10]


# Prototypes


def test_prototypes_learn_in_training_alone_and_a_validation_ends_an_epoch():
    data = Batch.collate(toy())
    for kind, forgets in (("training", False), ("epoch", True)):
        built = model(prototypes=kind)
        built.objective(built(data), data)
        assert (built.refuse.bank.counts == 0).all(), "nothing is taken in while validating"
        built.train()
        for _ in range(2):
            built.objective(built(data), data)
        assert built.refuse.bank.counts.sum() == 2 * 3 * 11
        built.eval(), built.train()
        built.objective(built(data), data)
        assert built.refuse.bank.counts.sum() == (1 if forgets else 3) * 3 * 11


def test_a_batch_is_taken_into_the_prototypes_before_its_loss():
    data = Batch.collate(toy())
    built = model(margin=0.0, distance="sum").train()
    output = built(data)
    labels = data.labels[data.mask]
    means = {k: output.aligned[:, labels == k].flatten(0, 1).mean(0) for k in labels.tolist()}
    expected = 0.3 * slow.prototype_loss(means, output.aligned, labels.tolist(), 0.0) * 9  # the sum over 9 numbers, not their mean
    assert built.objective(output, data)["similarity"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["epoch", "training"])
def test_a_resumed_run_ends_as_the_unbroken_one(tmp_path, kind):
    data = toy(lengths=(4, 5, 6, 3), seed=1)
    other = [Dialogue(f"e{seed}", d.speakers, d.labels, d.features) for seed in (2, 3) for d in toy(lengths=(4,), seed=seed)]
    corpus = Corpus("toy", data, other[:1], other[1:], tuple("abcd"))
    built = config(prototypes=kind, dropout=0.1).training_settings()
    settings = {k: v for k, v in built.items() if k != "epochs"} | {"warmup_steps": 2, "batch_size": 2}

    def run(folder):
        torch.manual_seed(0)
        fresh = DFERC(config(prototypes=kind, dropout=0.1, distance="sum", margin=0.0, alpha_similarity=1.0, reduction="mean"))  # so that prototypes matter
        result = fit(fresh, corpus, TrainingConfig(epochs=4, **settings), seed=5, directory=folder, progress=False)
        return fresh, result.history.drop(columns="seconds")  # the model holds the selected epoch alone, the history the last one too

    whole, history = run(tmp_path / "whole")
    calls = 0

    class Stop(Exception):
        pass

    original = DFERC.objective

    def interrupted(self, output, batch):
        nonlocal calls
        calls += 1
        if calls == 8:  # in the third epoch
            raise Stop
        return original(self, output, batch)

    DFERC.objective = interrupted
    try:
        with pytest.raises(Stop):
            run(tmp_path / "broken")
    finally:
        DFERC.objective = original
    resumed, again = run(tmp_path / "broken")
    assert history.equals(again)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_class_absent_from_training_has_no_prototype():
    built = model(classes=6).train()
    data = Batch.collate(toy())
    built.objective(built(data), data)
    assert (built.refuse.bank.counts[4:] == 0).all() and (built.refuse.bank.prototypes[4:] == 0).all()
    built.eval()
    data.labels[data.mask] = 5
    terms = built.objective(built(data), data)
    assert terms["similarity"].item() == 0 and torch.isfinite(terms["total"])


def test_a_dialogue_of_one_utterance():
    data = Batch.collate(toy(lengths=(1,)))
    built = model().train()
    terms = built.objective(built(data), data)
    terms["total"].backward()
    assert terms["contrast_modality"].item() == 0 and terms["contrast_utterance"].item() > 0
    assert all(torch.isfinite(p.grad).all() for p in built.parameters() if p.grad is not None)


# Encoding, eq. 1


@pytest.fixture
def encoder(encoders_folder, monkeypatch) -> TextEncoder:
    monkeypatch.setenv("ERC_ENCODERS", str(encoders_folder))
    return load_encoder("tiny")


def talk(texts, name="d") -> Dialogue:
    return Dialogue(name, torch.arange(len(texts)) % 2, torch.arange(len(texts)) % 3, {}, tuple(texts))


TEXTS = ["oh really ?", "yes yes yes", "you happy", "", "what me , angry", "fine ."]


def reading(encoder, **fields) -> DFERC:
    torch.manual_seed(0)
    small = {"dims": {"text": 16}, "classes": 3, "text": "encoder", "encoder": "tiny", "max_tokens": 64, "max_utterance_tokens": 20, "disentangled_dim": 6, "dropout": 0.0}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="DF-ERC on text alone")
        return DFERC(DFERCConfig(**{**small, **fields}), encoder=encoder).eval()


def test_an_utterance_is_the_mean_of_its_span_in_the_whole_dialogue(encoder):
    built = reading(encoder)
    found = built.encoding(Batch.collate([talk(TEXTS), talk(TEXTS[:2], "e")], modalities=[]))
    assert found.shape == (2, 6, 16) and (found[1, 2:] == 0).all()
    token = encoder.tokenizer.convert_tokens_to_ids
    for b, texts in enumerate((TEXTS, TEXTS[:2])):
        words = [[token(w) for w in text.split()] or [encoder.sep] for text in texts]
        sequence = torch.tensor([[encoder.cls, *(w for u in words for w in u), encoder.sep]])
        hidden = encoder.model(input_ids=sequence).last_hidden_state[0]
        place = 1
        for i, u in enumerate(words):
            assert torch.allclose(found[b, i], hidden[place : place + len(u)].mean(0), atol=1e-5)
            place += len(u)


def test_a_long_dialogue_is_read_in_parts_and_no_utterance_is_lost(encoder):
    texts = [TEXTS[i % 6] for i in range(40)]
    built = reading(encoder, max_tokens=24, max_utterance_tokens=10, overlap=2)
    found = built.encoding(Batch.collate([talk(texts)], modalities=[]))
    assert found.shape == (1, 40, 16) and (found[0].abs().sum(-1) > 0).all() and torch.isfinite(found).all()
    room, pieces = 22, [encoder.token_ids([t])[0][:10] or [encoder.sep] for t in texts]
    for read, kept in parts([len(p) for p in pieces], room, 2):  # each part by hand
        sequence = torch.tensor([[encoder.cls, *(w for i in read for w in pieces[i]), encoder.sep]])
        hidden = encoder.model(input_ids=sequence).last_hidden_state[0]
        place = 1
        for i in read:
            if i in kept:
                assert torch.allclose(found[0, i], hidden[place : place + len(pieces[i])].mean(0), atol=1e-5), i
            place += len(pieces[i])
    found.sum().backward()
    assert any((p.grad != 0).any() for p in built.encoding.encoder.parameters())


@pytest.mark.parametrize("seed", range(30))
def test_parts_cover_everything_once_within_the_limit(seed):
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (int(torch.randint(1, 60, (1,), generator=g)),), generator=g).tolist()
    room, overlap = int(torch.randint(12, 40, (1,), generator=g)), int(torch.randint(0, 5, (1,), generator=g))
    found = parts(lengths, room, overlap)
    kept = [i for _, mine in found for i in mine]
    assert kept == list(range(len(lengths))), "every utterance once, in order"
    for read, mine in found:
        assert sum(lengths[i] for i in read) <= room and set(mine) <= set(read)
    for (one, _), (other, _) in zip(found, found[1:], strict=False):
        assert other.start > one.start and other.stop > one.stop and one.stop - other.start <= overlap and other.start <= one.stop


def test_parts_by_hand():
    """Ten utterances of 10 tokens, room for 40, overlap 2: 0-3, 2-5, 4-7, 6-9; of two shared ones each part keeps one."""
    found = parts([10] * 10, 40, 2)
    assert [(list(r), list(m)) for r, m in found] == [
        ([0, 1, 2, 3], [0, 1, 2]), ([2, 3, 4, 5], [3, 4]), ([4, 5, 6, 7], [5, 6]), ([6, 7, 8, 9], [7, 8, 9]),
    ]  # fmt: skip
    # The last part has room for one more utterance of the overlap than it needs: it is shared all the same.
    assert [(list(r), list(m)) for r, m in parts([10, 10, 10, 10, 10], 40, 2)] == [([0, 1, 2, 3], [0, 1, 2]), ([2, 3, 4], [3, 4])]
    assert parts([3, 3], 10, 2) == [(range(2), range(2))] and parts([5], 3, 0) == [(range(1), range(1))]


def test_a_long_utterance_is_cut_and_reported_once(encoder):
    built = reading(encoder, max_utterance_tokens=2)
    data = Batch.collate([talk(TEXTS)], modalities=[])
    with pytest.warns(UserWarning, match="'d/0' has 3 tokens, more than max_utterance_tokens = 2") as seen:
        built.encoding(data), built.encoding(data)
    assert len(seen) == 1 and built.encoding.count_cut(TEXTS) == 3
    assert built.describe_encoder(TEXTS)["utterances_cut"] == 3


def test_the_encoder_learns_at_its_own_rate(encoder):
    settings = DFERCConfig(text="encoder", dims={"text": 16}).training_settings()
    assert settings["parameter_groups"] == {"encoding.encoder": 1e-5} and settings["learning_rate"] == 1e-3
    built = reading(encoder).train()
    data = Batch.collate([talk(TEXTS)], modalities=[])
    built.objective(built(data), data)["total"].backward()
    assert any(p.grad is not None and (p.grad != 0).any() for n, p in built.named_parameters() if n.startswith("encoding.encoder"))


# Parameters and bad input


def test_parameter_counts_of_the_paper_s_sizes():
    def mlp(width, hidden, out):
        return width * hidden + hidden + hidden * out + out

    c = DFERCConfig.meld()
    joined = {m: w + 600 for m, w in c.dims.items()}
    expected = sum(2 * mlp(w, 300, 300) for w in c.dims.values())
    expected += sum(w * 500 + 500 + mlp(w, 300, 7) + mlp(w, 300, 1) + mlp(w, 500, 500) for w in joined.values())
    expected += 2 * (4 * 300 * (500 + 300) + 8 * 300) + mlp(500 + 600, 300, 7)
    assert sum(p.numel() for p in DFERC(c).parameters()) == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"alpha_contrast": 0}, "alpha_contrast.*greater than 0"),
        ({"alpha_similarity": 1.5}, "alpha_similarity.*less than or equal to 1"),
        ({"modality_temperature": 0}, "modality_temperature.*greater than 0"),
        ({"context": "full", "margin": 0.2}, "margin: given, but context is 'full'"),
        ({"encoder": "bert-base-uncased"}, "encoder: given, but text is 'features'"),
        ({"text": "encoder", "dims": {"audio": 5}}, "add text with the encoder's width"),
        ({"text": "encoder", "max_tokens": 100}, "max_utterance_tokens 256 does not fit"),
        ({"modality_temperature": float("inf")}, "modality_temperature.*finite"),
        ({"modality_level": False, "modality_temperature": 0.4}, "modality_temperature: given, but modality_level is False"),
        ({"modality_level": False, "utterance_level": False, "alpha_contrast": 0.1}, "alpha_contrast: given, but neither level is there"),
        ({"fusion": "sum", "alpha_contribution": 0.1}, "alpha_contribution: given, but fusion is 'sum'"),
        ({"tempreture": 1}, "Extra inputs"),
    ],
)
def test_bad_configurations(fields, words):
    with pytest.raises(ConfigError, match=words):
        config(**fields)


def test_an_encoder_that_is_missing_or_not_asked_for(encoder):
    with pytest.raises(ConfigError, match="needs the encoder itself"):
        DFERC(DFERCConfig(text="encoder", dims={"text": 16}))
    with pytest.raises(ConfigError, match="takes no encoder"):
        DFERC(config(), encoder=encoder)
    with pytest.raises(ConfigError, match="64 positions; lower max_tokens"):
        reading(encoder, max_tokens=100)


def test_labels_of_dimensions_are_refused():
    data = Batch.collate([Dialogue(d.id, d.speakers, torch.rand(len(d), 4), d.features) for d in toy()])
    built = model()
    with pytest.raises(DataError, match="classes"):
        built.objective(built(data), data)


def test_the_settings_of_4_1_and_the_appendix():
    meld, iemocap = DFERCConfig.meld(), DFERCConfig.iemocap()
    assert (meld.alpha_contrast, meld.alpha_contribution, meld.alpha_similarity, meld.batch_size, meld.classes) == (0.3, 0.8, 0.3, 8, 7)
    assert (iemocap.alpha_contrast, iemocap.alpha_contribution, iemocap.alpha_similarity, iemocap.batch_size, iemocap.classes) == (0.2, 0.9, 1.0, 4, 6)
    assert (meld.dims, iemocap.dims["audio"]) == ({"text": 1024, "audio": 300, "visual": 342}, 1582)
    assert (meld.modality_temperature, meld.utterance_temperature, meld.margin, meld.dropout, meld.disentangled_dim, meld.aligned_dim, meld.lstm_hidden) == (0.5, 0.3, 0.1, 0.2, 300, 500, 300)
    training = TrainingConfig(**meld.training_settings())
    assert (training.optimizer, training.learning_rate, training.weight_decay, training.warmup_steps, training.clip_norm, training.epochs) == ("adamw", 1e-3, 0.01, 100, 1.0, 10)
    assert (training.schedule, training.batch_size) == ("linear", 8)
    tuned = DFERCConfig(text="encoder", encoder="tiny", dims={"text": 16}).training_settings()
    assert tuned["parameter_groups"] == {"encoding.encoder": 1e-5}


@pytest.mark.parametrize("fields", [{"modality_level": False, "utterance_level": False}, {"fusion": "sum"}, {"context": "zero"}])
def test_every_ablation_has_the_presets_of_both_corpora(fields):
    for preset in (DFERCConfig.meld, DFERCConfig.iemocap):
        assert preset(**fields).dims


def test_every_ablation_of_table_2_is_a_configuration():
    assert set(typing.get_args(DFERCConfig.model_fields["fusion"].annotation)) == {"contribution", "sum", "attention"}
    assert set(typing.get_args(DFERCConfig.model_fields["context"].annotation)) == {"refusion", *CONTEXTS}
