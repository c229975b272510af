"""The boundaries of sequences packed end to end, as attention needs them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Documents:
    """Document b covers the packed positions `offsets[b]` to `offsets[b + 1]`; the first offset is 0."""

    offsets: tuple[int, ...]

    def __post_init__(self) -> None:
        assert self.offsets and self.offsets[0] == 0, "offsets begin at 0"

    @classmethod
    def of_lengths(cls, lengths: Sequence[int]) -> "Documents":
        """Boundaries of documents of the given lengths."""
        offsets = [0]
        for length in lengths:
            offsets.append(offsets[-1] + int(length))
        return cls(tuple(offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(start, end) of each document."""
        return pairwise(self.offsets)

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents together."""
        return self.offsets[-1]

    @cached_property
    def longest(self) -> int:
        """Length of the longest document; 0 when there is none."""
        return max((end - start for start, end in self), default=0)

    def owners(self, device: torch.device) -> Tensor:
        """For each packed position the number of its document, int32 (T,)."""
        lengths = torch.tensor([end - start for start, end in self], dtype=torch.int64)
        return torch.repeat_interleave(torch.arange(len(self), dtype=torch.int32), lengths).to(device)
