"""Who takes part: models, their networks with random weights, and rows made of the letters alone."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import torch

from openankh.benchmarking.baseline_rows import BaselineRows
from openankh.benchmarking.cell import Kind
from openankh.benchmarking.options import BenchmarkOptions
from openankh.config import ModelConfig
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.embedding.run import ModelIdentity
from openankh.inference import for_inference
from openankh.loaded import LoadedModel, load
from openankh.lookup.cath_benchmark import MAX_RANDOM_PARAMETERS
from openankh.lookup.protein_embedder import ProteinEmbedder
from openankh.lookup.watching import Watcher
from openankh.model import Ankh
from openankh.pretraining.initialisation import initialise
from openankh.store import Pool
from openankh.tasks.cached_states import STORED, RowSource, cached_states
from openankh.tasks.examples import TaskData
from openankh.vocab import Vocab

RANDOM_SEED = 0
"""All heads' seeds see the same random network."""


@dataclass(frozen=True)
class Entrant:
    """Whose rows heads learn from: a model's or its random twin's by `model`, or those of a baseline."""

    name: str
    kind: Kind
    model: str = ""
    baseline: BaselineRows | None = None


@dataclass(frozen=True, eq=False)
class ModelFacts:
    """What is known of a model without its weights."""

    config: ModelConfig
    vocab: Vocab
    identity: ModelIdentity
    device: torch.device
    dtype: torch.dtype


class Networks:
    """The models of a benchmark, the weights of one in memory at a time."""

    def __init__(self, options: BenchmarkOptions) -> None:
        self._options = options
        self._facts: dict[str, ModelFacts] = {}
        self._embedder = lru_cache(maxsize=1)(self._made)

    def load(self, name: str) -> LoadedModel:
        """The encoder of a model."""
        self._embedder.cache_clear()
        access = self._options.access
        loaded = load(
            name,
            access.device,
            precision=self._options.precision,
            part="encoder",
            trust_pickle=access.trust_pickle,
            offline=access.offline,
        )
        identity = ModelIdentity(loaded.pinned_name, loaded.sha256)
        dtype = loaded.model.shared.weight.dtype
        self._facts[name] = ModelFacts(loaded.model.config, loaded.vocab, identity, loaded.device, dtype)
        return loaded

    def facts(self, name: str) -> ModelFacts:
        """Of a model, which is loaded for that once."""
        if name not in self._facts:
            self.load(name)
        return self._facts[name]

    def network(self, entrant: Entrant) -> Ankh:
        """Its weights where the model's are, or weights drawn anew."""
        if entrant.kind != "random":
            return self.load(entrant.model).model
        facts = self.facts(entrant.model)
        drawn = Ankh(replace(facts.config, num_decoder_layers=0))
        initialise(drawn, facts.vocab, "published", RANDOM_SEED)
        return drawn.eval().to(facts.device, facts.dtype)

    def identity(self, entrant: Entrant) -> ModelIdentity:
        """How it is called, and the hash that tells its numbers from every other's."""
        facts = self.facts(entrant.model)
        if entrant.kind != "random":
            return facts.identity
        shape = json.dumps([asdict(facts.config), facts.vocab.letters, RANDOM_SEED], sort_keys=True, default=str)
        return ModelIdentity(entrant.name, hashlib.sha256(shape.encode()).hexdigest())

    def can_be_random(self, model: str) -> bool:
        """Whether its network is small enough to be drawn anew without being asked for."""
        return self.facts(model).config.num_encoder_parameters <= MAX_RANDOM_PARAMETERS

    def rows(self, entrant: Entrant, data: TaskData, pool: Pool, watcher: Watcher) -> RowSource:
        """The rows of all proteins of a task; a network's are computed once and kept."""
        if entrant.baseline is not None:
            return entrant.baseline
        sequences = (sequence for part in data.splits.values() for sequence in part.sequences)
        embedder = self._embedder(entrant, pool)
        return cached_states(sequences, data.task.name, embedder, self._options.cache, watcher)

    def _made(self, entrant: Entrant, pool: Pool) -> ProteinEmbedder:
        precision = self._options.precision
        options = EmbedOptions(pool, dtype=STORED, precision=precision)
        network = self.network(entrant)
        encoder = for_inference(network, precision, release=True)
        return ProteinEmbedder(
            Embedder(network, self.facts(entrant.model).vocab, options, encoder), self.identity(entrant)
        )
