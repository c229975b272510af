"""What can be taken away from a result: names of files, what they hold, and their bytes."""

import importlib.util
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openankh.dossier import tables
from openankh.dossier.dossier import Dossier, Overview
from openankh.dossier.json_text import to_json
from openankh.dossier.pictures import contacts_svg, map_svg, variants_svg
from openankh.serve.pages.results import Result
from openankh.store import Embedding, Provenance, parse_target

_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".fasta": "text/x-fasta; charset=utf-8",
    ".svg": "image/svg+xml",
    ".h5": "application/x-hdf5",
    ".npz": "application/x-npz",
    ".zip": "application/zip",
}
"""Media types by ending."""


@dataclass(frozen=True)
class File:
    """A file that is made when it is asked for."""

    name: str
    about: str
    make: Callable[[], bytes]

    @property
    def media_type(self) -> str:
        """What it is."""
        return _TYPES[Path(self.name).suffix]


def result_files(result: Result, found: Overview, provenance: Provenance, field: str) -> Sequence[File]:
    """The files of all proteins together, and everything in one."""
    files = [
        File("overview.csv", "a row a protein", lambda: _text(tables.overview_csv(found))),
        File("neighbours.csv", "nearest annotated proteins of each", lambda: _of_all(result, tables.neighbours_csv)),
        File("completions.fasta", "second halves as written", lambda: _of_all(result, tables.completions_fasta)),
        File("proteins.fasta", "the proteins as they were read", lambda: _of_all(result, tables.sequences_fasta)),
        File("map.svg", "the map as a picture", lambda: _text(map_svg(found, field))),
    ]
    if found.properties:
        files.insert(1, File("properties.csv", "predictions", lambda: _of_all(result, tables.properties_csv)))
    files += _embeddings(result.dossiers, provenance)
    together = tuple(files)
    return [
        *files,
        File("everything.zip", "all of it, the files of each protein too", lambda: _zip(result, together, provenance)),
    ]


def protein_files(found: Dossier, provenance: Provenance) -> Sequence[File]:
    """The files of one protein; those that would be empty are left out."""
    files: list[File] = []
    if found.variants:
        files.append(File("variants.csv", "all single substitutions", lambda: _text(tables.variants_csv(found))))
        files.append(File("variants.svg", "the heatmap as a picture", lambda: _text(variants_svg(found))))
    if found.contacts:
        files.append(File("contacts.csv", "probable contacts", lambda: _text(tables.contacts_csv(found))))
        files.append(File("contacts.svg", "the contact map as a picture", lambda: _text(contacts_svg(found))))
    if found.tracks:
        files.append(File("residues.csv", "a row a residue", lambda: _text(tables.residues_csv(found))))
    if found.properties:
        files.append(File("properties.csv", "with probabilities", lambda: _text(tables.properties_csv([found]))))
    if found.neighbours:
        files.append(
            File("neighbours.csv", "nearest annotated proteins", lambda: _text(tables.neighbours_csv([found])))
        )
    if found.second_half:
        files.append(
            File(
                "completion.fasta",
                "with the half that the model wrote",
                lambda: _text(tables.completions_fasta([found])),
            )
        )
    files.append(File("protein.fasta", "the protein itself", lambda: _text(tables.sequences_fasta([found]))))
    return [*files, *_embeddings(lambda: [found], provenance)]


def _embeddings(dossiers: Callable[[], Sequence[Dossier]], provenance: Provenance) -> list[File]:
    about = "mean embeddings, float32"
    files = [File("embeddings.npz", f"{about}, for NumPy", lambda: _stored(dossiers(), ".npz", provenance))]
    if importlib.util.find_spec("h5py") is not None:
        files.insert(0, File("embeddings.h5", f"{about}, HDF5", lambda: _stored(dossiers(), ".h5", provenance)))
    return files


def _stored(dossiers: Sequence[Dossier], ending: str, provenance: Provenance) -> bytes:
    """Embeddings in a file of the store's own formats."""
    with tempfile.TemporaryDirectory() as folder:
        target = parse_target(str(Path(folder) / f"embeddings{ending}"))
        with target.writing(provenance) as output:
            output.write([Embedding(d.id, d.length, np.array(d.embedding, np.float32)) for d in dossiers])
            output.finish(provenance.input_sha256 or "")
        return target.path.read_bytes()


def _zip(result: Result, together: Iterable[File], provenance: Provenance) -> bytes:
    """The files of all proteins, then a folder a protein."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in together:
            archive.writestr(file.name, file.make())
        for dossier in result.dossiers():
            archive.writestr(f"{dossier.number}/dossier.json", to_json(dossier))
            for file in protein_files(dossier, provenance):
                if not file.name.startswith("embeddings"):
                    archive.writestr(f"{dossier.number}/{file.name}", file.make())
    return made.getvalue()


def _of_all(result: Result, write: Callable[[Sequence[Dossier]], str]) -> bytes:
    return _text(write(result.dossiers()))


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
