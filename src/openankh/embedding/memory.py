"""Running out of memory: how it shows, and what is given back before trying again."""

import torch

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "_status_alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the machine or the GPU had too little memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def release_memory() -> None:
    """Give back what the GPU's allocator keeps in reserve, so that smaller pieces can be cut from it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
