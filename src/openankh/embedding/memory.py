"""How much memory is free, how its end shows, and what is given back before trying again."""

import ctypes
import resource
from pathlib import Path

import torch

_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "_status_alloc_failed",
    # What oneDNN says when it has no room for its code or its buffers.
    "could not create a memory",
    "could not create a primitive",
    "could not execute a primitive",
)
_CGROUP = Path("/sys/fs/cgroup")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the machine or the GPU had too little memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def release_memory() -> None:
    """Give back what the allocators of GPU and host keep in reserve, so that other pieces can be cut from it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)


def free_memory(device: torch.device) -> int | None:
    """Bytes that a computation on this device can still take: of the GPU, or of the host as the system, its control
    group and the process's limits allow; None where nothing tells.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    found = [amount for amount in (_available(), _left_by_cgroup(), *_left_by_limits()) if amount is not None]
    return max(min(found), 0) if found else None


def _available() -> int | None:
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable:")


def _left_by_cgroup() -> int | None:
    """Of control groups of version 2; what the kernel would drop when asked for more counts as free."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        facts = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return None if limit == "max" else int(limit) - used + int(facts.get("inactive_file", 0))
    except (OSError, ValueError):
        return None


def _left_by_limits() -> list[int | None]:
    """Of `ulimit -v` and `ulimit -d`."""
    left: list[int | None] = []
    for limit, field in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
        most, _ = resource.getrlimit(limit)
        used = _kilobytes(Path("/proc/self/status"), field) if most != resource.RLIM_INFINITY else None
        left.append(None if used is None else most - used)
    return left


def _kilobytes(path: Path, field: str) -> int | None:
    try:
        line = next(line for line in path.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) << 10
    except (OSError, StopIteration, ValueError):
        return None
