"""The decoder as a CPU runs it with the C kernels: what a row gives is the same in every bit, whatever its company.

G proteins, B rows of each, C tokens a step, R = G * B * C rows; L layers, S tokens of a source, T packed targets, D
model width, H heads, I inner width of all heads, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding

from openankh.attention import Documents
from openankh.attention.relative_bias import bias_by_distance
from openankh.decoder_weights import DecoderWeights, LayerWeights
from openankh.model import Ankh
from openankh.native import Kernels
from openankh.native.kept_attention import GROUP, Kept, KeptAttention
from openankh.threads import map_on_cores
from openankh.weight_packer import Packer


@dataclass(frozen=True, eq=False)
class CompiledSource:
    """An encoded protein: of each layer the rows of its keys and values, (S, 2 I), and their addresses (L, 2)."""

    num_tokens: int
    layers: tuple[Tensor, ...]
    addresses: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Reading:
    """What the rows of one step attend to: of each layer what was written, and what the encoder read."""

    own: Sequence[Kept]
    source: Sequence[Kept]


class CompiledDecoder:
    """The decoder's weights, packed; see `for_decoding`."""

    is_exact = True

    def __init__(self, model: Ankh, packer: Packer, kernels: Kernels, attention: KeptAttention) -> None:
        self.weights = DecoderWeights(model, packer)
        self._kernels, self._attention = kernels, attention
        self._bias_HR = torch.empty(model.config.num_heads, 0)

    @torch.inference_mode()
    def read(self, memory_SD: Tensor, sources: Documents) -> list[CompiledSource]:
        """As `Decoder.read`."""
        memory_SD, inner = memory_SD.to(self.weights.dtype).contiguous(), self.weights.config.inner
        layers = [layer.source_kv(memory_SD) for layer in self.weights.layers]
        value_bytes = inner * memory_SD.element_size()
        first = np.array([layer_SI.data_ptr() for layer_SI in layers])
        found = []
        for start, end in sources:
            keys = first + start * 2 * value_bytes
            rows = tuple(layer_SI[start:end] for layer_SI in layers)
            found.append(CompiledSource(end - start, rows, np.stack([keys, keys + value_bytes], axis=1)))
        return found

    def begin(self, num_rows: int) -> "CompiledDecoding":
        """As `Decoder.begin`."""
        return CompiledDecoding(self, num_rows)

    @torch.inference_mode()
    def force(self, sources: Sequence[CompiledSource], tokens_T: NDArray[np.integer], targets: Documents) -> Tensor:
        """As `Decoder.force`."""
        lengths = np.diff(np.array(targets.offsets))
        assert len(sources) == len(lengths)
        firsts = np.array(targets.offsets[:-1])
        counts = np.arange(1, len(tokens_T) + 1) - np.repeat(firsts, lengths)
        reading = _Reading(
            own=[_kept(_groups(firsts, lengths), counts, 3 * self.weights.config.inner)] * len(self.weights.layers),
            source=self.reading_of(sources, firsts, lengths),
        )
        return self.logits(tokens_T, reading)

    def reading_of(
        self, sources: Sequence[CompiledSource], firsts: NDArray[np.int64], nums: NDArray[np.int64]
    ) -> list[Kept]:
        """Of each layer what rows read of their sources, each source by its `nums` rows from `firsts` on."""
        counts = np.repeat([source.num_tokens for source in sources], nums)
        addresses_GL2 = np.stack([source.addresses for source in sources])
        return [
            _kept(_groups(firsts, nums, addresses_GL2[:, number]), counts, 2 * self.weights.config.inner)
            for number in range(len(self.weights.layers))
        ]

    def logits(self, tokens_R: NDArray[np.integer], reading: _Reading, wanted: slice | None = None) -> Tensor:
        """Logits of what follows the wanted rows."""
        weights, num_rows = self.weights, len(tokens_R)
        # A product of one row alone is rounded by another kernel: it is given company.
        tokens = torch.as_tensor(np.resize(tokens_R, max(num_rows, 2)).astype(np.int64))
        x_RD = embedding(tokens, weights.words_VD).float()
        mixed_RI = torch.zeros(len(x_RD), weights.config.inner, dtype=weights.dtype)
        bias_HR = self._bias_up_to(int(reading.own[0].counts.max()))
        for layer, own, source in zip(weights.layers, reading.own, reading.source, strict=True):
            self._run(layer, x_RD, mixed_RI, own, source, bias_HR)
        last_RD = x_RD[:num_rows][wanted or slice(None)]
        several_RD = last_RD.expand(max(len(last_RD), 2), -1).contiguous()
        normal_RD = self._kernels.normalise(several_RD, torch.float32, weights.final_norm_D, weights.config.norm_eps)
        return weights.head(normal_RD)[: len(last_RD)]

    def _run(
        self, layer: LayerWeights, x_RD: Tensor, mixed_RI: Tensor, own: Kept, source: Kept, bias_HR: Tensor
    ) -> None:
        """Add to `x_RD` what one layer adds."""
        kernels, config = self._kernels, self.weights.config
        qkv_RI = layer.qkv(kernels.normalise(x_RD, self.weights.dtype, layer.own_norm_D, config.norm_eps))
        if own.targets is None:
            own = _in_place(own, qkv_RI)
        self._attend(qkv_RI, own, bias_HR, mixed_RI)
        normal_RD = kernels.add_and_normalise(x_RD, layer.out(mixed_RI), x_RD, layer.source_norm_D, config.norm_eps)
        self._attend(layer.source_q(normal_RD), source, None, mixed_RI)
        normal_RD = kernels.add_and_normalise(
            x_RD, layer.source_out(mixed_RI), x_RD, layer.feed_forward_norm_D, config.norm_eps
        )
        hidden_RF = kernels.activate(layer.inner(normal_RD), config.activation, config.gated)
        kernels.add(x_RD, layer.down(hidden_RF), x_RD)

    def _attend(self, q_RI: Tensor, kept: Kept, bias_HR: Tensor | None, out_RI: Tensor) -> None:
        """Attend, each thread for some of the proteins."""
        shares = np.array_split(kept.groups, min(torch.get_num_threads(), len(kept.groups)))
        map_on_cores(lambda some: self._attention.attend(q_RI, replace(kept, groups=some), bias_HR, out_RI), shares)

    def _bias_up_to(self, longest: int) -> Tensor:
        """The bias of the last so many keys and more, that of the query itself last, (H, R)."""
        if self._bias_HR.shape[1] < longest:
            span = max(2 * self._bias_HR.shape[1], longest, 64)
            distance = self.weights.config.relative_distance
            bias_HR = bias_by_distance(self.weights.bias_table_NH, span, distance, bidirectional=False).by_distance
            self._bias_HR = bias_HR[:, span - 1 :].flip(1).float().contiguous()
        return self._bias_HR


class CompiledDecoding:
    """Proteins at work; of each layer the keys and values written lie apart from protein to protein, never moved.

    A row finds those it goes on from in a table of places, so that reordering rows moves no numbers.
    """

    def __init__(self, decoder: CompiledDecoder, num_rows: int) -> None:
        self._decoder, self._num_rows = decoder, num_rows
        self._sources: list[CompiledSource] = []
        self._kept: list[Tensor] = []
        self._lengths = np.zeros(0, np.int64)
        self._rooms = np.zeros(0, np.int64)
        self._tables = np.zeros((0, num_rows, 0), np.int32)
        self._plans: dict[int, tuple[list[NDArray[np.void]], list[Kept]]] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def add(self, sources: Sequence[CompiledSource], longest: Sequence[int]) -> None:
        """As `Decoding.add`."""
        weights = self._decoder.weights
        for source, room in zip(sources, longest, strict=True):
            # Room that is never written is never taken from the system.
            shape = (len(weights.layers), 2, self._num_rows * room, weights.config.inner)
            self._kept.append(torch.empty(shape, dtype=weights.dtype))
            self._sources.append(source)
        self._lengths = np.append(self._lengths, np.zeros(len(sources), np.int64))
        self._rooms = np.append(self._rooms, np.array(longest, np.int64))
        tables = np.zeros((len(self), self._num_rows, self._rooms.max(initial=0)), np.int32)
        tables[: len(self._tables), :, : self._tables.shape[2]] = self._tables
        self._tables = tables
        self._plans.clear()

    def keep(self, numbers: Sequence[int]) -> None:
        """As `Decoding.keep`."""
        chosen = np.array(numbers, np.int64)
        self._sources = [self._sources[number] for number in numbers]
        self._kept = [self._kept[number] for number in numbers]
        self._lengths, self._rooms = self._lengths[chosen], self._rooms[chosen]
        self._tables = np.ascontiguousarray(self._tables[chosen][:, :, : self._rooms.max(initial=0)])
        self._plans.clear()

    @torch.inference_mode()
    def step(self, tokens_GBC: NDArray[np.integer]) -> NDArray[np.float32]:
        """As `Decoding.step`."""
        num_proteins, num_rows, chunk = tokens_GBC.shape
        assert (num_proteins, num_rows) == (len(self), self._num_rows)
        assert (self._lengths + chunk <= self._rooms).all(), "no room for another token"
        if chunk not in self._plans:
            self._plans[chunk] = self._plan(chunk)
        groups, source = self._plans[chunk]
        counts, targets = self._places(chunk)
        inner = self._decoder.weights.config.inner
        own = [Kept(of_layer, counts, inner, targets) for of_layer in groups]
        wanted = slice(chunk - 1, None, chunk)
        logits = self._decoder.logits(tokens_GBC.reshape(-1), _Reading(own, source), wanted)
        self._lengths += chunk
        return logits.numpy().reshape(num_proteins, num_rows, -1)

    def reorder(self, parents_GB: NDArray[np.integer]) -> None:
        """As `Decoding.reorder`."""
        longest = self._lengths.max(initial=0)
        written = self._tables[:, :, :longest]
        self._tables[:, :, :longest] = np.take_along_axis(written, parents_GB[:, :, None], axis=1)

    def _plan(self, chunk: int) -> tuple[list[NDArray[np.void]], list[Kept]]:
        """Of each layer whose rows attend to what, as it stays until proteins come or go."""
        nums = np.full(len(self), self._num_rows * chunk)
        firsts = np.arange(len(self)) * self._num_rows * chunk
        room = self._tables.shape[2]
        groups = []
        for number in range(len(self._decoder.weights.layers)):
            addresses_G2 = np.array([(kept[number, 0].data_ptr(), kept[number, 1].data_ptr()) for kept in self._kept])
            of_layer = _groups(firsts, nums, addresses_G2)
            if self._num_rows > 1:
                step = self._tables.strides[0]
                of_layer["table"] = self._tables.ctypes.data + np.arange(len(self)) * step
                of_layer["table_stride"], of_layer["each"] = room, chunk
            groups.append(of_layer)
        return groups, self._decoder.reading_of(self._sources, firsts, nums)

    def _places(self, chunk: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """How many tokens each row has read, and where its new one is kept, both (R,); they are put into the tables."""
        steps_G1C = self._lengths[:, None, None] + np.arange(chunk)
        places_GBC = np.arange(self._num_rows)[:, None] * self._rooms[:, None, None] + steps_G1C
        if self._num_rows > 1:
            rows_GBC = np.broadcast_to(steps_G1C, places_GBC.shape)
            np.put_along_axis(self._tables, rows_GBC, places_GBC.astype(np.int32), axis=2)
        counts_GBC = np.broadcast_to(steps_G1C + 1, places_GBC.shape)
        return counts_GBC.reshape(-1).astype(np.int32), places_GBC.reshape(-1).astype(np.int32)


def _groups(
    firsts: NDArray[np.int64], nums: NDArray[np.int64], addresses_G2: NDArray[np.int64] | None = None
) -> NDArray[np.void]:
    groups = np.zeros(len(firsts), GROUP)
    groups["first"], groups["num"], groups["each"] = firsts, nums, 1
    if addresses_G2 is not None:
        groups["keys"], groups["values"] = addresses_G2[:, 0], addresses_G2[:, 1]
    return groups


def _kept(groups: NDArray[np.void], counts: NDArray[np.int64], stride: int) -> Kept:
    return Kept(groups, counts.astype(np.int32), stride)


def _in_place(own: Kept, qkv_RI: Tensor) -> Kept:
    """Keys and values that are read where the product has put them, each protein's from its first row on."""
    width = qkv_RI.shape[1] * qkv_RI.element_size()
    groups = own.groups.copy()
    groups["keys"] = qkv_RI.data_ptr() + groups["first"] * width + width // 3
    groups["values"] = groups["keys"] + width // 3
    return Kept(groups, own.counts, own.stride)
