"""How much memory tensors take while a piece of code runs, found out on tensors that have shapes and no numbers."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from openankh.attention.relative_bias import relative_buckets

_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)


class MemoryTrace(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive; a storage counts once, until it is freed.

    `products` are the different shapes of matrix products in bf16, for each of which a CPU keeps a kernel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = self.peak = 0
        self.products: set[tuple[Any, ...]] = set()
        self._sizes: dict[int, int] = {}

    def restart(self) -> int:
        """Begin the peak anew; the bytes alive now."""
        self.peak = self.num_bytes
        return self.num_bytes

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _PRODUCTS and args[-1].dtype == torch.bfloat16:
            self.products.add((func, *(tuple(each.shape) for each in args)))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        self.peak = max(self.peak, self.num_bytes)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.num_bytes += storage.nbytes()
            # A storage's Python object lives as long as the storage itself, whoever holds it.
            weakref.finalize(storage, self._forget, key).atexit = False

    def _forget(self, key: int) -> None:
        self.num_bytes -= self._sizes.pop(key)


@contextmanager
def without_numbers() -> Iterator[MemoryTrace]:
    """Tensors made in the block hold no numbers and take no memory, but are counted as on the device they name."""
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), MemoryTrace() as trace:
            yield trace
    finally:
        relative_buckets.cache_clear()  # those that were kept in the block have no numbers either
