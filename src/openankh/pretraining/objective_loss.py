"""The training loss of a packed batch: cross-entropy of the decoder's targets, residues and sentinels told apart.

T decoder tokens, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from openankh.attention import Documents, is_compiled
from openankh.model import Ankh
from openankh.packed import Packed
from openankh.pretraining.filling import filled
from openankh.pretraining.pairs import Pairs
from openankh.vocab import PAD, Vocab


@dataclass(frozen=True)
class LossSums:
    """Negative log-likelihoods in nats, added over a batch: of all target tokens and of the hidden residues alone.

    The latter also protein by protein, with their numbers: `residues_B`, `num_residues_B`.
    """

    weighted: Tensor
    total: Tensor
    residues: Tensor
    residues_B: Tensor
    num_residues_B: NDArray[np.int64]
    num_tokens: int

    @property
    def num_residues(self) -> int:
        """Hidden residues of the batch."""
        return int(self.num_residues_B.sum())


@dataclass(frozen=True)
class TargetWeights:
    """What counts in the loss: a residue 1, `others` each sentinel and `</s>` (published: 1).

    `encoder` is the share of the loss that hidden residues have which the head reads from the encoder's own states
    (published: 0).
    """

    others: float = 1.0
    encoder: float = 0.0

    def of(self, targets: np.ndarray, vocab: Vocab) -> np.ndarray:
        """The weight of each target token, fp32 (T,); a filler's `<pad>` counts nothing."""
        of_others = np.where(targets == PAD, np.float32(0), np.float32(self.others))
        return np.where(is_residue(targets, vocab), np.float32(1), of_others)


def is_residue(tokens: np.ndarray, vocab: Vocab) -> np.ndarray:
    """True where a token is a residue."""
    table = np.zeros(vocab.size, bool)
    table[vocab.residue_ids] = True
    return table[tokens]


def batch_loss(
    model: Ankh, pairs: Pairs, vocab: Vocab, weights: TargetWeights, dtype: torch.dtype, device: torch.device
) -> LossSums:
    """Run encoder and decoder on packed pairs; `weighted` is what training minimises, over the sum of weights."""
    num_tokens, num_proteins = len(pairs.targets.ids), len(pairs.targets)
    if is_compiled(device):
        pairs = filled(pairs)
    sources, targets = documents_of(pairs.inputs), documents_of(pairs.targets)
    memory_SD = model.encode(to_tensor(pairs.inputs.ids, device), sources, dtype=dtype).last_TD
    logits_TV = model.decode(to_tensor(pairs.decoder_inputs.ids, device), targets, memory_SD, sources)
    target_T = to_tensor(pairs.targets.ids, device)
    loss_T = cross_entropy(logits_TV.float(), target_T, reduction="none", ignore_index=PAD)
    residue = is_residue(pairs.targets.ids, vocab)
    owner_T = pairs.targets.owners
    of_residues_T = loss_T.detach() * torch.from_numpy(residue).to(device)
    weighted = (loss_T * torch.from_numpy(weights.of(pairs.targets.ids, vocab)).to(device)).sum()
    if weights.encoder:
        weighted = weighted + weights.encoder * encoder_loss(model, pairs, vocab, memory_SD)
    return LossSums(
        weighted=weighted,
        total=loss_T.detach().sum(),
        residues=of_residues_T.sum(),
        residues_B=of_residues_T.new_zeros(len(pairs.targets)).index_add_(0, to_tensor(owner_T, device), of_residues_T)[
            :num_proteins
        ],
        num_residues_B=np.bincount(owner_T[residue], minlength=num_proteins),
        num_tokens=num_tokens,
    )


def encoder_loss(model: Ankh, pairs: Pairs, vocab: Vocab, memory_SD: Tensor) -> Tensor:
    """The negative log-likelihood, added up, of hidden residues read by the head from the encoder's sentinels at once.

    An auxiliary loss for objectives that show each hidden residue as one sentinel; the decoder has no part in it, nor
    have proteins without a sentinel.
    """
    # Places found on the CPU: a GPU asked for them would have to be waited for.
    places = np.flatnonzero(np.isin(pairs.inputs.ids, vocab.sentinel_ids))
    has_sentinel_B = np.zeros(len(pairs.inputs), bool)
    has_sentinel_B[pairs.inputs.owners[places]] = True
    targets = pairs.targets.ids[has_sentinel_B[pairs.targets.owners]]
    residues = targets[is_residue(targets, vocab)]
    assert len(places) == len(residues), "not every hidden residue is shown as one sentinel"
    states_RD = memory_SD[to_tensor(places, memory_SD.device)]
    return cross_entropy(model.head(states_RD).float(), to_tensor(residues, memory_SD.device), reduction="sum")


def documents_of(sequences: Packed) -> Documents:
    """The boundaries of a packed batch, for attention."""
    return Documents(tuple(sequences.offsets.tolist()))


def to_tensor(tokens: np.ndarray, device: torch.device) -> Tensor:
    """Token ids as int64 on the device, (T,)."""
    return torch.from_numpy(tokens.astype(np.int64)).to(device)
