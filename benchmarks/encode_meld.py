"""How long all-MiniLM-L6-v2 needs for MELD's 13,708 utterances, in order of length and in the corpus' own order.

    python benchmarks/encode_meld.py [--threads 2] [--repeats 3] [--tokens-per-batch 2048]

MELD comes from the data cache, the mirror (ERC_MIRROR) or the network. Prints medians of wall and processor seconds, measured
side by
side in one run. Goal: at most 180 s on 2 cores. The "in order" column is the usual way: batches of 32 texts as they come, padded.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from erc_lib.data import load_corpus
from erc_lib.features.encoders import TextEncoder, load_encoder, token_batches
from erc_lib.features.text import corpus_texts, encode_texts, pool, tokenise

GOAL = 180.0


def as_they_come(texts: list[str], encoder: TextEncoder, size: int = 32) -> np.ndarray:
    """The usual way, for comparison: ``size`` texts at a time in the corpus' order, each encoded as often as it occurs."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), size):
            tokens, mask = encoder.pad_batch(tokenise(encoder, texts[start : start + size])[0])
            pooled = pool(encoder.model(input_ids=tokens, attention_mask=mask).last_hidden_state, mask, encoder.spec.pooling)
            found.append(torch.nn.functional.normalize(pooled, dim=1).numpy())
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens-per-batch", type=int, default=2048)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts = corpus_texts(load_corpus("meld"))[1]
    encoder = load_encoder("all-MiniLM-L6-v2")
    lengths = [len(s) for s in tokenise(encoder, texts)[0]]
    unique = [len(s) for s in tokenise(encoder, list(dict.fromkeys(texts)))[0]]
    plan = token_batches(unique, options.tokens_per_batch)
    padded = sum(len(rows) * unique[rows[0]] for rows in plan)
    usual = sum(32 * max(lengths[i : i + 32]) for i in range(0, len(lengths), 32))
    print(f"{len(texts)} utterances, {len(unique)} different, {sum(lengths)} tokens")
    print(f"with padding {padded} tokens sorted, {usual} in order")
    ways = {
        "sorted by length": lambda: encode_texts(texts, encoder, tokens_per_batch=options.tokens_per_batch),
        "in order, 32 at a time": lambda: as_they_come(texts, encoder),
    }
    for way in ways.values():  # the first calls pay for allocation
        way() if options.repeats > 1 else None
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    result = {}
    for _ in range(options.repeats):
        for name, way in ways.items():
            started, used = time.perf_counter(), time.process_time()
            result[name] = way()
            wall[name].append(time.perf_counter() - started)
            processor[name].append(time.process_time() - used)
    for name in ways:
        print(f"{name:24} {statistics.median(wall[name]):7.1f} s wall   {statistics.median(processor[name]):7.1f} s processor")
    first, second = result.values()
    print(f"largest difference between the two: {np.abs(first - second).max():.1e}")
    median = statistics.median(wall["sorted by length"])
    verdict = "met" if median <= GOAL else "MISSED"
    print(f"goal {GOAL:.0f} s on 2 cores: {verdict} with {median:.1f} s on {options.threads} threads")


if __name__ == "__main__":
    main()
