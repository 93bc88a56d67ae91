"""Every choice DF-ERC makes, with the place that prescribes it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from erc_lib.papers.config import Modality, PaperConfig

ENCODER_FIELDS = ("encoder", "max_tokens", "max_utterance_tokens", "overlap", "encoder_learning_rate")


class DFERCConfig(PaperConfig):
    """Configuration of :class:`~erc_lib.papers.df_erc.DFERC`; frozen, and a misspelt field is an error."""

    title: ClassVar[str] = "DF-ERC"

    variant: Literal["paper"] = "paper"
    dims: dict[Modality, int] = Field(default={"text": 1024, "audio": 300, "visual": 342}, description="feature width of each modality used; Table 6, MELD")

    # Encoding, Section 3.1
    text: Literal["features", "encoder"] = Field(default="features", description="stored vectors, or a RoBERTa over the whole dialogue, fine-tuned inside the model (eq. 1)")
    encoder: str = Field(default="roberta-large", min_length=1, description="the encoder's name, with text: encoder; 4.1")
    max_tokens: int = Field(default=512, ge=8, description="longest input of the encoder; longer dialogues are split at utterance borders")
    max_utterance_tokens: int = Field(default=256, ge=1, description="an utterance's own tokens, the rest is cut; A.2")
    overlap: int = Field(default=2, ge=0, description="utterances that two neighbouring parts of a long dialogue share; the paper splits none")

    # Dual-level disentanglement, Section 3.2
    modality_level: bool = Field(default=True, description="eq. 3; false: Table 2, '- Modality'")
    utterance_level: bool = Field(default=True, description="eq. 5; false: Table 2, '- Utterance'; both false: '- DDM'")
    disentangled_dim: int = Field(default=300, ge=1, description="of both MLPs, Table 6; also the hidden width of MLP^q, MLP^p and MLP^c, which the paper does not give")
    modality_temperature: float = Field(default=0.5, gt=0, allow_inf_nan=False, description="tau of eq. 3; A.2")
    utterance_temperature: float = Field(default=0.3, gt=0, allow_inf_nan=False, description="tau of eq. 5; A.2")

    # Contribution-aware fusion, Section 3.3
    fusion: Literal["contribution", "sum", "attention"] = Field(default="contribution", description="sum: Table 2, '- CFM'; attention: '+ Att' below it")
    equalise: Literal["representations", "features"] = Field(
        default="representations",
        description="where vectors of different widths are made equal for the sum of eq. 16: t, a, v by a linear layer each, or the raw features before eq. 2",
    )
    fusion_dim: int = Field(default=500, ge=1, description="width of that linear layer; the paper gives none")

    # Context refusion, Section 3.4
    context: Literal["refusion", "full", "zero", "attention"] = Field(
        default="refusion", description="full, zero: Table 2, '- CRM'; attention: '+ Att' below them"
    )
    weigh: Literal["output", "input"] = Field(default="output", description="1 - psi on the BiLSTM's output (eq. 22), or on its input (footnote 1)")
    aligned_dim: int = Field(default=500, ge=1, description="of x, eq. 17; Table 6")
    margin: float = Field(default=0.1, ge=0, description="beta of eq. 19; Table 6")
    distance: Literal["mean", "sum"] = Field(default="mean", description="the squared error of eq. 19: its mean over a vector's numbers, or their sum")
    prototypes: Literal["epoch", "training"] = Field(default="epoch", description="eq. 18 begins anew with each epoch, or never")
    lstm_hidden: int = Field(default=300, ge=1, description="of each direction; Table 6")

    # Objective, Section 3.5 and 4.1
    alpha_contrast: float = Field(default=0.3, gt=0, le=1, description="alpha_1 of eq. 25; MELD")
    alpha_contribution: float = Field(default=0.8, gt=0, le=1, description="alpha_2; MELD")
    alpha_similarity: float = Field(default=0.3, gt=0, le=1, description="alpha_3; MELD")
    reduction: Literal["sum", "mean"] = Field(
        default="sum", description="every loss as printed, summed; mean: each divided by its number of terms, so that a long dialogue does not change the weights"
    )

    # Training, A.2 and Table 6
    dropout: float = Field(default=0.2, ge=0, lt=1, description="after the encoder, and before the classifier")
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=8, ge=1, description="dialogues; A.2, MELD")
    learning_rate: float = Field(default=1e-3, gt=0)
    encoder_learning_rate: float = Field(default=1e-5, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_steps: int = Field(default=100, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> DFERCConfig:
        if self.text == "encoder" and "text" not in self.dims:
            raise ValueError(f"text is 'encoder', but dims has {', '.join(self.dims)} alone; add text with the encoder's width, or drop text: encoder")
        changed = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        if self.text != "encoder" and (unheeded := sorted(changed & set(ENCODER_FIELDS))):
            raise ValueError(f"{', '.join(unheeded)}: given, but text is 'features', so there is no encoder to heed it; set text to 'encoder'")
        if self.context != "refusion" and (unheeded := sorted(changed & {"weigh", "aligned_dim", "margin", "distance", "prototypes", "alpha_similarity"})):
            raise ValueError(f"{', '.join(unheeded)}: given, but context is {self.context!r}, which has neither prototypes nor psi; set context to 'refusion'")
        for absent, why, fields in (
            (not self.modality_level, "modality_level is False", {"modality_temperature"}),
            (not self.utterance_level, "utterance_level is False", {"utterance_temperature"}),
            (not (self.modality_level or self.utterance_level), "neither level is there", {"alpha_contrast"}),
            (self.fusion != "contribution", f"fusion is {self.fusion!r}", {"alpha_contribution"}),
        ):
            if absent and (unheeded := sorted(changed & fields)):
                raise ValueError(f"{', '.join(unheeded)}: given, but {why}, so there is no loss that heeds it; drop it")
        if self.max_utterance_tokens > self.max_tokens - 2 and self.text == "encoder":
            raise ValueError(f"max_utterance_tokens {self.max_utterance_tokens} does not fit into max_tokens {self.max_tokens} with the two special tokens; lower max_utterance_tokens")
        return self

    @classmethod
    def meld(cls, **fields: Any) -> DFERCConfig:
        """4.1 and Table 6 for MELD."""
        return cls(**{"classes": 7, **fields})

    @classmethod
    def iemocap(cls, **fields: Any) -> DFERCConfig:
        """4.1, A.2 and Table 6 for IEMOCAP."""
        own = {"classes": 6, "dims": {"text": 1024, "audio": 1582, "visual": 342}, "batch_size": 4}
        if fields.get("modality_level", True) or fields.get("utterance_level", True):
            own["alpha_contrast"] = 0.2
        if fields.get("fusion", "contribution") == "contribution":
            own["alpha_contribution"] = 0.9
        if fields.get("context", "refusion") == "refusion":
            own["alpha_similarity"] = 1.0
        return cls(**{**own, **fields})

    @property
    def feature_dims(self) -> dict[Modality, int]:
        """Widths of the features a batch must bring; a text encoder inside the model reads the words instead."""
        return {m: width for m, width in self.dims.items() if not (m == "text" and self.text == "encoder")}

    def training_settings(self) -> dict[str, Any]:
        """Keyword arguments of :class:`erc_lib.training.TrainingConfig` (A.2, Table 6)."""
        groups = {"encoding.encoder": self.encoder_learning_rate} if self.text == "encoder" else {}
        return {
            "parameter_groups": groups, "epochs": self.epochs, "batch_size": self.batch_size, "optimizer": "adamw", "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay, "schedule": "linear", "warmup_steps": self.warmup_steps, "clip_norm": 1.0,
        }  # fmt: skip
