from __future__ import annotations

import pytest
import torch

from erc_lib.data import Batch
from erc_lib.errors import ConfigError, DataError
from erc_lib.layers import Packing
from erc_lib.layers import packing as packing_module
from erc_lib.losses import soft_hgr_loss, swfc_loss
from erc_lib.papers.multiemo import MultiEMO, MultiEMOConfig
from erc_lib.papers.multiemo.multiattn import MultiAttn, MultiAttnLayer
from erc_lib.papers.multiemo.released import _released_names
from tests.losses.test_swfc import golden
from tests.papers import invariants
from tests.papers.invariants import WIDTHS, toy

SMALL = {"dims": WIDTHS, "classes": 4, "model_dim": 16, "layers": 2, "heads": 4, "feedforward": 32, "classifier_hidden": 8, "dropout": 0.0}
VARIANTS = {
    "paper": {},
    "two-stage": {"text_context": "transformer", "text_context_layers": 1},
    "two-stage, normed": {"text_context": "transformer", "text_context_norm": True},
    "bidirectional": {"bidirectional": True, "context_attention": "general", "context_activation": "relu", "project_first": True},
    "eq. 2 as printed": {"audio_stage_values": "printed"},
    "without MultiAttn": {"fusion": "concatenation"},
    "within dialogues": {"swfc_scope": "dialogue"},
    "released": {"variant": "released", "class_counts": (5, 4, 3, 2), "mask_padding": True, "text_context": "dialogue_rnn"},
}


def config(**fields) -> MultiEMOConfig:
    return MultiEMOConfig(**{**SMALL, **fields})


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_invariants(fields):
    torch.manual_seed(0)
    model, data = MultiEMO(config(**fields)), toy()
    invariants.padding_changes_nothing(model, data)
    invariants.order_changes_nothing(model, data)
    invariants.every_parameter_learns(model, data)


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_mixed_precision_trains_on_the_same_loss(fields):
    torch.manual_seed(0)
    model, batch = MultiEMO(config(**fields)), Batch.collate(toy())
    exact = model.objective(model(batch), batch)["total"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model.objective(model(batch), batch)["total"]
    mixed.backward()
    assert mixed.dtype == torch.float32 and mixed.item() == pytest.approx(exact.item(), rel=0.02)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_it_overfits_one_batch_and_repeats_itself():
    torch.manual_seed(0)
    invariants.overfits_one_batch(MultiEMO(config()), toy())
    invariants.same_seed_same_numbers(lambda: MultiEMO(config(dropout=0.3)), toy())


@pytest.mark.parametrize("modalities", [("text",), ("audio",), ("visual",), ("text", "audio"), ("text", "visual"), ("audio", "visual")])
def test_any_subset_of_modalities(modalities):
    torch.manual_seed(0)
    model = MultiEMO(config(dims={m: WIDTHS[m] for m in modalities}))
    batch = Batch.collate(toy(), modalities)
    output = model(batch)
    assert output.logits.shape == (3, 6, 4) and list(output.fused) == list(modalities)
    assert ("soft_hgr" in model.objective(output, batch)) == (len(modalities) > 1)
    invariants.every_parameter_learns(model, [d.only(modalities) for d in toy()])


def test_parameter_count_is_the_documented_one():
    """Counted by hand from the equations; ``multiemo/README.md`` states the figure for the paper's widths."""
    d, f, t, c, hidden = 256, 1024, 6, 7, 256
    gru = 3 * d * (512 + d) + 3 * d * d + 2 * 3 * d
    audio = 2 * gru + (6 * d * d + 6 * d) + d  # global and party GRUs, emotion GRU, attention scores
    gru_v = 3 * d * (1000 + d) + 3 * d * d + 2 * 3 * d
    visual = 2 * gru_v + (6 * d * d + 6 * d) + d
    layer = 2 * 4 * d * d + 3 * 2 * d + d * f + f + f * d + d
    head = (3 * d * d + d) + (d * hidden + hidden) + (hidden * c + c)
    expected = 768 * d + d + audio + visual + 3 * t * layer + head
    assert sum(p.numel() for p in MultiEMO(MultiEMOConfig.meld()).parameters()) == expected == 24_077_831


def test_multiattn_equals_the_released_code():
    d = golden("multiattn.npz")
    released = config(variant="released", class_counts=(1,) * 4, dims=dict.fromkeys(WIDTHS, 16), heads=4, feedforward=32)
    model = MultiAttn(released).eval()
    names = {n: [t.removeprefix("multiattn.") for t in _released_names(f"multiattn.{n}", 4)] for n in model.state_dict()}
    model.load_state_dict({n: torch.cat([torch.tensor(d[f"sd/{t}"]) for t in theirs]) for n, theirs in names.items()})
    contextual = {m: torch.tensor(d[m]) for m in WIDTHS}
    lengths = torch.tensor(d["lengths"])
    real = torch.arange(10)[None] < lengths[:, None]
    everything, masked = model(contextual, torch.ones_like(real)), model(contextual, real)
    for m in WIDTHS:
        assert (everything[m] - torch.tensor(d[f"f_{m[0]}"])).abs().max() < 1e-5
        for b, n in enumerate(lengths):
            assert (masked[m][b, :n] - torch.tensor(d[f"solo{b}_f_{m[0]}"])).abs().max() < 1e-5


def stages(layer: MultiAttnLayer, x, a, v):
    """The layer on one dialogue whose partners are a and v."""
    return layer(x, [a, v], Packing(torch.ones(1, len(x), dtype=torch.bool)).parts[0])


def test_one_layer_by_hand():
    """Eq. 2-12 with the layer's own projections, one dialogue, plain matrix products."""
    torch.manual_seed(0)
    layer = MultiAttnLayer(config(heads=1), partners=2).eval()
    x, a, v = torch.randn(3, 5, 16).unbind(0)
    for attention, norm, keys in zip(layer.attentions, layer.attention_norms, (a, v), strict=True):
        q, k, value = x @ attention.query.weight.T, keys @ attention.key.weight.T, keys @ attention.value.weight.T
        x_next = x + torch.softmax(q @ k.T / 4, dim=-1) @ value @ attention.output.weight.T
        x_before, x = x, norm(x_next)
    hidden = (x @ layer.feedforward_in.weight.T + layer.feedforward_in.bias).clamp_min(0)
    expected = layer.feedforward_norm(x + hidden @ layer.feedforward_out.weight.T + layer.feedforward_out.bias)
    torch.manual_seed(0)
    again = MultiAttnLayer(config(heads=1), partners=2).eval()
    x, a, v = torch.randn(3, 5, 16).unbind(0)
    assert torch.allclose(stages(again, x, a, v), expected, atol=1e-6)
    assert x_before.shape == x.shape


def test_equation_2_as_printed_takes_the_other_modality_s_values():
    torch.manual_seed(0)
    keys, printed = (MultiAttnLayer(config(audio_stage_values=v), partners=2).eval() for v in ("keys", "printed"))
    printed.load_state_dict(keys.state_dict())
    x, a, v = torch.randn(3, 5, 16).unbind(0)
    assert torch.allclose(stages(keys, x, a, a), stages(printed, x, a, a), atol=1e-6)  # both partners alike
    assert not torch.allclose(stages(keys, x, a, v), stages(printed, x, a, v), atol=1e-3)


@pytest.mark.parametrize(("limit", "again"), [(1.0, 0), (0.0, 33), (4 * 2 * 10 * (16 * 16 + 32) / 2**30, 23)])
def test_a_limit_on_activations_changes_no_gradient(limit, again, monkeypatch):
    """11 utterances in three branches; ten rows of two layers fit into the last limit."""
    monkeypatch.setitem(packing_module.GROUP_COST, "cpu", 0)
    monkeypatch.setitem(packing_module.PART_ROWS, "cpu", 1)  # a part per length
    torch.manual_seed(0)
    model, batch = MultiEMO(config(dropout=0.3)), Batch.collate(toy())
    packing = Packing(batch.mask)
    assert [p.rows for p in packing.parts] == [6, 4, 1]

    def gradients(limit):
        torch.manual_seed(1)
        model.zero_grad()
        model.multiattn.activation_memory = limit
        assert limit == 1.0 or model.multiattn._rows_again(packing, batch.mask.device) == again
        model.objective(model(batch), batch)["total"].backward()
        return [p.grad.clone() for p in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(gradients(1.0), gradients(limit), strict=True))


def test_without_multiattn_features_are_concatenated():
    model = MultiEMO(config(fusion="concatenation")).eval()
    output = model(Batch.collate(toy()))
    assert all(torch.equal(output.fused[m], output.contextual[m]) for m in WIDTHS)
    assert torch.allclose(output.embedding, model.embed(torch.cat(list(output.contextual.values()), -1)), atol=1e-6)


def test_the_objective_is_equation_22():
    torch.manual_seed(0)
    model, batch = MultiEMO(config(mu_swfc=0.4, mu_hgr=0.3)).eval(), Batch.collate(toy())
    output = model(batch)
    terms = model.objective(output, batch)
    real, n = batch.mask, 11
    y = batch.labels[real]
    swfc = swfc_loss(output.embedding[real], y, temperature=0.8, alpha=0.8, gamma=2.0)
    hgr = soft_hgr_loss([output.fused[m][real] for m in WIDTHS])
    ce = -sum(torch.log_softmax(output.logits[real], -1)[i, y[i]] for i in range(n))
    assert terms["total"].item() == pytest.approx(((0.4 * swfc + 0.3 * hgr + 0.3 * ce) / n).item(), rel=1e-5)
    assert terms["total"].item() == pytest.approx(sum(v.item() for k, v in terms.items() if k != "total"), rel=1e-5)
    without = MultiEMO(config(use_swfc=False)).objective(output, batch)
    assert "swfc" not in without and without["cross_entropy"].item() == pytest.approx((0.3 * ce / n).item(), rel=1e-5)


def test_presets_are_section_4_3_and_the_released_scripts():
    paper, released = MultiEMOConfig.iemocap(), MultiEMOConfig.iemocap(variant="released", class_counts=(1,) * 6)
    assert (paper.layers, paper.temperature, paper.swfc_alpha, paper.swfc_gamma, paper.mu_swfc, paper.mu_hgr) == (6, 0.8, 0.8, 2.0, 0.4, 0.3)
    assert paper.training_settings()["weight_decay"] == pytest.approx(2e-5) and paper.training_settings()["betas"] == (0.9, 0.99)
    assert released.training_settings()["weight_decay"] == pytest.approx(1e-5) and released.training_settings()["schedule"] == "plateau"
    assert (released.swfc_alpha, released.swfc_gamma, released.bidirectional, released.text_context) == (1.1, 2.4, True, "dialogue_rnn")
    meld = MultiEMOConfig.meld(variant="released", class_counts=(1,) * 7)
    assert (meld.layers, meld.epochs, meld.temperature, meld.bidirectional, meld.classifier_hidden) == (2, 15, 1.4, False, 512)
    assert MultiEMOConfig.meld(variant="released", layers=3).layers == 3  # a field named explicitly wins


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layer": 2}, "layer: Extra inputs"), ({"dims": {}}, "at least one modality"), ({"dims": {"smell": 3}}, "dims.smell"),
        ({"model_dim": 18}, "not divisible by heads"), ({"mu_swfc": 0.8, "mu_hgr": 0.3}, "exceed 1"), ({"temperature": 0}, "temperature"),
        ({"class_counts": (1, 2)}, "2 entries for 4 classes"), ({"dropout": 1.0}, "dropout"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_meant_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        config(**fields)


def test_bad_batches_are_refused():
    model = MultiEMO(config())
    with pytest.raises(DataError, match="no audio features"):
        model(Batch.collate(toy(), ["text", "visual"]))
    with pytest.raises(DataError, match="width 7, the batch has 3"):
        model(Batch.collate(toy(widths={**WIDTHS, "text": 3})))
    with pytest.raises(DataError, match="raise max_speakers"):
        MultiEMO(config(text_context="transformer", max_speakers=1))(Batch.collate(toy()))
    with pytest.raises(ConfigError, match="class_counts"):
        MultiEMO(config(variant="released"))
