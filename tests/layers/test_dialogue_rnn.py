from __future__ import annotations

import pytest
import torch

from erc_lib.errors import ConfigError
from erc_lib.layers import DialogueRNN
from erc_lib.layers.dialogue_rnn import DialogueRNNPass, previous_turn, reversal
from tests.losses.test_swfc import golden
from tests.reference.dialogue_rnn import one_direction


def example(lengths=(5, 2, 7), parties=4, width=6):
    g = torch.Generator().manual_seed(0)
    n = max(lengths)
    mask = torch.arange(n)[None] < torch.tensor(lengths)[:, None]
    return torch.randn(len(lengths), n, width, generator=g), torch.randint(parties, (len(lengths), n), generator=g), mask


@pytest.mark.parametrize("attention", ["simple", "general"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_equals_one_dialogue_after_the_other(attention, bidirectional):
    torch.manual_seed(1)
    x, speakers, mask = example()
    model = DialogueRNN(6, 8, bidirectional=bidirectional, attention=attention)
    states = model(x, speakers, mask)
    for b, n in enumerate(mask.sum(1).tolist()):
        expected = one_direction(model.from_start, x[b, :n], speakers[b, :n].tolist())
        if bidirectional:
            turned = one_direction(model.from_end, x[b, :n].flip(0), speakers[b, :n].flip(0).tolist()).flip(0)
            expected = model.linear(torch.cat([expected, turned], dim=1))
        assert torch.allclose(states[b, :n], expected, atol=1e-6)


@pytest.mark.parametrize("corpus", ["iemocap", "meld"])
def test_equals_the_released_code_with_gradients(corpus):
    d = golden(f"bimodel_{corpus}.npz")
    theirs = {"from_start": "dialog_rnn_f.dialogue_cell", "from_end": "dialog_rnn_r.dialogue_cell", "score": "attention.scalar"}

    def released(name: str) -> str:
        for ours, original in theirs.items():
            name = name.replace(ours, original)
        return name

    model = DialogueRNN(16, 16, bidirectional=corpus == "iemocap").eval()
    model.load_state_dict({n: torch.tensor(d[f"sd/{released(n)}"]) for n in model.state_dict()})
    u = torch.tensor(d["U"], requires_grad=True)
    speakers, mask = torch.tensor(d["qmask"]).argmax(-1).T, torch.tensor(d["umask"]).bool()
    output = torch.relu(model(u.transpose(0, 1), speakers, mask))
    assert (output.transpose(0, 1) - torch.tensor(d["output"])).abs().max() < 1e-5  # padded turns as well
    for b, n in enumerate(d["lengths"]):
        assert (output[b, :n] - torch.tensor(d[f"solo{b}_output"])).abs().max() < 1e-5
    (output.transpose(0, 1) * torch.tensor(d["probe"]) * mask.T[..., None]).sum().backward()
    assert (u.grad - torch.tensor(d["grad_U"])).abs().max() < 1e-5
    for name, parameter in model.named_parameters():
        assert (parameter.grad - torch.tensor(d[f"grad/{released(name)}"])).abs().max() < 1e-5, name


@pytest.mark.parametrize("emotion_attention", [False, True])
def test_what_padding_holds_reaches_no_real_turn(emotion_attention):
    torch.manual_seed(0)
    x, speakers, mask = example()
    model = DialogueRNN(6, 8, bidirectional=True, attention="general", emotion_attention=emotion_attention)
    before = model(x, speakers, mask)
    after = model(x.masked_fill(~mask[..., None], 99.0), speakers.masked_fill(~mask, 0), mask)
    assert torch.allclose(before[mask], after[mask], atol=1e-6)


def test_forward_states_do_not_see_the_future_and_the_names_of_speakers_do_not_matter():
    torch.manual_seed(0)
    x, speakers, mask = example(lengths=(7, 7))
    model = DialogueRNN(6, 8)
    changed = x.clone()
    changed[:, 4:] += 1
    assert torch.equal(model(x, speakers, mask)[:, :4], model(changed, speakers, mask)[:, :4])
    renamed = torch.tensor([2, 0, 3, 1])[speakers]
    assert torch.allclose(model(x, speakers, mask), model(x, renamed, mask), atol=1e-6)
    assert not torch.allclose(model(x, speakers, mask), model(x, torch.zeros_like(speakers), mask), atol=1e-3)


def test_running_attention_survives_large_scores():
    torch.manual_seed(0)
    x, speakers, mask = example()
    model = DialogueRNN(6, 8)
    with torch.no_grad():
        model.from_start.score.weight.mul_(1e4)
    states = model(x, speakers, mask)
    expected = one_direction(model.from_start, x[2, :7], speakers[2, :7].tolist())
    assert torch.allclose(states[2, :7], expected, atol=1e-5)


def test_recurrent_dropout_is_random_in_training_alone():
    torch.manual_seed(0)
    x, speakers, mask = example()
    model = DialogueRNN(6, 8, dropout=0.5)
    assert not torch.equal(model(x, speakers, mask), model(x, speakers, mask))
    model.eval()
    assert torch.equal(model(x, speakers, mask), model(x, speakers, mask))


def test_reversal_is_within_the_dialogue_and_its_own_inverse():
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    order = reversal(mask)
    assert order.tolist() == [[2, 1, 0, 3], [3, 2, 1, 0]]
    assert torch.equal(order.gather(1, order), torch.arange(4).expand(2, 4))


def test_an_unknown_attention_is_refused():
    with pytest.raises(ConfigError, match="'simple' and 'general'"):
        DialogueRNN(4, 4, attention="dot")


@pytest.mark.parametrize("lengths", [(5, 2, 7), (1,), (4, 4)])
def test_the_written_out_backward_pass_equals_autograd_s(lengths):
    torch.manual_seed(2)
    x, speakers, mask = example(lengths=lengths, parties=3)
    model = DialogueRNNPass(6, 8).double()
    with torch.no_grad():
        model.score.weight.mul_(5)  # scores that differ, so that the running maximum moves
    probe = torch.randn(max(lengths), len(lengths), 8).double()
    results = []
    for run in (model._loop, model._scan):
        leaf = x.double().requires_grad_()
        states = run(leaf, speakers, mask)
        gradients = torch.autograd.grad((states * probe).sum(), [leaf, *(p for n, p in model.named_parameters() if "e_cell" not in n)], allow_unused=True)
        results.append((states.detach(), [g for g in gradients]))
    (loop, by_autograd), (scan, by_hand) = results
    assert torch.allclose(loop, scan, atol=1e-12)
    for one, other in zip(by_autograd, by_hand, strict=True):
        other = torch.zeros_like(one) if other is None else other
        one = torch.zeros_like(other) if one is None else one
        assert torch.allclose(one, other, atol=1e-10)


def test_gradcheck_of_the_written_out_backward_pass():
    torch.manual_seed(3)
    x, speakers, mask = example(lengths=(4, 3), width=3, parties=2)
    model = DialogueRNNPass(3, 2).double()
    leaf = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: model._scan(y, speakers, mask), leaf)


def test_previous_turn_by_hand():
    speakers = torch.tensor([[0, 1, 0, 1, 2, 0]])
    mask = torch.tensor([[True, True, True, True, True, False]])
    assert previous_turn(speakers, mask).tolist() == [[-1, -1, 0, 1, -1, 2]]
