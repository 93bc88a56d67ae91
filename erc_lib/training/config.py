"""Everything that decides a training besides the model, the corpus and the seed: :class:`TrainingConfig`."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from erc_lib.errors import ConfigError

Rate = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
Momentum = Annotated[float, Field(ge=0, lt=1)]


class TrainingConfig(BaseModel):
    """Frozen and validated; a misspelt field or a value out of range is a ConfigError that names it.

    Defaults are MultiEMO's, Section 4.3 ("Hyperparameter Settings"), where that paper names a value. Each paper's
    ``config.training_settings()`` returns the keyword arguments it prescribes itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    epochs: int = Field(100, ge=1, le=100_000, description="Passes over the training dialogues. MultiEMO 4.3: 100.")
    batch_size: int = Field(64, ge=1, description="Dialogues (not turns) in a batch. MultiEMO 4.3: 64 (IEMOCAP), 100 (MELD).")
    optimizer: Literal["adam", "adamw"] = Field("adam", description="torch.optim.Adam or AdamW. MultiEMO 4.3: Adam.")
    learning_rate: Rate = Field(1e-4, description="Rate before any schedule. MultiEMO 4.3: 0.0001.")
    betas: tuple[Momentum, Momentum] = Field((0.9, 0.99), description="Decays of Adam's two moments. MultiEMO 4.3: 0.9 and 0.99.")
    weight_decay: float = Field(
        1e-5, ge=0, le=1, description="adam: adds weight_decay * theta to the gradient; adamw: decoupled. MultiEMO 4.3: 0.00001."
    )
    schedule: Literal["none", "step", "plateau", "linear"] = Field(
        "step",
        description="How the rate falls. step: times step_factor every step_every epochs (MultiEMO 4.3); plateau: times "
        "step_factor after more than plateau_patience epochs without a lower validation loss; linear: to zero over the training.",
    )
    step_every: int = Field(10, ge=1, description="Epochs between two steps. MultiEMO 4.3: 10.")
    step_factor: float = Field(0.95, gt=0, le=1, description="Factor of a step, also of a plateau's. MultiEMO 4.3: 0.95.")
    plateau_patience: int = Field(10, ge=0, description="Epochs without a lower validation loss that are waited for.")
    warmup_steps: int = Field(0, ge=0, description="Batches over which the rate rises linearly to its value, with any schedule.")
    clip_norm: float | None = Field(None, gt=0, description="Largest Euclidean norm of all gradients together; None: unbounded.")
    patience: int | None = Field(
        None, ge=1, description="Early stopping: training ends after so many epochs without a better validation weighted F1."
    )
    mixed_precision: Literal["no", "bf16", "fp16"] = Field(
        "no", description="Precision of the forward pass; losses stay in float32. fp16 (with loss scaling) needs a GPU."
    )
    parameter_groups: dict[str, Rate] = Field(
        default_factory=dict,
        description="Module prefix -> its own learning rate, e.g. {'encoder': 1e-5}; the longest matching prefix counts.",
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError("TrainingConfig: " + "; ".join(self._explain(e) for e in error.errors())) from None

    @model_validator(mode="after")
    def _prefixes(self) -> TrainingConfig:
        for prefix in self.parameter_groups:
            if not prefix or prefix.endswith("."):
                raise ValueError(f"parameter_groups: {prefix!r} is no module prefix; write 'encoder', not 'encoder.' or ''")
        return self

    @classmethod
    def _explain(cls, error: dict[str, Any]) -> str:
        name = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            close = difflib.get_close_matches(name, cls.model_fields, n=1)
            hint = f"did you mean {close[0]}?" if close else "known fields: " + ", ".join(cls.model_fields)
            return f"there is no field {name!r}; {hint}"
        return f"{name} = {error['input']!r}: {error['msg']}" if name else error["msg"]
