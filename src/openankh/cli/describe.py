"""`openankh describe`: all that the models here say of each protein, as the page shows it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from openankh.cli import before_torch, report
from openankh.cli.options import DEFAULT_MODEL, Device, Json, Model, Offline, Quiet, Source, TrustPickle
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.dossier.dossier import Overview
    from openankh.fasta import Record

Variants = Annotated[
    Literal["auto", "masked-marginal", "wild-type-marginal", "none"],
    Parameter(help="How all single substitutions are scored; auto is as good as about a minute allows."),
]
Output = Annotated[
    str | None,
    Parameter(name=("--output", "-o"), help="A folder: overview.json, and a dossier-N.json for each protein."),
]


def describe(
    source: Source,
    /,
    *,
    output: Output = None,
    variants: Variants = "auto",
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """All that the models here say of each protein: classes, substitutions, contacts, neighbours, its second half.

    The same values as the page of `openankh serve`: `--json` prints the overview and all dossiers as one object.
    """
    before_torch.settle()
    folder = None if output is None else _new_folder(output)

    from openankh.dossier.json_text import to_json
    from openankh.dossier.making import DossierMaker
    from openankh.dossier.options import DossierOptions
    from openankh.dossier.overview import overview
    from openankh.dossier.sources import bundled_sources
    from openankh.files import atomic_folder
    from openankh.loaded import load

    options = DossierOptions(variants)
    loaded = load(model, device, trust_pickle=trust_pickle, offline=offline)
    records = _records(source, loaded.vocab.letters)
    with report.progress("describing", total=1.0, quiet=quiet) as bar:
        maker = DossierMaker(bundled_sources(loaded), records, options, lambda share, what: bar.reach(share, note=what))
        dossiers = list(maker.make())
    found = overview(dossiers, maker.sources, maker.method)
    if folder is not None:
        with atomic_folder(folder) as draft:
            (draft / "overview.json").write_bytes(to_json(found))
            for each in dossiers:
                (draft / f"dossier-{each.number}.json").write_bytes(to_json(each))
    if json:
        print(to_json({"overview": found, "dossiers": dossiers}).decode())
    else:
        report.table(_rows(found), as_json=False)


def _new_folder(name: str) -> Path:
    path = Path(name)
    if path.exists():
        raise UserError(f"{name}: exists already; choose another name")
    if not path.absolute().parent.is_dir():
        raise UserError(f"cannot write {name}: the folder {path.absolute().parent} does not exist; create it first")
    return path


def _records(source: str, letters: str) -> "list[Record]":
    from openankh.fasta import FastaReader, ReadOptions

    return list(FastaReader(source, ReadOptions(letters)))


def _rows(found: "Overview") -> list[dict[str, str | float]]:
    """A row a protein, its fields in their order."""
    return [
        {"id": report.printable(line.id), **{name: line.fields.get(name, "") for name in found.fields}}
        for line in found.lines
    ]
