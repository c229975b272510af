"""The processes that train one model together, and what they tell each other; alone, everything is immediate.

Started by torchrun or SLURM, which set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Nothing that is sent is pickled.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from openankh.errors import UserError

PATIENCE = timedelta(minutes=5)
"""How long a rank waits for another one before all are ended."""


SECONDS_TO_REST = 0.2
"""A pause before a group is freed: gloo's threads may still be putting down the last message's tensors, for which they
need Python's lock, which the freeing holds while it waits for them (seen with torch 2.13: a deadlock at exit)."""


class OtherRankError(Exception):
    """Another rank failed and tells its reason itself; this one ends with it."""


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` of `size`; the first one, 0, writes files and talks to people."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009  (immutable)

    @property
    def is_first(self) -> bool:
        """Whether this process writes and talks for all."""
        return self.rank == 0

    def sums(self, numbers: Sequence[float]) -> list[float]:
        """The sums over all ranks, in fp64: the same bits on each."""
        if self.size == 1:
            return list(numbers)
        summed = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(summed)
        return summed.tolist()

    def largest(self, number: float) -> float:
        """The largest one of all ranks'."""
        if self.size == 1:
            return number
        largest = torch.tensor(number, dtype=torch.float64, device=self.device)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return float(largest)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type, in place and in one message, by their sums over all ranks."""
        if self.size == 1 or not tensors:
            return
        summed = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(summed)
        for tensor, total in zip(tensors, summed.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether it is true of one rank at least."""
        return flag if self.size == 1 else self.sums([float(flag)])[0] > 0

    def told_by_first(self, value: Any) -> Any:
        """The first rank's value, a JSON one, on each."""
        if self.size == 1:
            return value
        content = json.dumps(value).encode() if self.is_first else b""
        size = torch.tensor([len(content)], device=self.device)
        dist.broadcast(size, 0)
        buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.device) if self.is_first else None
        buffer = torch.empty(int(size), dtype=torch.uint8, device=self.device) if buffer is None else buffer
        dist.broadcast(buffer, 0)
        return json.loads(bytes(buffer.tolist()))

    def tensors_of_first(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first rank's tensors by name, on the CPU; what others give is not looked at."""
        if self.size == 1:
            return dict(tensors)
        facts = {name: (str(t.dtype).removeprefix("torch."), list(t.shape)) for name, t in tensors.items()}
        return {
            name: self.tensor_of_first(tensors.get(name), getattr(torch, dtype), shape)
            for name, (dtype, shape) in self.told_by_first(facts).items()
        }

    def tensor_of_first(self, tensor: Tensor | None, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
        """The first rank's tensor, of that type and shape, on the CPU; what others give is not looked at."""
        if self.size == 1 and tensor is not None:
            return tensor
        if not self.is_first or tensor is None:
            tensor = torch.empty(list(shape), dtype=dtype)
        sent = tensor.to(self.device).contiguous()
        if sent.numel():
            dist.broadcast(sent, 0)
        return sent.cpu()

    @contextmanager
    def together(self) -> Iterator[None]:
        """A part that every rank has to come through: where one fails, all do, each other with OtherRankError."""
        failure: BaseException | None = None
        try:
            yield
        except Exception as error:
            failure = error
        if self.any(failure is not None):
            raise failure or OtherRankError


ALONE = Ranks()


@contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """The ranks that the environment speaks of, joined for the block; `ALONE` where it speaks of none.

    `device` is cpu, or cuda for the GPU whose number is LOCAL_RANK. A rank that is lost ends the others with a
    UserError within `PATIENCE`.
    """
    size = _environment("WORLD_SIZE", 1)
    if size == 1:
        yield ALONE
        return
    rank, local = _environment("RANK", None), _environment("LOCAL_RANK", 0)
    on_gpu = device.startswith("cuda")
    own = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE, rank=rank, world_size=size)
    try:
        yield Ranks(rank, size, own)
    except dist.DistBackendError as error:
        raise UserError(f"rank {rank} of {size} lost the others ({_first_line(error)}); go on with --resume") from error
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise UserError(f"rank {rank} of {size} lost the others ({_first_line(error)}); go on with --resume") from error
    finally:
        time.sleep(SECONDS_TO_REST)
        dist.destroy_process_group()


def is_first_rank() -> bool:
    """Whether this process is the one that talks to people, by what the environment says."""
    return _environment("RANK", 0) == 0


def _environment(name: str, default: int | None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdigit():
        raise UserError(f"the environment says {name}={text!r}, which is no number; start all ranks with torchrun")
    return int(text)


def _is_lost_connection(error: RuntimeError) -> bool:
    text = str(error).lower()
    return any(sign in text for sign in ("connection closed", "connection reset", "timed out", "gloo", "broken pipe"))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
