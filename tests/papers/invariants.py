"""What every model must pass, whatever its paper."""

from __future__ import annotations

import torch
from torch import nn

from erc_lib.data import Batch, Dialogue

WIDTHS = {"text": 7, "audio": 5, "visual": 6}


def toy(lengths=(4, 1, 6), widths=WIDTHS, classes=4, speakers=3, seed=0) -> list[Dialogue]:
    g = torch.Generator().manual_seed(seed)
    return [
        Dialogue(
            f"d{i}", torch.randint(min(speakers, n), (n,), generator=g), torch.randint(classes, (n,), generator=g),
            {m: torch.randn(n, d, generator=g) for m, d in widths.items()},
        )
        for i, n in enumerate(lengths)
    ]  # fmt: skip


def padding_changes_nothing(model: nn.Module, dialogues: list[Dialogue], atol: float = 1e-5) -> None:
    model.eval()
    together = model(Batch.collate(dialogues)).logits
    for b, d in enumerate(dialogues):
        alone = model(Batch.collate([d])).logits[0]
        assert torch.allclose(together[b, : len(d)], alone, atol=atol), f"dialogue {d.id} differs with its company"


def order_changes_nothing(model: nn.Module, dialogues: list[Dialogue]) -> None:
    model.eval()
    forward, turned = Batch.collate(dialogues), Batch.collate(dialogues[::-1])
    a, b = model(forward), model(turned)
    assert torch.allclose(a.logits, b.logits.flip(0), atol=1e-5)
    losses = model.objective(a, forward), model.objective(b, turned)
    for name in losses[0]:
        assert torch.allclose(losses[0][name], losses[1][name], rtol=1e-4, atol=1e-6), name


def overfits_one_batch(model: nn.Module, dialogues: list[Dialogue], steps: int = 150, rate: float = 3e-3) -> None:
    model.train()
    batch = Batch.collate(dialogues)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        model.objective(model(batch), batch)["total"].backward()
        optimizer.step()
    model.eval()
    predicted = model(batch).logits.argmax(-1)
    assert (predicted == batch.labels)[batch.mask].all()


def same_seed_same_numbers(build, dialogues: list[Dialogue]) -> None:
    batch, results = Batch.collate(dialogues), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        model = build().train()
        results.append(model.objective(model(batch), batch)["total"])
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def every_parameter_learns(model: nn.Module, dialogues: list[Dialogue]) -> None:
    model.train()
    batch = Batch.collate(dialogues)
    model.objective(model(batch), batch)["total"].backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None]
    assert not idle, f"no gradient reaches {idle}"
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
