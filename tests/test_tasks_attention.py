"""Attention maps are the probabilities the encoder mixes with, and contacts can be learned from them."""

import numpy as np
import torch

from openankh.attention import Documents
from openankh.config import ModelConfig
from openankh.embedding.tokens import packed_tokens
from openankh.fasta import Record
from openankh.model import Ankh
from openankh.pretraining.initialisation import initialise
from openankh.tasks.attention_contacts import corrected, fit_attention_contacts
from openankh.tasks.attention_maps import attention_maps
from openankh.tasks.contact_precision import precision_at
from openankh.vocab import openankh_vocab

VOCAB = openankh_vocab()
CONFIG = ModelConfig(
    vocab_size=VOCAB.size, d_model=16, d_ff=32, d_kv=8, num_heads=3, num_encoder_layers=2, num_decoder_layers=0
)
SEQUENCE = "MKTAYIAKQRQISFVKSHFSRQLE"


def small_model() -> Ankh:
    model = Ankh(CONFIG)
    initialise(model, VOCAB, "published", 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model.eval()


def test_maps_mix_the_values_as_the_encoder_does() -> None:
    """The first layer's attention output is its values mixed by the maps, residues and `</s>` together."""
    model = small_model()
    maps_MLL = attention_maps(model, VOCAB, SEQUENCE)
    assert maps_MLL.shape == (6, len(SEQUENCE), len(SEQUENCE))
    assert (maps_MLL >= 0).all() and (maps_MLL.sum(axis=2) <= 1 + 1e-5).all()
    tokens, _, offsets = packed_tokens([Record("1", "", SEQUENCE, 1)], VOCAB, None)
    documents, own = Documents(tuple(offsets.tolist())), model.encoder.blocks[0].own
    with torch.no_grad():
        x_TD = own.layer_norm(model.embed_tokens(torch.from_numpy(tokens)))
        expected_TD = own.SelfAttention(x_TD, documents, model.encoder.bias(documents))
        v_THK = own.SelfAttention.split_heads(own.SelfAttention.v(x_TD))
        whole_HLT = torch.from_numpy(np.pad(maps_MLL[:3], ((0, 0), (0, 0), (0, 1))))
        whole_HLT[:, :, -1] = 1 - whole_HLT.sum(dim=2)
        mixed_LHK = torch.einsum("hls,shk->lhk", whole_HLT, v_THK)
        found_LD = own.SelfAttention.o(mixed_LHK.flatten(1))
    torch.testing.assert_close(found_LD, expected_TD[: len(SEQUENCE)], atol=1e-5, rtol=1e-4)


def test_correction_takes_away_what_rows_and_columns_explain() -> None:
    rows = np.linspace(1, 2, 7)
    np.testing.assert_allclose(corrected(np.outer(rows, rows)[None]), 0, atol=1e-5)


def test_contacts_are_learned_from_the_maps_that_show_them() -> None:
    generator = np.random.default_rng(0)

    def chain() -> tuple[np.ndarray, np.ndarray]:
        contacts_LL = np.triu(generator.random((40, 40)) < 0.05, 6)
        contacts_LL |= contacts_LL.T
        maps = generator.random((5, 40, 40))
        maps[3] += np.triu(contacts_LL)  # one head, one direction
        return maps.astype(np.float32), contacts_LL

    learned = [chain() for _ in range(6)]
    found = fit_attention_contacts([maps for maps, _ in learned], [contacts for _, contacts in learned])
    maps, contacts_LL = chain()
    scores_LL = found.scores(maps)
    np.testing.assert_allclose(scores_LL, scores_LL.T, atol=1e-4)
    assert precision_at(scores_LL, contacts_LL) == 1
