"""The decoder by torch alone, for GPUs and for processors without the C kernels; equal up to rounding in any company.

G proteins, B rows of each, C tokens a step, R = G * B * C rows, P places kept; S tokens of a source, T packed targets,
D model width, H heads, K head width, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding, pad, rms_norm, scaled_dot_product_attention

from openankh.attention import Documents, RelativeBias, attend, relative_bias
from openankh.attention.relative_bias import bias_by_distance
from openankh.decoder_weights import DecoderWeights, LayerWeights
from openankh.model import Ankh, activate
from openankh.weight_packer import Packer


@dataclass(frozen=True, eq=False)
class TorchSource:
    """An encoded protein: of each layer its keys and values, (2, S, H, K)."""

    num_tokens: int
    layers: tuple[Tensor, ...]


class TorchDecoder:
    """The decoder's weights, packed; see `for_decoding`."""

    is_exact = False

    def __init__(self, model: Ankh, packer: Packer) -> None:
        self.weights = DecoderWeights(model, packer)

    @torch.inference_mode()
    def read(self, memory_SD: Tensor, sources: Documents) -> list[TorchSource]:
        """As `Decoder.read`."""
        config, memory_SD = self.weights.config, memory_SD.to(self.weights.dtype)
        layers = [
            layer.source_kv(memory_SD).unflatten(1, (2, config.num_heads, -1)).transpose(0, 1)
            for layer in self.weights.layers
        ]
        return [TorchSource(end - start, tuple(kv[:, start:end] for kv in layers)) for start, end in sources]

    def begin(self, num_rows: int) -> "TorchDecoding":
        """As `Decoder.begin`."""
        return TorchDecoding(self, num_rows)

    @torch.inference_mode()
    def force(self, sources: Sequence[TorchSource], tokens_T: NDArray[np.integer], targets: Documents) -> Tensor:
        """As `Decoder.force`."""
        weights = self.weights
        keys = Documents.of_lengths([source.num_tokens for source in sources])
        bias = relative_bias(weights.bias_table_NH, targets, weights.config.relative_distance, bidirectional=False)
        x_TD = self.embed(tokens_T)
        for number, layer in enumerate(weights.layers):
            kv_2SHK = torch.cat([source.layers[number] for source in sources], dim=1)
            x_TD = self._forced(layer, x_TD, targets, bias, kv_2SHK, keys)
        return self.logits(x_TD)

    def _forced(
        self,
        layer: LayerWeights,
        x_TD: Tensor,
        targets: Documents,
        bias: RelativeBias,
        kv_2SHK: Tensor,
        keys: Documents,
    ) -> Tensor:
        q, k, v = self.own_qkv(layer, x_TD)
        x_TD = x_TD + layer.out(attend(q, k, v, targets, targets, bias).flatten(1))
        q = self.source_q(layer, x_TD)
        x_TD = x_TD + layer.source_out(attend(q, kv_2SHK[0], kv_2SHK[1], targets, keys).flatten(1))
        return x_TD + self.feed_forward(layer, x_TD)

    def embed(self, tokens_R: NDArray[np.integer]) -> Tensor:
        """What the layers begin with, (R, D) in fp32."""
        tokens = torch.as_tensor(np.ascontiguousarray(tokens_R, np.int64)).to(self.weights.device)
        return embedding(tokens, self.weights.words_VD).float()

    def own_qkv(self, layer: LayerWeights, x_RD: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of what is written, each (R, H, K)."""
        qkv = layer.qkv(self._normal(x_RD, layer.own_norm_D)).unflatten(1, (3, self.weights.config.num_heads, -1))
        return qkv.unbind(1)

    def source_q(self, layer: LayerWeights, x_RD: Tensor) -> Tensor:
        """Queries to what was read, (R, H, K)."""
        return layer.source_q(self._normal(x_RD, layer.source_norm_D)).unflatten(1, (self.weights.config.num_heads, -1))

    def feed_forward(self, layer: LayerWeights, x_RD: Tensor) -> Tensor:
        """What the feed-forward adds."""
        config = self.weights.config
        hidden_RF = layer.inner(self._normal(x_RD, layer.feed_forward_norm_D))
        if config.gated:
            gate_RF, up_RF = hidden_RF.chunk(2, dim=1)
            hidden_RF = activate(gate_RF, config.activation) * up_RF
        else:
            hidden_RF = activate(hidden_RF, config.activation)
        return layer.down(hidden_RF)

    def logits(self, x_RD: Tensor) -> Tensor:
        """Logits (R, V) of the states after the last layer."""
        weights = self.weights
        return weights.head(rms_norm(x_RD, (x_RD.shape[-1],), weights.final_norm_D, weights.config.norm_eps))

    def _normal(self, x_RD: Tensor, weight_D: Tensor | None) -> Tensor:
        return rms_norm(x_RD, (x_RD.shape[-1],), weight_D, self.weights.config.norm_eps).to(self.weights.dtype)


class TorchDecoding:
    """Proteins at work; of each layer the keys and values written lie in one tensor (2, G, B, H, P, K)."""

    def __init__(self, decoder: TorchDecoder, num_rows: int) -> None:
        self._decoder, self._num_rows = decoder, num_rows
        self._sources: list[TorchSource] = []
        self._lengths = np.zeros(0, np.int64)
        self._rooms = np.zeros(0, np.int64)
        weights = decoder.weights
        shape = (2, 0, num_rows, weights.config.num_heads, 0, weights.config.d_kv)
        self._kept = [torch.empty(shape, dtype=weights.dtype, device=weights.device) for _ in weights.layers]
        self._read: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._sources)

    def add(self, sources: Sequence[TorchSource], longest: Sequence[int]) -> None:
        """As `Decoding.add`."""
        self._sources += sources
        self._lengths = np.append(self._lengths, np.zeros(len(sources), np.int64))
        self._rooms = np.append(self._rooms, np.array(longest, np.int64))
        more = int(self._rooms.max(initial=0)) - self._kept[0].shape[4]
        self._kept = [pad(kept, (0, 0, 0, more, 0, 0, 0, 0, 0, len(sources))) for kept in self._kept]
        self._read = []

    def keep(self, numbers: Sequence[int]) -> None:
        """As `Decoding.keep`."""
        chosen = np.array(numbers, np.int64)
        self._sources = [self._sources[number] for number in numbers]
        self._lengths, self._rooms = self._lengths[chosen], self._rooms[chosen]
        places = torch.as_tensor(chosen).to(self._decoder.weights.device)
        self._kept = [kept[:, places, :, :, : int(self._rooms.max(initial=0))] for kept in self._kept]
        self._read = []

    def reorder(self, parents_GB: NDArray[np.integer]) -> None:
        """As `Decoding.reorder`."""
        rows = torch.as_tensor(parents_GB.astype(np.int64)).to(self._decoder.weights.device)
        proteins = torch.arange(len(self), device=rows.device)[:, None]
        self._kept = [kept[:, proteins, rows] for kept in self._kept]

    @torch.inference_mode()
    def step(self, tokens_GBC: NDArray[np.integer]) -> NDArray[np.float32]:
        """As `Decoding.step`."""
        assert tokens_GBC.shape[:2] == (len(self), self._num_rows)
        chunk, decoder = tokens_GBC.shape[2], self._decoder
        assert (self._lengths + chunk <= self._rooms).all(), "no room for another token"
        places_GC = torch.as_tensor(self._lengths[:, None] + np.arange(chunk)).to(decoder.weights.device)
        self._read = self._read or self._padded_sources()
        bias_GHCP, mask_G11S = self._bias(places_GC), self._mask()
        x_RD = decoder.embed(tokens_GBC.reshape(-1))
        for number, layer in enumerate(decoder.weights.layers):
            x_RD = x_RD + layer.out(self._own(number, layer, x_RD, places_GC, bias_GHCP))
            x_RD = x_RD + layer.source_out(self._source(number, layer, x_RD, chunk, mask_G11S))
            x_RD = x_RD + decoder.feed_forward(layer, x_RD)
        self._lengths += chunk
        logits = decoder.logits(x_RD[chunk - 1 :: chunk]).cpu().numpy()
        return logits.reshape(len(self), self._num_rows, -1)

    def _own(self, number: int, layer: LayerWeights, x_RD: Tensor, places_GC: Tensor, bias_GHCP: Tensor) -> Tensor:
        """Attend to what was written, the new tokens included."""
        shape = (len(self), self._num_rows, places_GC.shape[1])
        q, k, v = (part.unflatten(0, shape).transpose(2, 3) for part in self._decoder.own_qkv(layer, x_RD))
        kept, proteins = self._kept[number], torch.arange(len(self), device=x_RD.device)[:, None]
        for each, new in zip(kept, (k, v), strict=True):
            each.permute(0, 3, 1, 2, 4)[proteins, places_GC] = new.permute(0, 3, 1, 2, 4)
        num_places = bias_GHCP.shape[-1]
        mask = bias_GHCP[:, None].expand(-1, self._num_rows, -1, -1, -1).flatten(0, 1)
        written = (each[:, :, :, :num_places].flatten(0, 1) for each in kept)
        mixed = scaled_dot_product_attention(q.flatten(0, 1), *written, attn_mask=mask, scale=1.0)
        return mixed.transpose(1, 2).flatten(0, 1).flatten(1)

    def _source(self, number: int, layer: LayerWeights, x_RD: Tensor, chunk: int, mask: Tensor) -> Tensor:
        """Attend to what was read."""
        q = self._decoder.source_q(layer, x_RD).unflatten(0, (len(self), self._num_rows * chunk)).transpose(1, 2)
        keys, values = self._read[number]
        mixed = scaled_dot_product_attention(q, keys, values, attn_mask=mask.to(q.dtype), scale=1.0)
        return mixed.transpose(1, 2).flatten(0, 1).flatten(1)

    def _padded_sources(self) -> list[Tensor]:
        """Of each layer keys and values of all sources side by side, (2, G, H, S, K)."""
        longest = max(source.num_tokens for source in self._sources)
        return [
            torch.stack(
                [pad(s.layers[number], (0, 0, 0, 0, 0, longest - s.num_tokens)).transpose(1, 2) for s in self._sources],
                dim=1,
            )
            for number in range(len(self._decoder.weights.layers))
        ]

    def _mask(self) -> Tensor:
        """0 for tokens of a source, -inf beyond its end, (G, 1, 1, S)."""
        lengths = torch.tensor([source.num_tokens for source in self._sources])[:, None]
        beyond = torch.arange(int(lengths.max()))[None] >= lengths
        return torch.zeros(beyond.shape).masked_fill(beyond, -math.inf)[:, None, None].to(self._decoder.weights.device)

    def _bias(self, places_GC: Tensor) -> Tensor:
        """The bias of each new token towards every place, -inf towards those not yet written, (G, H, C, P)."""
        weights, num_places = self._decoder.weights, int(places_GC.max()) + 1
        distance = weights.config.relative_distance
        bias = bias_by_distance(weights.bias_table_NH, max(num_places, distance + 1), distance, bidirectional=False)
        back_HP = bias.by_distance[:, bias.by_distance.shape[1] // 2 :].to(weights.dtype)
        back_GCP = places_GC[:, :, None] - torch.arange(num_places, device=places_GC.device)
        bias_HGCP = back_HP[:, back_GCP.clamp(min=0)].masked_fill(back_GCP < 0, -math.inf)
        return bias_HGCP.transpose(0, 1)
