"""The training loss of a packed batch: cross-entropy of the decoder's targets, residues and sentinels told apart.

T decoder tokens, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from openankh.attention import Documents
from openankh.model import Ankh
from openankh.packed import Packed
from openankh.packing import Batch
from openankh.vocab import Vocab


@dataclass(frozen=True)
class LossSums:
    """Negative log-likelihoods in nats, added over a batch: of all target tokens and of the hidden residues alone."""

    weighted: Tensor
    total: Tensor
    residues: Tensor
    num_tokens: int
    num_residues: int


@dataclass(frozen=True)
class TargetWeights:
    """What counts in the loss: a residue 1, `others` each sentinel and `</s>` (published: 1).

    `encoder` is the share of the loss that hidden residues have which the head reads from the encoder's own states
    (published: 0).
    """

    others: float = 1.0
    encoder: float = 0.0

    def of(self, targets: np.ndarray, vocab: Vocab) -> np.ndarray:
        """The weight of each target token, fp32 (T,)."""
        return np.where(is_residue(targets, vocab), np.float32(1), np.float32(self.others))


def is_residue(tokens: np.ndarray, vocab: Vocab) -> np.ndarray:
    """True where a token is a residue."""
    table = np.zeros(vocab.size, bool)
    table[vocab.residue_ids] = True
    return table[tokens]


def batch_loss(
    model: Ankh, batch: Batch, vocab: Vocab, weights: TargetWeights, dtype: torch.dtype, device: torch.device
) -> LossSums:
    """Run encoder and decoder on a batch; `weighted` is what training minimises, divided by the sum of weights."""
    sources, targets = documents_of(batch.inputs), documents_of(batch.targets)
    memory_SD = model.encode(to_tensor(batch.inputs.ids, device), sources, dtype=dtype).last_TD
    logits_TV = model.decode(to_tensor(batch.decoder_inputs.ids, device), targets, memory_SD, sources)
    loss_T = cross_entropy(logits_TV.float(), to_tensor(batch.targets.ids, device), reduction="none")
    residue = is_residue(batch.targets.ids, vocab)
    weight_T = torch.from_numpy(weights.of(batch.targets.ids, vocab)).to(device)
    residue_T = torch.from_numpy(residue).to(device)
    weighted = (loss_T * weight_T).sum()
    if weights.encoder:
        weighted = weighted + weights.encoder * encoder_loss(model, batch, vocab, memory_SD)
    return LossSums(
        weighted=weighted,
        total=loss_T.detach().sum(),
        residues=(loss_T.detach() * residue_T).sum(),
        num_tokens=len(residue),
        num_residues=int(residue.sum()),
    )


def encoder_loss(model: Ankh, batch: Batch, vocab: Vocab, memory_SD: Tensor) -> Tensor:
    """The negative log-likelihood, added up, of hidden residues read by the head from the encoder's sentinels at once.

    An auxiliary loss for objectives that show each hidden residue as one sentinel; the decoder has no part in it.
    """
    device = memory_SD.device
    at_sentinel = torch.from_numpy(np.isin(batch.inputs.ids, vocab.sentinel_ids)).to(device)
    residues = batch.targets.ids[is_residue(batch.targets.ids, vocab)]
    return cross_entropy(model.head(memory_SD[at_sentinel]).float(), to_tensor(residues, device), reduction="sum")


def documents_of(sequences: Packed) -> Documents:
    """The boundaries of a packed batch, for attention."""
    return Documents(tuple(sequences.offsets.tolist()))


def to_tensor(tokens: np.ndarray, device: torch.device) -> Tensor:
    """Token ids as int64 on the device, (T,)."""
    return torch.from_numpy(tokens.astype(np.int64)).to(device)
