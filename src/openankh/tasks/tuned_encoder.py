"""An encoder that learns together with a head: its rows with gradients in training, and as inference makes them after.

L residues, D model width.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from openankh.attention import Documents
from openankh.checkpoint import Provenance, load_model, save_model
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.embedding.tokens import packed_tokens
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.inference import for_inference
from openankh.loaded import LoadedModel, load
from openankh.lookup.vector_kind import ModelAccess
from openankh.precision import Precision
from openankh.tasks.cached_states import Preprocessing
from openankh.tasks.lora import Added, LoraConfig, attach, detach, merge, require_fit, weights_of

_NUMBERS: Mapping[Precision, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16}


class TunedEncoder:
    """A model whose weights are in fp32, with what is trained attached to it; without `config` all of it is trained.

    With `precision` bf16 products are in bf16, of weights that stay in fp32; so is the encoder that is used after.
    """

    def __init__(
        self,
        name: str,
        config: LoraConfig | None,
        access: ModelAccess | None = None,
        seed: int = 0,
        precision: Precision = "fp32",
    ) -> None:
        access = access or ModelAccess()
        self.config = config
        self.loaded = load_exact(name, access)
        self.added: dict[str, Added] = {}
        if config is not None:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                self.added = attach(self.loaded.model, config)
        self.preprocessing = _preprocessing(self.loaded, precision)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        if self.config is None:
            return list(self.loaded.model.parameters())
        return [parameter for each in self.added.values() for parameter in each.parameters()]

    def learned_rows(self, sequences: Sequence[str]) -> list[Tensor]:
        """The rows (L, D) of each protein, through which gradients flow."""
        vocab, pre = self.loaded.vocab, self.preprocessing
        records = [_record(sequence, vocab.letters) for sequence in sequences]
        prefix_id = vocab.prefix_id(pre.prefix) if pre.prefix else None
        tokens, places, offsets = packed_tokens(records, vocab, prefix_id)
        device = self.loaded.device
        documents = Documents(tuple(offsets.tolist()))
        tokens_T, numbers = torch.from_numpy(tokens).to(device), _NUMBERS[pre.precision]
        output = self.loaded.model.encode(tokens_T, documents, (pre.layer,), numbers)
        rows_ND = output.states[pre.layer][torch.from_numpy(places).to(device)].float()
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
        if self.config is not None:
            detach(self.loaded.model, self.config)
            merge(self.loaded.model, weights, self.config)
        self.loaded.model.requires_grad_(False)
        return MergedEncoder(_embedder(self.loaded, self.preprocessing.precision), weights, self.preprocessing)


class MergedEncoder:
    """The rows of an encoder with what was learned merged in, as inference makes them; `weights` are what was."""

    def __init__(self, embedder: Embedder, weights: dict[str, Tensor], preprocessing: Preprocessing) -> None:
        self.embedder, self.weights, self.preprocessing = embedder, weights, preprocessing

    def rows(self, sequence: str) -> NDArray[np.float32]:
        """The rows (L, D) of a protein."""
        (pair,) = self.embedder.embed([_record(sequence, self.embedder.vocab.letters)])
        return pair[1].astype(np.float32, copy=False)


def merged_embedder(
    loaded: LoadedModel, weights: dict[str, Tensor], config: LoraConfig, precision: Precision, place: Path
) -> Embedder:
    """What embeds with an adapter merged into a model of `load_exact`; UserError where it does not fit."""
    require_fit(loaded.model, weights, config, place)
    merge(loaded.model, weights, config)
    return _embedder(loaded, precision)


def whole_embedder(folder: Path, sha256: str, precision: Precision, access: ModelAccess) -> Embedder:
    """What embeds with an encoder that was trained as a whole; UserError where it is not the one that was written."""
    loaded = load_exact(str(folder), access)
    if loaded.sha256 != sha256:
        raise UserError(f"{folder}: is not the encoder that was written (SHA-256 differs); copy the whole folder again")
    return _embedder(loaded, precision)


def save_whole(encoder: Embedder, folder: Path, name: str) -> str:
    """Write a trained encoder as a model's folder that `openankh embed -m` and transformers open; its SHA-256."""
    save_model(encoder.model, encoder.vocab, folder, Provenance(name))
    return load_model(folder, part="encoder").sha256


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


def exact_embedder(loaded: LoadedModel) -> Embedder:
    """What embeds in fp32 with a model of `load_exact`, which stays whole."""
    return _embedder(loaded, "fp32")


def _options(precision: Precision) -> EmbedOptions:
    return EmbedOptions(pool="residues", dtype="fp32", precision=precision)


def _embedder(loaded: LoadedModel, precision: Precision) -> Embedder:
    return Embedder(loaded.model, loaded.vocab, _options(precision), for_inference(loaded.model, precision))


def _preprocessing(loaded: LoadedModel, precision: Precision) -> Preprocessing:
    config = loaded.model.config
    return Preprocessing(
        loaded.pinned_name,
        loaded.sha256,
        config.num_encoder_layers,
        "residues",
        _options(precision).prefix_of(loaded.vocab),
        precision,
        "fp32",
        config.d_model,
    )


def _record(sequence: str, letters: str) -> Record:
    known = set(letters)
    return Record("protein", "", "".join(letter if letter in known else "X" for letter in sequence), 1)
