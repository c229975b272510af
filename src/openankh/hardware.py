"""Where and in which numbers a model computes, from what a user asks for and what the machine has."""

import re
from difflib import get_close_matches

import torch

from openankh.errors import UserError
from openankh.store import Dtype

DTYPES = ("auto", "fp32", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises UserError for another name, and for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in DEVICES and not re.fullmatch(r"cuda:[0-9]+", name):
        raise UserError(f"device {name!r}: not one of {', '.join(DEVICES)}, cuda:N{_nearest(name, DEVICES)}")
    device = torch.device(name)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device mps: not available here; use cpu or auto")
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise UserError(f"device {name}: torch sees {torch.cuda.device_count()} CUDA GPUs here; use cpu or auto")
    return device


def choose_dtype(name: str, device: torch.device) -> Dtype:
    """The number type of that name; `auto` is bf16 where the device multiplies in it, else fp32.

    Raises UserError for another name.
    """
    if name not in DTYPES:
        raise UserError(f"dtype {name!r}: not one of {', '.join(DTYPES)}{_nearest(name, DTYPES)}")
    if name == "auto":
        return "bf16" if multiplies_bf16(device) else "fp32"
    return name  # type: ignore[return-value]


def arithmetic(dtype: Dtype) -> torch.dtype:
    """What a model computes in to give numbers of this type: fp16 is only rounded to at the end."""
    return torch.bfloat16 if dtype == "bf16" else torch.float32


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has matrix instructions for bf16, rather than imitating them slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _nearest(name: str, legal: tuple[str, ...]) -> str:
    near = get_close_matches(name.lower(), legal, n=1, cutoff=0.4)
    return f"; did you mean {near[0]}?" if near else ""
