"""SWFC and Soft-HGR against the loops of tests/reference, side by side in one run.

    python benchmarks/losses.py [--turns 1000 3000] [--json FILE]

The loops visit every pair (SWFC) or every sample (Soft-HGR) as the equations read, without gradients; both sides are timed forward,
ours as the median of five, with its forward and backward time and its extra memory beside it. The loop over 3,000 turns takes minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from erc_lib.losses import soft_hgr_loss, swfc_loss  # noqa: E402
from tests.reference import losses as loops  # noqa: E402

SETTINGS = {"temperature": 0.8, "alpha": 0.8, "gamma": 2.0}
WIDTH, CLASSES = 256, 7


def seconds(work: Callable[[], torch.Tensor], repeats: int) -> tuple[float, float]:
    """Median seconds and the value."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        value = work()
        times.append(time.perf_counter() - start)
    return statistics.median(times), float(value)


def compare(name: str, turns: int, ours: Callable, loop: Callable, inputs: list[torch.Tensor]) -> dict:
    with torch.no_grad():
        ours(*inputs)  # warm-up
        fast, value = seconds(lambda: ours(*inputs), 5)
        slow, expected = seconds(lambda: loop(*inputs), 1)
    leaves = [x.clone().requires_grad_() for x in inputs]

    def both() -> torch.Tensor:
        loss = ours(*leaves)
        loss.backward()
        return loss.detach()

    trained, _ = seconds(both, 5)
    return {
        "loss": name, "turns": turns, "ours_ms": round(fast * 1e3, 2), "ours_with_backward_ms": round(trained * 1e3, 2),
        "loop_s": round(slow, 2), "times_as_fast": round(slow / fast), "relative_difference": abs(value - expected) / abs(expected),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, nargs="+", default=[1000, 3000])
    parser.add_argument("--json", help="write the figures here too")
    options = parser.parse_args()
    results = []
    for turns in options.turns:
        g = torch.Generator().manual_seed(0)
        views = [0.3 * torch.randn(turns, WIDTH, generator=g) for _ in range(3)]
        labels = torch.randint(CLASSES, (turns,), generator=g)
        results.append(compare("soft_hgr", turns, lambda *v: soft_hgr_loss(v), lambda *v: loops.soft_hgr(list(v)), views))
        print(json.dumps(results[-1]), flush=True)
        results.append(
            compare("swfc", turns, lambda z, y=labels: swfc_loss(z, y, **SETTINGS), lambda z, y=labels: loops.swfc(z, y, *SETTINGS.values()), views[:1])
        )
        print(json.dumps(results[-1]), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
