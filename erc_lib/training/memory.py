"""What is said when a batch does not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from erc_lib.data import Batch
from erc_lib.errors import TrainingError


@contextmanager
def enough_memory(batch: Batch, where: str, device: torch.device) -> Iterator[None]:
    """Turns a failed allocation on ``device`` into a TrainingError naming the batch and the setting to change."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        dialogues, length = batch.mask.shape
        remedy = "lower batch_size" if dialogues > 1 else "split that dialogue, or make the model smaller (model_dim, layers; max_tokens where it reads words)"
        raise TrainingError(
            f"{where}: {dialogues} {'dialogues' if dialogues > 1 else 'dialogue'} of up to L = {length} turns (batch size {dialogues}, first dialogue "
            f"{batch.ids[0][0]!r}) does not fit into the memory of this {device.type}; {remedy}"
        ) from error


def _out_of_memory(error: Exception) -> bool:
    # Only PyTorch's own allocator for a GPU has an exception of its own.
    said = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in said)
