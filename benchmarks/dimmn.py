"""DIMMN: a training epoch at IEMOCAP's size, and how memory grows with the length of a dialogue.

    python benchmarks/dimmn.py [--threads 2] [--repeats 3] [--json FILE]

1. One epoch of forward and backward passes and optimiser steps over random turns in dialogues of IEMOCAP's size: 120 dialogues, 5,810 turns, two
   speakers, d = 100, H = 3, K = 6, L = 6, three hops over all memories (goal: at most 15 s on two cores; the paper: 30 s on a GPU), and with a
   GRU in the TCN's place, the whole dialogue in memory, PyTorch's GRU, and a memory window of 6.
2. Bytes that a forward pass of one dialogue of L turns keeps for the backward pass: of the TCN alone, of the memory over all turns, of the memory
   with a window. Twice the length should cost the first and the last twice as much; the second tends to four times. So does the TCN's worst
   case, one who speaks every other turn among others who speak once.
3. The own-turn TCN against a loop over speakers that applies the same convolutions, on the same turns.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from erc_lib.data import Batch
from erc_lib.papers.dimmn import DIMMN, DIMMNConfig
from erc_lib.papers.dimmn.memory import ConversationMemory
from erc_lib.papers.dimmn.speaker import TCN, OwnTurns

DIALOGUES, TURNS, LONGEST = 120, 5810, 110  # DIMMN's Table 1; the longest dialogue of IEMOCAP
WIDTHS = {"text": 100, "audio": 100, "visual": 512}
LENGTHS = (128, 256, 512, 1024)


def lengths(generator: torch.Generator) -> list[int]:
    """Lengths of 120 dialogues, 8 to 110 turns, that sum to 5,810."""
    drawn = (torch.randn(DIALOGUES, generator=generator) * 16.8 + TURNS / DIALOGUES).round().clamp(8, LONGEST).int().tolist()
    while (rest := TURNS - sum(drawn)) != 0:
        drawn[int(torch.randint(DIALOGUES, (1,), generator=generator))] += 1 if rest > 0 else -1
    return drawn


def batch(sizes: list[int], generator: torch.Generator, speakers: int = 2) -> Batch:
    """Random turns in dialogues of these sizes, padded."""
    length = max(sizes)
    mask = torch.arange(length)[None] < torch.tensor(sizes)[:, None]
    features = {m: torch.randn(len(sizes), length, d, generator=generator) * mask[..., None] for m, d in WIDTHS.items()}
    labels = torch.where(mask, torch.randint(6, mask.shape, generator=generator), -100)
    return Batch(features, mask, torch.randint(speakers, mask.shape, generator=generator) * mask, labels, [], [])


def epoch(repeats: int, **fields: object) -> dict[str, float]:
    """Median seconds of an epoch in batches of 8 dialogues of similar length."""
    generator = torch.Generator().manual_seed(0)
    sizes = sorted(lengths(generator))
    all_batches = [batch(sizes[i : i + 8], generator) for i in range(0, DIALOGUES, 8)]
    torch.manual_seed(0)
    model = DIMMN(DIMMNConfig.iemocap(dims=WIDTHS, **fields)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for one in all_batches:
            optimizer.zero_grad()
            model.objective(model(one), one)["total"].backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    return {"seconds": round(statistics.median(seconds[1:]), 2), "parameters": sum(p.numel() for p in model.parameters())}


class Held:
    """Sums the bytes of what autograd keeps for the backward pass inside a ``with`` block; each storage counts once."""

    def __enter__(self) -> Held:
        self.storages: dict[int, int] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda x: x)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)
        self.bytes = sum(self.storages.values())

    def _pack(self, x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        self.storages[storage.data_ptr()] = storage.nbytes()
        return x


def memory() -> dict[str, dict[str, float]]:
    """Part -> MiB held for the backward pass of one dialogue of L turns, and how many times as much the last doubling of L takes."""
    torch.manual_seed(0)
    config = DIMMNConfig.iemocap()
    tcn = TCN(config)
    parts: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}

    def own_turns(u: Tensor, mask: Tensor, *, two: bool) -> Tensor:
        turn = torch.arange(mask.shape[1])[None]
        own = OwnTurns(turn % 2 if two else torch.where(turn % 2 == 0, 0, turn), mask)
        return own.scatter(tcn(own.gather(u[mask])))

    parts["tcn, two speakers"] = partial(own_turns, two=True)
    parts["tcn, one among many who speak once"] = partial(own_turns, two=False)
    for name, window in (("memory, all turns", None), ("memory, the last 6", 6)):
        module = ConversationMemory(DIMMNConfig.iemocap(memory_window=window))
        parts[name] = lambda u, mask, module=module: module(u, u * 0.5, mask)[0]
    found: dict[str, dict[str, float]] = {}
    for name, part in parts.items():
        row = {}
        for length in LENGTHS:
            u = torch.randn(1, length, 100, requires_grad=True)
            with Held() as held:
                part(u, torch.ones(1, length, dtype=torch.bool)).sum()
            row[f"mib_L{length}"] = round(held.bytes / 2**20, 2)
        found[name] = {**row, "last_doubling": round(row[f"mib_L{LENGTHS[-1]}"] / row[f"mib_L{LENGTHS[-2]}"], 2)}
    return found


def against_a_loop(repeats: int, speakers: int = 4) -> dict[str, float]:
    """Milliseconds of the TCN, forward and backward, for 32 dialogues of 50 turns: all own turns at once, and one speaker after another."""
    generator = torch.Generator().manual_seed(0)
    one = batch([50] * 32, generator, speakers)
    u = torch.randn(int(one.mask.sum()), 100, generator=generator)
    dialogue = torch.arange(32)[:, None].expand_as(one.mask)[one.mask]
    who = one.speakers[one.mask]
    tcn = TCN(DIMMNConfig.iemocap(dropout=0.0))

    def at_once() -> Tensor:
        own = OwnTurns(one.speakers, one.mask)
        return own.scatter(tcn(own.gather(u)))

    def one_by_one() -> Tensor:
        result = torch.empty_like(u)
        for d in range(32):
            for speaker in range(speakers):
                rows = ((dialogue == d) & (who == speaker)).nonzero()[:, 0]
                if len(rows):
                    result[rows] = tcn(u[rows][None])[0]
        return result

    assert torch.allclose(at_once(), one_by_one(), atol=1e-5)
    times: dict[str, list[float]] = {"at_once": [], "one_by_one": []}
    for _ in range(repeats + 1):
        for name, function in (("at_once", at_once), ("one_by_one", one_by_one)):
            start = time.perf_counter()
            function().sum().backward()
            times[name].append(1000 * (time.perf_counter() - start))
    medians = {name: statistics.median(t[1:]) for name, t in times.items()}
    return {**{f"{k}_ms": round(v, 1) for k, v in medians.items()}, "times_as_fast": round(medians["one_by_one"] / medians["at_once"], 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = {
        "as printed": {}, "remove TCN": {"speaker_context": "gru"}, "the whole dialogue in memory": {"memory": "dialogue"},
        "memory window 6": {"memory_window": 6}, "reset gate after the product": {"reset": "after"},
    }  # fmt: skip
    result = {
        "machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}",
        "epoch": {name: epoch(options.repeats, **fields) for name, fields in settings.items()},
        "held_for_backward": memory(),
        "tcn_against_a_loop_over_speakers": against_a_loop(options.repeats),
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
