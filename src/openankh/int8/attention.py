"""Attention with 8-bit scores: products of 8-bit queries and keys, softmax in fp32, its weights and the values in bf16.

The 8-bit products before it leave queries and keys with larger errors than their own rounding adds.

T packed tokens, H heads, G heads together, K head width, L tokens of a document, R rows of a tile, X distances.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openankh.attention import Documents
from openankh.int8 import passes
from openankh.int8.linear import EncodedRows
from openankh.threads import map_on_cores

NUM_TILE = 1 << 20
"""Scores of a tile: about what the last-level cache holds."""


@dataclass(frozen=True, eq=False)
class Heads:
    """Queries as 8-bit codes in units of their row, keys and values in bf16, laid out by head."""

    q_HTK: Tensor
    q_units_HT: NDArray[np.float32]
    k_HTK: Tensor
    v_HTK: Tensor

    @classmethod
    def unwritten(cls, num_heads: int, num_tokens: int, width: int) -> "Heads":
        """Room for so many tokens."""
        shape = (num_heads, num_tokens, width)
        return cls(
            torch.empty(shape, dtype=torch.int8),
            np.empty(shape[:2], np.float32),
            torch.empty(shape, dtype=torch.bfloat16),
            torch.empty(shape, dtype=torch.bfloat16),
        )

    def write(self, qkv_RX: NDArray[np.uint16], rows: EncodedRows, start: int) -> None:
        """Write the rows from `start`: what one product with all three matrices made of `rows`."""
        k_HTK, v_HTK = (heads.view(torch.uint16).numpy() for heads in (self.k_HTK, self.v_HTK))
        passes.split_heads(qkv_RX, rows.units_T, start, self.q_HTK.numpy(), self.q_units_HT, k_HTK, v_HTK)


@dataclass(frozen=True)
class Piece:
    """Some heads of one document."""

    start: int
    end: int
    first_head: int
    end_head: int


def pieces(documents: Documents, num_heads: int, num_threads: int) -> Iterator[Piece]:
    """Cut the work so that scores of a piece fit a tile where they can, and every thread has some."""
    most = -(-num_heads // num_threads)
    for start, end in documents:
        together = min(max(NUM_TILE // max(end - start, 1) ** 2, 1), most)
        if end > start:
            for first in range(0, num_heads, together):
                yield Piece(start, end, first, min(first + together, num_heads))


def int8_attention(heads: Heads, documents: Documents, bias_HX: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unscaled softmax attention inside each document, (T, H * K); bias as of `ascending_bias`."""
    num_heads, num_tokens, width = heads.q_HTK.shape
    out_TI = np.empty((num_tokens, num_heads * width), np.float32)
    work = list(pieces(documents, num_heads, torch.get_num_threads()))
    map_on_cores(lambda piece: _attend(heads, piece, bias_HX, out_TI), work)
    return out_TI


def ascending_bias(by_distance_HX: Tensor) -> NDArray[np.float32]:
    """The relative bias by rising distance, as a power of two."""
    return (by_distance_HX.detach().float().flip(1) * float(np.log2(np.e))).contiguous().numpy()


def _attend(heads: Heads, piece: Piece, bias_HX: NDArray[np.float32], out_TI: NDArray[np.float32]) -> None:
    """Write the columns of these heads in the rows of this document, a tile of queries at a time."""
    own = slice(piece.first_head, piece.end_head), slice(piece.start, piece.end)
    q_GLK, q_units_GL, v_GLK = heads.q_HTK[own], heads.q_units_HT[own], heads.v_HTK[own]
    k_GLK, k_units_GL = _encoded_keys(heads.k_HTK[own])
    num_heads, length, _ = q_GLK.shape
    num_rows = min(max(NUM_TILE // (num_heads * length), 1), length)
    products_RL = torch.empty(num_rows, length, dtype=torch.int32)
    weights_GRL = torch.empty(num_heads, num_rows, length, dtype=torch.bfloat16)
    sums_GR = np.empty((num_heads, num_rows), np.float32)
    nearest = bias_HX.shape[1] // 2
    for first in range(0, length, num_rows):
        end = min(first + num_rows, length)
        tile = products_RL[: end - first]
        for g in range(num_heads):
            torch.ops.aten._int_mm.out(q_GLK[g, first:end], k_GLK[g].t(), out=tile)
            passes.exponentials(
                tile.numpy(),
                q_units_GL[g, first:end],
                k_units_GL[g],
                bias_HX[piece.first_head + g],
                nearest - first,
                weights_GRL[g, : end - first].view(torch.uint16).numpy(),
                sums_GR[g],
            )
        mixed_GRK = torch.bmm(weights_GRL[:, : end - first], v_GLK).view(torch.uint16).numpy()
        passes.join_heads(mixed_GRK, sums_GR, piece.start + first, piece.first_head, out_TI)


def _encoded_keys(k_GLK: Tensor) -> tuple[Tensor, NDArray[np.float32]]:
    codes_GLK = torch.empty(k_GLK.shape, dtype=torch.int8)
    units_GL = np.empty(k_GLK.shape[:2], np.float32)
    for k_LK, codes_LK, units_L in zip(k_GLK, codes_GLK, units_GL, strict=True):
        passes.encode_keys(k_LK.view(torch.uint16).numpy(), codes_LK.numpy(), units_L)
    return codes_GLK, units_GL
