"""Every choice DIMMN makes, with the place that prescribes it."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from erc_lib.papers.config import Modality, PaperConfig

LETTERS: dict[str, Modality] = {"T": "text", "A": "audio", "V": "visual"}
PAIRINGS = ("A+V+T", "TV+AV", "TA+VA", "VT+AT")  # Table 7


class DIMMNConfig(PaperConfig):
    """Configuration of :class:`~erc_lib.papers.dimmn.DIMMN`; frozen, and a misspelt field is an error.

    The paper gives H, K, L and d and nothing else: no hops, no rate, no batch, no dropout, no epochs. What it leaves out is chosen here,
    mostly as for the baselines, so that a comparison compares models.
    """

    title: ClassVar[str] = "DIMMN"

    variant: Literal["paper"] = "paper"
    dims: dict[Modality, int] = Field(default={"text": 100, "audio": 100, "visual": 100}, description="feature width of each modality used; 3.1, 3.2")
    model_dim: int = Field(default=100, ge=1, description="d of 3.2, and the width of every state")

    # Multiview fusion, Section 3.2
    pairing: str | None = Field(
        default=None,
        description="views, as Table 7 writes them: TA+VA (the paper's best), TV+AV, VT+AT; A+V+T concatenates. None: TA+VA; of two modalities "
        "their pair twice (4.3, MELD: TA+TA); of one, that one",
    )
    levels: int = Field(default=3, ge=1, description="H, the levels of the attention networks; Table 4")
    multiview: bool = Field(default=True, description="false: each view attends once and nothing is exchanged; Table 2, 'remove multiview'")
    share_levels: bool = Field(default=True, description="one W and w for all levels of a view, as eq. 1 and 9 write them")

    # Independent TCN, Section 3.3.1
    speaker_context: Literal["tcn", "gru"] = Field(default="tcn", description="gru: Table 2, 'remove TCN'")
    kernel_size: int = Field(default=6, ge=2, description="K of the TCN; Table 5")
    tcn_layers: int = Field(default=6, ge=1, le=16, description="L, residual blocks, the i-th with dilation 2^i from i = 0; Table 6")
    tcn_convolutions: int = Field(default=2, ge=1, le=2, description="dilated convolutions in a block; two in the TCN of Bai et al. 2018, which is cited")

    # Global GRU and conversation memory, Sections 3.3.2 and 3.3.3
    reset: Literal["before", "after"] = Field(default="before", description="reset gate before the matrix product (eq. 20), or after it (PyTorch's GRU)")
    memory: Literal["past", "before", "dialogue"] = Field(
        default="past", description="memories a turn reads: s_1 ... s_t; those of earlier turns alone; all of the dialogue"
    )
    memory_window: int | None = Field(default=None, ge=1, description="the last so many of them, 'K in total' of 3.3.3; None: all")
    hops: int = Field(default=3, ge=1, description="R; the paper gives none")

    # Training; the paper gives none of it
    dropout: float = Field(default=0.3, ge=0, lt=1, description="on U, in the TCN and before the classifier")
    epochs: int = Field(default=60, ge=1)
    batch_size: int = Field(default=8, ge=1, description="dialogues")
    learning_rate: float = Field(default=1e-3, gt=0)
    l2: float = Field(default=1e-5, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> DIMMNConfig:
        named = dict.fromkeys(LETTERS[c] for view in self.views for c in view)
        if missing := [m for m in named if m not in self.dims]:
            raise ValueError(
                f"pairing {self.pairing!r} reads {', '.join(missing)}, which dims ({', '.join(self.dims)}) lacks; "
                f"add {'it' if len(missing) == 1 else 'them'} to dims (of a run: to its modalities), or choose a pairing without"
            )
        if unread := [m for m in self.dims if m not in named]:
            raise ValueError(f"pairing {self.pairing!r} does not read {', '.join(unread)}, which dims names; leave {'it' if len(unread) == 1 else 'them'} out of dims (of a run: of its modalities)")
        changed = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        if self.attentive and not self.multiview and (unheeded := sorted(changed & {"levels", "share_levels"})):
            raise ValueError(f"{', '.join(unheeded)}: given, but without multiview each view attends once; leave {'it' if len(unheeded) == 1 else 'them'} out")
        if not self.attentive and (unheeded := sorted(changed & {"levels", "multiview", "share_levels"})):
            raise ValueError(f"{', '.join(unheeded)}: given, but the pairing {'+'.join(self.views)} has no two views to attend to; name one such as TA+VA")
        if self.speaker_context == "gru" and (unheeded := sorted(changed & {"kernel_size", "tcn_layers", "tcn_convolutions"})):
            raise ValueError(f"{', '.join(unheeded)}: given, but speaker_context is 'gru', so there is no TCN to heed it")
        if self.memory == "dialogue" and self.memory_window is not None:
            raise ValueError(f"memory_window {self.memory_window} counts past turns, but memory is 'dialogue'; set memory to 'past' or 'before'")
        return self

    @property
    def views(self) -> tuple[str, ...]:
        """``("TA", "VA")``: two views of two modalities, what they have in common second; or one letter per modality to be concatenated.

        Raises:
            ValueError: a pairing that cannot be read.
        """
        if self.pairing is None:
            letters = [c for c, m in LETTERS.items() if m in self.dims]
            return {1: tuple(letters), 2: ("".join(letters),) * 2, 3: ("TA", "VA")}[len(letters)]
        views = tuple(self.pairing.split("+"))
        letters = [c for view in views for c in view]
        concatenated = all(re.fullmatch("[TAV]", v) for v in views) and len(set(letters)) == len(letters)
        if concatenated or (len(views) == 2 and all(re.fullmatch("[TAV]{2}", v) and v[0] != v[1] for v in views) and views[0][1] == views[1][1]):
            return views
        raise ValueError(
            f"unknown pairing {self.pairing!r}: write two views of two modalities each, what they share second, or every modality once, of T, A and V, "
            f"such as {', '.join(PAIRINGS)} (Table 7), TA+TA or T"
        )

    @property
    def attentive(self) -> bool:
        """Whether the views are attention networks; else their modalities are concatenated."""
        return all(len(view) == 2 for view in self.views)

    @classmethod
    def iemocap(cls, **fields: Any) -> DIMMNConfig:
        """Section 4.3 for IEMOCAP: H = 3, K = 6, L = 6, views text-audio and video-audio."""
        return cls(**{"classes": 6, **fields})

    @classmethod
    def meld(cls, **fields: Any) -> DIMMNConfig:
        """Section 4.3 for MELD: two text-audio networks, for lack of video."""
        return cls(**{"classes": 7, "dims": {"text": 100, "audio": 100}, **fields})

    def training_settings(self) -> dict[str, Any]:
        """Keyword arguments of :class:`erc_lib.training.TrainingConfig`."""
        return {
            "epochs": self.epochs, "batch_size": self.batch_size, "optimizer": "adam", "learning_rate": self.learning_rate,
            "weight_decay": self.l2, "schedule": "none", "patience": 10,
        }  # fmt: skip
