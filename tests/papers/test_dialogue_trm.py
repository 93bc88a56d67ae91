from __future__ import annotations

import typing

import numpy as np
import pytest
import torch
from torch import nn

from erc_lib.data import Batch, Corpus, Dialogue
from erc_lib.errors import ConfigError, DataError
from erc_lib.papers.dialogue_trm import DialogueTRM, DialogueTRMConfig, conv_context, indi_context
from erc_lib.papers.dialogue_trm.config import Fusion
from erc_lib.papers.dialogue_trm.fusion import GMU, CompactBilinear
from erc_lib.papers.dialogue_trm.gate import Gates
from erc_lib.training import TrainingConfig, fit
from tests.papers import invariants
from tests.papers.invariants import WIDTHS, toy

FUSIONS = typing.get_args(Fusion)
SMALL = {
    "dims": WIDTHS, "classes": 4, "model_dim": 16, "intra_layers": 2, "intra_heads": 4, "inter_layers": 1, "inter_heads": 2,
    "feedforward": 32, "bilinear_dim": 64, "context_window": 2, "dropout": 0.0,
}  # fmt: skip


def config(**fields) -> DialogueTRMConfig:
    return DialogueTRMConfig(**{**SMALL, **fields})


def model(**fields) -> DialogueTRM:
    torch.manual_seed(0)
    return DialogueTRM(config(**fields)).eval()


def test_contexts_are_those_of_table_1():
    """x1..x8 spoken by 1 1 2 1 3 2 1 2, K = 5, target x7; the paper counts from 1."""
    speakers, turn = [1, 1, 2, 1, 3, 2, 1, 2], 6
    assert [t + 1 for t in conv_context(turn, 5)] == [2, 3, 4, 5, 6]
    assert [t + 1 for t in indi_context(speakers, turn, 5)] == [2, 4]
    assert conv_context(0, 5) == [] and indi_context(speakers, 3, 0) == [] and conv_context(2, 9) == [0, 1]
    with pytest.raises(ConfigError, match="cannot be -1"):
        conv_context(3, -1)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_invariants(fusion):
    built, data = model(fusion=fusion), toy()
    invariants.padding_changes_nothing(built, data)
    invariants.order_changes_nothing(built, data)
    invariants.every_parameter_learns(built, data)


def test_it_overfits_one_batch_and_repeats_itself():
    invariants.overfits_one_batch(model(), toy())
    invariants.same_seed_same_numbers(lambda: DialogueTRM(config(dropout=0.3)), toy())


@pytest.mark.parametrize("modalities", [("text",), ("audio",), ("visual",), ("text", "audio"), ("text", "visual"), ("audio", "visual")])
def test_any_subset_of_modalities(modalities):
    dims = {m: WIDTHS[m] for m in modalities}
    for fusion in FUSIONS if len(modalities) > 1 else ("mgif",):
        built = model(dims=dims, fusion=fusion)
        assert built(Batch.collate(toy(), modalities)).logits.shape == (3, 6, 4)
        invariants.every_parameter_learns(built, [d.only(modalities) for d in toy()])


def perturbed(built: DialogueTRM, turn: int, modality: str, length: int = 6) -> torch.Tensor:
    """How much each turn's logits move (L,) when one modality of ``turn`` changes."""
    (dialogue,) = toy(lengths=(length,))
    before, batch = built(Batch.collate([dialogue])).logits[0], Batch.collate([dialogue])
    batch.features[modality][0, turn] += 1.0
    return (built(batch).logits[0] - before).abs().amax(-1).detach()


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("setting", ["window", "self"])
def test_nothing_later_matters_and_self_means_alone(fusion, setting):
    built = model(fusion=fusion, context=dict.fromkeys(WIDTHS, setting))
    for modality in WIDTHS:
        moved = perturbed(built, 3, modality)
        assert (moved[:3] == 0).all() and moved[3] > 1e-5
        if setting == "self" and fusion != "mult":
            assert (moved[4:] == 0).all()
        else:
            assert moved[4] > 1e-7


def test_one_layer_sees_k_turns_back_and_no_more():
    built = model(intra_layers=1, context_window=2)
    moved = perturbed(built, 0, "text")
    assert (moved[:3] > 1e-7).all() and (moved[3:] == 0).all()
    deeper = perturbed(model(intra_layers=2, context_window=2), 0, "text")  # two layers reach twice as far
    assert (deeper[:5] > 0).all() and deeper[5] == 0


def test_a_window_of_zero_is_the_self_mask():
    zero, alone = model(context_window=0), model(context=dict.fromkeys(WIDTHS, "self"))
    batch = Batch.collate(toy())
    assert torch.allclose(zero(batch).logits[batch.mask], alone(batch).logits[batch.mask], atol=1e-6)


def test_the_self_mask_equals_masked_attention():
    """The context-free Transformer against the same one with the mask of eq. 6 over the whole dialogue."""
    built, batch = model(), Batch.collate(toy())
    intra = built.intra["audio"]
    x = intra.project(batch.features["audio"])
    masked = intra.transformer(x, mask=~torch.eye(x.shape[1], dtype=torch.bool))
    assert torch.allclose(masked[batch.mask], intra(batch.features["audio"], batch.mask)[batch.mask], atol=1e-6)


def test_the_gate_by_hand():
    gates = Gates(config(dims={"text": 7, "audio": 5}))
    r = {"text": torch.randn(3, 16), "audio": torch.randn(3, 16)}
    gated, z = gates(r)
    w = gates.weights["text_audio"].weight
    for n in range(3):
        together = torch.cat([r["text"][n], r["audio"][n]])
        for i in range(16):
            weight = 1 / (1 + torch.exp(-sum(w[i, j] * together[j] for j in range(32))))
            h_u = torch.tanh(gates.mappings["text"].weight[i] @ r["text"][n])
            h_a = torch.tanh(gates.mappings["audio"].weight[i] @ r["audio"][n])
            assert z[("text", "audio")][n, i].item() == pytest.approx(weight.item(), abs=1e-5)
            assert gated[0][n, i].item() == pytest.approx((weight * h_u).item(), abs=1e-5)
            assert gated[1][n, i].item() == pytest.approx(((1 - weight) * h_a).item(), abs=1e-5)


def test_the_sequence_of_equation_15():
    """eCLS first, then ua, au, uv, vu, av, va; two vectors with two modalities."""
    seen = []
    built = model()
    built.fusion.transformer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    batch = Batch.collate(toy())
    output = built(batch)
    (sequence,) = seen
    assert sequence.shape == (11, 7, 16) and torch.equal(sequence[:, 0], built.fusion.e_cls.expand(11, -1))
    turns = {m: x[batch.mask] for m, x in output.intra.items()}
    h = {m: torch.tanh(built.fusion.gates_of_pairs.mappings[m](x)) for m, x in turns.items()}
    z = output.gates
    for place, (m, pair, keep) in enumerate(
        [("text", ("text", "audio"), 1), ("audio", ("text", "audio"), 0), ("text", ("text", "visual"), 1), ("visual", ("text", "visual"), 0),
         ("audio", ("audio", "visual"), 1), ("visual", ("audio", "visual"), 0)], start=1,
    ):  # fmt: skip
        assert torch.allclose(sequence[:, place], (z[pair] if keep else 1 - z[pair]) * h[m], atol=1e-6)
    two = model(dims={"text": 7, "audio": 5})
    seen.clear()
    two.fusion.transformer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    two(Batch.collate(toy(), ["text", "audio"]))
    assert seen[0].shape == (11, 3, 16)


def test_compact_bilinear_is_the_sketch_of_the_outer_product():
    """Against Fukui et al.'s definition: entry (i, j) of the outer product goes to place (p_i + q_j) mod d with sign s_i t_j."""
    torch.manual_seed(0)
    layer = CompactBilinear(config(dims={"text": 7, "audio": 5}))
    x, y = torch.randn(16), torch.randn(16)
    sketch = torch.zeros(64)
    for i in range(16):
        for j in range(16):
            sketch[(layer.place_text[i] + layer.place_audio[j]) % 64] += layer.sign_text[i] * x[i] * layer.sign_audio[j] * y[j]
    expected = nn.functional.normalize(sketch.sign() * (sketch.abs() + 1e-8).sqrt(), dim=0)
    mask = torch.ones(1, 1, dtype=torch.bool)
    assert torch.allclose(layer({"text": x[None, None], "audio": y[None, None]}, mask)[0][0], expected, atol=1e-4)


def test_gmu_by_hand():
    """Two modalities share one gate, three have one each."""
    torch.manual_seed(0)
    mask = torch.ones(1, 1, dtype=torch.bool)
    r = {"text": torch.randn(16), "audio": torch.randn(16), "visual": torch.randn(16)}
    two, three = GMU(config(dims={"text": 7, "audio": 5})), GMU(config())
    z = torch.sigmoid(two.weights["text"].weight @ torch.cat([r["text"], r["audio"]]))
    h = {m: torch.tanh(two.mappings[m].weight @ r[m]) for m in ("text", "audio")}
    found = two({m: r[m][None, None] for m in ("text", "audio")}, mask)[0][0]
    assert torch.allclose(found, z * h["text"] + (1 - z) * h["audio"], atol=1e-6)
    everything = torch.cat(list(r.values()))
    expected = sum(torch.sigmoid(three.weights[m].weight @ everything) * torch.tanh(three.mappings[m].weight @ v) for m, v in r.items())
    assert torch.allclose(three({m: v[None, None] for m, v in r.items()}, mask)[0][0], expected, atol=1e-6)


def test_simple_fusions():
    batch = Batch.collate(toy())
    ways = {
        "additive": lambda *x: sum(x), "max_pooling": lambda *x: torch.stack(x).amax(0), "concatenation": lambda *x: torch.cat(x, -1),
    }  # fmt: skip
    for fusion, combine in ways.items():
        output = model(fusion=fusion)(batch)
        assert torch.allclose(output.embedding[batch.mask], combine(*(r[batch.mask] for r in output.intra.values())))


def test_the_dimensional_head_fits_real_numbers():
    built = model(head="dimensional")
    batch = Batch.collate(toy())
    batch.labels = torch.randn(3, 6, 4).masked_fill(~batch.mask[..., None], float("nan"))
    output = built(batch)
    loss = built.objective(output, batch)["total"]
    assert loss.item() == pytest.approx(((output.logits - batch.labels)[batch.mask] ** 2).mean().item(), rel=1e-6)
    with pytest.raises(DataError, match="categorical head, but the corpus is labelled with dimensions"):
        model().objective(output, batch)
    with pytest.raises(DataError, match="dimensional head, but the corpus is labelled with classes"):
        built.objective(output, Batch.collate(toy()))


def test_parameter_count_is_the_documented_one():
    """Counted by hand from the equations; ``dialogue_trm/README.md`` states the figure."""
    d, f = 768, 2048
    layer = 4 * (d * d + d) + d * f + f + f * d + d + 4 * d
    projections = (768 + 100 + 512) * d + 3 * d
    gates = 3 * d * d + 3 * 2 * d * d
    head = d * d + d + d * 6 + 6
    expected = projections + 3 * 6 * layer + gates + 4 * layer + d + head
    assert sum(p.numel() for p in DialogueTRM(DialogueTRMConfig.iemocap()).parameters()) == expected == 128_274_182


def test_bad_input():
    with pytest.raises(ConfigError, match="context_window: .*greater than or equal to 0"):
        config(context_window=-1)
    with pytest.raises(ConfigError, match="no visual stream.*Leave visual out"):
        DialogueTRMConfig.meld(dims=WIDTHS)
    with pytest.raises(ConfigError, match="needs a second modality"):
        config(dims={"text": 7}, fusion="gmu")
    with pytest.raises(ConfigError, match="context says nothing of audio"):
        config(context={"text": "window", "visual": "self"})
    with pytest.raises(ConfigError, match="did you mean context_window"):
        config(contextwindow=3)
    with pytest.raises(DataError, match="the batch has no visual features"):
        model()(Batch.collate(toy(), ["text", "audio"]))
    with pytest.raises(DataError, match="width 7, the batch has 9"):
        model()(Batch.collate(toy(widths={**WIDTHS, "text": 9})))


def test_a_training_on_dimensions_from_end_to_end():
    """Labels are a linear map of the features, so the correlation must rise; selection and predictions are of dimensions."""
    to_labels = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))

    def with_dimensions(dialogues, seed):
        return [Dialogue(f"{len(dialogues)}-{seed}/{d.id}", d.speakers, d.features["text"] @ to_labels, d.features) for d in dialogues]

    splits = [with_dimensions(toy(lengths=(6,) * n, seed=seed), seed) for seed, n in enumerate((40, 10, 10))]
    corpus = Corpus("dimensions", *splits, ("valence", "arousal", "expectancy", "power"))
    built = model(head="dimensional", dims={"text": 7}, context={"text": "self"})
    result = fit(built, corpus, TrainingConfig(epochs=12, batch_size=8, learning_rate=5e-3, schedule="none"), seed=0, progress=False)
    assert result.metrics["test"]["mean_pearson"] > 0.8 and len(result.metrics["test"]["pearson"]) == 4
    assert result.best_epoch == int(result.history["val_mean_pearson"].idxmax()) + 1
    assert result.metrics["test_best_epoch"]["mean_pearson"] == pytest.approx(result.history["test_mean_pearson_monitor"].max())
    test = result.predictions[result.predictions["split"] == "test"]
    r = [np.corrcoef(test[f"label_{c}"], test[f"predicted_{c}"])[0, 1] for c in range(4)]
    assert r == pytest.approx(result.metrics["test"]["pearson"], abs=1e-5)
