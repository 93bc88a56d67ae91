"""Settings of the two baselines, shared so that what differs between them is the model alone."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from erc_lib.papers.config import Modality, PaperConfig


class BaselineConfig(PaperConfig):
    """Configuration of ``BCLSTM`` and ``DialogueRNNClassifier``; frozen, and a misspelt field is an error.

    Widths, dropout and the loss weights follow the two models' papers where they give them; the optimiser settings are those common in
    their public implementations. ``dims`` names the modalities, which are concatenated (early fusion), as both papers do.
    """

    title: ClassVar[str] = "baseline"

    variant: Literal["paper"] = "paper"
    dims: dict[Modality, int] = Field(default={"text": 100}, description="feature width of each modality used")
    classes: int = Field(default=6, ge=2)
    class_counts: tuple[int, ...] | None = Field(default=None, description="unused unless class_weights")
    hidden_dim: int = Field(default=100, ge=1, description="width of each direction's state")
    classifier_hidden: int = Field(default=100, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    class_weights: bool = Field(default=False, description="weigh the cross-entropy by inverse class frequency, as is common on IEMOCAP")
    epochs: int = Field(default=60, ge=1)
    batch_size: int = Field(default=30, ge=1, description="dialogues")
    learning_rate: float = Field(default=1e-3, gt=0)
    l2: float = Field(default=1e-5, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> BaselineConfig:
        if self.class_weights and self.class_counts is None:
            raise ValueError("class_weights needs class_counts, the utterances per class of the training split")
        return self

    @classmethod
    def iemocap(cls, **fields: Any) -> BaselineConfig:
        """Six classes."""
        return cls(**{"classes": 6, **fields})

    @classmethod
    def meld(cls, **fields: Any) -> BaselineConfig:
        """Seven classes."""
        return cls(**{"classes": 7, **fields})

    def training_settings(self) -> dict[str, Any]:
        """Keyword arguments of :class:`erc_lib.training.TrainingConfig`."""
        return {
            "epochs": self.epochs, "batch_size": self.batch_size, "optimizer": "adam", "learning_rate": self.learning_rate,
            "weight_decay": self.l2, "schedule": "none", "patience": 15,
        }
