"""Made-up data folders whose labels can be read off the letters, and embeddings that show the letters or nothing."""

import csv
import gzip
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
OF_STRUCTURE = {"C": "GPSN", "H": "AELK", "E": "VIYT"}
LONELY_ANGSTROMS = 12.0


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """A table, compressed where its name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def one_hot(sequences: Sequence[str]) -> list[np.ndarray]:
    """Rows that tell the letter."""
    eye = np.eye(len(LETTERS), dtype=np.float32)
    return [eye[[LETTERS.index(letter) for letter in sequence]] for sequence in sequences]


def noise(sequences: Sequence[str]) -> list[np.ndarray]:
    """Rows that tell nothing, the same for the same sequence."""
    return [
        np.random.default_rng(zlib.crc32(sequence.encode())).standard_normal((len(sequence), 20)).astype(np.float32)
        for sequence in sequences
    ]


def write_data(folder: Path, seed: int = 0) -> Path:
    """A folder laid out as the real data, with what quick probes read."""
    generator = np.random.default_rng(seed)
    _write_structures(folder / "secondary_structure", generator)
    _write_domains(folder / "contact", generator)
    names = ["Cytoplasm", "Nucleus", "Plastid", "Golgi.apparatus"]
    _write_classes(folder / "localisation" / "deeploc1.csv.gz", "location", names, generator)
    _write_classes(folder / "fold" / "scope203_40.csv.gz", "fold", ["a.1", "b.1", "c.1", "d.1"], generator)
    return folder


def _write_structures(folder: Path, generator: np.random.Generator) -> None:
    for name, num in (("q3_train", 60), ("q3_valid", 30)):
        rows = []
        for number in range(num):
            structure = "".join(generator.choice(list("CHE"), 60))
            sequence = "".join(generator.choice(list(OF_STRUCTURE[letter])) for letter in structure)
            resolved = "".join(generator.choice(list("01"), 60, p=[0.2, 0.8]))
            wrong = "".join("C" if known == "0" else letter for letter, known in zip(structure, resolved, strict=True))
            rows.append((f"{name}{number}", sequence, wrong, resolved))
        write_csv(folder / f"{name}.csv.gz", ("id", "sequence", "ss3", "resolved"), rows)


def _write_domains(folder: Path, generator: np.random.Generator) -> None:
    """Cysteines meet in one place, all other residues lie far from each other."""
    rows, coordinates, offsets = [], [], [0]
    for number in range(60):
        sequence = "".join(generator.choice(list("CAGLVE"), 50))
        xyz_L3 = np.cumsum(np.full((50, 3), LONELY_ANGSTROMS), axis=0)
        xyz_L3[[letter == "C" for letter in sequence]] = 0
        rows.append((f"d{number:02d}", "1.1.1.1", "train" if number < 40 else "valid", sequence))
        coordinates.append(np.round(xyz_L3 * 10).astype(np.int16))
        offsets.append(offsets[-1] + 50)
    write_csv(folder / "cath_s40_domains.csv.gz", ("id", "cath", "split", "sequence"), rows)
    np.savez(
        folder / "cath_s40_ca_coords.npz",
        ca_x10=np.concatenate(coordinates),
        offsets=np.array(offsets),
        ids=np.array([row[0] for row in rows]),
    )


def _write_classes(path: Path, column: str, names: Sequence[str], generator: np.random.Generator) -> None:
    """Each class prefers letters of its own."""
    rows = []
    for number in range(240):
        name = names[number % len(names)]
        shares = np.ones(20)
        shares[5 * (number % len(names)) : 5 * (number % len(names)) + 5] = 3
        sequence = "".join(generator.choice(list(LETTERS), int(generator.integers(50, 90)), p=shares / shares.sum()))
        rows.append((f"p{number}", sequence, name, "train" if number < 160 else "valid"))
    write_csv(path, ("id", "sequence", column, "split"), rows)
