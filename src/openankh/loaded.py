"""A model ready to use: `openankh.load(...)` gives it, and what models can do are its methods."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Literal

import torch

from openankh.checkpoint import Part, load_model
from openankh.embedding.embedder import Embedder, Pair
from openankh.embedding.options import EmbedOptions, Prefix
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions, Record
from openankh.hardware import choose_device, choose_dtype
from openankh.inference import Encoder, for_inference
from openankh.model import Ankh
from openankh.model_names import resolve
from openankh.provenance import Manifest, Provenance, sha256_of_model
from openankh.store import Dtype, Pool
from openankh.vocab import Vocab

DtypeChoice = Literal["auto", "fp32", "bf16", "fp16"]
Sequences = str | Path | Iterable[str | Record]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model with its vocabulary, on a device.

    `dtype` is what results are given in; arithmetic is in the weights' type, which never is fp16, since T5 overflows in
    it. `manifest` is None for a folder that other software wrote.
    """

    name: str
    folder: Path
    model: Ankh
    vocab: Vocab
    dtype: Dtype
    manifest: Manifest | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.shared.weight.device

    @property
    def provenance(self) -> Provenance | None:
        """Where the model comes from, if its folder says so."""
        return self.manifest.provenance if self.manifest else None

    @cached_property
    def sha256(self) -> str:
        """The hash of the model's files, which tells it apart from every other; takes a while for a foreign folder."""
        return sha256_of_model(self.folder, self.manifest)

    def embed(
        self,
        sequences: Sequences,
        *,
        pool: Pool = "mean",
        layer: int = -1,
        prefix: Prefix = "auto",
        max_tokens: int | None = None,
        unknown: Literal["error", "x"] = "error",
    ) -> Iterator[Pair]:
        """Embed a FASTA file (a path, or "-"), or sequences or records in a list or any other iterable.

        Gives (record, array) in the order of the input, in constant memory: arrays (D,) for pool `mean` and `max`, and
        (L, D) for `residues`, exactly one row a residue. The options are those of `EmbedOptions`; `unknown="x"` reads
        unknown letters of a file as X. Raises UserError for options this model cannot serve, at once, and for sequences
        it cannot read, when it comes to them.
        """
        embedder = self.embedder(EmbedOptions(pool, layer, self.dtype, prefix, max_tokens))
        return embedder.embed(self._records(sequences, unknown))

    def embedder(self, options: EmbedOptions) -> Embedder:
        """What `embed` runs, for callers who keep it."""
        return Embedder(self.model, self.vocab, options, self._encoder)

    @cached_property
    def _encoder(self) -> Encoder:
        """The encoder as inference runs it, packed when it is first needed."""
        return for_inference(self.model)

    def _records(self, sequences: Sequences, unknown: Literal["error", "x"]) -> Iterable[Record]:
        if isinstance(sequences, str | Path):
            _refuse_sequence_for_path(str(sequences), self.vocab)
            return FastaReader(sequences, ReadOptions(letters=self.vocab.letters, unknown=unknown))
        if not isinstance(sequences, Iterable):
            raise UserError(f"sequences: a {type(sequences).__name__}; give a FASTA path, or a list of sequences")
        return map(_record, sequences, count(1))


def load(
    name_or_folder: str | Path,
    device: str = "auto",
    dtype: DtypeChoice = "auto",
    *,
    part: Part = "all",
    revision: str | None = None,
    trust_pickle: bool = False,
    verify: bool = True,
) -> LoadedModel:
    """Load a bundled or published model by name, or a model folder by path.

    `device`: auto (a CUDA GPU where PyTorch sees one), cpu, cuda, cuda:N or mps. `dtype`: fp32, bf16, or fp16 for
    results in half precision; auto is bf16 where the device computes in it, else fp32. `part="encoder"` is enough for
    embedding and takes half the memory. `verify=False` leaves out the hashes of files, `trust_pickle` allows weights as
    a pickle. Raises UserError in one line for whatever stands in the way.
    """
    place = choose_device(device)
    results, arithmetic = choose_dtype(dtype, place)
    folder = resolve(name_or_folder, revision=revision, trust_pickle=trust_pickle)
    loaded = load_model(folder, part=part, dtype=arithmetic, device=place, trust_pickle=trust_pickle, verify=verify)
    return LoadedModel(str(name_or_folder), folder, loaded.model, loaded.vocab, results, loaded.manifest)


def _refuse_sequence_for_path(text: str, vocab: Vocab) -> None:
    """A lone sequence is easily taken for a path; say so rather than that there is no such file."""
    if len(text) > 20 and set(text.upper()) <= set(vocab.letters) and not Path(text[:255]).exists():
        raise UserError(f"{text[:20]}…: no such file; put sequences into a list, [{text[:8]!r}…]")


def _record(sequence: object, number: int) -> Record:
    """A record as it is, a sequence as a record named by its number, counted from 1."""
    if isinstance(sequence, Record):
        return sequence
    if not isinstance(sequence, str):
        raise UserError(f"sequence {number}: a {type(sequence).__name__}, neither a text nor a Record")
    return Record(str(number), "", sequence.upper(), number)
