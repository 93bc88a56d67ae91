"""A batch that does not fit into memory is named, with the setting to change."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from toy_training import ToyModel, toy_corpus

from erc_lib.errors import TrainingError
from erc_lib.data import Batch
from erc_lib.training import TrainingConfig, fit
from erc_lib.training.memory import enough_memory


class Hungry(ToyModel):
    """Asks for a petabyte, while it trains or only while it does not; or fails in another way."""

    def __init__(self, training: bool = True, gpu: bool = False, other: bool = False) -> None:
        super().__init__()
        self.when, self.gpu, self.other = training, gpu, other

    def forward(self, batch):
        if self.training == self.when:
            if self.other:
                raise RuntimeError("shapes do not fit")
            if self.gpu:
                raise torch.OutOfMemoryError("CUDA out of memory")
            torch.empty(10**15)  # the CPU's own refusal
        return super().forward(batch)


def train(model, **changes):
    fit(model, toy_corpus(), TrainingConfig(epochs=1, **changes), seed=0, progress=False)


@pytest.mark.parametrize("gpu", [False, True])
def test_the_batch_and_the_remedy_are_named(gpu):
    says = r"epoch 1, step 1: \d+ dialogues of up to L = \d turns \(batch size \d+, first dialogue .*\) does not fit into the memory of this cpu; lower batch_size"
    with pytest.raises(TrainingError, match=says):
        train(Hungry(gpu=gpu), batch_size=4)
    with pytest.raises(TrainingError, match=r"1 dialogue of up to L = \d turns .* split that dialogue, or make the model smaller"):
        train(Hungry(gpu=gpu), batch_size=1)


def test_the_device_is_the_one_that_is_full_and_every_way_of_saying_so_is_known():
    batch = Batch.collate(toy_corpus().train[:2])
    for words in ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"):
        with pytest.raises(TrainingError, match="memory of this cuda; lower batch_size"), enough_memory(batch, "here", SimpleNamespace(type="cuda")):
            raise RuntimeError(words)


def test_in_the_evaluation_too_and_other_errors_pass():
    with pytest.raises(TrainingError, match="epoch 1, validation: 6 dialogues .* lower batch_size"):
        train(Hungry(training=False), batch_size=8)
    with pytest.raises(RuntimeError, match="^shapes do not fit"):
        train(Hungry(other=True))
