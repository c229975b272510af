"""Where and in which numbers a model computes, from what a user asks for and what the machine has."""

import re
from difflib import get_close_matches
from typing import cast

import torch

from openankh.errors import UserError
from openankh.precision import PRECISIONS, Precision
from openankh.store import RESULTS, Dtype

DTYPES = ("auto", "fp32", "bf16", "fp16")
_TORCH_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name: `auto` (a CUDA GPU where PyTorch sees one), `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises UserError for another name, and for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in DEVICES and not re.fullmatch(r"cuda:[0-9]{1,3}", name):
        raise UserError(f"device {name!r}: not one of auto, cpu, cuda, cuda:N, mps{_nearest(name, DEVICES)}")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {name}: PyTorch sees {torch.cuda.device_count()} CUDA GPUs here; use auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device mps: PyTorch sees no Apple GPU here; use auto or cpu")
    return device


def choose_dtype(name: str, device: torch.device, precision: Precision = "auto") -> tuple[Dtype, torch.dtype]:
    """(type of the results, type of the weights) of that name.

    `auto` is bf16 where the device multiplies in it, else fp32; `fp16` computes in what `auto` would, for T5 overflows
    in fp16, and is rounded to at the end. A `precision` other than auto decides the weights' type, and that of results
    where the name is `auto`; int8 is made of weights as for auto. Raises UserError for another name.
    """
    if name not in DTYPES:
        raise UserError(f"dtype {name!r}: not one of {', '.join(DTYPES)}{_nearest(name, DTYPES)}")
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r}: not one of {', '.join(PRECISIONS)}{_nearest(precision, PRECISIONS)}")
    if precision == "auto":
        return _choose_both(name, device)
    weights = _choose_both("auto", device)[1] if precision == "int8" else _TORCH_TYPES[precision]
    return cast(Dtype, name) if name != "auto" else RESULTS[precision], weights


def _choose_both(name: str, device: torch.device) -> tuple[Dtype, torch.dtype]:
    if name == "bf16" or (name != "fp32" and multiplies_bf16(device)):
        return ("fp16" if name == "fp16" else "bf16"), torch.bfloat16
    return ("fp16" if name == "fp16" else "fp32"), torch.float32


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware: where it does not, fp32 is faster and more exact."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        has = torch.cpu.get_capabilities()
        return any(has.get(unit, False) for unit in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def _nearest(name: str, legal: tuple[str, ...]) -> str:
    near = get_close_matches(name.lower(), legal, n=1, cutoff=0.4)
    return f"; did you mean {near[0]}?" if near else ""
