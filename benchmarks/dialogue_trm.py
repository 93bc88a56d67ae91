"""Two claims about DialogueTRM's speed: context-free layers cost no attention over L, and fine-tuning pads by length bucket.

    python benchmarks/dialogue_trm.py [--threads 2] [--repeats 5] [--batches 12] [--json FILE]

1. One Transformer of the paper's size (6 layers, 768-d) over the same number of turns in dialogues of L = 32 and of L = 256, with the self
   mask and with the window mask: time per turn, forward and backward.
2. Fine-tuning all-MiniLM-L6-v2 inside the model on MELD's training texts, four dialogues a batch, inputs of at most 64 tokens: real tokens
   per second and peak memory, with length buckets and with every batch padded to its longest input, in float32 and bfloat16. Each in its own process.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from erc_lib.data import batches, load_corpus
from erc_lib.features.encoders import load_encoder
from erc_lib.papers.dialogue_trm import DialogueTRM, DialogueTRMConfig
from erc_lib.papers.dialogue_trm.intra import IntraModal

TURNS, LENGTHS = 1024, (32, 256)
WHOLE_BATCH = 10**9  # a budget of tokens per call that nothing exceeds: one call, padded to its longest input


def masks(repeats: int) -> dict[str, dict[str, float]]:
    """Setting -> milliseconds per turn at each L, and their ratio."""
    found = {}
    for setting in ("self", "window"):
        config = DialogueTRMConfig(dims={"audio": 100}, context={"audio": setting}, classes=6)
        torch.manual_seed(0)
        layer = IntraModal(config, "audio")
        times: dict[int, list[float]] = {length: [] for length in LENGTHS}
        for _ in range(repeats + 1):  # side by side, so that a busy moment hits both
            for length in LENGTHS:
                x = torch.randn(TURNS // length, length, 100)
                mask = torch.ones(x.shape[:2], dtype=torch.bool)
                start = time.perf_counter()
                layer(x, mask).sum().backward()
                times[length].append(time.perf_counter() - start)
        per_turn = {length: 1000 * statistics.median(t[1:]) / TURNS for length, t in times.items()}
        found[setting] = {**{f"ms_per_turn_L{length}": round(ms, 3) for length, ms in per_turn.items()}, "ratio": round(per_turn[256] / per_turn[32], 3)}
    return found


def fine_tuning(budget: int, precision: str, count: int) -> dict[str, float]:
    """Tokens per second of training steps on ``count`` batches, and this process' peak memory."""
    corpus = load_corpus("meld")
    encoder = load_encoder("all-MiniLM-L6-v2")
    torch.manual_seed(0)
    config = DialogueTRMConfig.cpu(
        dims={"text": encoder.width}, classes=7, text="encoder", encoder="all-MiniLM-L6-v2", max_tokens=64, context={"text": "window"},
    )
    model = DialogueTRM(config, encoder=encoder).train()
    inner, tokens = encoder.first_positions, 0

    def counted(sequences, segments=None):
        nonlocal tokens
        tokens += sum(map(len, sequences))
        return inner(sequences, segments, tokens_per_call=budget)

    model.self_dependency.tokens.first_positions = counted
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    feed = list(batches(corpus.train, 4, modalities=[], generator=torch.Generator().manual_seed(0)))[: count + 1]
    for number, batch in enumerate(feed):
        if number == 1:  # the first allocates
            start, tokens = time.perf_counter(), 0
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            output = model(batch)
        optimizer.zero_grad()
        model.objective(output, batch)["total"].backward()
        optimizer.step()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"tokens_per_s": round(tokens / seconds), "seconds": round(seconds, 2), "tokens": tokens, "peak_gib": round(peak, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.part:
        budget, precision = options.part.split(",")
        print(json.dumps(fine_tuning(int(budget), precision, options.batches)))
        return
    result = {"masks": masks(options.repeats), "fine_tuning": {}}
    for setting, values in result["masks"].items():
        print(f"{setting:>6} mask: " + ", ".join(f"{k} {v}" for k, v in values.items()))
    for precision in ("no", "bf16"):
        for name, budget in (("length buckets", 1024), ("padded to the batch's longest", WHOLE_BATCH)):
            command = [sys.executable, __file__, "--threads", str(options.threads), "--batches", str(options.batches), "--part", f"{budget},{precision}"]
            line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            label = f"{'bfloat16' if precision == 'bf16' else 'float32'}, {name}"
            result["fine_tuning"][label] = json.loads(line)
            print(f"{label}: {line}")
    if options.json:
        machine = {"machine": platform.processor() or platform.machine(), "threads": options.threads, "torch": torch.__version__}
        options.json.write_text(json.dumps({**machine, **result}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
