"""Every choice MultiEMO makes, with the place that prescribes it and what the released code does instead.

``variant`` sets the default of each field that its paper and its released code disagree on; a field named explicitly
always wins. The numbers (1) to (36) are those of the book's table "Where the papers are silent or disagree".
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from erc_lib.papers.config import Modality, PaperConfig

# What the released code sets otherwise than the paper, on both corpora.
RELEASED: dict[str, Any] = {
    "mask_padding": False,  # (20)
    "attention_bias": True,  # (22)
    "bidirectional": True,  # (24)
    "context_activation": "relu",  # (25)
    "project_first": True,  # (28)
    "dropout": 0.0,  # (5)
    "dropout_placement": "released",  # (6)
    "swfc_variant": "released",  # (12)-(14)
    "hgr_variant": "released",  # (16)-(19)
    "schedule": "plateau",  # (2)
    "beta2": 0.999,  # (3)
    "l2_gradient": 1.0,  # (4)
}
# Its two training scripts, (7)-(9), (23), (24), (32).
RELEASED_IEMOCAP: dict[str, Any] = {
    "text_context": "dialogue_rnn", "swfc_alpha": 1.1, "swfc_gamma": 2.4, "mu_swfc": 0.4, "mu_hgr": 0.4, "classifier_hidden": 256,
}
RELEASED_MELD: dict[str, Any] = {
    "bidirectional": False, "swfc_alpha": 1.2, "temperature": 1.4, "mu_swfc": 0.3, "mu_hgr": 0.3, "classifier_hidden": 512,
    "layers": 2, "epochs": 15,
}


class MultiEMOConfig(PaperConfig):
    """Configuration of :class:`~erc_lib.papers.multiemo.MultiEMO`; frozen, and a misspelt field is an error.

    Its ``dims`` name the modalities: ``{"text": 768, "audio": 512, "visual": 1000}`` or any subset (Table 3).
    """

    title: ClassVar[str] = "MultiEMO"

    variant: Literal["paper", "released"] = "paper"
    dims: dict[Modality, int] = Field(
        default={"text": 768, "audio": 512, "visual": 1000}, description="feature width of each modality used; 3.3"
    )
    class_counts: tuple[int, ...] | None = Field(
        default=None, description="(12) utterances of each class in the training split; the released SWFC weights need them"
    )

    # Feature projections and context, Section 3.3
    audio_reduction: int | None = Field(default=None, ge=1, description="(29) 512 with raw 6373-d openSMILE vectors; None: features come reduced")
    text_context: Literal["none", "dialogue_rnn", "transformer"] = Field(
        default="none",
        description="(23) none: one-stage text features already carry their context (3.3.1); transformer: the two-stage paradigm (3.3.1, A.1)",
    )
    text_context_layers: int = Field(default=2, ge=1, description="layers of the two-stage Transformer; the paper gives none")
    text_context_norm: bool = Field(
        default=False, description="layer norm on the projected text before positions and speakers are added; unit-length sentence "
        "vectors are thirty times shorter than those and drown without it",
    )
    max_speakers: int = Field(default=16, ge=1, description="speaker embeddings of the two-stage Transformer; 9 suffice for MELD")
    bidirectional: bool = Field(default=False, description="(24) DialogueRNN also from the end, joined by a linear layer")
    context_attention: Literal["simple", "general"] = Field(default="simple", description="(27) over the history of global states")
    context_activation: Literal["none", "relu"] = Field(default="none", description="(25) after the recurrence")
    project_first: bool = Field(default=False, description="(28) a linear layer to model_dim before the recurrence")
    model_dim: int = Field(default=256, ge=1, description="3.3: 256-dimensional contextual features")

    # MultiAttn, Section 3.4
    fusion: Literal["multiattn", "concatenation"] = Field(default="multiattn", description="concatenation: the ablation w/o MultiAttn (5.3)")
    layers: int = Field(default=6, ge=1, description="(7) T of Section 4.3")
    heads: int = Field(default=4, ge=1, description="(32) H; the paper gives none")
    feedforward: int = Field(default=1024, ge=1, description="(32) width of eq. 10; the paper gives none")
    attention_bias: bool = Field(default=False, description="(22) biases in Q, K, V and O; eq. 2-8 have none")
    audio_stage_values: Literal["keys", "printed"] = Field(
        default="keys", description="(21) values from the keys' modality (3.4's text), or from the other one, as eq. 2 prints them"
    )
    activation_memory: float | None = Field(
        default=None, ge=0, description="GiB of MultiAttn's activations kept for the backward pass; what goes beyond is computed "
        "again there, which changes no number. None: 0.1 on a CPU, no limit on a GPU",
    )
    mask_padding: bool = Field(default=True, description="(20) attend to the dialogue's own utterances alone (eq. 2-9)")

    # Classifier, Section 3.5
    classifier_hidden: int = Field(default=256, ge=1, description="(32) width of eq. 15; the paper gives none")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="(5) 4.3")
    dropout_placement: Literal["sublayers", "released"] = Field(
        default="sublayers", description="(6) after each attention and feed-forward sublayer and the context; the equations show none"
    )

    # Losses, Section 3.6
    use_swfc: bool = Field(default=True, description="False: the ablation w/o SWFC (5.3); the other weights stay as they are")
    use_hgr: bool = True
    swfc_variant: Literal["paper", "released"] = Field(default="paper", description="(12)-(14)")
    swfc_scope: Literal["batch", "dialogue"] = Field(default="batch", description="(15) where pairs are sought: text under eq. 19, or its index i")
    hgr_variant: Literal["paper", "released"] = Field(default="paper", description="(16)-(19)")
    temperature: float = Field(default=0.8, gt=0, description="(8) tau, 4.3")
    swfc_alpha: float = Field(default=0.8, ge=0, description="(8) alpha, 4.3")
    swfc_gamma: float = Field(default=2.0, ge=0, description="(8) gamma, 4.3")
    mu_swfc: float = Field(default=0.4, ge=0, le=1, description="(9) mu_1, 4.3")
    mu_hgr: float = Field(default=0.3, ge=0, le=1, description="(9) mu_2, 4.3; cross-entropy has the rest")

    # Training, Section 4.3
    epochs: int = Field(default=100, ge=1, description="(7)")
    batch_size: int = Field(default=64, ge=1, description="dialogues: 64 on IEMOCAP, 100 on MELD")
    learning_rate: float = Field(default=1e-4, gt=0)
    beta2: float = Field(default=0.99, gt=0, lt=1, description="(3)")
    schedule: Literal["none", "step", "plateau"] = Field(default="step", description="(2) times 0.95 every 10 epochs")
    l2: float = Field(default=1e-5, ge=0, description="lambda of eq. 22")
    l2_gradient: float = Field(default=2.0, ge=0, description="(4) the gradient of lambda |theta|^2 is 2 lambda theta; Adam's weight decay adds it")

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_variant(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("variant") == "released":
            return {**RELEASED, **given}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> MultiEMOConfig:
        if self.model_dim % self.heads:
            raise ValueError(f"model_dim {self.model_dim} is not divisible by heads {self.heads}")
        if self.mu_swfc + self.mu_hgr > 1:
            raise ValueError(f"mu_swfc {self.mu_swfc} + mu_hgr {self.mu_hgr} exceed 1, which leaves cross-entropy a negative weight (eq. 22)")
        return self

    @classmethod
    def iemocap(cls, **fields: Any) -> MultiEMOConfig:
        """Section 4.3 for IEMOCAP, or with ``variant="released"`` the released training script."""
        return cls._preset({"classes": 6, "batch_size": 64}, RELEASED_IEMOCAP, fields)

    @classmethod
    def meld(cls, **fields: Any) -> MultiEMOConfig:
        """Section 4.3 for MELD, or with ``variant="released"`` the released training script."""
        return cls._preset({"classes": 7, "batch_size": 100}, RELEASED_MELD, fields)

    @classmethod
    def _preset(cls, paper: dict, released: dict, fields: dict) -> MultiEMOConfig:
        return cls(**{**paper, **(released if fields.get("variant") == "released" else {}), **fields})

    def training_settings(self) -> dict[str, Any]:
        """Keyword arguments of :class:`erc_lib.training.TrainingConfig` (Section 4.3)."""
        return {
            "epochs": self.epochs, "batch_size": self.batch_size, "optimizer": "adam", "learning_rate": self.learning_rate,
            "betas": (0.9, self.beta2), "weight_decay": self.l2_gradient * self.l2,
            "schedule": self.schedule, "step_every": 10, "step_factor": 0.95, "plateau_patience": 10,
        }
