"""Whether this machine, this torch and this installation can compute in 8-bit whole numbers."""

import platform
from functools import cache
from importlib.util import find_spec

import torch

from openankh.errors import UserError


def require_int8(device: torch.device) -> None:
    """Raise UserError where int8 does not run: elsewhere than on a CPU, without numba, without exact 8-bit products."""
    if device.type != "cpu":
        raise UserError(f"precision int8: runs on CPUs, and the model is on {device}; use bf16, or device cpu")
    if find_spec("numba") is None:
        raise UserError("precision int8: needs numba; pip install 'openankh[int8]', or use bf16 or fp32")
    if not multiplies_exactly():
        raise UserError("precision int8: this processor or this torch has no exact 8-bit products; use bf16 or fp32")


@cache
def multiplies_exactly() -> bool:
    """Whether oneDNN's 8-bit products are there and exact: without VNNI, sums of two large products overflow."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    weight_OI = torch.full((8, 64), 127, dtype=torch.int8)
    weight_OI[::2, ::3] = -126
    codes_TI = torch.arange(5 * 64).reshape(5, 64).remainder(255).to(torch.uint8)
    codes_TI[0] = 255
    centred_TI = codes_TI.int() - 128
    exact_TO = (centred_TI[:, None] * weight_OI.int()).sum(-1)
    try:
        packed = torch.ops.onednn.qlinear_prepack(weight_OI, None)
        by_rows = torch.ops.onednn.qlinear_pointwise(
            codes_TI,
            1.0,
            128,
            packed,
            torch.ones(8),
            torch.zeros(8, dtype=torch.int64),
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        by_pairs = torch.ops.aten._int_mm(centred_TI.clamp(-127, 127).to(torch.int8), weight_OI.t())
    except (AttributeError, RuntimeError, TypeError):
        return False
    clamped_TO = (centred_TI.clamp(-127, 127)[:, None] * weight_OI.int()).sum(-1)
    return torch.equal(by_rows, exact_TO.float()) and torch.equal(by_pairs, clamped_TO.int())
