"""The loss of a step, added up batch by batch, its gradients shared between ranks when the last batch is through."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from openankh.model import Ankh
from openankh.packing import Batch
from openankh.pretraining.objective_loss import LossSums, TargetWeights, batch_loss
from openankh.pretraining.pairs import Pairs
from openankh.pretraining.ranks import Ranks
from openankh.pretraining.sharding import as_sharded, is_small, share_out
from openankh.vocab import Vocab


class RankLoss:
    """Gradients of a step over the batches of all ranks: summed in fp32, overlapping the last batch's way back.

    `sharded`: the model's weights are shared out among the ranks (see `sharding`), which has to be before anything
    refers to its parameters.
    """

    def __init__(
        self,
        model: Ankh,
        vocab: Vocab,
        weights: TargetWeights,
        dtype: torch.dtype,
        device: torch.device,
        ranks: Ranks,
        sharded: bool = False,
    ):
        self._ranks, self.is_sharded = ranks, sharded
        self._loss = _BatchLoss(model, vocab, weights, dtype, device)
        self._small: list[nn.Parameter] = []
        self._together: nn.Module = self._loss
        if sharded:
            share_out(self._loss, model, dtype, device, ranks.size)
            self._small = [parameter for name, parameter in model.named_parameters() if is_small(name, parameter)]
        elif ranks.size > 1:
            self._together = DistributedDataParallel(self._loss)

    def add_gradients(self, batch: Batch, whole_weight: float, is_last: bool) -> LossSums:
        """Add the gradients of a batch's share in a step of `whole_weight`; with the last one, those of all ranks."""
        if self.is_sharded:
            return self._add_sharded_gradients(batch, whole_weight, is_last)
        together = self._together
        waits = isinstance(together, DistributedDataParallel) and not is_last
        with together.no_sync() if waits else nullcontext():  # type: ignore[operator]
            weighted, sums = together(batch)
            # Ranks' gradients are averaged by the library: multiplied back, they add up.
            (weighted * (self._ranks.size / whole_weight)).backward()
        return sums

    def _add_sharded_gradients(self, batch: Batch, whole_weight: float, is_last: bool) -> LossSums:
        loss = as_sharded(self._loss)
        loss.set_requires_gradient_sync(is_last)
        loss.set_is_last_backward(is_last)
        weighted, sums = self._loss(batch)
        (weighted / whole_weight).backward()
        if is_last:
            self._ranks.add_up([parameter.grad for parameter in self._small if parameter.grad is not None])
        return sums

    @torch.no_grad()
    def of(self, pairs: Pairs) -> LossSums:
        """The losses of packed pairs; where weights are shared out, all ranks have to ask equally often."""
        _, sums = self._loss(pairs)
        if self.is_sharded:
            as_sharded(self._loss).reshard()
        return sums


class _BatchLoss(nn.Module):
    """`batch_loss` as a module, which is what gradients are shared around: what is minimised, and all sums."""

    def __init__(self, model: Ankh, vocab: Vocab, weights: TargetWeights, dtype: torch.dtype, device: torch.device):
        super().__init__()
        self.model = model
        self._arguments = vocab, weights, dtype, device

    def forward(self, pairs: Pairs) -> tuple[Tensor, LossSums]:
        sums = batch_loss(self.model, pairs, *self._arguments)
        return sums.weighted, sums
