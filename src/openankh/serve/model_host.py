"""The model that a server runs: loaded once, its embedders by their options, and what it tells of itself."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.embedding.survey import Repeats
from openankh.fasta import Record
from openankh.loaded import LoadedModel, load
from openankh.serve.settings import Settings
from openankh.serve.waiting import Array

_NOTHING_TWICE = Repeats(frozenset(), 0, 0)
_KEPT_EMBEDDERS = 32


@dataclass(eq=False)
class ModelHost:
    """Embeds with one model. Only the model's own thread calls `embed`; all else may be asked from anywhere."""

    loaded: LoadedModel
    batch_tokens: int | None = None
    _embedders: "OrderedDict[EmbedOptions, Embedder]" = field(default_factory=OrderedDict)

    @classmethod
    def load(cls, settings: Settings) -> "ModelHost":
        """Load the model of the settings. Raises UserError as `openankh.load`."""
        loaded = load(
            settings.model,
            settings.device,
            precision=settings.precision,
            offline=settings.offline,
            trust_pickle=settings.trust_pickle,
        )
        return cls(loaded, settings.batch_tokens)

    @property
    def name(self) -> str:
        """What the model is called in the API."""
        return self.loaded.pinned_name

    @property
    def letters(self) -> str:
        """The residues it knows."""
        return self.loaded.vocab.letters

    def completed(self, options: EmbedOptions) -> EmbedOptions:
        """The same options spelt one way, so that equal wishes share a batch; UserError for what it cannot serve."""
        layers = options.layers_of(self.loaded.model.config)
        options.prefix_of(self.loaded.vocab)
        return replace(options, layer=layers, dtype=options.dtype or self.loaded.dtype)

    def num_numbers(self, options: EmbedOptions, records: Sequence[Record]) -> int:
        """How many numbers these embeddings are."""
        layers = options.layers_of(self.loaded.model.config)
        rows = sum(len(record.sequence) for record in records) if options.pool == "residues" else len(records)
        return math.prod((len(layers), rows, self.loaded.model.config.d_model))

    def max_tokens(self, options: EmbedOptions) -> int:
        """Tokens of a batch, at present."""
        return self._embedder(options).max_tokens

    def embed(self, options: EmbedOptions, records: Sequence[Record]) -> list[Array]:
        """The arrays of a batch, in order. Raises UserError as `Embedder.batches`."""
        return [array for _, array in self._embedder(options).embed(records)]

    def _embedder(self, options: EmbedOptions) -> Embedder:
        if options not in self._embedders:
            embedder = self.loaded.embedder(replace(options, max_tokens=self.batch_tokens))
            embedder.expect(_NOTHING_TWICE)  # memory stays flat
            self._embedders[options] = embedder
            if len(self._embedders) > _KEPT_EMBEDDERS:
                self._embedders.popitem(last=False)
        self._embedders.move_to_end(options)
        return self._embedders[options]
