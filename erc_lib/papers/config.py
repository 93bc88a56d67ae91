"""What the papers' configurations have in common."""

from __future__ import annotations

import difflib
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from erc_lib.errors import ConfigError

Modality = Literal["text", "audio", "visual"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)


class PaperConfig(BaseModel):
    """A frozen, validated configuration of one model; a misspelt field is an error.

    Raises:
        ConfigError: naming every field that is wrong, what it holds, and what it may hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: ClassVar[str] = "model"

    dims: dict[Modality, int] = Field(description="feature width of each modality used; leave one out and the model does without")
    classes: int = Field(default=7, ge=2)
    class_counts: tuple[int, ...] | None = Field(default=None, description="utterances of each class in the training split, where a loss weighs classes")

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            problems = "; ".join(self._explain(e) for e in error.errors())
            raise ConfigError(f"{self.title} configuration: {problems}. Fields: {', '.join(type(self).model_fields)}") from None

    @model_validator(mode="after")
    def _dims_and_counts(self) -> Self:
        if not self.dims:
            raise ValueError("dims is empty: name at least one modality, for example {'text': 384}")
        if any(width < 1 for width in self.dims.values()):
            raise ValueError(f"dims must be positive widths, not {self.dims}")
        if self.class_counts is not None and len(self.class_counts) != self.classes:
            raise ValueError(f"class_counts has {len(self.class_counts)} entries for {self.classes} classes")
        return self

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities used, in the fixed order text, audio, visual."""
        return tuple(m for m in MODALITIES if m in self.dims)

    @property
    def feature_dims(self) -> dict[Modality, int]:
        """Widths of the features that a batch must bring; a model that makes some of them itself overrides this."""
        return self.dims

    @classmethod
    def _explain(cls, error: dict[str, Any]) -> str:
        name = ".".join(map(str, error["loc"])) or "config"
        close = difflib.get_close_matches(name, cls.model_fields, n=1) if error["type"] == "extra_forbidden" else []
        return f"{name}: {error['msg'].removeprefix('Value error, ')}" + (f"; did you mean {close[0]}?" if close else "")
