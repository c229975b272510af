"""The attention probabilities of every head of an encoder, residue to residue, for one protein at a time.

They are computed again from the states that each layer begins with: attention kernels never write them out.
L residues, T tokens, M maps (layers x heads).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from openankh.attention import Documents
from openankh.embedding.tokens import packed_tokens
from openankh.fasta import Record
from openankh.model import Ankh
from openankh.vocab import Vocab


@torch.inference_mode()
def attention_maps(model: Ankh, vocab: Vocab, sequence: str, prefix: str = "") -> NDArray[np.float32]:
    """What each residue attends to in each head (M, L, L), layer by layer; rows do not quite add up to 1, since
    `</s>` and a prefix are left out.

    Takes 4 M L^2 bytes. `prefix` as of an `Embedder`. Raises UserError for letters that the vocabulary lacks.
    """
    prefix_id = vocab.prefix_id(prefix) if prefix else None
    tokens, places, offsets = packed_tokens([Record("1", "", sequence, 1)], vocab, prefix_id)
    device = model.shared.weight.device
    documents = Documents(tuple(offsets.tolist()))
    blocks = model.encoder.blocks
    states = model.encode(torch.from_numpy(tokens).to(device), documents, range(len(blocks)), torch.float32).states
    bias_HTT = model.encoder.bias(documents).matrix(len(tokens), torch.float32)
    rows_L = torch.from_numpy(places).to(device)
    maps = []
    for number, block in enumerate(blocks):
        x_TD = block.own.layer_norm(states[number], torch.float32)
        attention = block.own.SelfAttention
        q_THK, k_THK = (attention.split_heads(x_TD @ layer.weight.float().T) for layer in (attention.q, attention.k))
        scores_HTT = torch.einsum("thk,shk->hts", q_THK, k_THK) + bias_HTT
        maps.append(scores_HTT.softmax(dim=-1)[:, rows_L][:, :, rows_L].cpu())
    return torch.cat(maps).numpy()
