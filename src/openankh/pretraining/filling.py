"""Filler documents that bring packed batches to few different sizes, so that compiled kernels are compiled few times.

A filler holds `<pad>` alone. No protein attends to it and its targets count nothing, so the loss stays what it was.
"""

import numpy as np
from numpy.typing import NDArray

from openankh.packed import Packed
from openankh.pretraining.pairs import PackedPairs, Pairs
from openankh.vocab import PAD

LONGEST_FILLER = 256
"""Tokens: short, because attention's cost grows with the square."""


def filled(pairs: Pairs) -> PackedPairs:
    """The pairs with fillers behind: each side's tokens are a round number (see `round_size`)."""
    num_sources, num_targets = len(pairs.inputs.ids), len(pairs.targets.ids)
    missing = round_size(num_sources) - num_sources, round_size(num_targets) - num_targets
    # Every filler has a token on both sides: attention over nothing is not defined.
    num_fillers = min(*missing, -(-max(missing) // LONGEST_FILLER))
    of_sources, of_targets = (_spread(tokens, num_fillers) for tokens in missing)
    return PackedPairs(
        inputs=_extended(pairs.inputs, of_sources),
        decoder_inputs=_extended(pairs.decoder_inputs, of_targets),
        targets=_extended(pairs.targets, of_targets),
    )


def round_size(num_tokens: int) -> int:
    """The next larger multiple of a quarter of the power of two below: at most four sizes between n and 2n."""
    step = max(128, 1 << max(num_tokens.bit_length() - 3, 0))
    return (num_tokens // step + 1) * step


def _spread(num_tokens: int, num_fillers: int) -> NDArray[np.int64]:
    """The lengths of fillers that share so many tokens evenly."""
    lengths = np.full(num_fillers, num_tokens // num_fillers, np.int64)
    lengths[: num_tokens % num_fillers] += 1
    return lengths


def _extended(sequences: Packed, lengths: NDArray[np.int64]) -> Packed:
    filler = np.full(int(lengths.sum()), PAD, sequences.ids.dtype)
    offsets = sequences.offsets[-1] + np.cumsum(lengths)
    return Packed(np.concatenate([sequences.ids, filler]), np.concatenate([sequences.offsets, offsets]))
