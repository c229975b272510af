"""Linear layers for inference on CPUs: weights in oneDNN's own layout, products fused with what follows them.

They are the operators that torch's compiler emits for frozen weights, called without a compiler. In fp32 they also
take oneDNN's AVX-512 kernels on processors for which MKL chooses slower ones. Where they do not serve, the same
interface stands on plain torch.

T tokens, I input width, O output width.
"""

import platform
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear, relu, silu

from openankh.config import Activation

_PLAIN: tuple[str, Sequence[float], str] = ("none", (), "")
_FUSED: dict[Activation, tuple[str, Sequence[float], str]] = {
    "gelu": ("gelu", (), "tanh"),
    "silu": ("swish", (), ""),
    "relu": ("relu", (), ""),
}


class FusedLinear(Protocol):
    """A product with a fixed weight (O, I) and one step after it; results are (T, O) in the weight's dtype."""

    def __call__(self, x_TI: Tensor) -> Tensor:
        """x W."""
        ...

    def activated(self, x_TI: Tensor, activation: Activation) -> Tensor:
        """activation(x W)."""
        ...

    def times(self, x_TI: Tensor, gate_TO: Tensor) -> Tensor:
        """x W * gate."""
        ...

    def plus(self, x_TI: Tensor, residual_TO: Tensor) -> Tensor:
        """x W + residual, in the dtype of the residual, which may be wider."""
        ...


def fuse_linear(weight_OI: Tensor) -> FusedLinear:
    """The fastest form of this weight, on its device and in its dtype."""
    weight_OI = weight_OI.detach().contiguous()
    serves = weight_OI.device.type == "cpu" and onednn_serves(weight_OI.dtype)
    return OneDnnLinear(weight_OI) if serves else PlainLinear(weight_OI)


class OneDnnLinear:
    """The weight reordered once by oneDNN, which holds it in a layout of its own."""

    def __init__(self, weight_OI: Tensor) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight_OI, None)

    def __call__(self, x_TI: Tensor) -> Tensor:
        return onednn_product(x_TI, self._weight)

    def activated(self, x_TI: Tensor, activation: Activation) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x_TI, self._weight, None, *_FUSED[activation])

    def times(self, x_TI: Tensor, gate_TO: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(x_TI, gate_TO, self._weight, None, "mul")

    def plus(self, x_TI: Tensor, residual_TO: Tensor) -> Tensor:
        if residual_TO.dtype != x_TI.dtype:
            return residual_TO + self(x_TI)
        return torch.ops.mkldnn._linear_pointwise.binary(x_TI, residual_TO, self._weight, None, "add")


class PlainLinear:
    """The same by plain torch, for any device."""

    def __init__(self, weight_OI: Tensor) -> None:
        self._weight = weight_OI

    def __call__(self, x_TI: Tensor) -> Tensor:
        return linear(x_TI, self._weight)

    def activated(self, x_TI: Tensor, activation: Activation) -> Tensor:
        product = linear(x_TI, self._weight)
        if activation == "gelu":
            return gelu(product, approximate="tanh")
        return silu(product) if activation == "silu" else relu(product)

    def times(self, x_TI: Tensor, gate_TO: Tensor) -> Tensor:
        return linear(x_TI, self._weight).mul_(gate_TO)

    def plus(self, x_TI: Tensor, residual_TO: Tensor) -> Tensor:
        return residual_TO + linear(x_TI, self._weight)


def onednn_product(x_TI: Tensor, weight_OI: Tensor) -> Tensor:
    """x W (T, O) by oneDNN, of a weight it has reordered or a contiguous one; a strided weight is slow beyond use."""
    return torch.ops.mkldnn._linear_pointwise(x_TI, weight_OI, None, *_PLAIN)


@lru_cache(maxsize=4)
def onednn_serves(dtype: torch.dtype) -> bool:
    """Whether torch was built with oneDNN for this processor, and its product in this dtype is found to be exact."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return dtype in (torch.float32, torch.bfloat16) and _is_exact(dtype)


def _is_exact(dtype: torch.dtype) -> bool:
    """Try a product of whole numbers, which rounding cannot change; the operators are torch's private ones."""
    x_TI = torch.arange(96.0).reshape(6, 16).remainder(7).to(dtype)
    weight_OI = torch.arange(80.0).reshape(5, 16).remainder(5).to(dtype)
    try:
        found = OneDnnLinear(weight_OI).plus(x_TI, torch.ones(6, 5, dtype=dtype))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(found, linear(x_TI, weight_OI) + 1)
