"""A model's weights shared out among ranks: of each matrix a rank holds some rows (FSDP2), of what is small all.

What is small are norms and the tables of relative bias: the stacks read those tables outside of the layers they belong
to, and norms stay in fp32 where products are in bf16. R ranks, N matrices [O, I] of equal shape, of which a rank holds
O' rows each.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from openankh.model import Ankh


@dataclass(frozen=True)
class Rows:
    """The rows of a matrix of `total` rows that a rank holds; all hold equally many, but the last ones fewer."""

    total: int
    mesh: DeviceMesh

    def of(self, rank: int) -> slice:
        """The rows of a rank."""
        size = -(-self.total // self.mesh.size())
        return slice(min(rank * size, self.total), min((rank + 1) * size, self.total))

    @property
    def own(self) -> slice:
        """The rows of this rank."""
        return self.of(self.mesh.get_local_rank())

    def whole(self, held: Tensor) -> DTensor:
        """The whole of which this rank holds `held`, its own rows: a view, not yet gathered."""
        shape = torch.Size((self.total, *held.shape[1:]))
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(held, self.mesh, [Shard(0)], run_check=False, shape=shape, stride=stride)


def rows_of(tensor: Tensor) -> Rows | None:
    """Which rows of a tensor this rank holds; None when it holds all."""
    return Rows(tensor.shape[0], tensor.device_mesh) if isinstance(tensor, DTensor) else None


def held(tensor: Tensor) -> Tensor:
    """The part of a tensor that this rank holds: a view."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """The whole tensor; all ranks have to ask for it."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach()


def first_rows(tensor: Tensor, num_rows: int) -> Tensor:
    """Of a tensor's first rows those that this rank holds: a view."""
    rows = rows_of(tensor)
    begin = 0 if rows is None else rows.own.start
    return held(tensor)[: max(0, num_rows - begin)]


def put(tensor: Tensor, whole: Tensor) -> None:
    """Copy into a tensor, or into the part of it that this rank holds."""
    rows = rows_of(tensor)
    held(tensor).copy_(whole if rows is None else whole[rows.own])


@dataclass(frozen=True, eq=False)
class HeldParameter:
    """A parameter of a model as this rank holds it: `held` are its own `rows`, or, where those are None, all of it."""

    parameter: nn.Parameter
    held: nn.Parameter
    rows: Rows | None

    @classmethod
    def of(cls, parameter: nn.Parameter) -> "HeldParameter":
        """What this rank holds of a parameter; `held` lies where the model has it."""
        rows = rows_of(parameter)
        return cls(parameter, parameter if rows is None else nn.Parameter(held(parameter)), rows)

    @property
    def shape(self) -> torch.Size:
        """Of the whole parameter."""
        return self.parameter.shape

    def take_gradient(self) -> None:
        """Let `held` have its part of the gradient: a view."""
        if self.rows is not None:
            self.held.grad = None if self.parameter.grad is None else held(self.parameter.grad)

    def drop_gradient(self) -> None:
        """Forget the gradient."""
        self.parameter.grad = self.held.grad = None

    def whole(self, like_held: Tensor) -> Tensor:
        """The whole of something that this rank holds as much of as of the parameter: a view, not yet gathered."""
        return like_held if self.rows is None else self.rows.whole(like_held)


def joint_norm(norm: Tensor, parts: Sequence[Tensor], mesh: DeviceMesh) -> Tensor:
    """The Euclidean norm of what has this norm on all ranks and of what this and other ranks hold parts of."""
    square = torch.nn.utils.get_total_norm(parts, foreach=True).double().square()
    dist.all_reduce(square, group=mesh.get_group())
    return (norm.double().square() + square).sqrt().to(norm.dtype)


def is_small(name: str, parameter: Tensor) -> bool:
    """Whether each rank holds all of a parameter."""
    return parameter.ndim < 2 or "relative_attention_bias" in name


def share_out(loss: nn.Module, model: Ankh, dtype: torch.dtype, device: torch.device, num_ranks: int) -> None:
    """Share out, in place, the weights of a model that are the same on all ranks; `loss` is the module that runs it.

    Layers are gathered one at a time, in `dtype`; embedding and head as long as a batch takes, in fp32. Gradients are
    summed, not averaged, in fp32; those of small parameters are left to the caller.
    """
    small = {parameter for name, parameter in model.named_parameters() if is_small(name, parameter)}
    for parameter in small:
        parameter.data = parameter.data.to(device)
    mesh = init_device_mesh(device.type, (num_ranks,))
    of_layers = MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    for block in (*model.encoder.blocks, *model.decoder.blocks):
        fully_shard(block, mesh=mesh, mp_policy=of_layers, ignored_params=small)
    fully_shard(loss, mesh=mesh, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False), ignored_params=small)
    for module in loss.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def gathered_on_first(tensors: Mapping[str, Tensor], is_first: bool) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, of the first rank alone; all have to ask for them where something is shared out."""
    copies: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, DTensor) or is_first:  # one tensor at a time is whole on a device
            whole = gathered(tensor)
            if is_first:
                copies[name] = whole.to("cpu", copy=True, memory_format=torch.contiguous_format)
    return copies


def whole_model(model: Ankh, is_first: bool) -> Ankh | None:
    """A model, gathered on the CPU where it is shared out; for the first rank alone, but all have to ask."""
    weights = model.state_dict()
    if not any(isinstance(tensor, DTensor) for tensor in weights.values()):
        return model if is_first else None
    copies = gathered_on_first(weights, is_first)
    if not is_first:
        return None
    with torch.device("meta"):
        whole = Ankh(model.config)
    whole.load_state_dict(copies, assign=True)
    return whole


Sums = Generator[Tensor, Tensor, None]
"""A computation over a rank's rows: it gives vectors, and is given back their sums over all ranks."""


def run_together(computations: Iterable[Sums], mesh: DeviceMesh | None) -> None:
    """Run computations to their end side by side, all vectors of a round in one message; on one rank, no `mesh`."""
    running = list(computations)
    given = [next(computation) for computation in running]
    while given:
        sums = torch.cat(given) if mesh else None
        if mesh and sums is not None:
            dist.all_reduce(sums, group=mesh.get_group())
        answers = given if sums is None else sums.split([len(vector) for vector in given])
        results = [_after(computation, answer) for computation, answer in zip(running, answers, strict=True)]
        running = [computation for computation, result in zip(running, results, strict=True) if result is not None]
        given = [result for result in results if result is not None]


def _after(computation: Sums, answer: Tensor) -> Tensor | None:
    try:
        return computation.send(answer)
    except StopIteration:
        return None


class Exchange:
    """Matrices of which all ranks hold rows, brought together so that each rank has some of them whole, and back.

    Rank r gets as many of `count` matrices as another, give or take one; `turn` moves on who gets one more.
    """

    def __init__(self, rows: Rows, count: int, turn: int = 0):
        self.rows = rows
        self.num_ranks, self.rank = rows.mesh.size(), rows.mesh.get_local_rank()
        each, more = divmod(count, self.num_ranks)
        self.counts = [each + ((rank - turn) % self.num_ranks < more) for rank in range(self.num_ranks)]
        self.num_rows = [rows.of(rank).stop - rows.of(rank).start for rank in range(self.num_ranks)]

    def bring(self, part_NOI: Tensor) -> Tensor:
        """Own rows of all matrices [N, O', I] to all rows of own matrices [n, O, I]."""
        width, own_count, own_rows = part_NOI.shape[2], self.counts[self.rank], self.num_rows[self.rank]
        sizes = [own_count * num_rows * width for num_rows in self.num_rows]
        received = self._send(part_NOI, [count * own_rows * width for count in self.counts], sizes)
        pieces = zip(received.split(sizes), self.num_rows, strict=True)
        return torch.cat([piece.view(own_count, num_rows, width) for piece, num_rows in pieces], dim=1)

    def give_back(self, whole_NOI: Tensor) -> Tensor:
        """All rows of own matrices [n, O, I] to own rows of all matrices [N, O', I]."""
        width, own_count, own_rows = whole_NOI.shape[2], self.counts[self.rank], self.num_rows[self.rank]
        sizes = [count * own_rows * width for count in self.counts]
        sent = torch.cat([whole_NOI[:, self.rows.of(rank)].flatten() for rank in range(self.num_ranks)])
        received = self._send(sent, [own_count * num_rows * width for num_rows in self.num_rows], sizes)
        return received.view(sum(self.counts), own_rows, width)

    def _send(self, numbers: Tensor, sizes: Sequence[int], received_sizes: Sequence[int]) -> Tensor:
        received = numbers.new_empty(sum(received_sizes))
        dist.all_to_all_single(
            received,
            numbers.contiguous().flatten(),
            list(received_sizes),
            list(sizes),
            group=self.rows.mesh.get_group(),
        )
        return received


def as_sharded(module: nn.Module) -> FSDPModule:
    """The same module, whose weights `share_out` has shared out."""
    return cast(FSDPModule, module)
