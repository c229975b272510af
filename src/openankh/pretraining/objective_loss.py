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
    """What a target token counts in the loss: 1 for residues, `others` for sentinels and `</s>`. (Published: 1 for all.)"""

    others: float = 1.0

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
    return LossSums(
        weighted=(loss_T * weight_T).sum(),
        total=loss_T.detach().sum(),
        residues=(loss_T.detach() * residue_T).sum(),
        num_tokens=len(residue),
        num_residues=int(residue.sum()),
    )


def documents_of(sequences: Packed) -> Documents:
    """The boundaries of a packed batch, for attention."""
    return Documents(tuple(sequences.offsets.tolist()))


def to_tensor(tokens: np.ndarray, device: torch.device) -> Tensor:
    """Token ids as int64 on the device, (T,)."""
    return torch.from_numpy(tokens.astype(np.int64)).to(device)
