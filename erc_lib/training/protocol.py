"""What the training loop asks of a model. It knows no paper, only this."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from erc_lib.data import Batch


class Output(Protocol):
    """What ``forward`` returns: a dataclass with at least ``logits``."""

    logits: Tensor  # (B, L, C)


@runtime_checkable
class Model(Protocol):
    """A ``torch.nn.Module`` that can be trained.

    - ``forward(batch) -> Output``: draws random numbers (dropout) only from torch's global generators.
    - ``objective(output, batch) -> {name: scalar}``: holds ``"total"``, which is minimised; every other term is recorded by its
      name. It is also called on the validation set, without gradients and with ``model.training`` False: state such as prototypes
      may change only while ``model.training`` is True.
    - All state that outlives a batch is a parameter or a *persistent buffer*, i.e. part of ``state_dict()``: checkpoints and the
      selected weights hold nothing else.
    - ``measure(output, batch) -> {name: (N,)}`` (optional): further quantities of the N real utterances of a batch, row by row, for a
      run that keeps them.
    - ``config.feature_dims``, else ``config.dims`` (optional): modality -> width; its keys are the modalities put into each batch.
      Without either a batch holds all modalities that its dialogues share.
    """

    def forward(self, batch: Batch) -> Output: ...

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]: ...
