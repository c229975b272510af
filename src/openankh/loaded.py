"""A model ready to use: `openankh.load(...)` gives it, and what models can do are its methods."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Literal

import torch

from openankh.checkpoint import Checkpoint, Part, load_named_model
from openankh.decoding import for_decoding
from openankh.embedding.embedder import Embedder, Pair
from openankh.embedding.options import EmbedOptions, Layer, Prefix
from openankh.errors import UserError
from openankh.fasta import FastaReader, ReadOptions, Record
from openankh.generation.completion import Completer, Completion
from openankh.generation.method import Method
from openankh.generation.method import Name as MethodName
from openankh.generation.options import CompletionOptions, Task
from openankh.generation.reader import Reader
from openankh.generation.residue_rules import ResidueRules
from openankh.generation.stretch import Stretch
from openankh.hardware import choose_device, choose_dtype
from openankh.inference import Encoder, for_inference
from openankh.licence import tell_licence
from openankh.model import Ankh
from openankh.model_names import ModelPlace
from openankh.precision import Precision
from openankh.provenance import Manifest, Provenance, sha256_of_model
from openankh.scoring.background import Kind as Background
from openankh.scoring.masked import Told
from openankh.scoring.method import Method as ScoringMethod
from openankh.scoring.method import ScoringOptions
from openankh.scoring.scan import Scan
from openankh.scoring.scorer import Score, Scorer
from openankh.scoring.variant import Variant
from openankh.scoring.window import WINDOW
from openankh.store import Dtype, Pool, States
from openankh.vocab import Vocab

DtypeChoice = Literal["auto", "fp32", "bf16", "fp16"]
Sequences = str | Path | Iterable[str | Record]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model with its vocabulary, on a device.

    `dtype` is what results are given in; arithmetic is in the weights' type, unless `precision` says otherwise; it is
    fp16 only where that was asked for by name, since T5 overflows in it. `manifest` is None for a folder that other
    software wrote. `licence` is that of the weights, "" where nobody states one. `place` tells the repository and the
    commit of a model of the hub; `files` are those that were read.
    """

    name: str
    folder: Path
    model: Ankh
    vocab: Vocab
    dtype: Dtype
    manifest: Manifest | None = None
    licence: str = ""
    place: ModelPlace | None = None
    files: tuple[str, ...] | None = None
    precision: Precision = "auto"
    _encoders: dict[Precision, Encoder] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.shared.weight.device

    @property
    def provenance(self) -> Provenance | None:
        """Where the model comes from, if its folder or the hub says so; its `source` names the commit on the hub."""
        source = self.place.source if self.place else ""
        if self.manifest:
            return replace(self.manifest.provenance, source=source or self.manifest.provenance.source)
        return Provenance(self.name, self.licence, code_version="", source=source) if source else None

    @property
    def revision(self) -> str:
        """The commit of a model of the hub, "" for any other."""
        return self.place.commit if self.place else ""

    @property
    def pinned_name(self) -> str:
        """What `openankh.load` turns into these very weights again: the name with the commit, for one of the hub."""
        return self.place.pinned_name if self.place else self.name

    @cached_property
    def sha256(self) -> str:
        """The hash over the files read, which tells the model from every other; takes a while for a foreign folder."""
        return sha256_of_model(self.folder, self.manifest, self.files)

    def embed(
        self,
        sequences: Sequences,
        *,
        pool: Pool | Literal["none"] = "mean",
        layer: Layer = -1,
        states: States = "encoder",
        prefix: Prefix = "auto",
        dtype: Dtype | None = None,
        precision: Precision = "auto",
        max_tokens: int | None = None,
        unknown: Literal["error", "x"] = "error",
    ) -> Iterator[Pair]:
        """Embed a FASTA file (a path, or "-"), or sequences or records in a list or any other iterable.

        Gives (record, array) in the order of the input, in constant memory: arrays (D,) for pool `mean` and `max`, and
        (L, D) for `residues`, exactly one row a residue; of several layers (K, D) and (K, L, D). The options are those
        of `EmbedOptions`; `precision` and `dtype` are as loaded where they are not given; `unknown="x"` reads unknown
        letters of a file as X. Raises UserError for options this model cannot serve, at once, and for sequences it
        cannot read, when it comes to them.
        """
        options = EmbedOptions(pool, layer, dtype, prefix, max_tokens, precision, states)  # type: ignore[arg-type]  # pyright: ignore
        return self.embedder(options).embed(self._records(sequences, unknown))

    def embedder(self, options: EmbedOptions) -> Embedder:
        """What `embed` runs, for callers who keep it."""
        if options.precision == "auto":
            options = replace(options, precision=self.precision, dtype=options.dtype or self.dtype)
        return Embedder(self.model, self.vocab, options, self._encoder(options.precision))

    def complete(
        self,
        sequences: Sequences,
        *,
        keep: float | None = None,
        length: int | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        method: MethodName = "greedy",
        num: int = 1,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        beams: int = 10,
        seed: int = 0,
        letters: str | None = None,
        forbid: str = "",
        require: str = "",
        fixed: Mapping[int, str] | str | None = None,
        task: Task = "auto",
        unknown: Literal["error", "x"] = "error",
    ) -> Iterator[Completion]:
        """Keep a beginning of each protein of a FASTA file or iterable, as for `embed`, and write the rest.

        Gives `num` completions of each, in the order of the input, best first where beams were followed. What is
        written depends on the protein's beginning, these options and the seed alone. The options are those of
        `Stretch` (keep, length and its limits), `Method` and `ResidueRules`. Raises UserError as `embed`.
        """
        options = CompletionOptions(
            Stretch(keep, length, min_length, max_length),
            Method(method, temperature, top_k, top_p, beams),
            ResidueRules.of(letters, forbid, require, fixed),
            num,
            seed,
            task,
        )
        return self.completer(options).complete(self._records(sequences, unknown))

    def completer(self, options: CompletionOptions) -> Completer:
        """What `complete` runs, for callers who keep it."""
        return Completer(self.reader, self.vocab, self.model.config.vocab_size, options)

    def score(
        self,
        wild_type: str,
        variants: Iterable[str | Variant],
        *,
        method: ScoringMethod = "masked-marginal",
        window: int = WINDOW,
        background: Background = "protein",
    ) -> list[Score]:
        """Score variants of a sequence, written as `A23V:G41D`, `K23del` and so on; positions count from 1.

        Raises UserError, before anything is computed, for variants that do not fit and those the method cannot score.
        """
        options = ScoringOptions(method, window, background)
        return list(self.scorer(options).score(wild_type, variants))

    def scan(
        self,
        wild_type: str,
        *,
        method: ScoringMethod = "masked-marginal",
        window: int = WINDOW,
        background: Background = "protein",
    ) -> Scan:
        """Score all single substitutions of a sequence."""
        return self.scorer(ScoringOptions(method, window, background)).scan(wild_type)

    def scorer(self, options: ScoringOptions, told: Told | None = None) -> Scorer:
        """What `score` and `scan` run, for callers who keep it; `told` hears how far it is."""
        return Scorer(self.reader, self.vocab, options, told)

    @cached_property
    def reader(self) -> Reader:
        """Encoder and decoder as inference runs them, packed when they are first needed.

        Raises UserError for an encoder alone.
        """
        return Reader(self._encoder(self.precision), for_decoding(self.model), self.device)

    def _encoder(self, precision: Precision) -> Encoder:
        """The encoder as inference runs it, packed when it is first needed."""
        if precision not in self._encoders:
            self._encoders[precision] = for_inference(self.model, precision)
        return self._encoders[precision]

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
    precision: Precision = "auto",
    part: Part = "all",
    revision: str | None = None,
    trust_pickle: bool = False,
    verify: bool = True,
    offline: bool = False,
) -> LoadedModel:
    """Load a bundled or published model by name, any other of the hub as `ORGANISATION/NAME`, or a folder by path.

    A name of the hub may end in `@REVISION` (a branch, tag or commit); `revision` says the same. What is not on this
    machine is fetched, which `offline` forbids. The licence of the weights is logged once a process.
    `device`: auto (a CUDA GPU where PyTorch sees one), cpu, cuda, cuda:N or mps. `dtype`: fp32, bf16, or fp16 for
    results in half precision; auto is bf16 where the device computes in it, else fp32. `precision` is how it computes
    where that is to be another type (fp16, which embedding guards) or int8. `part="encoder"` is enough for embedding
    and takes half the memory. `verify=False` leaves out the hashes of files, `trust_pickle` allows weights as a pickle,
    which published names need not. Raises UserError in one line for whatever stands in the way.
    """
    where = choose_device(device)
    results, arithmetic = choose_dtype(dtype, where, precision)
    checkpoint = load_named_model(
        name_or_folder,
        revision=revision,
        part=part,
        dtype=arithmetic,
        device=where,
        trust_pickle=trust_pickle,
        verify=verify,
        offline=offline,
    )
    return _loaded(str(name_or_folder), checkpoint, results, precision)


def _loaded(name: str, checkpoint: Checkpoint, dtype: Dtype, precision: Precision) -> LoadedModel:
    place = checkpoint.place
    assert place is not None
    licence = place.licence(checkpoint.manifest.provenance.licence if checkpoint.manifest else "")
    if licence or place.commit:
        tell_licence(name, licence)
    return LoadedModel(
        name,
        checkpoint.folder,
        checkpoint.model,
        checkpoint.vocab,
        dtype,
        checkpoint.manifest,
        licence,
        place,
        checkpoint.files,
        precision,
    )


def load_embedder(
    name_or_folder: str | Path,
    options: EmbedOptions,
    device: str = "auto",
    *,
    trust_pickle: bool = False,
    offline: bool = False,
) -> tuple[Embedder, LoadedModel]:
    """What embeds with these options and nothing else: it holds no more of the model than that takes.

    The model beside it tells where its weights come from, and can do nothing any more. Raises UserError as `load`.
    """
    loaded = load(
        name_or_folder,
        device,
        precision=options.precision,
        part="encoder" if options.states == "encoder" else "all",
        trust_pickle=trust_pickle,
        offline=offline,
    )
    encoder = for_inference(loaded.model, options.precision, release=True)
    options = replace(options, dtype=options.dtype or loaded.dtype)
    return Embedder(loaded.model, loaded.vocab, options, encoder), loaded


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
