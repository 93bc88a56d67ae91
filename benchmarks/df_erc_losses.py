"""DF-ERC's two contrastive losses: a batch of dialogues in one pass against the loops of ``tests/reference``.

    python benchmarks/df_erc_losses.py [--threads 2] [--repeats 5] [--json FILE]

1. One dialogue of 64 utterances, three modalities, 300-d (Table 6): forward and backward, vectorised and by the loop (goal: at least 20 times
   as fast), and how far the values lie apart (goal: at most 1e-5 of the value).
2. A batch of 8 dialogues of MELD's lengths and of 4 of IEMOCAP's in one pass, and one after another.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from erc_lib.losses import dual_level_contrastive_loss  # noqa: E402
from tests.reference.df_erc import dual_level_contrastive_loss as by_loop  # noqa: E402

TEMPERATURES = {"modality": 0.5, "utterance": 0.3}
LENGTHS = {"MELD, 8 dialogues": [3, 7, 9, 10, 12, 14, 18, 24], "IEMOCAP, 4 dialogues": [38, 48, 55, 72]}


def milliseconds(function: Callable[[], Tensor], repeats: int) -> float:
    """Median time of forward and backward."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function().backward()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:]) if repeats > 1 else times[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    result: dict[str, dict[str, float]] = {}
    for level, temperature in TEMPERATURES.items():
        views = torch.randn(3, 64, 300, generator=generator).requires_grad_()
        fast, slow = (lambda f=f: f(views, level=level, temperature=temperature) for f in (dual_level_contrastive_loss, by_loop))
        apart = abs(fast().item() - slow().item()) / abs(slow().item())
        one, other = milliseconds(fast, options.repeats), milliseconds(slow, 1)
        result[f"{level} level, 64 utterances"] = {
            "vectorised_ms": round(one, 2), "loop_ms": round(other, 1), "times_as_fast": round(other / one), "relative_difference": float(f"{apart:.1e}"),
        }  # fmt: skip
        for name, lengths in LENGTHS.items():
            n = sum(lengths)
            views = torch.randn(3, n, 300, generator=generator).requires_grad_()
            groups = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
            together = milliseconds(lambda v=views, g=groups: dual_level_contrastive_loss(v, level=level, temperature=temperature, groups=g), options.repeats)
            apart_ms = milliseconds(
                lambda v=views, ls=lengths: sum(dual_level_contrastive_loss(x, level=level, temperature=temperature) for x in v.split(ls, dim=1)), options.repeats
            )
            cells = len(lengths) * (3 * max(lengths)) ** 2
            result[f"{level} level, {name}"] = {"one_pass_ms": round(together, 2), "one_by_one_ms": round(apart_ms, 2), "scores_mib": round(4 * cells / 2**20, 2)}
    result = {"machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}", **result}
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
