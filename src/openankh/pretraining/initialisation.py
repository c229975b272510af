"""How a new model's weights are drawn: as T5's authors do, or so that a small model learns at once.

Either gives an ordinary T5: only the numbers at step 0 differ, never the architecture.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from openankh.model import Ankh, Attention
from openankh.vocab import Vocab

Initialisation = Literal["published", "eager"]


@torch.no_grad()
def initialise(model: Ankh, vocab: Vocab, how: Initialisation, seed: int) -> None:
    """Draw all weights of `model` from `seed`.

    `published`: T5's own scales. `eager`: every branch writes nothing at first (output projections and head are zero), all
    sentinels begin alike but for a half of their variance, and cross-attention begins by matching equal vectors, so that a
    decoder's sentinel reads the encoder's state at the same sentinel from the first step on.
    """
    generator = torch.Generator().manual_seed(seed)
    _published(model, generator)
    if how == "eager":
        _eager(model, vocab, generator)


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
            _draw(parameter, scale_by_name[owner], generator)
        else:
            parameter.fill_(1.0)


def _eager(model: Ankh, vocab: Vocab, generator: torch.Generator) -> None:
    for name, module in model.named_modules():
        owner = name.rsplit(".", 1)[-1]
        if owner in ("o", "wo", "relative_attention_bias", "lm_head"):
            nn.init.zeros_(module.weight)  # type: ignore[arg-type]
        if owner == "EncDecAttention":
            assert isinstance(module, Attention)
            module.k.weight.copy_(module.q.weight * model.config.d_kv**0.25)
            module.q.weight.mul_(model.config.d_kv**0.25)
            if name.startswith("decoder.block.0."):
                _pass_through(module, generator)
    _liken_sentinels(model.shared.weight, vocab, generator)


def _pass_through(attention: Attention, generator: torch.Generator) -> None:
    """Make values and output undo each other, so that what is attended to arrives as it is."""
    drawn_ID = torch.randn(attention.v.weight.shape, generator=generator)
    basis_ID = torch.linalg.qr(drawn_ID).Q if len(drawn_ID) >= drawn_ID.shape[1] else torch.linalg.qr(drawn_ID.t()).Q.t()
    attention.v.weight.copy_(basis_ID)
    attention.o.weight.copy_(basis_ID.t())


def _liken_sentinels(embedding_VD: Tensor, vocab: Vocab, generator: torch.Generator) -> None:
    common_D = torch.empty(embedding_VD.shape[1])
    _draw(common_D, 1.0, generator)
    sentinels = torch.from_numpy(vocab.sentinel_ids.copy())
    embedding_VD[sentinels] = (embedding_VD[sentinels] + common_D) * 0.5**0.5


def _draw(tensor: Tensor, scale: float, generator: torch.Generator) -> None:
    tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
