"""An encoder that learns together with a head: its rows with gradients in training, and as inference makes them after.

L residues, D model width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from openankh.attention import Documents
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.embedding.tokens import packed_tokens
from openankh.fasta import Record
from openankh.inference import for_inference
from openankh.loaded import LoadedModel, load
from openankh.lookup.vector_kind import ModelAccess
from openankh.tasks.cached_states import Preprocessing
from openankh.tasks.lora import LoraConfig, attach, detach, merge, require_fit, weights_of

_EXACT = EmbedOptions(pool="residues", dtype="fp32", precision="fp32")


class TunedEncoder:
    """A model in fp32 with what is trained attached to it."""

    def __init__(self, name: str, config: LoraConfig, access: ModelAccess | None = None, seed: int = 0) -> None:
        access = access or ModelAccess()
        self.config = config
        self.loaded = load_exact(name, access)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.added = attach(self.loaded.model, config)
        self.preprocessing = _preprocessing(self.loaded)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [parameter for each in self.added.values() for parameter in each.parameters()]

    def learned_rows(self, sequences: Sequence[str]) -> list[Tensor]:
        """The rows (L, D) of each protein, through which gradients flow."""
        vocab, pre = self.loaded.vocab, self.preprocessing
        records = [_record(sequence, vocab.letters) for sequence in sequences]
        prefix_id = vocab.prefix_id(pre.prefix) if pre.prefix else None
        tokens, places, offsets = packed_tokens(records, vocab, prefix_id)
        device = self.loaded.device
        documents = Documents(tuple(offsets.tolist()))
        output = self.loaded.model.encode(torch.from_numpy(tokens).to(device), documents, (pre.layer,))
        rows_ND = output.states[pre.layer][torch.from_numpy(places).to(device)]
        return list(rows_ND.split([len(sequence) for sequence in sequences]))

    @torch.no_grad()
    def rows(self, sequence: str) -> NDArray[np.float32]:
        """The same of one protein, without gradients."""
        return self.learned_rows([sequence])[0].cpu().numpy()

    @contextmanager
    def settled(self) -> Iterator[None]:
        """While nothing is trained: sums of weights are formed once."""
        with parametrize.cached():
            yield

    def merged(self) -> "MergedEncoder":
        """The encoder as it is used: what was learned is in its weights."""
        weights = weights_of(self.added)
        detach(self.loaded.model, self.config)
        merge(self.loaded.model, weights, self.config)
        return MergedEncoder(_embedder(self.loaded), weights, self.preprocessing)


class MergedEncoder:
    """The rows of an encoder with what was learned merged in, as inference makes them; `weights` are what was."""

    def __init__(self, embedder: Embedder, weights: dict[str, Tensor], preprocessing: Preprocessing) -> None:
        self.embedder, self.weights, self.preprocessing = embedder, weights, preprocessing

    def rows(self, sequence: str) -> NDArray[np.float32]:
        """The rows (L, D) of a protein."""
        (pair,) = self.embedder.embed([_record(sequence, self.embedder.vocab.letters)])
        return pair[1].astype(np.float32, copy=False)


def merged_embedder(loaded: LoadedModel, weights: dict[str, Tensor], config: LoraConfig, place: Path) -> Embedder:
    """What embeds with an adapter merged into a model of `load_exact`; UserError where it does not fit."""
    require_fit(loaded.model, weights, config, place)
    merge(loaded.model, weights, config)
    return _embedder(loaded)


def load_exact(name: str, access: ModelAccess) -> LoadedModel:
    """The encoder in fp32, in which small steps of training are not lost."""
    return load(
        name,
        access.device,
        precision="fp32",
        part="encoder",
        trust_pickle=access.trust_pickle,
        offline=access.offline,
    )


def _embedder(loaded: LoadedModel) -> Embedder:
    return Embedder(loaded.model, loaded.vocab, _EXACT, for_inference(loaded.model, "fp32"))


def _preprocessing(loaded: LoadedModel) -> Preprocessing:
    config = loaded.model.config
    return Preprocessing(
        loaded.pinned_name,
        loaded.sha256,
        config.num_encoder_layers,
        "residues",
        _EXACT.prefix_of(loaded.vocab),
        "fp32",
        "fp32",
        config.d_model,
    )


def _record(sequence: str, letters: str) -> Record:
    known = set(letters)
    return Record("protein", "", "".join(letter if letter in known else "X" for letter in sequence), 1)
