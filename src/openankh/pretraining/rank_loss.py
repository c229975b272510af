"""The loss of a step, added up batch by batch, its gradients shared between ranks when the last batch is through."""

from contextlib import nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from openankh.model import Ankh
from openankh.packing import Batch
from openankh.pretraining.objective_loss import LossSums, TargetWeights, batch_loss
from openankh.pretraining.ranks import Ranks
from openankh.vocab import Vocab


class RankLoss:
    """Gradients of a step over the batches of all ranks: summed in fp32, overlapping the last batch's way back."""

    def __init__(
        self,
        model: Ankh,
        vocab: Vocab,
        weights: TargetWeights,
        dtype: torch.dtype,
        device: torch.device,
        ranks: Ranks,
    ):
        self._num_ranks = ranks.size
        self._loss: nn.Module = _BatchLoss(model, vocab, weights, dtype, device)
        if ranks.size > 1:
            self._loss = DistributedDataParallel(self._loss)

    def add_gradients(self, batch: Batch, whole_weight: float, is_last: bool) -> LossSums:
        """Add the gradients of a batch's share in a step of `whole_weight`; with the last one, those of all ranks."""
        shares = isinstance(self._loss, DistributedDataParallel) and not is_last
        with self._loss.no_sync() if shares else nullcontext():  # type: ignore[operator]
            sums: LossSums = self._loss(batch)
            # Ranks' gradients are averaged by the library: multiplied back, they add up.
            (sums.weighted * (self._num_ranks / whole_weight)).backward()
        return sums


class _BatchLoss(nn.Module):
    """`batch_loss` as a module, which is what gradients are shared around."""

    def __init__(self, model: Ankh, vocab: Vocab, weights: TargetWeights, dtype: torch.dtype, device: torch.device):
        super().__init__()
        self.model = model
        self._arguments = vocab, weights, dtype, device

    def forward(self, batch: Batch) -> LossSums:
        return batch_loss(self.model, batch, *self._arguments)
