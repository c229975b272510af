"""How a new model's weights are drawn: as T5's authors do, or so that a small model learns from its first steps.

Either gives an ordinary T5: only the numbers at step 0 differ, never the architecture.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from openankh.attention.relative_bias import relative_buckets
from openankh.config import ModelConfig
from openankh.model import Ankh, Stack
from openankh.pretraining.sharding import first_rows
from openankh.vocab import Vocab

Initialisation = Literal["published", "eager"]

RESERVED_SHARE = 6
"""One in so many dimensions of the residual stream is kept for the sentinels' marks: no layer writes there."""

MATCH_LOGIT = 150.0
"""How strongly, in nats, cross-attention begins by preferring a sentinel's own mark; what layers write lowers it."""

MARK_STRENGTH = 3.0
"""Root mean square of a sentinel's mark beside the 1 of an embedding."""

ENCODER_PLACES = ((-1.0, 1.5), (1.0, 1.5), (-3.5, 1.0), (3.5, 1.0), (0.0, 0.3), (0.0, 0.0), (-2.0, 1.5), (2.0, 1.5))
DECODER_PLACES = ((-1.0, 2.0), (-2.0, 2.0), (0.0, 0.5), (0.0, 0.0), (0.0, 0.0), (0.0, 0.1), (0.0, 2.0), (-4.0, 1.0))
"""Where each head looks at first: the distance j - i it favours, in tokens, and the fall of its bias a token away, in
nats.

In proteins: the neighbours in the chain, the next turn of a helix, the surroundings, everything. Further heads go
round again.
"""

DEEPEST_BIAS = -5.0


def reserved_rows(model: Ankh) -> list[Tensor]:
    """Gradients by which layers of an `eager` model would begin to write into the reserved dimensions."""
    width = model.config.d_model // RESERVED_SHARE
    writers = (p for name, p in model.named_parameters() if name.split(".")[-2] in ("o", "wo"))
    return [first_rows(p.grad, width) for p in writers if p.grad is not None]


@torch.no_grad()
def initialise(model: Ankh, vocab: Vocab, how: Initialisation, seed: int) -> None:
    """Draw all weights of `model` from `seed`.

    `published`: T5's own scales.

    `eager`: every branch writes nothing at first (output projections and head are zero) but the decoder's first
    cross-attention, which begins by matching equal sentinels and passing on what it finds there: so a decoder's
    sentinel reads the encoder's state at the same sentinel from the first step on. All sentinels are one vector
    but for that mark, and heads begin by looking at different distances.
    """
    generator = torch.Generator().manual_seed(seed)
    _published(model, generator)
    if how == "eager":
        _silence(model)
        reserved_width = model.config.d_model // RESERVED_SHARE
        _mark_sentinels(model.shared.weight, vocab, reserved_width, generator)
        _look_around(model.encoder, model.config, ENCODER_PLACES)
        if model.config.num_decoder_layers:
            _look_around(model.decoder, model.config, DECODER_PLACES)
            _match(model, reserved_width, generator)


def _published(model: Ankh, generator: torch.Generator) -> None:
    config = model.config
    scale_by_name = {
        "q": (config.d_model * config.d_kv) ** -0.5,
        "k": config.d_model**-0.5,
        "v": config.d_model**-0.5,
        "o": config.inner**-0.5,
        "wi": config.d_model**-0.5,
        "wi_0": config.d_model**-0.5,
        "wi_1": config.d_model**-0.5,
        "wo": config.d_ff**-0.5,
        "relative_attention_bias": config.d_model**-0.5,
        "shared": 1.0,
        "lm_head": config.d_model**-0.5,
    }
    for name, parameter in model.named_parameters():
        owner = name.split(".")[-2]
        if owner in scale_by_name:
            parameter.copy_(_drawn(parameter.shape, generator) * scale_by_name[owner])
        else:
            parameter.fill_(1.0)


def _silence(model: Ankh) -> None:
    for name, parameter in model.named_parameters():
        if name.split(".")[-2] in ("o", "wo", "lm_head"):
            nn.init.zeros_(parameter)


def _mark_sentinels(embedding_VD: Tensor, vocab: Vocab, reserved_width: int, generator: torch.Generator) -> None:
    """Give all sentinels the same vector, but for a mark of their own in the reserved dimensions, where others have 0.

    To the encoder a sentinel means "hidden", whichever it is; the mark only has to reach the cross-attention.
    """
    sentinels = torch.from_numpy(vocab.sentinel_ids.copy())
    embedding_VD[sentinels] = _drawn(embedding_VD.shape[1:], generator)
    embedding_VD[:, :reserved_width] = 0
    marks_SM = torch.nn.functional.normalize(_drawn(torch.Size((len(sentinels), reserved_width)), generator))
    embedding_VD[sentinels, :reserved_width] = MARK_STRENGTH * embedding_VD.shape[1] ** 0.5 * marks_SM


def _look_around(stack: Stack, config: ModelConfig, places: tuple[tuple[float, float], ...]) -> None:
    """Set the relative bias so that each head begins with a distance of its own."""
    distance_N = _mean_distance(config.relative_buckets, config.relative_distance, not stack.is_decoder)
    for head in range(config.num_heads):
        favoured, slope = places[head % len(places)]
        stack.bias_table_NH[:, head] = (-slope * (distance_N - favoured).abs()).clamp(min=DEEPEST_BIAS)


def _mean_distance(num_buckets: int, max_distance: int, bidirectional: bool) -> Tensor:
    """The mean distance j - i of the pairs in each bucket, up to the farthest told apart; 0 for an empty one."""
    buckets = relative_buckets(max_distance + 1, num_buckets, max_distance, bidirectional)
    distance = torch.arange(max_distance, -max_distance - 1, -1).float()
    used = torch.ones(len(distance), dtype=torch.bool) if bidirectional else distance <= 0
    total, count = torch.zeros(num_buckets), torch.zeros(num_buckets)
    total.scatter_add_(0, buckets[used], distance[used])
    count.scatter_add_(0, buckets[used], torch.ones_like(distance[used]))
    return total / count.clamp(min=1)


def _match(model: Ankh, reserved_width: int, generator: torch.Generator) -> None:
    """Let cross-attention compare marks; in the first layer, pass on what is found."""
    config = model.config
    scale = (MATCH_LOGIT / (config.d_kv * config.d_model)) ** 0.5
    for number, block in enumerate(model.decoder.blocks):
        attention = block.across.EncDecAttention
        attention.q.weight.zero_()
        attention.q.weight[:, :reserved_width] = scale * _drawn(torch.Size((config.inner, reserved_width)), generator)
        attention.k.weight.copy_(attention.q.weight)
        if number == 0:
            basis_ID = _orthogonal(attention.v.weight.shape, generator)
            attention.v.weight.copy_(basis_ID)
            attention.o.weight.copy_(basis_ID.t())
            attention.o.weight[:reserved_width] = 0


def _orthogonal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """A random matrix whose shorter side is orthonormal."""
    drawn = _drawn(shape, generator)
    return torch.linalg.qr(drawn).Q if shape[0] >= shape[1] else torch.linalg.qr(drawn.t()).Q.t()


def _drawn(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)
