"""Every choice DialogueTRM makes, with the place that prescribes it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from erc_lib.errors import ConfigError
from erc_lib.papers.config import Modality, PaperConfig

ContextSetting = Literal["window", "self"]
Fusion = Literal[
    "mgif", "without_representation", "without_prototype", "additive", "concatenation", "max_pooling", "bilinear", "gmu", "mult",
]  # fmt: skip


class DialogueTRMConfig(PaperConfig):
    """Configuration of :class:`~erc_lib.papers.dialogue_trm.DialogueTRM`; frozen, and a misspelt field is an error.

    Its ``dims`` name the modalities: all three, two (the paper's MELD), or text alone (its DialogueTRM-U).
    """

    title: ClassVar[str] = "DialogueTRM"

    variant: Literal["paper"] = "paper"
    dims: dict[Modality, int] = Field(default={"text": 768, "audio": 100, "visual": 512}, description="feature width of each modality used; 5.2")

    # Self dependency, Section 4.1.1 and 5.2
    text: Literal["features", "encoder"] = Field(default="features", description="stored vectors, or a BERT fine-tuned inside the model (eq. 1)")
    encoder: str = Field(default="bert-base-uncased", min_length=1, description="the encoder's name, with text: encoder; 5.2")
    max_tokens: int = Field(default=512, ge=4, description="longest input of the encoder, special tokens included; the paper gives none")
    self_context: bool = Field(default=True, description="indi-context beside the utterance; false: Table 3, 'BERT base'")
    segment_ids: bool = Field(default=True, description="false: Table 3, 'remove segment embedding'")
    separator: bool = Field(default=True, description="false: Table 3, 'remove [SEP] tokens'")

    # Intra-modal dynamics, Section 4.1
    context: dict[Modality, ContextSetting] = Field(
        default={"text": "window", "audio": "self", "visual": "self"},
        description="window: eq. 2 and 3, the K turns before too; self: eq. 4-6, the turn alone (Table 4's bar and dot)",
    )
    context_window: int = Field(default=14, ge=0, description="K, 5.2; 0: the turn alone")
    model_dim: int = Field(default=768, ge=1, description="5.2")
    intra_layers: int = Field(default=6, ge=0, description="5.2; 0: no Transformer (Table 3, 'remove transformer')")
    intra_heads: int = Field(default=12, ge=1, description="5.2")
    inter_layers: int = Field(default=4, ge=1, description="5.2")
    inter_heads: int = Field(default=8, ge=1, description="5.2")
    feedforward: int = Field(default=2048, ge=1, description="'PyTorch API using default parameters', 5.2: 2048")
    positions: Literal["none", "sinusoidal"] = Field(default="none", description="added before a windowed Transformer; the paper has none")

    # Inter-modal dynamics, Section 4.2
    fusion: Fusion = Field(default="mgif", description="Table 5")
    bilinear_dim: int = Field(default=2048, ge=1, description="length of the count sketches of compact bilinear pooling")
    share_mappings: bool = Field(default=True, description="one W^U, W^A, W^V for both gates a modality takes part in (eq. 7, 8, 12-14)")

    # Discriminator, Section 4.3
    head: Literal["categorical", "dimensional"] = Field(default="categorical", description="softmax over classes, or linear outputs (eq. 17)")
    discriminator_hidden: int | None = Field(default=None, ge=1, description="width of W^O; the paper gives none. None: model_dim")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="PyTorch's default in every Transformer layer")

    # Training, Section 5.2
    epochs: int = Field(default=20, ge=1, description="the paper gives none")
    batch_size: int = Field(default=4, ge=1, description="dialogues; the paper gives none, its GPU held 11 GB")
    learning_rate: float = Field(default=6e-6, gt=0)
    encoder_learning_rate: float | None = Field(default=None, gt=0, description="of the text encoder alone; None: learning_rate, as the paper")
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_steps: int = Field(default=1200, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> DialogueTRMConfig:
        for name in ("intra_heads", "inter_heads"):
            if self.model_dim % getattr(self, name):
                raise ValueError(f"model_dim {self.model_dim} is not divisible by {name} {getattr(self, name)}")
        without = [m for m in self.modalities if m not in self.context]
        if without:
            raise ValueError(f"context says nothing of {', '.join(without)}; name 'window' or 'self' for every modality in dims")
        if self.text == "encoder" and "text" not in self.dims:
            raise ValueError(f"text is 'encoder', but dims has {', '.join(self.dims)} alone; add text with the encoder's width, or drop text: encoder")
        of_encoder = ("encoder", "max_tokens", "self_context", "segment_ids", "separator", "encoder_learning_rate")
        unread = [name for name in of_encoder if getattr(self, name) != type(self).model_fields[name].default]
        if self.text != "encoder" and unread:
            raise ValueError(f"{', '.join(unread)}: given, but text is 'features', so there is no encoder to heed it; set text to 'encoder'")
        if self.fusion != "mgif" and len(self.dims) == 1:
            raise ValueError(f"fusion {self.fusion!r} needs a second modality, dims has {', '.join(self.dims)} alone; leave fusion at its default")
        return self

    @classmethod
    def iemocap(cls, **fields: Any) -> DialogueTRMConfig:
        """Section 5.2 for IEMOCAP."""
        return cls(**{"classes": 6, **fields})

    @classmethod
    def meld(cls, **fields: Any) -> DialogueTRMConfig:
        """Section 5.2 for MELD; the paper uses no visual stream there (5.1).

        Raises:
            ConfigError: ``dims`` with "visual".
        """
        fields = {"classes": 7, "dims": {"text": 768, "audio": 100}, **fields}
        if "visual" in fields["dims"]:
            raise ConfigError(
                "DialogueTRM on MELD has no visual stream: several people are in the picture (5.1). Leave visual out of the modalities, "
                "or use the preset 'iemocap' with classes=7 to try it"
            )
        return cls(**fields)

    @classmethod
    def avec(cls, **fields: Any) -> DialogueTRMConfig:
        """Section 5.2 for AVEC: four real-valued dimensions."""
        return cls(**{"classes": 4, "head": "dimensional", **fields})

    @classmethod
    def cpu(cls, **fields: Any) -> DialogueTRMConfig:
        """A smaller one that trains on a CPU: 128-d, 2 + 1 layers, a larger rate. Ours, not the paper's."""
        small = {
            "model_dim": 128, "intra_layers": 2, "intra_heads": 4, "inter_layers": 1, "inter_heads": 4, "feedforward": 256,
            "bilinear_dim": 512, "batch_size": 16, "learning_rate": 5e-4, "warmup_steps": 50, "epochs": 30,
        }  # fmt: skip
        return cls(**{**small, **fields})

    @property
    def feature_dims(self) -> dict[Modality, int]:
        """Widths of the features a batch must bring; a text encoder inside the model reads the words instead."""
        return {m: width for m, width in self.dims.items() if not (m == "text" and self.text == "encoder")}

    def training_settings(self) -> dict[str, Any]:
        """Keyword arguments of :class:`erc_lib.training.TrainingConfig` (Section 5.2)."""
        groups = {} if self.encoder_learning_rate is None else {"self_dependency.encoder": self.encoder_learning_rate}
        return {
            "parameter_groups": groups, "epochs": self.epochs, "batch_size": self.batch_size, "optimizer": "adamw", "learning_rate": self.learning_rate,
            "betas": (0.9, 0.999), "weight_decay": self.weight_decay, "schedule": "linear", "warmup_steps": self.warmup_steps,
        }  # fmt: skip
