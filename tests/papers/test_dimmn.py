from __future__ import annotations

import pytest
import torch

from erc_lib.data import Batch, Dialogue
from erc_lib.errors import ConfigError, DataError
from erc_lib.papers.dimmn import DIMMN, DIMMNConfig, receptive_field
from erc_lib.papers.dimmn.config import PAIRINGS
from erc_lib.papers.dimmn.memory import ConversationMemory
from erc_lib.papers.dimmn.multiview import MultiviewFusion, shares
from erc_lib.papers.dimmn.recurrent import GRU
from erc_lib.papers.dimmn.speaker import TCN, OwnTurns
from tests.papers import invariants
from tests.papers.invariants import WIDTHS, toy
from tests.reference import dimmn as slow

SMALL = {"dims": WIDTHS, "classes": 4, "model_dim": 16, "kernel_size": 3, "tcn_layers": 2, "dropout": 0.0}
VARIANTS = [
    {}, {"multiview": False}, {"share_levels": False}, {"levels": 1}, {"reset": "after"}, {"memory": "before"}, {"memory": "dialogue"}, {"hops": 1},
    {"memory_window": 2}, {"memory": "before", "memory_window": 2}, {"tcn_convolutions": 1}, *({"pairing": p} for p in PAIRINGS),
]  # fmt: skip


def config(**fields) -> DIMMNConfig:
    return DIMMNConfig(**{**SMALL, **fields})


def model(**fields) -> DIMMN:
    torch.manual_seed(0)
    return DIMMN(config(**fields)).eval()


def without_tcn() -> DIMMN:
    torch.manual_seed(0)
    return DIMMN(DIMMNConfig(dims=WIDTHS, classes=4, model_dim=16, dropout=0.0, speaker_context="gru")).eval()


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_invariants(fields):
    built, data = model(**fields), toy()
    invariants.padding_changes_nothing(built, data)
    invariants.order_changes_nothing(built, data)
    invariants.every_parameter_learns(built, data)


def test_invariants_without_tcn():
    invariants.padding_changes_nothing(without_tcn(), toy())
    invariants.order_changes_nothing(without_tcn(), toy())
    invariants.every_parameter_learns(without_tcn(), toy())


def test_it_overfits_one_batch_and_repeats_itself():
    invariants.overfits_one_batch(model(), toy())
    invariants.overfits_one_batch(without_tcn(), toy())
    invariants.same_seed_same_numbers(lambda: DIMMN(config(dropout=0.3)), toy())


@pytest.mark.parametrize("modalities", [("text",), ("audio",), ("visual",), ("text", "audio"), ("text", "visual"), ("audio", "visual")])
def test_any_subset_of_modalities(modalities):
    built = model(dims={m: WIDTHS[m] for m in modalities})
    assert built(Batch.collate(toy(), modalities)).logits.shape == (3, 6, 4)
    invariants.every_parameter_learns(built, [d.only(modalities) for d in toy()])


# Multiview fusion, eq. 1-17


def fusion_of(fields, letters=("TA", "VA")):
    """A fusion, its turns, and the same by the slow loops."""
    torch.manual_seed(1)
    fusion = MultiviewFusion(config(**fields)).double()
    features = {m: torch.randn(5, width, dtype=torch.float64) for m, width in WIDTHS.items()}
    by_letter = {"T": "text", "A": "audio", "V": "visual"}
    levels = fields.get("levels", 3) if fields.get("multiview", True) else 1
    weights = []
    for level in range(levels):
        ta, va = fusion.networks[level if fields.get("share_levels") is False else 0]
        weights.append((ta.W.weight, ta.w.weight[0], va.W.weight, va.w.weight[0]))
    expected, attention = [], []
    for n in range(5):
        columns = {c: fusion.project[m].weight @ features[m][n] + fusion.project[m].bias for c, m in by_letter.items()}
        B_ta, B_va = (torch.stack([columns[c] for c in view], dim=1) for view in letters)
        F_ta, F_va, seen = slow.multiview(B_ta, B_va, weights)
        expected.append(torch.tanh(fusion.join.weight @ torch.cat([F_ta, F_va]) + fusion.join.bias))
        attention.append(torch.stack([torch.stack(pair) for pair in seen]))
    return fusion, features, torch.stack(expected), torch.stack(attention, dim=2)


@pytest.mark.parametrize("fields", [{}, {"levels": 1}, {"levels": 4}, {"share_levels": False}, {"multiview": False}], ids=str)
def test_equations_1_to_17_turn_by_turn(fields):
    fusion, features, expected, attention = fusion_of(fields)
    U, att = fusion(features)
    assert torch.allclose(U, expected, atol=1e-10) and torch.allclose(att, attention, atol=1e-10)
    assert torch.allclose(att.sum(-1), torch.ones_like(att[..., 0]))


@pytest.mark.parametrize(("pairing", "letters"), [("TV+AV", ("TV", "AV")), ("VT+AT", ("VT", "AT")), ("TA+VA", ("TA", "VA"))])
def test_every_pairing_puts_what_is_shared_second(pairing, letters):
    fusion, features, expected, attention = fusion_of({"pairing": pairing}, letters)
    U, att = fusion(features)
    assert torch.allclose(U, expected, atol=1e-10) and torch.allclose(att, attention, atol=1e-10)


def test_the_first_level_by_hand():
    """d = 1, W = w = 1: columns 1 and 0 weigh e^tanh(1) : 1."""
    fusion = MultiviewFusion(DIMMNConfig(dims={"text": 1, "audio": 1, "visual": 1}, model_dim=1, levels=1)).double()
    with torch.no_grad():
        for p in fusion.parameters():
            p.fill_(1.0)
        for linear in [*fusion.project.values(), fusion.join]:
            linear.bias.zero_()
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    U, att = fusion({"text": one, "audio": zero, "visual": zero})
    weight = 1 / (1 + torch.exp(-torch.tanh(torch.tensor(1.0, dtype=torch.float64))))
    assert att[0, 0, 0, 0].item() == pytest.approx(weight.item()) == pytest.approx(0.68167, abs=1e-4)
    assert att[0, 1, 0].tolist() == [0.5, 0.5] and U.item() == pytest.approx(torch.tanh(weight).item())


def test_exchange_reaches_the_other_view():
    """With one level nothing is exchanged: the second view's weights are its own. From two levels on, text moves them."""
    for levels, expected in ((1, False), (2, True)):
        fusion = model(levels=levels).fusion
        features = {m: torch.randn(1, width) for m, width in WIDTHS.items()}
        other = {**features, "text": features["text"] + 1}
        moved = (fusion(features)[1][-1, 1] - fusion(other)[1][-1, 1]).abs().max() > 1e-6
        assert bool(moved) is expected


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_all_levels_come_to_one_share_per_view(levels):
    """F^(H), here as what reaches W^f, is share * first + (1 - share) * second modality."""
    fusion = model(levels=levels).fusion.double()
    features = {m: torch.randn(5, width, dtype=torch.float64) for m, width in WIDTHS.items()}
    seen = []
    fusion.join.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    share = shares(fusion(features)[1])
    T, A, V = (fusion.project[m](features[m]) for m in ("text", "audio", "visual"))
    for row, first, F in zip(share, (T, V), seen[0].chunk(2, dim=-1), strict=True):
        assert torch.allclose(row[:, None] * first + (1 - row)[:, None] * A, F, atol=1e-12) and (row > 0).all() and (row < 1).all()


def test_concatenation_attends_to_nothing():
    built = model(pairing="A+V+T")
    output = built(Batch.collate(toy()))
    assert output.view_attention is None
    features = {m: torch.randn(2, width) for m, width in WIDTHS.items()}
    columns = [built.fusion.project[m](features[m]) for m in ("audio", "visual", "text")]
    assert torch.allclose(built.fusion(features)[0], torch.tanh(built.fusion.join(torch.cat(columns, dim=-1))))


# Independent TCN, 3.3.1


def test_own_turns_come_together_and_go_back():
    speakers = torch.tensor([[0, 1, 0, 2, 1, 0], [0, 0, 0, 0, 0, 0], [5, 3, 5, 0, 0, 0]])
    mask = torch.tensor([[1] * 6, [1] + [0] * 5, [1, 1, 1, 0, 0, 0]]).bool()
    own = OwnTurns(speakers, mask)
    x = torch.arange(10.0)[:, None] + 1  # turns numbered in the order of x[mask]
    rows = own.gather(x)[..., 0].tolist()
    assert own.rows == 6 and own.length == 3
    assert rows == [[1, 3, 6], [2, 5, 0], [4, 0, 0], [7, 0, 0], [9, 0, 0], [8, 10, 0]]
    assert torch.equal(own.scatter(own.gather(x)), x)


def test_as_many_speakers_as_turns():
    speakers = torch.arange(6)[None]
    own = OwnTurns(speakers, torch.ones(1, 6, dtype=torch.bool))
    x = torch.randn(6, 2)
    assert (own.rows, own.length) == (6, 1) and torch.equal(own.gather(x)[:, 0], x)


@pytest.mark.parametrize(("kernel_size", "layers", "convolutions"), [(3, 2, 2), (2, 3, 1), (4, 4, 2)])
def test_the_tcn_speaker_by_speaker(kernel_size, layers, convolutions):
    built = model(kernel_size=kernel_size, tcn_layers=layers, tcn_convolutions=convolutions).double()
    generator = torch.Generator().manual_seed(0)
    speakers, mask = torch.randint(3, (2, 9), generator=generator), torch.ones(2, 9, dtype=torch.bool)
    mask[1, 5:] = False
    x = torch.randn(14, 16, generator=generator, dtype=torch.float64)
    own = OwnTurns(speakers, mask)
    blocks = [(b.dilation, [(c.weight, c.bias) for c in b.convolutions]) for b in built.speaker.blocks]
    places = [(b, t) for b in range(2) for t in range(9) if mask[b, t]]
    expected = torch.empty_like(x)
    for b in range(2):
        for speaker in range(3):
            rows = [n for n, (d, t) in enumerate(places) if d == b and speakers[b, t] == speaker]
            for n, y in zip(rows, slow.tcn([x[r] for r in rows], blocks), strict=True):
                expected[n] = y
    assert torch.allclose(own.scatter(built.speaker(own.gather(x))), expected, atol=1e-10)


@pytest.mark.parametrize(("kernel_size", "layers", "convolutions"), [(2, 1, 1), (2, 2, 1), (3, 2, 1), (2, 2, 2), (3, 1, 2)])
def test_the_receptive_field_is_exactly_what_is_said(kernel_size, layers, convolutions):
    field = receptive_field(kernel_size, layers, convolutions)
    torch.manual_seed(0)
    tcn = TCN(config(model_dim=64, kernel_size=kernel_size, tcn_layers=layers, tcn_convolutions=convolutions)).double()
    x = torch.randn(1, field + 4, 64, dtype=torch.float64, requires_grad=True)
    tcn(x)[0, -1].sum().backward()
    reaches = (x.grad[0].abs().sum(-1) > 0).tolist()
    assert reaches == [False] * 4 + [True] * field


def test_receptive_fields_of_the_paper():
    assert receptive_field(6, 6) == 631 and receptive_field(3, 5) == 125 and receptive_field(3, 5, 1) == 63


def test_only_the_speaker_s_own_earlier_turns_reach_the_tcn():
    built = model()
    (dialogue,) = toy(lengths=(6,))
    dialogue = Dialogue("d", torch.tensor([0, 1, 0, 1, 1, 0]), dialogue.labels, dialogue.features)
    batch, changed = Batch.collate([dialogue]), Batch.collate([dialogue])
    changed.features["text"][0, 2] += 1
    moved = (built(changed).personal - built(batch).personal)[0].abs().amax(-1)
    assert [bool(m > 1e-7) for m in moved] == [False, False, True, False, False, True]


# Global GRU, eq. 18-23


def test_the_gru_number_by_number():
    torch.manual_seed(2)
    gru = GRU(5, 7).double()
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    for b in range(2):
        expected = torch.stack(slow.gru(list(x[b]), gru.V.weight, gru.V.bias, gru.W.weight))
        assert torch.allclose(gru(x)[b], expected, atol=1e-12)


def test_the_order_of_the_reset_gate_matters_and_vanishes_with_an_open_gate():
    torch.manual_seed(2)
    before, after = GRU(5, 7).double(), GRU(5, 7, reset="after").double()
    with torch.no_grad():  # PyTorch's gates stand as reset, update, candidate, and its candidate may have a second bias
        up, r, v = (p.clone() for p in before.V.weight.chunk(3))
        after.gru.weight_ih_l0.copy_(torch.cat([r, up, v]))
        up, r, v = (p.clone() for p in before.W.weight.chunk(3))
        after.gru.weight_hh_l0.copy_(torch.cat([r, up, v]))
        up, r, v = (p.clone() for p in before.V.bias.chunk(3))
        after.gru.bias_ih_l0.copy_(torch.cat([r, up, v])), after.gru.bias_hh_l0.zero_()
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    assert torch.allclose(before(x)[:, 0], after(x)[:, 0]) and not torch.allclose(before(x)[:, 3], after(x)[:, 3], atol=1e-4)
    with torch.no_grad():
        before.V.bias[7:14] = 60.0  # r = 1: both orders are the same
        after.gru.bias_ih_l0[:7] = 60.0
    assert torch.allclose(before(x), after(x), atol=1e-12)


# Conversation memory, eq. 24-26


@pytest.mark.parametrize(("reads", "window"), [("past", None), ("past", 2), ("past", 9), ("before", None), ("before", 2), ("before", 9), ("dialogue", None)])
@pytest.mark.parametrize("hops", [1, 3])
def test_the_memory_turn_by_turn(reads, window, hops):
    torch.manual_seed(3)
    memory = ConversationMemory(config(memory=reads, memory_window=window, hops=hops)).double()
    u, s = torch.randn(2, 6, 16, dtype=torch.float64), torch.randn(2, 6, 16, dtype=torch.float64)
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False
    found, weights = memory(u, s, mask)

    def write(memories):
        return slow.gru(memories, memory.gru_m.V.weight, memory.gru_m.V.bias, memory.gru_m.W.weight)

    for b, length in enumerate((6, 4)):
        for t in range(length):
            end = {"past": t + 1, "before": t, "dialogue": length}[reads]
            start = 0 if window is None else max(0, end - window)
            expected, seen = slow.memory(u[b, t], list(s[b, start:end]), hops, write)
            assert torch.allclose(found[b, t], expected, atol=1e-10)
            for hop in range(hops):
                row = weights[hop, b, t]
                assert torch.allclose(row[: end - start] if window else row[start:end], seen[hop].double(), atol=1e-10)
                assert row.sum().item() == pytest.approx(float(end > start))


@pytest.mark.parametrize(("fields", "causal"), [({}, True), ({"memory": "before"}, True), ({"memory_window": 3}, True), ({"memory": "dialogue"}, False)])
def test_nothing_later_matters_unless_all_is_read(fields, causal):
    built = model(**fields)
    (dialogue,) = toy(lengths=(6,))
    batch, changed = Batch.collate([dialogue]), Batch.collate([dialogue])
    for x in changed.features.values():
        x[0, 3] += 1
    moved = (built(changed).logits - built(batch).logits)[0].abs().amax(-1)
    assert moved[3] > 1e-6 and ((moved[:3] == 0).all() if causal else (moved[:3] > 1e-7).all())


@pytest.mark.parametrize("fields", [{}, {"memory": "dialogue", "hops": 2}, {"share_levels": False, "levels": 2}], ids=str)
def test_the_whole_model_turn_by_turn(fields):
    """Fusion, own turns, all turns, memory, classifier: each by its slow loop, one feeding the next as the paper says."""
    built = model(**fields).double()
    (dialogue,) = toy(lengths=(7,), speakers=3)
    batch = Batch.collate([dialogue])
    batch.features = {m: x.double() for m, x in batch.features.items()}
    output, c = built(batch), built.config
    by_letter, fusion = {"T": "text", "A": "audio", "V": "visual"}, built.fusion
    pairs = [fusion.networks[min(level, len(fusion.networks) - 1)] for level in range(c.levels)]
    weights = [(ta.W.weight, ta.w.weight[0], va.W.weight, va.w.weight[0]) for ta, va in pairs]
    U = []
    for n in range(7):
        columns = {k: fusion.project[m].weight @ batch.features[m][0, n] + fusion.project[m].bias for k, m in by_letter.items()}
        F_ta, F_va, _ = slow.multiview(*(torch.stack([columns[k] for k in view], dim=1) for view in ("TA", "VA")), weights)
        U.append(torch.tanh(fusion.join.weight @ torch.cat([F_ta, F_va]) + fusion.join.bias))
    blocks = [(b.dilation, [(k.weight, k.bias) for k in b.convolutions]) for b in built.speaker.blocks]
    p = [None] * 7
    for speaker in set(dialogue.speakers.tolist()):
        own = [i for i, s in enumerate(dialogue.speakers.tolist()) if s == speaker]
        for i, state in zip(own, slow.tcn([U[i] for i in own], blocks), strict=True):
            p[i] = state
    s = slow.gru(p, built.gru_g.V.weight, built.gru_g.V.bias, built.gru_g.W.weight)
    m = built.memory.gru_m
    logits = []
    for t in range(7):
        u, _ = slow.memory(U[t], s if c.memory == "dialogue" else s[: t + 1], c.hops, lambda M: slow.gru(M, m.V.weight, m.V.bias, m.W.weight))
        logits.append(built.classify.weight @ u + built.classify.bias)
    assert torch.allclose(output.logits[0], torch.stack(logits), atol=1e-9)
    expected = -torch.stack(logits).log_softmax(-1)[torch.arange(7), dialogue.labels].mean()
    assert built.objective(output, batch)["total"].item() == pytest.approx(expected.item())


# Parameters and bad input


def test_parameter_counts():
    d, K, L = 100, 6, 6
    views = 2 * (d * d + d)
    projections = (100 + 1) * d + (100 + 1) * d + (512 + 1) * d
    tcn, gru = 2 * L * (K * d * d + d), 3 * (2 * d * d + d)
    expected = projections + views + (2 * d + 1) * d + tcn + 2 * gru + (d + 1) * 6
    built = DIMMN(DIMMNConfig.iemocap(dims={"text": 100, "audio": 100, "visual": 512}))
    assert sum(p.numel() for p in built.parameters()) == expected == 954_206


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pairing": "TA+XA"}, "unknown pairing 'TA.XA'.*TA.VA"),
        ({"pairing": "TA"}, "unknown pairing"),
        ({"pairing": "TT+AA"}, "unknown pairing"),
        ({"pairing": "A+V+V"}, "unknown pairing"),
        ({"pairing": "TA+VA+TV"}, "unknown pairing"),
        ({"pairing": "AT+VA"}, "what they share second"),
        ({"multiview": False, "levels": 5}, "levels: given, but without multiview"),
        ({"pairing": "TA+TA"}, "does not read visual"),
        ({"levels": 0}, "levels.*greater than or equal to 1"),
        ({"hops": 0}, "hops.*greater than or equal to 1"),
        ({"kernel_size": 1}, "kernel_size"),
        ({"pairing": "TA+VA", "dims": {"text": 7, "audio": 5}}, "reads visual, which dims \\(text, audio\\) lacks"),
        ({"levels": 2, "pairing": "A+V+T"}, "levels: given.*no two views"),
        ({"speaker_context": "gru"}, "kernel_size, tcn_layers: given.*no TCN"),
        ({"memory": "dialogue", "memory_window": 3}, "memory_window 3 counts past turns"),
        ({"levls": 2}, "did you mean levels"),
    ],
)
def test_bad_configurations(fields, words):
    with pytest.raises(ConfigError, match=words):
        config(**fields)


def test_a_batch_without_a_modality_of_the_pairing():
    with pytest.raises(DataError, match="no visual features"):
        model()(Batch.collate(toy(), ["text", "audio"]))


def test_labels_of_dimensions_are_refused():
    data = [Dialogue(d.id, d.speakers, torch.rand(len(d), 4), d.features) for d in toy()]
    batch, built = Batch.collate(data), model()
    with pytest.raises(DataError, match="classes"):
        built.objective(built(batch), batch)


def test_one_turn_and_more_speaker_numbers_than_turns():
    (dialogue,) = toy(lengths=(1,))
    for speaker in (0, 7):
        alone = Dialogue("d", torch.tensor([speaker]), dialogue.labels, dialogue.features)
        output = model()(Batch.collate([alone]))
        assert output.logits.shape == (1, 1, 4) and torch.isfinite(output.logits).all()
    first = model(memory="before")(Batch.collate([dialogue]))  # nothing to read: zeros
    assert (first.reads == 0).all() and torch.isfinite(first.logits).all()
