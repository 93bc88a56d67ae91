"""Checkpoints of the released code: their names, and how they become ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from erc_lib.errors import DataError
from erc_lib.papers.config import MODALITIES
from erc_lib.papers.multiemo.config import MultiEMOConfig
from erc_lib.papers.multiemo.model import MultiEMO

PRESETS = {"iemocap": MultiEMOConfig.iemocap, "meld": MultiEMOConfig.meld}
_CELLS = [f"{cell}_cell.{name}" for cell in "gpe" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def load_released(
    state_dict: Mapping[str, Tensor], *, corpus: Literal["iemocap", "meld"] = "iemocap", heads: int = 4, mask_padding: bool = True
) -> MultiEMO:
    """A MultiEMO from a checkpoint of the released code (TaoShi1998/MultiEMO, commit e96458b), all dims read from its arrays.

    Args:
        state_dict: the checkpoint's names and arrays. On MELD it holds parameters that are never used (the text DialogueRNN, the
            reverse cells, the linear layers); they are left out.
        corpus: which of the two recurrences the checkpoint was trained with: bidirectional with a linear layer and also over the text
            ("iemocap"), or forward only ("meld").
        heads: attention heads the checkpoint was trained with; checked against its names.
        mask_padding: True: what each dialogue alone would give. False: let padding be attended to, as the released code does, so that
            outputs depend on what else is in the batch.

    Returns:
        The model, ``variant="released"``, float32, in evaluation mode.

    Raises:
        DataError: names that are missing or not of the released code, shapes that contradict each other, or another number of heads.
    """
    if corpus not in PRESETS:
        raise DataError(f"load_released: corpus must be 'iemocap' or 'meld', not {corpus!r}")
    arrays = {name: torch.as_tensor(value) for name, value in state_dict.items()}

    def shape(name: str) -> tuple[int, ...]:
        if name not in arrays:
            raise DataError(f"load_released: the checkpoint has no {name!r}; is it one of the released MultiEMO code?")
        return tuple(arrays[name].shape)

    layer_numbers = {int(m[1]) for m in (re.match(r"multiattn\.multiattn_text\.multiattn_layers\.(\d+)\.", n) for n in arrays) if m}
    head_numbers = {int(m[1]) for m in (re.search(r"\.attention_heads\.(\d+)\.", n) for n in arrays) if m}
    if len(head_numbers) != heads:
        raise DataError(f"load_released: the checkpoint has {len(head_numbers)} attention heads, not {heads}; pass heads={len(head_numbers)}")
    config = PRESETS[corpus](
        variant="released",
        dims={m: shape(f"{m}_fc.weight")[1] for m in MODALITIES},
        classes=shape("mlp.linear_2.weight")[0],
        class_counts=(1,) * shape("mlp.linear_2.weight")[0],  # only training needs the real ones
        model_dim=shape("text_fc.weight")[0],
        layers=len(layer_numbers),
        heads=heads,
        feedforward=shape("multiattn.multiattn_text.multiattn_layers.0.ff.linear_W1.weight")[0],
        classifier_hidden=shape("mlp.linear_1.weight")[0],
        mask_padding=mask_padding,
    )
    model = MultiEMO(config)
    ours, used = {}, set()
    for name in model.state_dict():
        theirs = _released_names(name, heads)
        missing = [t for t in theirs if t not in arrays]
        if missing:
            raise DataError(f"load_released: the checkpoint has no {missing[0]!r}, which corpus={corpus!r} with {heads} heads needs")
        ours[name] = torch.cat([arrays[t] for t in theirs]).float()
        used.update(theirs)
    unknown = [n for n in arrays if n not in used and not _never_used(n, corpus)]
    if unknown:
        raise DataError(f"load_released: {unknown[0]!r} is not a name of the released code for {corpus} ({len(unknown)} such names)")
    try:
        model.load_state_dict(ours)
    except RuntimeError as error:
        raise DataError(f"load_released: shapes of the checkpoint contradict each other: {error}") from None
    return model.eval()


def _released_names(name: str, heads: int) -> list[str]:
    """The released arrays that make up one of our parameters, to be joined along their rows."""
    kind = name.rsplit(".", 1)[1]
    if m := re.match(r"contexts\.(\w+)\.projection\.", name):
        return [f"{m[1]}_fc.{kind}"]
    if m := re.match(r"contexts\.(\w+)\.model\.(from_start|from_end)\.(.+)", name):
        direction = {"from_start": "f", "from_end": "r"}[m[2]]
        cell = "attention.scalar.weight" if m[3] == "score.weight" else m[3]
        return [f"{m[1]}_dialoguernn.dialog_rnn_{direction}.dialogue_cell.{cell}"]
    if m := re.match(r"contexts\.(\w+)\.model\.linear\.", name):
        return [f"{m[1]}_dialoguernn.linear.{kind}"]
    if m := re.match(r"multiattn\.layers\.(\w+)\.(\d+)\.(.+)\.(?:weight|bias)", name):
        layer = f"multiattn.multiattn_{m[1]}.multiattn_layers.{m[2]}"
        if a := re.match(r"attentions\.(\d)\.(query|key|value)", m[3]):
            return [f"{layer}.attn_{int(a[1]) + 1}.attention_heads.{h}.{a[2]}_matrix.{kind}" for h in range(heads)]
        if a := re.match(r"attentions\.(\d)\.output", m[3]):
            return [f"{layer}.attn_{int(a[1]) + 1}.projection_matrix.{kind}"]
        if a := re.match(r"attention_norms\.(\d)", m[3]):
            return [f"{layer}.add_norm_{int(a[1]) + 1}.layer_norm.{kind}"]
        rest = {"feedforward_in": "ff.linear_W1", "feedforward_out": "ff.linear_W2", "feedforward_norm": "add_norm_3.layer_norm"}[m[3]]
        return [f"{layer}.{rest}.{kind}"]
    return [{"embed": "fc", "hidden": "mlp.linear_1", "classify": "mlp.linear_2"}[name.split(".")[0]] + f".{kind}"]


def _never_used(name: str, corpus: str) -> bool:
    """On MELD the released model carries the whole text DialogueRNN, reverse cells and linear layers without using them."""
    m = re.match(r"(text|audio|visual)_dialoguernn\.(dialog_rnn_[fr]\.dialogue_cell\.(.+)|linear\.(?:weight|bias))$", name)
    if not m or corpus != "meld":
        return False
    return m[3] is None or m[3] in _CELLS or m[3] == "attention.scalar.weight"
