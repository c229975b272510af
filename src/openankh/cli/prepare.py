"""`openankh prepare`: FASTA files into a corpus to train on."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from openankh.cli import report
from openankh.cli.options import Json, Quiet, Source
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.corpus_manifest import Manifest, Split
    from openankh.vocab import Vocab

_WHICH = Group("Which records", sort_key=1)
_HOW = Group("How they are read", sort_key=2)
_MEGABYTE = 1_000_000

Sources = Annotated[Source, Parameter(help="FASTA files, plain or compressed (gz, xz, bz2, zst); - is standard input.")]
Output = Annotated[
    str, Parameter(name=("--output", "-o"), help="The corpus: a folder that does not exist yet, in one that does.")
]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace a corpus of that name, once all is read.")]
Vocabulary = Annotated[str, Parameter(help="openankh, ankh, or the folder of a model or tokenizer.")]
Representatives = Annotated[
    str | None, Parameter(group=_WHICH, help="Only representatives of a clustering: c50 takes headers with rep50.")
]
KeepWord = Annotated[str | None, Parameter(group=_WHICH, help="Only headers with this word after the id.")]
MinLength = Annotated[int, Parameter(group=_WHICH, help="Only proteins of at least so many residues.")]
Valid = Annotated[str | None, Parameter(group=_WHICH, help="A FASTA file that becomes the validation split.")]
Holdout = Annotated[
    float, Parameter(group=_WHICH, help="Or: the fraction of clusters put aside for validation, such as 0.005.")
]
ClusterWord = Annotated[
    str | None,
    Parameter(group=_WHICH, help="The word that names the cluster: c50 where headers say c50=s7; else the sequence."),
]
Unknown = Annotated[
    Literal["error", "x"],
    Parameter(group=_HOW, help="A letter that the vocabulary lacks: refuse it, or read it as X."),
]
Case = Annotated[Literal["upper", "error"], Parameter(group=_HOW, help="Lower case: read as capitals, or refuse it.")]
MaxResidues = Annotated[int, Parameter(group=_HOW, help="Refuse a longer sequence.")]
MaxExpansion = Annotated[float, Parameter(group=_HOW, help="Refuse a file that unpacks to more times its size.")]


def prepare(
    *sources: Sources,
    output: Output,
    overwrite: Overwrite = False,
    vocab: Vocabulary = "openankh",
    representatives: Representatives = None,
    keep_word: KeepWord = None,
    min_length: MinLength = 1,
    valid: Valid = None,
    holdout: Holdout = 0.0,
    cluster_word: ClusterWord = None,
    unknown: Unknown = "error",
    case: Case = "upper",
    max_residues: MaxResidues = 1_000_000,
    max_expansion: MaxExpansion = 250,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """FASTA files into a corpus to train on.

    A corpus is a folder of token shards with an index, a manifest of hashes, and one or two splits (train, valid).
    """
    from openankh.fasta import ReadOptions
    from openankh.preparation import PrepareOptions
    from openankh.preparation import prepare as prepare_corpus
    from openankh.selection import Selection

    options = PrepareOptions(
        vocab=_vocab(vocab),
        reading=ReadOptions(unknown=unknown, case=case, max_residues=max_residues, max_expansion=max_expansion),
        selection=Selection(_keep_word(representatives, keep_word), min_length, holdout, cluster_word),
    )
    inputs = sources if valid is None else (*sources, valid)
    began = time.perf_counter()
    with report.progress("reading", _total_megabytes(inputs), unit="MB", quiet=quiet) as bar:
        manifest = prepare_corpus(
            sources,
            output,
            options,
            valid=valid,
            overwrite=overwrite,
            on_progress=lambda num_bytes, num_residues: bar.reach(
                num_bytes / _MEGABYTE, note=f"{num_residues / 1e6:,.1f} M residues"
            ),
        )
    report.result(_facts(output, manifest, time.perf_counter() - began), as_json=json)


def _vocab(name: str) -> "Vocab":
    from openankh.tokenizer_files import read_vocab
    from openankh.vocab import ankh_vocab, openankh_vocab

    presets = {"openankh": openankh_vocab, "ankh": ankh_vocab}
    if name in presets:
        return presets[name]()
    if not Path(name).is_dir():
        raise UserError(f"--vocab {name}: no such folder; give openankh, ankh, or the folder of a model or tokenizer")
    return read_vocab(Path(name))


def _keep_word(representatives: str | None, keep_word: str | None) -> str | None:
    from openankh.selection import word_of_representatives

    if representatives is None:
        return keep_word
    if keep_word is not None:
        raise UserError("--representatives and --keep-word both choose records by a header word; give one of them")
    return word_of_representatives(representatives)


def _total_megabytes(sources: tuple[str, ...]) -> float | None:
    """The size of all files, None when it cannot be known before reading."""
    if not all(os.path.isfile(source) for source in sources):
        return None
    return sum(os.path.getsize(source) for source in sources) / _MEGABYTE


def _facts(folder: str, manifest: "Manifest", seconds: float) -> Mapping[str, Any]:
    num_residues = sum(source.num_residues for source in manifest.sources)
    counts = {
        name: sum(getattr(source, f"num_{name}") for source in manifest.sources)
        for name in ("without_word", "too_short", "held_out", "upper_cased", "stops_dropped", "unknown_replaced")
    }
    return {
        "corpus": folder,
        "fingerprint": manifest.fingerprint,
        **{name: _split_facts(split) for name, split in manifest.splits.items()},
        "records_read": sum(source.num_records for source in manifest.sources),
        "residues_read": num_residues,
        **counts,
        "seconds": round(seconds, 3),
        "residues_per_second": round(num_residues / seconds),
    }


def _split_facts(split: "Split") -> Mapping[str, int]:
    return {
        "proteins": split.num_proteins,
        "residues": split.num_residues,
        "longest": split.longest,
        "shards": len(split.shards),
    }
