"""How long the training part of a MultiEMO epoch takes at the real sizes, where the time goes, and the floor under it.

    python benchmarks/multiemo_epoch.py [--repeats 3] [--threads 2] [--dropout 0 0.1] [--activation-memory GIB] [--json FILE]

Sizes: MELD 11,098 turns in batches of 100 dialogues, IEMOCAP 5,504 turns in batches of 64; 6 layers, 256-d, three modalities of
random features (768, 512, 1000 wide), lengths drawn like the corpora's. The floor is the time of the matrix products that the epoch cannot avoid (forward and
backward, unpadded), at the rate this machine is measured to give, in the same run, for products of just those shapes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from erc_lib.data import Dialogue, batches
from erc_lib.papers.multiemo import MultiEMO, MultiEMOConfig, MultiEMOOutput

DIMS = {"text": 768, "audio": 512, "visual": 1000}
# turns, dialogues, lengths' (shape of a gamma, shortest, longest): MELD's are short and skewed, IEMOCAP's long
SIZES = {"meld": (11_098, 1_152, 7, 2.0, 1, 24), "iemocap": (5_504, 114, 6, 8.0, 8, 110)}


def dialogues(corpus: str) -> list[Dialogue]:
    """Random dialogues of the corpus' size."""
    turns, count, classes, shape, low, high = SIZES[corpus]
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    raw = torch.distributions.Gamma(torch.tensor(shape), torch.tensor(shape)).sample((count,)) * turns / count
    lengths = raw.round().long().clamp(low, high)
    while (gap := turns - int(lengths.sum())) != 0:  # land on the real number of turns exactly
        i = torch.randint(count, (1,), generator=g)
        lengths[i] = (lengths[i] + (1 if gap > 0 else -1)).clamp(low, high)
    speakers = 9 if corpus == "meld" else 2
    return [
        Dialogue(
            id=str(i), speakers=torch.randint(min(speakers, n), (n,), generator=g), labels=torch.randint(classes, (n,), generator=g),
            features={m: torch.randn(n, d, generator=g) for m, d in DIMS.items()},
        )
        for i, n in enumerate(lengths.tolist())
    ]


def products(data: list[Dialogue], config: MultiEMOConfig) -> list[tuple[str, int, int, int, int]]:
    """(part, m, k, n, how often per epoch) of every matrix product of a forward pass; a backward pass needs each twice more."""
    turns, squares = sum(map(len, data)), sum(len(d) ** 2 for d in data)
    d, f, layers = config.model_dim, config.feedforward, config.layers
    found = [("projection", turns, DIMS["text"], d, 1)]
    for m in ("audio", "visual"):
        found += [("recurrence", turns, DIMS[m] + d, 3 * d, 2), ("recurrence", turns, 2 * d, 3 * d, 1)]
    found += [("attention", turns, d, d, 3 * layers * 2 * 4), ("attention", squares, d, 1, 3 * layers * 2 * 2)]
    found += [("feed-forward", turns, d, f, 3 * layers), ("feed-forward", turns, f, d, 3 * layers)]
    found += [("classifier", turns, 3 * d, d, 1), ("classifier", turns, d, config.classifier_hidden, 1)]
    return found


def rate(config: MultiEMOConfig, rows: int) -> float:
    """FLOP/s of the epoch's most frequent products, forward and backward shapes, measured here and now (median of 5)."""
    d, f = config.model_dim, config.feedforward
    shapes = [(rows, d, d), (d, rows, d), (rows, d, f), (rows, f, d), (d, rows, f)]
    operands = [(torch.randn(m, k), torch.randn(k, n)) for m, k, n in shapes]
    work = 20 * sum(2 * m * k * n for m, k, n in shapes)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        for _ in range(20):
            for a, b in operands:
                a @ b
        times.append(time.perf_counter() - start)
    return work / statistics.median(times[1:])


def epoch(model: MultiEMO, optimizer: torch.optim.Optimizer, data: list[Dialogue], config: MultiEMOConfig, seed: int) -> float:
    """Seconds of one epoch of training: batches, forward, loss, backward, optimiser."""
    start = time.perf_counter()
    for batch in batches(data, config.batch_size, generator=torch.Generator().manual_seed(seed)):
        optimizer.zero_grad(set_to_none=True)
        model.objective(model(batch), batch)["total"].backward()
        optimizer.step()
    return time.perf_counter() - start


def measure(corpus: str, repeats: int, dropout: float, limit: float | None) -> dict:
    data = dialogues(corpus)
    assert sum(map(len, data)) == SIZES[corpus][0]
    preset = MultiEMOConfig.meld if corpus == "meld" else MultiEMOConfig.iemocap
    config = preset(dims=DIMS, dropout=dropout, activation_memory=limit)
    torch.manual_seed(0)
    model = MultiEMO(config).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.99), weight_decay=2e-5, fused=True)
    epoch(model, optimizer, data, config, 0)  # warm-up
    rows = SIZES[corpus][0] // (len(data) // config.batch_size + 1)
    seconds, rates = [], []
    for i in range(repeats):
        rates.append(rate(config, rows))
        seconds.append(epoch(model, optimizer, data, config, i + 1))
    work: dict[str, float] = {}
    for part, m, k, n, often in products(data, config):
        work[part] = work.get(part, 0) + 3 * 2 * m * k * n * often
    floor = sum(work.values()) / statistics.median(rates)
    median = statistics.median(seconds)
    result = {
        "corpus": corpus, "dropout": dropout, "activation_memory_gib": "default" if limit is None else limit, "turns": SIZES[corpus][0], "threads": torch.get_num_threads(), "seconds": round(median, 2), "all": [round(s, 2) for s in seconds],
        "rate_gflops": round(statistics.median(rates) / 1e9), "work_tflop": round(sum(work.values()) / 1e12, 3), "floor_seconds": round(floor, 2),
        "share_of_floor_rate": round(floor / median, 3), "floor_by_part": {p: round(w / sum(work.values()), 3) for p, w in work.items()},
        "shares": shares(model, optimizer, data, config),
    }
    result["peak_memory_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    return result


def shares(model: MultiEMO, optimizer: torch.optim.Optimizer, data: list[Dialogue], config: MultiEMOConfig) -> dict[str, float]:
    """Shares of one epoch by part, from module hooks around forward passes and the same modules' backward passes."""
    spent: dict[str, float] = {}

    def timed(name: str, work):
        start = time.perf_counter()
        value = work()
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - start
        return value

    for batch in batches(data, config.batch_size, generator=torch.Generator().manual_seed(0)):
        optimizer.zero_grad(set_to_none=True)
        contextual = timed("recurrence and projections", lambda b=batch: {m: c(b.features[m], b.speakers, b.mask) for m, c in model.contexts.items()})
        cut = {m: c.detach().requires_grad_() for m, c in contextual.items()}
        fused = timed("attention and feed-forward", lambda b=batch, c=cut: model.multiattn(c, b.mask))
        leaves = {m: f.detach().requires_grad_() for m, f in fused.items()}

        def head(b=batch, f=leaves, c=cut):
            z = model.embed(torch.cat(list(f.values()), -1))
            output = MultiEMOOutput(model.classify(torch.relu(model.hidden(z))), c, f, z)
            model.objective(output, b)["total"].backward()

        timed("classifier and losses", head)
        timed("attention and feed-forward", lambda f=fused, g=leaves: torch.autograd.backward(list(f.values()), [x.grad for x in g.values()]))
        timed("recurrence and projections", lambda c=contextual, g=cut: torch.autograd.backward(list(c.values()), [x.grad for x in g.values()]))
        timed("optimiser", optimizer.step)
    total = sum(spent.values())
    return {name: round(t / total, 3) for name, t in spent.items()}


def cpu_name() -> str:
    """The processor as the kernel names it."""
    try:
        return next(line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dropout", type=float, nargs="+", default=[0.0, 0.1], help="0: as the released scripts; 0.1: as the paper")
    parser.add_argument("--activation-memory", type=float, metavar="GIB", help="MultiEMOConfig.activation_memory; 1000 keeps everything. Default: its default, then 1000 without dropout")
    parser.add_argument("--json", help="write the figures here too")
    parser.add_argument("--only", choices=list(SIZES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only:  # one corpus per process, so that its peak memory is its own
        print(json.dumps(measure(options.only, options.repeats, options.dropout[0], options.activation_memory)))
        return
    results = []
    settings = [(dropout, options.activation_memory) for dropout in options.dropout]
    if options.activation_memory is None:
        settings.append((0.0, 1000.0))
    for corpus, (dropout, limit) in itertools.product(SIZES, settings):
        command = [sys.executable, __file__, "--only", corpus, "--dropout", str(dropout), "--repeats", str(options.repeats), "--threads", str(options.threads)]
        command += [] if limit is None else ["--activation-memory", str(limit)]
        results.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(json.dumps(results[-1], indent=2))
    if options.json:
        machine = {"cpu": cpu_name(), "cores": os.cpu_count(), "torch": torch.__version__, "python": platform.python_version()}
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
