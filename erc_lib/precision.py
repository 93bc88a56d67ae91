"""What must not be computed in half precision."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def full_precision(value: Any) -> Any:
    """``value`` with every half-precision tensor in it as float32: losses are sums of many terms and need the digits."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: full_precision(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **fields)
    if isinstance(value, dict):
        return {k: full_precision(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(full_precision(v) for v in value)
    return value


def in_float32(function: Callable) -> Callable:
    """Decorator: mixed precision (torch.autocast) pauses inside ``function``, and its half-precision tensors arrive as float32.

    For recurrences and losses, which add many small terms: bfloat16 keeps three digits. float64 stays float64.
    """

    @functools.wraps(function)
    def widened(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = full_precision(args), full_precision(kwargs)
        device = next((x.device.type for x in _leaves((args, kwargs)) if isinstance(x, Tensor)), None)
        if device is None or not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return widened


def _leaves(value: Any):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from _leaves(v)
    else:
        yield value
